"""The elements of `Forwarded`, from the right."""

from __future__ import annotations

import random
import time
from ipaddress import ip_address

import pytest

from headrace_interface.forwarded_header import Hop, hops


def hop(address: str | None = None, port: int = 0, scheme: str = "") -> Hop:
    return Hop(None if address is None else ip_address(address), port, scheme)


def read(*values: bytes) -> list[Hop]:
    return list(hops(values))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"for=192.0.2.60;proto=http;by=203.0.113.43", hop("192.0.2.60", 0, "http")),
        (b"For=192.0.2.60;PROTO=HTTPS", hop("192.0.2.60", 0, "https")),
        (b'for="192.0.2.60"', hop("192.0.2.60")),
        (b'for="192.0.2.60:4711"', hop("192.0.2.60", 4711)),
        (b'for="192.0.2.60:_port"', hop("192.0.2.60")),
        (b'for="192.0.2.60:99999"', hop("192.0.2.60")),
        (b'for="[2001:db8:cafe::17]"', hop("2001:db8:cafe::17")),
        (b'for="[2001:db8:cafe::17]:4711"', hop("2001:db8:cafe::17", 4711)),
        (b'for="[::ffff:192.0.2.60]"', hop("192.0.2.60")),
        (b'for="192\\.0.2.60"', hop("192.0.2.60")),
        (b'host="a, for=1.1.1.1";for=192.0.2.60', hop("192.0.2.60")),
        (b'for=192.0.2.60;host="a\\", for=1.1.1.1"', hop("192.0.2.60")),
        (b'for=192.0.2.60;ext="\xff"', hop("192.0.2.60")),
        (b" \tfor=192.0.2.60\t ", hop("192.0.2.60")),
        (b"proto=https", hop(scheme="https")),
        (b"proto=javascript", hop()),
        (b"for=unknown", hop()),
        (b"for=_SEVKISEK", hop()),
        (b'for=""', hop()),
        (b'for="2001:db8::17"', hop()),
        (b'for="[192.0.2.60]"', hop()),
        (b'for="[fe80::1%eth0]"', hop()),
        (b"for=192.0.2.060", hop()),
        (b"for=192.0.2", hop()),
        (b'for="192.0.2.60:"', hop()),
        (b'for="192.0.2.60:123456"', hop()),
        (b'for=" 192.0.2.60"', hop()),
    ],
)
def test_one_element(value: bytes, expected: Hop) -> None:
    assert read(value) == [expected]


@pytest.mark.parametrize(
    "value",
    [
        *(b"", b",", b";", b"for", b"for=", b"=1.1.1.1", b"for=1.1.1.1;", b"for = 1.1.1.1"),
        *(b"for=1.1.1.1; proto=http", b"for=1.1.1.1;for=2.2.2.2", b"for=1.1.1.1;FOR=2.2.2.2"),
        *(b"for=1.1.1.1:80", b"for=[::1]", b'for="1.1.1.1', b'for=1.1.1.1"', b'for="1.1.1.1""2"'),
        *(b'for="1.1.1.1\\"', b"for=1.1.1.1 proto=http", b"for=1.1.1.1;x=" + b"a" * 1025),
    ],
)
def test_what_is_malformed_ends_the_walk(value: bytes) -> None:
    assert read(value) == []
    assert read(b"for=9.9.9.9, " + value) == []
    if value:
        assert read(value + b", for=9.9.9.9")[:1] == [hop("9.9.9.9")]
        assert read(b"for=8.8.8.8", value, b"for=9.9.9.9") == [hop("9.9.9.9")]


def test_the_last_element_comes_first() -> None:
    assert read(b"for=1.1.1.1, for=2.2.2.2;proto=https", b"for=3.3.3.3,for=4.4.4.4") == [
        *(hop("4.4.4.4"), hop("3.3.3.3"), hop("2.2.2.2", 0, "https"), hop("1.1.1.1"))
    ]


@pytest.mark.seeds(20)
def test_whatever_a_client_wrote_the_proxys_element_is_read_first(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(300):
        wrote = bytes(chance.choices(b'for="\\",;=1.:[]_ proto\t', k=chance.randrange(40)))
        assert read(wrote + b', for="[2001:db8::1]";proto=https')[0] == hop("2001:db8::1", 0, "https")


@pytest.mark.seeds(20)
def test_a_quoted_string_never_becomes_an_element(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(300):
        raw = bytes(chance.choices(b'for="\\",;=1.', k=chance.randrange(60)))
        quoted = raw.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
        assert read(b'for=1.2.3.4;host="%b"' % quoted)[0] == hop("1.2.3.4")
        assert read(b'host="%b";for=1.2.3.4;x="%b"' % (quoted, quoted)) == [hop("1.2.3.4")]


@pytest.mark.parametrize(
    "value", [b"," * 65536, b'"' * 65536, b"a=1," * 16384, b'a="' + b"," * 65000, b";a=1" * 16384]
)
def test_a_long_header_costs_little(value: bytes) -> None:
    began = time.process_time()
    read(value)
    assert time.process_time() - began < 1

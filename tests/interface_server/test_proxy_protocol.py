"""The header of the PROXY protocol, byte by byte."""

from __future__ import annotations

import random
import socket
import struct

import pytest
from twisted.internet.address import IPv4Address, UNIXAddress

from headrace_interface.proxy_protocol import (
    MOST_BYTES,
    BadHeader,
    Introduced,
    ProxyHeader,
    introduced,
    read,
)
from tests.support.proxy_headers import SIGNATURE, v1, v2

CLIENT4, SERVER4 = Introduced("203.0.113.9", 5000), Introduced("192.0.2.1", 443)
CLIENT6, SERVER6 = Introduced("2001:db8::9", 5000), Introduced("2001:db8::1", 443)
TCP4 = socket.inet_aton("203.0.113.9") + socket.inet_aton("192.0.2.1") + struct.pack("!HH", 5000, 443)
TCP6 = (
    socket.inet_pton(socket.AF_INET6, "2001:db8::9")
    + socket.inet_pton(socket.AF_INET6, "2001:db8::1")
    + struct.pack("!HH", 5000, 443)
)
MAPPED = (
    socket.inet_pton(socket.AF_INET6, "::ffff:203.0.113.9")
    + socket.inet_pton(socket.AF_INET6, "::ffff:192.0.2.1")
    + struct.pack("!HH", 5000, 443)
)

GOOD = [
    (v1("TCP4 203.0.113.9 192.0.2.1 5000 443"), CLIENT4, SERVER4),
    (v1("TCP6 2001:db8::9 2001:DB8::1 5000 443"), CLIENT6, SERVER6),
    (v1("TCP6 ::ffff:203.0.113.9 ::ffff:192.0.2.1 5000 443"), CLIENT4, SERVER4),
    (
        v1("TCP4 0.0.0.0 255.255.255.255 0 65535"),
        Introduced("0.0.0.0", 0),
        Introduced("255.255.255.255", 65535),
    ),
    (v1("UNKNOWN"), None, None),
    (v1("UNKNOWN " + " ".join(["ffff:" * 7 + "ffff"] * 2) + " 65535 65535"), None, None),
    (v1("UNKNOWN \x00 anything"), None, None),
    (v2(0x21, 0x11, TCP4), CLIENT4, SERVER4),
    (v2(0x21, 0x21, TCP6), CLIENT6, SERVER6),
    (v2(0x21, 0x21, MAPPED), CLIENT4, SERVER4),
    (v2(0x21, 0x11, TCP4 + b"\x04\x00\x01x"), CLIENT4, SERVER4),
    (v2(0x21, 0x11, TCP4.ljust(MOST_BYTES - 16, b"\xff")), CLIENT4, SERVER4),
    (v2(0x21, 0x00), None, None),
    (v2(0x21, 0x00, b"anything"), None, None),
    (v2(0x21, 0x12, TCP4), None, None),
    (v2(0x21, 0x22, TCP6), None, None),
    (v2(0x21, 0x31, bytes(216)), None, None),
    (v2(0x21, 0x32, bytes(216)), None, None),
]
LOCAL = [v2(0x20, 0x00), v2(0x20, 0x11, TCP4), v2(0x20, 0xFF, b"ignored"), v2(0x20, 0x21)]


@pytest.mark.parametrize(("header", "source", "destination"), GOOD)
def test_a_header_says_both_ends(
    header: bytes, source: Introduced | None, destination: Introduced | None
) -> None:
    expected = ProxyHeader(len(header), source=source, destination=destination)
    assert read(header) == expected
    for rest in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01", b"\r\n", header):
        assert read(header + rest) == expected


@pytest.mark.parametrize("header", LOCAL)
def test_a_proxy_may_speak_for_itself(header: bytes) -> None:
    assert read(header + b"GET") == ProxyHeader(len(header), is_local=True)


@pytest.mark.parametrize("header", [*(each[0] for each in GOOD), *LOCAL])
def test_a_header_that_breaks_off_anywhere_is_waited_for(header: bytes) -> None:
    for end in range(len(header)):
        assert read(header[:end]) is None


@pytest.mark.parametrize(
    "line",
    [
        *("", "TCP4", "TCP5 1.1.1.1 2.2.2.2 1 2", "tcp4 1.1.1.1 2.2.2.2 1 2", "UNKNOWNS"),
        *("TCP4 1.1.1.1 2.2.2.2 1", "TCP4 1.1.1.1 2.2.2.2 1 2 3", "TCP4  1.1.1.1 2.2.2.2 1 2"),
        *("TCP4 1.1.1.1 2.2.2.2 1 2 ", " TCP4 1.1.1.1 2.2.2.2 1 2", "TCP4 1.1.1.1\t2.2.2.2 1 2"),
        *("TCP4 1.1.1 2.2.2.2 1 2", "TCP4 1.1.1.01 2.2.2.2 1 2", "TCP4 1.1.1.256 2.2.2.2 1 2"),
        *("TCP4 ::1 ::1 1 2", "TCP6 1.1.1.1 2.2.2.2 1 2", "TCP6 fe80::1%eth0 ::1 1 2", "TCP6 [::1] ::1 1 2"),
        *("TCP4 1.1.1.1 2.2.2.2 01 2", "TCP4 1.1.1.1 2.2.2.2 65536 2", "TCP4 1.1.1.1 2.2.2.2 -1 2"),
        *("TCP4 1.1.1.1 2.2.2.2 1 \u00b2", "TCP4 1.1.1.1 2.2.2.2 1 2\n", "TCP4 a.example 2.2.2.2 1 2"),
    ],
)
def test_a_line_that_is_not_exactly_right_is_none(line: str) -> None:
    with pytest.raises(BadHeader):
        read(v1(line))


@pytest.mark.parametrize(
    "header",
    [
        v2(0x11, 0x11, TCP4),
        v2(0x22, 0x11, TCP4),
        v2(0x31, 0x11, TCP4),
        v2(0x21, 0x11, TCP4[:-1]),
        v2(0x21, 0x11),
        v2(0x21, 0x21, TCP4),
        v2(0x21, 0x31, bytes(215)),
        v2(0x21, 0x12, TCP4[:-1]),
        v2(0x21, 0x10, TCP4),
        v2(0x21, 0x01, TCP4),
        v2(0x21, 0x13, TCP4),
        v2(0x21, 0x41, bytes(500)),
        v2(0x21, 0x11, TCP4.ljust(MOST_BYTES - 15)),
        v2(0x20, 0x00, bytes(65535)),
        SIGNATURE[:-1] + b"\r" + v2(0x21, 0x11, TCP4)[12:],
        b"\x00" + v2(0x21, 0x11, TCP4),
        b"GET / HTTP/1.1\r\n",
        b"PROXX",
        b"proxy TCP4",
        b" PROXY",
        b"\r\n\r\nGET",
        b"\x16\x03\x01",
    ],
)
def test_anything_else_is_refused_as_soon_as_it_shows(header: bytes) -> None:
    with pytest.raises(BadHeader):
        read(header[:16])
    with pytest.raises(BadHeader):
        read(header)


def test_a_line_without_an_end_is_bounded() -> None:
    line = b"PROXY UNKNOWN ".ljust(106, b"x")
    assert read(line) is None
    assert read(line[:105] + b"\r\n") == ProxyHeader(107)
    for more in (b"x", b"\r", b"\r\n"):
        with pytest.raises(BadHeader, match="107"):
            read(line + more)


def test_what_was_said_replaces_the_addresses_of_the_socket() -> None:
    peer, host = IPv4Address("TCP", "10.0.0.1", 7), IPv4Address("TCP", "10.0.0.2", 80)
    assert introduced(ProxyHeader(1, source=CLIENT4, destination=SERVER4), peer, host) == (CLIENT4, SERVER4)
    assert introduced(ProxyHeader(1, is_local=True), peer, host) == (peer, host)
    assert introduced(ProxyHeader(1), peer, host) == (Introduced("10.0.0.1", 7, is_known=False), host)
    unix = UNIXAddress("/x")
    assert introduced(ProxyHeader(1), unix, unix) == (Introduced(None, 0, is_known=False), unix)


@pytest.mark.seeds(20)
def test_damage_is_refused_or_read_and_nothing_else(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(200):
        header = bytearray(chance.choice(GOOD)[0][:300])
        for _ in range(chance.randrange(1, 4)):
            header[chance.randrange(len(header))] = chance.randrange(256)
        try:
            found = read(bytes(header))
        except BadHeader:
            continue
        assert found is None or 0 < found.size_bytes <= len(header)

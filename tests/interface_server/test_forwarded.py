"""Whom the server believes about its clients."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from headrace_interface.forwarded import apply, endpoints_of, is_proxy, is_trusted
from headrace_interface.http.head import RequestHead
from headrace_interface.proxy_protocol import Introduced
from headrace_interface.settings import InterfaceSettings

NETWORKS = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
HOST = IPv4Address("TCP", "127.0.0.1", 8000)


def head(*headers: tuple[bytes, bytes]) -> RequestHead:
    return RequestHead(
        "GET", b"/", "/", b"", "1.1", list(headers), "http", ["10.0.0.1", 4000], None, "", True
    )


def forwarded(*values: bytes, **others: bytes) -> RequestHead:
    headers = [(b"x-forwarded-for", value) for value in values]
    headers += [(b"x-forwarded-" + name.encode(), value) for name, value in others.items()]
    this = head(*headers)
    apply(this, InterfaceSettings(trusted_proxies=NETWORKS))
    return this


def told(*headers: tuple[bytes, bytes], **settings: Any) -> RequestHead:
    this = head(*headers)
    apply(this, InterfaceSettings(trusted_proxies=NETWORKS, **settings))
    return this


@pytest.mark.parametrize(
    ("values", "client"),
    [
        ((b"203.0.113.9",), "203.0.113.9"),
        ((b"1.2.3.4, 203.0.113.9",), "203.0.113.9"),
        ((b"1.2.3.4, 203.0.113.9, 10.1.1.1",), "203.0.113.9"),
        ((b"1.2.3.4", b"203.0.113.9"), "203.0.113.9"),
        ((b"nonsense, 203.0.113.9",), "203.0.113.9"),
        ((b"203.0.113.9:5000",), "203.0.113.9"),
        ((b"[2001:db8::1]:5000",), "2001:db8::1"),
        ((b"2001:db8::1",), "2001:db8::1"),
        ((b"::ffff:203.0.113.9",), "203.0.113.9"),
        ((b"10.1.1.1, 10.2.2.2",), "10.1.1.1"),
        ((b"203.0.113.9, nonsense",), "10.0.0.1"),
        ((b"203.0.113.9, \xff, 10.1.1.1",), "10.1.1.1"),
        ((b"",), "10.0.0.1"),
        ((), "10.0.0.1"),
    ],
)
def test_the_client_is_the_last_address_that_is_no_proxy_s3(values: tuple[bytes, ...], client: str) -> None:
    this = forwarded(*values)
    assert this.client is not None
    assert this.client[0] == client


def test_port_and_scheme() -> None:
    assert forwarded(b"203.0.113.9", port=b"5000", proto=b"HTTPS").client == ["203.0.113.9", 5000]
    assert forwarded(b"203.0.113.9", proto=b"https").scheme == "https"
    assert forwarded(proto=b"http, https").scheme == "https"
    for bad in (b"x", b"99999", b"-1", b""):
        assert forwarded(b"203.0.113.9", port=bad).client == ["203.0.113.9", 0]
    for bad in (b"javascript", b"", b"https,"):
        assert forwarded(proto=bad).scheme == "http"
    assert forwarded(port=b"1").client == ["10.0.0.1", 4000]


@pytest.mark.parametrize(
    ("host", "trusted"),
    [
        ("10.255.0.1", True),
        ("11.0.0.1", False),
        ("fd12::1", True),
        ("fe80::1%eth0", False),
        ("::ffff:10.0.0.1", True),
        ("localhost", False),
    ],
)
def test_trust_is_by_network(host: str, trusted: bool) -> None:
    assert is_trusted(host, NETWORKS) is trusted


@pytest.mark.parametrize(
    ("peer", "settings", "trusted"),
    [
        (
            IPv4Address("TCP", "10.0.0.1", 1),
            InterfaceSettings(proxy_headers=True, trusted_proxies=NETWORKS),
            True,
        ),
        (
            IPv4Address("TCP", "11.0.0.1", 1),
            InterfaceSettings(proxy_headers=True, trusted_proxies=NETWORKS),
            False,
        ),
        (IPv4Address("TCP", "10.0.0.1", 1), InterfaceSettings(trusted_proxies=NETWORKS), False),
        (UNIXAddress("/x"), InterfaceSettings(proxy_headers=True), True),
        (UNIXAddress("/x"), InterfaceSettings(proxy_headers=True, trust_unix=False), False),
        (UNIXAddress("/x"), InterfaceSettings(), False),
        (Introduced("10.0.0.1", 1), InterfaceSettings(proxy_headers=True, trusted_proxies=NETWORKS), True),
        (Introduced("11.0.0.1", 1), InterfaceSettings(proxy_headers=True, trusted_proxies=NETWORKS), False),
        (
            Introduced("10.0.0.1", 1, is_known=False),
            InterfaceSettings(proxy_headers=True, trusted_proxies=NETWORKS),
            False,
        ),
        (Introduced(None, 0, is_known=False), InterfaceSettings(proxy_headers=True), False),
    ],
)
def test_trust_must_be_asked_for_st14(peer: object, settings: InterfaceSettings, trusted: bool) -> None:
    assert endpoints_of(peer, HOST, False, settings).trusted is trusted


def test_what_is_known_of_a_connection() -> None:
    endpoints = endpoints_of(IPv6Address("TCP", "::1", 5), HOST, True, InterfaceSettings(root_path="/app"))
    assert (endpoints.scheme, endpoints.client, endpoints.server) == (
        "https",
        ["::1", 5],
        ["127.0.0.1", 8000],
    )
    assert endpoints.root_path == "/app"
    assert endpoints_of(UNIXAddress("/x"), UNIXAddress("/x"), False, InterfaceSettings()).client is None


@pytest.mark.parametrize(
    ("values", "client", "scheme"),
    [
        ((b"for=203.0.113.9",), ["203.0.113.9", 0], "http"),
        ((b'for="203.0.113.9:5000";proto=https',), ["203.0.113.9", 5000], "https"),
        ((b"for=1.2.3.4;proto=https, for=203.0.113.9",), ["203.0.113.9", 0], "http"),
        ((b"for=203.0.113.9;proto=https, for=10.1.1.1;proto=http",), ["203.0.113.9", 0], "https"),
        ((b"for=203.0.113.9, for=10.1.1.1;proto=https",), ["203.0.113.9", 0], "https"),
        ((b"for=1.2.3.4", b"for=203.0.113.9", b"for=10.1.1.1"), ["203.0.113.9", 0], "http"),
        ((b"for=203.0.113.9, for=unknown;proto=https, for=10.1.1.1",), ["10.1.1.1", 0], "https"),
        ((b"for=203.0.113.9, for=_hidden",), ["10.0.0.1", 4000], "http"),
        ((b"for=203.0.113.9, proto=https",), ["10.0.0.1", 4000], "https"),
        ((b"for=203.0.113.9, ;", b"for=10.1.1.1"), ["10.1.1.1", 0], "http"),
        ((b'for="[fd00::1]"',), ["fd00::1", 0], "http"),
        ((b"for=10.1.1.1, for=10.2.2.2",), ["10.1.1.1", 0], "http"),
        ((), ["10.0.0.1", 4000], "http"),
    ],
)
def test_forwarded_is_walked_as_far_as_trusted_proxies_wrote_it_s3(
    values: tuple[bytes, ...], client: list[Any], scheme: str
) -> None:
    this = told(*((b"forwarded", value) for value in values), forwarded=True)
    assert (this.client, this.scheme) == (client, scheme)


def test_only_the_headers_that_were_chosen_count() -> None:
    both = (
        (b"forwarded", b"for=203.0.113.1;proto=https"),
        (b"x-forwarded-for", b"203.0.113.2"),
        (b"x-forwarded-proto", b"http"),
    )
    assert told(*both, forwarded=True).client == ["203.0.113.1", 0]
    assert told(*both, forwarded=True).scheme == "https"
    assert told(*both).client == ["203.0.113.2", 0]
    assert told(*both).scheme == "http"
    assert told(*both[:1]).client == ["10.0.0.1", 4000]
    assert told(*both[1:], forwarded=True).client == ["10.0.0.1", 4000]


def test_headers_may_have_other_names() -> None:
    names = {"client_header": b"x-real-ip", "port_header": b"x-real-port"}
    this = told((b"x-forwarded-for", b"1.1.1.1"), (b"x-real-ip", b"2.2.2.2"), (b"x-real-port", b"7"), **names)
    assert this.client == ["2.2.2.2", 7]


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ((b"/app",), "/app"),
        ((b"/caf%C3%A9/",), "/caf\u00e9"),
        ((b"%2Fapp",), "/app"),
        ((b"/",), ""),
        ((b"",), "/old"),
        ((b"app",), "/old"),
        ((b"//evil.example",), "/old"),
        ((b"/%2Fevil.example",), "/old"),
        ((b"/a%0d%0ab",), "/old"),
        ((b"/%ff",), "/old"),
        ((b"/a", b"/b"), "/old"),
        ((), "/old"),
    ],
)
def test_a_root_path_is_read_from_the_header_that_is_named_d8(values: tuple[bytes, ...], path: str) -> None:
    for name in (b"", b"daphne-root-path"):
        this = head(*((b"daphne-root-path", value) for value in values))
        this.root_path = "/old"
        apply(this, InterfaceSettings(root_path_header=name))
        assert this.root_path == (path if name else "/old")


def test_who_may_introduce_others_needs_no_headers() -> None:
    settings = InterfaceSettings(trusted_proxies=NETWORKS)
    assert is_proxy(IPv4Address("TCP", "10.0.0.1", 1), settings)
    assert not is_proxy(IPv4Address("TCP", "11.0.0.1", 1), settings)
    assert is_proxy(UNIXAddress("/x"), settings)
    assert not is_proxy(UNIXAddress("/x"), InterfaceSettings(trust_unix=False))

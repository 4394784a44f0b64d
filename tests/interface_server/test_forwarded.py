"""Whom the server believes about its clients."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from headrace_interface.forwarded import apply, endpoints_of, is_trusted
from headrace_interface.http.head import RequestHead
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
    apply(this, NETWORKS)
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

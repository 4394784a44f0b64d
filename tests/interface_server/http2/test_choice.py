"""Which HTTP a connection speaks: by ALPN under TLS, by its first bytes for trusted proxies, else HTTP/1."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest
from hyperframe.frame import SettingsFrame
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from headrace_interface.http.protocol import HttpProtocol
from headrace_interface.http2.choice import HttpChoice
from headrace_interface.http2.floods import PREFACE
from headrace_interface.http2.protocol import Http2Protocol
from headrace_interface.settings import InterfaceSettings
from tests.support.http2_lab import fields, head_frame
from tests.support.http_lab import GET, Lab, answers

PROXY = (ip_network("192.168.1.1/32"),)
OTHERS = (ip_network("10.9.9.9/32"),)
HTTP2 = PREFACE + SettingsFrame(0).serialize() + head_frame(1, fields())


@implementer(ISSLTransport)
class TlsTransport(StringTransport):
    """A transport that encrypts, after its handshake."""

    def __init__(self, negotiated: bytes | None) -> None:
        super().__init__()
        self.negotiatedProtocol = negotiated


def connect(lab: Lab, transport: Any) -> HttpChoice:
    this = HttpChoice(lab.context, lab.upgrade)
    transport.protocol = this
    this.makeConnection(transport)
    return this


def send(lab: Lab, transport: Any, data: bytes) -> None:
    """As Twisted does: to whoever is the protocol then."""
    transport.protocol.dataReceived(data)
    lab.settle()


def site(trusted: Any = PROXY, prior_knowledge: bool = True) -> Lab:
    return Lab(InterfaceSettings(http2=True, http2_prior_knowledge=prior_knowledge, trusted_proxies=trusted))


@pytest.mark.parametrize(
    ("negotiated", "data", "version"), [(b"h2", HTTP2, "2"), (b"http/1.1", GET, "1.1"), (None, GET, "1.1")]
)
def test_under_tls_it_is_what_was_negotiated(negotiated: bytes | None, data: bytes, version: str) -> None:
    lab, transport = site(), TlsTransport(negotiated)
    this = connect(lab, transport)
    for byte in data:
        send(lab, transport, bytes([byte]))
    [asked] = lab.requests
    assert (asked.message["http_version"], asked.message["scheme"]) == (version, "https")
    assert len(lab.context.http_shells) == 1
    this.connectionLost(Failure(ConnectionDone()))
    assert not lab.context.http_shells
    assert len(lab.context.connections) == 0


def test_a_client_that_negotiated_http2_and_speaks_http1_is_told_so() -> None:
    lab, transport = site(), TlsTransport(b"h2")
    connect(lab, transport)
    send(lab, transport, GET)
    assert lab.requests == []
    assert transport.disconnecting
    assert lab.context.counters["http2_violations"] == 1


@pytest.mark.parametrize("pieces", [1, 5, 1000])
def test_a_trusted_proxy_may_begin_with_http2_without_tls(pieces: int) -> None:
    lab, transport = site(), StringTransport()
    connect(lab, transport)
    for at in range(0, len(HTTP2), pieces):
        send(lab, transport, HTTP2[at : at + pieces])
    assert lab.requests[0].message["http_version"] == "2"
    assert isinstance(transport.protocol, Http2Protocol)
    assert len(lab.context.http_shells) == 1


def test_a_trusted_proxy_may_speak_http1_as_ever_even_with_a_method_that_begins_alike() -> None:
    for request in (GET, GET.replace(b"GET", b"PROPFIND"), GET.replace(b"GET", b"PUT")):
        lab, transport = site(), StringTransport()
        connect(lab, transport)
        for byte in request:
            send(lab, transport, bytes([byte]))
        assert len(lab.requests) == 1
        assert isinstance(transport.protocol, HttpProtocol)


@pytest.mark.parametrize("lab", [site(OTHERS), site(PROXY, prior_knowledge=False)], ids=["stranger", "off"])
def test_others_that_begin_with_http2_without_tls_get_an_answer_of_http1(lab: Lab) -> None:
    transport = StringTransport()
    connect(lab, transport)
    assert isinstance(transport.protocol, HttpProtocol)
    send(lab, transport, HTTP2)
    [answer] = answers(transport.value())
    assert answer.status in (400, 505)
    assert lab.requests == []


def test_a_connection_that_says_nothing_has_the_deadlines_of_http1_and_ends_with_the_process() -> None:
    lab, transport = site(), TlsTransport(b"h2")
    connect(lab, transport)
    [shell] = lab.context.http_shells
    shell.drain()
    lab.wait(2)
    assert transport.disconnecting
    lab, transport = site(), StringTransport()
    connect(lab, transport)
    send(lab, transport, PREFACE[:10])
    lab.wait(80)
    assert transport.disconnecting


def test_a_connection_that_is_found_to_be_http2_while_the_process_ends_is_told_so() -> None:
    lab, transport = site(), TlsTransport(b"h2")
    connect(lab, transport)
    lab.context.draining = True
    send(lab, transport, PREFACE + SettingsFrame(0).serialize())
    lab.wait(2)
    assert transport.disconnecting

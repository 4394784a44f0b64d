"""The listener for probes: what it answers, and that it is bounded."""

from __future__ import annotations

import json
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from headrace_asgi.errors import ConfigurationError
from headrace_interface.admin import MAX_ADMIN_CONNECTIONS, AdminFactory, admin_answer, admin_endpoint
from headrace_interface.inbox import Inbox
from headrace_interface.process_state import ProcessState
from tests.support.http_lab import Lab, answers


class Probe:
    """A listener's factory, and what one of its connections answered."""

    def __init__(self) -> None:
        self.lab = Lab()
        self.state = ProcessState(self.lab.context)
        self.clock = Clock()
        self.factory = AdminFactory(self.state, self.clock)
        self.aborted = False

    def connect(self) -> tuple[Any, StringTransport]:
        protocol, transport = self.factory.buildProtocol(None), StringTransport()
        assert protocol is not None
        transport.abortConnection = self._abort  # type: ignore[method-assign]
        protocol.makeConnection(transport)  # type: ignore[no-untyped-call]
        return protocol, transport

    def _abort(self) -> None:
        self.aborted = True

    def ask(self, *parts: bytes) -> bytes:
        """What is answered to bytes that come in these parts."""
        protocol, transport = self.connect()
        for part in parts:
            protocol.dataReceived(part)
        assert transport.disconnecting, "it closes after its answer"
        protocol.connectionLost()
        assert self.clock.getDelayedCalls() == []
        return bytes(transport.value())  # type: ignore[no-untyped-call]


@pytest.fixture
def probe() -> Probe:
    return Probe()


def test_live_is_live_and_the_others_follow_the_state(probe: Probe) -> None:
    state = probe.state
    inbox = Inbox(probe.lab.context)
    assert admin_answer(state, "GET", "/live") == (200, {"live": True})
    assert admin_answer(state, "GET", "/ready") == (
        503,
        {"ready": False, "unready": "it does not listen yet"},
    )
    assert admin_answer(state, "GET", "/startup") == (503, {"started": False})
    state.addresses = ["unix:/s"]
    inbox.layer_back()
    assert admin_answer(state, "GET", "/ready") == (200, {"ready": True})
    assert admin_answer(state, "GET", "/startup") == (200, {"started": True})
    probe.lab.context.draining = True
    assert admin_answer(state, "GET", "/ready") == (503, {"ready": False, "unready": "it is draining"})
    assert admin_answer(state, "GET", "/startup")[0] == admin_answer(state, "GET", "/live")[0] == 200
    assert admin_answer(state, "GET", "/state")[1] == state.as_dict()
    for path in ("/", "/live/", "/favicon.ico", "//state"):
        assert admin_answer(state, "GET", path)[0] == 404
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "CONNECT"):
        assert admin_answer(state, method, "/state")[0] == 405


def test_a_request_in_parts_is_answered_once_with_json_and_the_connection_is_closed(probe: Probe) -> None:
    received = probe.ask(
        b"GET /state?x=1 HT", b"TP/1.1\r\nHost: a\r\n", b"\r\n", b"GET /live HTTP/1.1\r\n\r\n"
    )
    [answer] = answers(received)
    assert answer.status == 200
    assert json.loads(answer.body)["pid"]
    assert b"Connection: close\r\n" in received
    assert b"Content-Type: application/json\r\n" in received
    assert b"Cache-Control: no-store\r\n" in received


def test_head_is_answered_without_a_body_and_other_methods_are_told_which_there_are(probe: Probe) -> None:
    head = probe.ask(b"HEAD /ready HTTP/1.0\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert head.endswith(b"\r\n\r\n")
    assert head.count(b"\r\n\r\n") == 1
    post = probe.ask(b"POST /live HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc")
    assert post.startswith(b"HTTP/1.1 405 ")
    assert b"Allow: GET, HEAD\r\n" in post


@pytest.mark.parametrize(
    "head",
    [
        b"GET\r\n\r\n",
        b"GET live HTTP/1.1\r\n\r\n",
        b"GET /live HTTP/2.0\r\n\r\n",
        b"GET http://a/live HTTP/1.1\r\n\r\n",
        b"get /live HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\r\n\r\n",
        b"GET /live HTTP/1.1\nHost: a\r\n\r\n",
    ],
)
def test_what_is_no_request_is_400(head: bytes, probe: Probe) -> None:
    assert probe.ask(head).startswith(b"HTTP/1.1 400 ")


def test_a_head_without_end_is_431(probe: Probe) -> None:
    assert probe.ask(b"GET /live HTTP/1.1\r\n", b"A: b\r\n" * 1500).startswith(b"HTTP/1.1 431 ")


def test_a_client_that_says_nothing_is_cut(probe: Probe) -> None:
    protocol, _ = probe.connect()
    protocol.dataReceived(b"GET /live")
    probe.clock.advance(9.9)
    assert not probe.aborted
    probe.clock.advance(0.2)
    assert probe.aborted
    protocol.connectionLost()


def test_so_many_connections_and_no_more(probe: Probe) -> None:
    several = [probe.connect()[0] for _ in range(MAX_ADMIN_CONNECTIONS)]
    assert probe.factory.buildProtocol(None) is None
    several.pop().connectionLost()
    assert probe.factory.buildProtocol(None) is not None
    for protocol in several:
        protocol.connectionLost()


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("127.0.0.1:9000", "127.0.0.1"),
        (":9000", "127.0.0.1"),
        ("[::1]:9000", "::1"),
        ("/run/admin.sock", "/run/admin.sock"),
        ("unix:/run/admin.sock", "/run/admin.sock"),
        ("./admin.sock", "./admin.sock"),
    ],
)
def test_an_address_is_a_host_with_a_port_or_a_path(text: str, part: str) -> None:
    name, endpoint = admin_endpoint(text, Clock())
    assert name == f"--admin {text}"
    assert part in (getattr(endpoint, "_interface", None), getattr(endpoint, "_address", None))


@pytest.mark.parametrize("text", ["", "9000", "localhost", "a:b", "::1:9000", "a:70000", "a:-1"])
def test_any_other_address_is_an_error_that_says_what_it_takes(text: str) -> None:
    with pytest.raises(ConfigurationError, match="--admin takes host:port"):
        admin_endpoint(text, Clock())

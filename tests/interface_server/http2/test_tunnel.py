"""A WebSocket over a stream of HTTP/2: the real shell, Autobahn behind it, the library h2 as the client."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Any

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from headrace_asgi.contract import Outcome
from headrace_interface.deadlines import Deadlines
from headrace_interface.settings import FrameRate, InterfaceSettings
from headrace_interface.websocket.protocol import WebSocketShell
from tests.support.http2_lab import Http2Client
from tests.support.http_lab import Lab, response
from tests.support.websocket_lab import masked

Fields = list[tuple[bytes, bytes]]


def connect(*more: tuple[bytes, bytes], protocol: bytes = b"websocket", method: bytes = b"CONNECT") -> Fields:
    """The fields that ask for a WebSocket (RFC 8441 5.1)."""
    pseudo = [
        (b":method", method),
        (b":protocol", protocol),
        (b":scheme", b"https"),
        (b":path", b"/chat/?room=1"),
        (b":authority", b"example.com"),
    ]
    return [*pseudo, (b"sec-websocket-version", b"13"), *more]


class Site:
    """A site, one client, and one WebSocket of it."""

    def __init__(self, settings: InterfaceSettings | None = None, **how: Any) -> None:
        self.lab = Lab(settings)
        self.client = Http2Client(self.lab, make_socket=WebSocketShell, **how)
        self.stream = 0

    def ask(self, *more: tuple[bytes, bytes]) -> WebSocketShell:
        """Ask for a socket; its shell."""
        self.stream = self.client.open(connect(*more))
        [*_, shell] = self.lab.context.connections.sockets()
        assert isinstance(shell, WebSocketShell)
        return shell

    def open(self, *more: tuple[bytes, bytes], **reply: Any) -> WebSocketShell:
        """A socket that the application accepted."""
        shell = self.ask(*more)
        shell.control("verdict", {"ordered": False})
        shell.reply({"accept": True, **reply})
        self.lab.settle()
        return shell

    @property
    def answer(self) -> Any:
        """What came on its stream."""
        return self.client.answers[self.stream]

    def say(self, frame: bytes, ends: bool = False) -> None:
        self.client.content(self.stream, frame, ends)

    def told(self, kind: str) -> list[dict[str, Any]]:
        return [asked.message for asked in self.lab.port.of(kind)]


def test_clients_are_told_that_they_may_ask() -> None:
    assert Site().client.settings[SettingCodes.ENABLE_CONNECT_PROTOCOL] == 1


def test_a_socket_is_asked_for_accepted_and_spoken_on_both_ways() -> None:
    site = Site()
    shell = site.ask((b"sec-websocket-protocol", b"chat, other"), (b"origin", b"https://example.com"))
    [asked] = site.told("connect")
    assert asked["path"] == "/chat/"
    assert asked["query_string"] == b"room=1"
    assert asked["subprotocols"] == ["chat", "other"]
    assert (b"host", b"example.com") in asked["headers"]
    assert (b"origin", b"https://example.com") in asked["headers"]
    assert site.answer.status == 0
    shell.control("verdict", {"ordered": False})
    shell.reply({"accept": True, "subprotocol": "chat", "headers": [[b"Set-Cookie", b"a=b"]]})
    answer = site.answer
    assert (answer.status, answer.header(b"sec-websocket-protocol")) == (200, b"chat")
    assert answer.header(b"set-cookie") == b"a=b"
    names = {name for name, _ in answer.headers}
    assert not names & {b"upgrade", b"connection", b"sec-websocket-accept"}
    site.say(masked(1, b"hello"))
    assert [message["text"] for message in site.told("frame")] == ["hello"]
    shell.reply({"text": "world"})
    assert site.answer.body == b"\x81\x05world"
    assert not site.answer.ended


def test_sockets_and_requests_share_a_connection() -> None:
    site = Site()
    first = site.open()
    second = site.open()
    stream = site.client.ask()
    second.reply({"text": "b"})
    first.reply({"text": "a"})
    site.lab.reply(response(b"c"))
    assert [site.client.answers[number].body for number in (1, 3, stream)] == [
        b"\x81\x01a",
        b"\x81\x01b",
        b"c",
    ]
    assert site.lab.context.socket_count == 2


def test_a_denial_is_a_response_that_ends_the_stream() -> None:
    site = Site()
    shell = site.ask()
    shell.reply(
        {"accept": False, "status": 401, "headers": [[b"WWW-Authenticate", b"Basic"]], "content": b"no"}
    )
    site.lab.settle()
    answer = site.answer
    assert (answer.status, answer.header(b"www-authenticate"), answer.body) == (401, b"Basic", b"no")
    assert answer.ended
    assert site.lab.context.socket_count == 0
    assert not site.client.closed


def test_what_is_no_handshake_is_refused_with_its_status() -> None:
    site = Site()
    for fields, status in (
        (connect(protocol=b"udp"), 501),
        ([each for each in connect() if each[0] != b"sec-websocket-version"], 426),
        (connect((b"sec-websocket-protocol", b"a, a")), 400),
        (connect((b"origin", b"a"), (b"origin", b"b")), 400),
    ):
        stream = site.client.open(fields)
        site.lab.settle()
        answer = site.client.answers[stream]
        assert (answer.status, answer.ended) == (status, True), fields
    assert site.told("connect") == []


@pytest.mark.parametrize(
    ("fields", "ends"),
    [
        (connect(method=b"GET"), False),
        (connect(), True),
        ([each for each in connect() if each[0] != b":path"], False),
        ([each for each in connect() if each[0] != b":scheme"], False),
    ],
    ids=["GET", "ended", "no path", "no scheme"],
)
def test_a_malformed_handshake_is_reset(fields: Fields, ends: bool) -> None:
    site = Site()
    stream = site.client.open(fields, ends)
    assert site.client.answers[stream].reset == ErrorCodes.PROTOCOL_ERROR
    assert site.told("connect") == []


def test_a_full_channel_is_a_503() -> None:
    site = Site()
    site.lab.port.outcomes = [Outcome.FULL]
    stream = site.client.open(connect())
    site.lab.settle()
    assert site.client.answers[stream].status == 503


def test_the_application_closes_and_the_stream_ends_with_the_clients_answer() -> None:
    site = Site()
    shell = site.open()
    shell.reply({"close": 4001})
    assert site.answer.body == b"\x88\x02" + struct.pack("!H", 4001)
    assert not site.answer.ended
    site.say(masked(8, struct.pack("!H", 4001)))
    site.lab.settle()
    # Nobody waits for anything: on TCP this is a reset, too.
    assert site.answer.reset == ErrorCodes.CANCEL
    [told] = site.told("disconnect")
    assert told["code"] == 4001
    assert site.lab.context.socket_count == 0
    assert not site.client.closed


def test_the_client_closes_and_reads_our_answer_before_the_end() -> None:
    site = Site()
    site.open()
    site.say(masked(8, struct.pack("!H", 1000)))
    site.lab.settle()
    assert site.answer.body == b"\x88\x02" + struct.pack("!H", 1000)
    assert site.answer.ended
    [told] = site.told("disconnect")
    assert told["code"] == 1000
    assert site.lab.context.socket_count == 0
    assert site.client.protocol.tunnels == {}


def test_a_client_that_resets_its_stream_or_ends_it_has_left() -> None:
    for ends in (True, False):
        site = Site()
        site.open()
        if ends:
            site.say(b"", ends=True)
        else:
            site.client.give_up(site.stream)
        site.lab.settle()
        [told] = site.told("disconnect")
        assert told["code"] == 1006
        assert site.lab.context.socket_count == 0
        assert site.answer.ended is ends


def test_a_lost_connection_loses_all_its_sockets() -> None:
    site = Site()
    site.open()
    site.open()
    site.client.leave()
    site.lab.settle()
    assert [told["code"] for told in site.told("disconnect")] == [1006, 1006]
    assert site.lab.context.socket_count == 0


def test_an_aborted_socket_is_reset_and_others_go_on() -> None:
    site = Site()
    shell = site.open()
    shell.abort()
    site.lab.settle()
    assert site.answer.reset == ErrorCodes.CANCEL
    assert len(site.told("disconnect")) == 1
    other = site.open()
    other.reply({"text": "a"})
    assert site.answer.body == b"\x81\x01a"


def test_the_clients_window_holds_frames_up_and_then_lets_them_go_in_order() -> None:
    site = Site(window_bytes=100, reads=False)
    shell = site.open()
    for number in range(50):
        shell.reply({"text": f"{number:04}"})
    assert len(site.answer.body) == 100
    site.client.take(100_000, site.stream)
    site.lab.settle()
    assert site.answer.body == b"".join(b"\x81\x04%04d" % number for number in range(50))
    shell.reply({"text": "last"})
    assert site.answer.body.endswith(b"\x81\x04last")


def test_a_client_that_takes_too_little_is_closed_for_it() -> None:
    deadlines = replace(Deadlines(), slow_client=2, close=3, write=3)
    site = Site(
        InterfaceSettings(deadlines=deadlines, max_pending_bytes=10_000), window_bytes=100, reads=False
    )
    shell = site.open()
    for _ in range(20):
        shell.reply({"bytes": b"a" * 1000})
    site.lab.wait(15)
    assert site.lab.context.counters["slow_clients"] == 1
    assert site.lab.context.socket_count == 0
    assert site.answer.reset is not None


def test_a_socket_that_is_not_read_keeps_its_window_closed_and_others_go_on() -> None:
    site = Site(InterfaceSettings(http2_window_bytes=65536, max_unanswered_messages=2))
    site.lab.port.auto = None
    shell = site.ask()
    site.lab.port.of("connect")[0].answer()
    shell.control("verdict", {"ordered": False})
    shell.reply({"accept": True})
    sent = 0
    while sent < 500_000 and site.client.h2.local_flow_control_window(site.stream) > 2000:
        site.say(masked(2, b"a" * 1000))
        sent += 1
    assert 50 < sent < 140
    assert 0 < len(site.told("frame")) <= 2
    assert site.client.ask() > site.stream
    assert len(site.lab.requests) == 1


def test_small_messages_are_no_flood() -> None:
    site = Site(InterfaceSettings(http2_small_frames=FrameRate(10, 1)))
    site.open()
    for _ in range(30):
        site.say(masked(1, b"a"))
    assert len(site.told("frame")) == 30
    assert site.client.farewells == []


def test_silent_clients_are_pinged_and_dropped() -> None:
    site = Site(InterfaceSettings(deadlines=replace(Deadlines(), ping_interval=5, ping=5)))
    site.open()
    site.lab.wait(6)
    assert site.answer.body.startswith(b"\x89")
    site.lab.wait(6)
    assert site.answer.reset == ErrorCodes.CANCEL
    assert site.lab.context.counters["silent_clients"] == 1


def test_compression_is_agreed_on() -> None:
    site = Site()
    shell = site.open((b"sec-websocket-extensions", b"permessage-deflate"))
    assert site.answer.header(b"sec-websocket-extensions").startswith(b"permessage-deflate")
    shell.reply({"text": "a" * 20_000})
    assert site.answer.body[0] == 0xC1
    assert len(site.answer.body) < 1000

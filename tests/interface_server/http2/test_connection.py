"""What decides about an HTTP/2 connection, without a shell; and every row of its table, with one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import get_args

import pytest
from h2.errors import ErrorCodes
from hyperframe.frame import DataFrame, GoAwayFrame, HeadersFrame, PingFrame, RstStreamFrame, SettingsFrame

from headrace_interface.deadlines import Deadlines
from headrace_interface.http.connection import Begin, Fail, Leave, TurnAway
from headrace_interface.http.head import Endpoints
from headrace_interface.http.spool import Bodies
from headrace_interface.http2.connection import (
    TABLE,
    BodyArrived,
    EndConnection,
    Flooded,
    Http2Action,
    Http2Connection,
    Http2Event,
    Http2State,
)
from headrace_interface.http2.floods import PREFACE
from headrace_interface.http2.protocol import _DOES
from headrace_interface.http2.stream import TABLE as STREAM_TABLE
from headrace_interface.http2.stream import Http2Stream, StreamEvent, StreamState
from headrace_interface.settings import InterfaceSettings
from headrace_interface.write_buffer import Backlog
from tests.support.http2_lab import Http2Client, fields, head_frame
from tests.support.http_lab import Lab, response
from tests.support.table_rows import Row, record_moves, unreached

BEGIN = PREFACE + SettingsFrame(0).serialize()
HALF_A_HEAD = HeadersFrame(1, b"\x82")


class Decider:
    """A connection that began, and what it says."""

    def __init__(self, **settings: object) -> None:
        chosen = InterfaceSettings(**settings)  # type: ignore[arg-type]
        self.bodies, self.backlog = Bodies(chosen), Backlog()
        endpoints = Endpoints("https", ["127.0.0.1", 1], None, "")
        self.this = Http2Connection(chosen, endpoints, self.bodies, self.backlog, 0.0)
        self.this.receive(BEGIN, 0.0, True)
        self.this.output(False)

    def actions(self, *frames: bytes, accepting: bool = True) -> list[type]:
        """The kinds of actions that follow."""
        for frame in frames:
            self.this.receive(frame, 0.0, accepting)
        found = []
        while (following := self.this.next_action()) is not None:
            found.append(following[1].__class__)
        return found


def post(stream_id: int = 1, length: bytes = b"3") -> bytes:
    return head_frame(stream_id, fields(b"POST", b"/", (b"content-length", length)), ends=False)


def data(content: bytes, ends: bool = False, stream_id: int = 1) -> bytes:
    return DataFrame(stream_id, content, flags=["END_STREAM"] if ends else []).serialize()


def test_the_shell_knows_how_to_do_everything() -> None:
    assert set(_DOES) == set(get_args(Http2Action))


def test_a_request_begins_when_its_body_is_there() -> None:
    decider = Decider()
    assert decider.actions(head_frame(1, fields())) == [Begin]
    assert decider.actions(post(3)) == [BodyArrived]
    assert decider.actions(data(b"ab", stream_id=3)) == [BodyArrived]
    assert decider.actions(data(b"c", True, stream_id=3)) == [Begin, BodyArrived]


def test_while_none_are_taken_a_request_is_turned_away() -> None:
    decider = Decider()
    assert decider.actions(head_frame(1, fields()), accepting=False) == [TurnAway]


def test_what_is_given_up_before_it_began_is_not_begun_and_its_body_is_let_go() -> None:
    decider = Decider()
    reset = RstStreamFrame(1, error_code=8).serialize()
    assert Begin not in decider.actions(post() + data(b"abc", True) + reset)
    assert decider.bodies.memory_bytes == 0
    assert decider.this.streams == {}


def test_a_client_that_leaves_takes_its_calls_with_it() -> None:
    decider = Decider()
    decider.actions(head_frame(1, fields()), post(3))
    decider.this.lost()
    assert decider.actions() == [Leave]
    assert decider.actions(head_frame(5, fields())) == []


def test_a_refusal_reaches_the_call_that_has_the_request() -> None:
    decider = Decider(stream_uploads=True, inline_body_bytes=2, max_body_bytes=10)
    chunked = head_frame(1, fields(b"POST"), ends=False)
    assert decider.actions(chunked, data(b"abc")) == [BodyArrived, Begin, BodyArrived]
    assert decider.actions(data(b"a" * 10)) == [Fail]


def test_a_flood_is_named_and_everything_else_let_go() -> None:
    decider = Decider()
    decider.actions(head_frame(1, fields()))
    pings = PingFrame(0, b"12345678").serialize() * 100
    assert decider.actions(pings) == [Flooded, Leave, EndConnection]
    assert decider.this.state is Http2State.CLOSING
    assert ErrorCodes.ENHANCE_YOUR_CALM.to_bytes(4, "big") + b"pings" in decider.this.output(False)


def test_output_has_no_content_while_the_transport_has_a_backlog() -> None:
    decider = Decider()
    decider.actions(head_frame(1, fields()))
    stream = decider.this.streams[1]
    stream.buffer.write(b"abc")
    assert decider.this.output(backlogged=True) == b""
    assert decider.backlog.bytes == 3
    assert b"abc" in decider.this.output(backlogged=False)
    assert decider.this.progress == {stream}


def test_many_bytes_come_in_handy_pieces() -> None:
    decider = Decider()
    decider.actions(head_frame(1, fields()), b"\0\0\4\x08\0\0\0\0\0\x00\xff\x00\x00")
    decider.this.streams[1].buffer.write(b"a" * 60_000)
    assert len(decider.this.output(False)) < 70_000


# Every row, with a shell.


class Case:
    """A connection and its site."""

    def __init__(self, *frames: bytes, **settings: object) -> None:
        deadlines = replace(Deadlines(), idle=20, header=5, body=5, write=5, linger=2)
        self.lab = Lab(InterfaceSettings(deadlines=deadlines, **settings))  # type: ignore[arg-type]
        self.client = Http2Client(self.lab, reads=False)
        self.send(*frames)

    def send(self, *frames: bytes | GoAwayFrame | HeadersFrame) -> Case:
        self.client.raw(*frames)
        return self

    def drain(self) -> Case:
        self.client.protocol.drain()
        return self

    def wait(self, seconds: float) -> Case:
        self.lab.wait(seconds)
        return self

    def goodbye(self) -> Case:
        return self.send(GoAwayFrame(0, last_stream_id=0))

    def end(self) -> None:
        """Its WebSocket has said everything."""
        self.lab.upgraded[-1].transport.loseConnection()

    def cut(self) -> None:
        """Its WebSocket is dropped."""
        self.lab.upgraded[-1].transport.abortConnection()

    def accused(self) -> Case:
        return self.send(b"\0\0\1\0\0\0\0\0\0a")


def leaving(*frames: bytes) -> Case:
    return Case(head_frame(1, fields()), *frames).goodbye()


REACH: dict[Http2State, Callable[[], Case]] = {
    Http2State.OPEN: Case,
    Http2State.WARNED: lambda: Case(head_frame(1, fields())).drain(),
    Http2State.LEAVING: leaving,
    Http2State.CLOSING: lambda: Case().accused(),
}
_S, _E = Http2State, Http2Event


def go(state: Http2State, event: Http2Event) -> None:
    case = REACH[state]()
    if event is _E.DRAIN:
        case.drain()
    elif event is _E.CLIENT_LEAVES:
        case.goodbye()
    elif event is _E.VIOLATION:
        case.accused()
    elif event is _E.IDLE:
        case.send(HeadersFrame(3, b"\x82")).wait(21)
    elif event is _E.TOLD:
        case.wait(2)
    elif event is _E.EMPTY:
        case.lab.reply()
    elif event is _E.OVERDUE:
        case.wait(3)
    elif event is _E.ABORT:
        case.client.protocol.abort()
    else:
        case.client.leave()


WAYS: dict[Row, Callable[[], object]] = {
    (state, event): lambda state=state, event=event: go(state, event)  # type: ignore[misc]
    for state, row in TABLE.items()
    for event in row
}


def test_every_row_of_the_connections_table_happens_in_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    assert unreached(TABLE, WAYS, record_moves(monkeypatch, Http2Connection)) == set()


def collecting() -> Case:
    return Case(post())


def answering() -> Case:
    return Case(head_frame(1, fields()))


def sending() -> Case:
    case = Case()
    case.client.h2.update_settings({4: 0})
    case.client.flush()
    case.send(head_frame(1, fields()))
    case.lab.reply(response(b"abc"))
    return case


def tunnel(window_bytes: int = 65535) -> Case:
    case = Case()
    case.client.h2.update_settings({4: window_bytes})
    case.client.flush()
    protocol = (b":protocol", b"websocket")
    return case.send(head_frame(1, [protocol, *fields(b"CONNECT")], ends=False))


def draining() -> Case:
    case = tunnel(window_bytes=0)
    transport = case.lab.upgraded[-1].transport
    transport.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\nabc")
    transport.loseConnection()
    return case


STREAM_REACH = {
    StreamState.COLLECTING: collecting,
    StreamState.ANSWERING: answering,
    StreamState.SENDING: sending,
    StreamState.TUNNEL: tunnel,
    StreamState.DRAINING: draining,
}
RESET = RstStreamFrame(1, error_code=8).serialize()


def answered() -> None:
    answering().lab.reply()


def turned_away() -> None:
    case = Case()
    case.lab.context.accepting = False
    case.send(head_frame(1, fields()))


def broken_off() -> None:
    case = answering()
    case.lab.reply({"status": 200, "content": b"a", "more_content": True})
    case.lab.reply({"status": 200})


STREAM_WAYS: dict[Row, Callable[[], object]] = {
    **{
        (state, StreamEvent.RESET): lambda reach=reach: reach().send(RESET)
        for state, reach in STREAM_REACH.items()
    },  # type: ignore[misc]
    **{
        (state, StreamEvent.LOST): lambda reach=reach: reach().client.leave()
        for state, reach in STREAM_REACH.items()
    },  # type: ignore[misc]
    (StreamState.NEW, StreamEvent.REQUEST): answering,
    (StreamState.NEW, StreamEvent.BODY_AWAITED): collecting,
    (StreamState.NEW, StreamEvent.CONTINUE_AWAITED): lambda: Case(
        head_frame(1, fields(b"POST", b"/", (b"expect", b"100-continue")), ends=False)
    ),
    (StreamState.NEW, StreamEvent.TURNED_AWAY): turned_away,
    (StreamState.NEW, StreamEvent.REFUSED): lambda: Case(head_frame(1, fields(b"GET", b"/%ff"))),
    (StreamState.NEW, StreamEvent.ABORT): lambda: Case(head_frame(1, fields(b"GET", b""))),
    (StreamState.COLLECTING, StreamEvent.BODY_READY): lambda: collecting().send(data(b"abc", True)),
    (StreamState.COLLECTING, StreamEvent.REFUSED): lambda: collecting().wait(6),
    (StreamState.COLLECTING, StreamEvent.ABORT): lambda: collecting().send(data(b"abcd")),
    (StreamState.ANSWERING, StreamEvent.REFUSED): lambda: Case(
        post(1, b"9"), data(b"abc"), stream_uploads=True, inline_body_bytes=2
    ).wait(6),
    (StreamState.ANSWERING, StreamEvent.ANSWERED): answered,
    (StreamState.ANSWERING, StreamEvent.ABORT): broken_off,
    (StreamState.NEW, StreamEvent.UPGRADE): tunnel,
    (StreamState.TUNNEL, StreamEvent.ANSWERED): lambda: Case.end(tunnel()),
    (StreamState.TUNNEL, StreamEvent.CLIENT_ENDED): lambda: tunnel().send(data(b"", True)),
    (StreamState.TUNNEL, StreamEvent.ABORT): lambda: Case.cut(tunnel()),
    (StreamState.DRAINING, StreamEvent.WRITTEN): lambda: Case.end(tunnel()),
    (StreamState.DRAINING, StreamEvent.ABORT): lambda: Case.cut(draining()),
    (StreamState.SENDING, StreamEvent.WRITTEN): answered,
    (StreamState.SENDING, StreamEvent.ABORT): lambda: sending().wait(6),
}


def test_every_row_of_the_streams_table_happens_in_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    assert unreached(STREAM_TABLE, STREAM_WAYS, record_moves(monkeypatch, Http2Stream, "move")) == set()

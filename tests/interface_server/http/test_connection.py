"""One connection without a socket: what comes out for what goes in; every row of its table in the shell."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, get_args

import pytest

from headrace_interface.deadlines import OFF, Deadlines
from headrace_interface.http.connection import (
    TABLE,
    Action,
    Begin,
    CloseConnection,
    ConnectionEvent,
    ConnectionState,
    ConnectionStep,
    Continue,
    Fail,
    HandOver,
    HttpConnection,
    Pause,
    Refuse,
    Resume,
    TurnAway,
)
from headrace_interface.http.head import Endpoints
from headrace_interface.http.protocol import _DOES
from headrace_interface.http.spool import Bodies
from headrace_interface.settings import InterfaceSettings
from tests.support.http_lab import GET, Client, Lab, SlowTransport, response
from tests.support.table_rows import Row, record_moves, unreached

LAST = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n"
EXPECT = POST.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n")
UPGRADE = GET.replace(b"\r\n\r\n", b"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")


def connection(**settings: Any) -> tuple[HttpConnection, Bodies]:
    chosen = InterfaceSettings(**settings)
    bodies = Bodies(chosen)
    return HttpConnection(chosen, Endpoints("http", ["127.0.0.1", 1], None, ""), bodies), bodies


def after(this: HttpConnection, data: bytes, backlogged: bool = False) -> Action | None:
    this.receive(data, backlogged)
    return this.next_action(True, backlogged)


def test_the_shell_knows_how_to_do_everything() -> None:
    assert set(_DOES) == set(get_args(Action))


def test_every_state_can_be_reached_and_every_step_is_taken() -> None:
    assert set(TABLE) == set(ConnectionState)
    reached = {ConnectionState.READY}
    for _ in ConnectionState:
        reached |= {target for state in reached for target, _ in TABLE[state].values()}
    assert reached == set(ConnectionState)
    assert {step for row in TABLE.values() for _, step in row.values()} == {None, *ConnectionStep}


def test_every_state_but_the_last_two_hears_that_the_connection_is_lost() -> None:
    without = {state for state, row in TABLE.items() if ConnectionEvent.LOST not in row}
    assert without == {ConnectionState.LOST, ConnectionState.UPGRADED}


def test_a_request_begins_and_the_next_one_when_it_is_answered_st5() -> None:
    this, _ = connection()
    first = after(this, GET + GET)
    assert isinstance(first, Begin)
    assert this.next_action(True, False) is None
    this.answered(keep_alive=True, draining=False)
    second = this.next_action(True, False)
    assert isinstance(second, Begin)
    assert second.incoming is not first.incoming


def test_nothing_begins_before_the_client_has_read_the_last_answer() -> None:
    this, bodies = connection()
    assert after(this, GET, backlogged=True) is None
    assert bodies.memory_bytes == len(GET)
    assert isinstance(this.next_action(True, False), Begin)
    assert bodies.memory_bytes == 0


def test_a_body_is_collected_before_its_request_begins() -> None:
    this, _ = connection()
    assert after(this, POST) is None
    assert this.state is ConnectionState.COLLECTING
    assert isinstance(after(this, b"abc"), Begin)


def test_a_client_that_waits_is_told_to_continue_unless_its_body_is_there() -> None:
    assert isinstance(after(connection()[0], EXPECT), Continue)
    assert isinstance(after(connection()[0], EXPECT + b"abc"), Begin)


def test_a_request_is_turned_away_while_none_are_taken() -> None:
    this, _ = connection()
    this.receive(POST, False)
    assert isinstance(this.next_action(False, False), TurnAway)


def test_an_upgrade_carries_what_came_behind_it() -> None:
    action = after(connection()[0], UPGRADE + b"early")
    assert isinstance(action, HandOver)
    assert action.early == b"early"
    assert action.head.path == "/hello"


def test_what_breaks_the_rules_is_refused_with_its_client_and_method_and_nothing_is_read_behind_it() -> None:
    this, _ = connection(max_body_bytes=10)
    assert after(this, b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n") is None
    action = after(this, b"14\r\n01234567890123456789\r\n0\r\n\r\n" + GET)
    assert isinstance(action, Refuse)
    assert (action.refused.status, action.method, action.client) == (413, "PUT", ["127.0.0.1", 1])
    assert this.next_action(True, True) is None
    assert this.next_action(True, False) == CloseConnection(linger=True)
    assert after(this, GET) is None


def test_a_body_that_breaks_while_it_is_streamed_is_for_the_call_to_answer() -> None:
    this, _ = connection(stream_uploads=True, inline_body_bytes=1)
    data = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
    assert isinstance(after(this, data), Begin)
    assert isinstance(after(this, b"no chunk\r\n"), Fail)


@pytest.mark.parametrize(
    ("data", "draining", "linger"),
    [(LAST, False, False), (LAST, True, True), (EXPECT + b"ab", False, True)],
)
def test_a_close_lingers_for_a_client_that_may_be_sending(data: bytes, draining: bool, linger: bool) -> None:
    this, _ = connection(stream_uploads=True, inline_body_bytes=1)
    assert isinstance(after(this, data), Begin)
    this.answered(keep_alive=False, draining=draining)
    assert this.next_action(True, False) == CloseConnection(linger)


def test_a_client_that_sends_too_much_ahead_is_paused_until_there_is_room() -> None:
    this, bodies = connection(max_early_bytes=100)
    after(this, GET)
    assert this.flow(0) is None
    this.receive(b"x" * 101, False)
    assert (this.flow(0), this.flow(0)) == (Pause(), None)
    assert bodies.memory_bytes == 101
    this.lost()
    assert bodies.memory_bytes == 0


def test_a_paused_client_is_read_from_again_when_the_connection_ends() -> None:
    this, _ = connection(max_early_bytes=0)
    after(this, GET)
    this.receive(b"x", False)
    assert this.flow(0) == Pause()
    this.answered(keep_alive=False, draining=False)
    assert this.flow(0) == Resume()


def test_what_the_client_owes_and_for_how_long() -> None:
    this, _ = connection(deadlines=Deadlines(idle=10, header=20, body=30, linger=5))
    assert this.client_due(0) == 10
    assert not this.busy
    after(this, b"POST /")
    assert this.client_due(1) == 21
    after(this, POST.removeprefix(b"POST /"))
    assert this.client_due(2) == 32
    assert this.busy
    after(this, b"abc")
    assert this.client_due(3) == OFF
    this.answered(keep_alive=False, draining=False)
    assert this.client_due(4) == OFF
    this.next_action(True, False)
    assert this.client_due(5) == 10


def test_a_quiet_client_is_waited_for_a_moment_if_something_of_it_is_there() -> None:
    this, _ = connection(deadlines=Deadlines(idle=10))
    this.client_due(0)
    assert this.overdue(10, has_input=True) is None
    assert this.client_due(10) == 11
    assert this.overdue(11, has_input=False) is None
    assert this.next_action(True, False) == CloseConnection(linger=False)


# Every row happens: real shells, a client that reads when it is told to.

CALLS = {"deadlines": Deadlines(idle=2, header=2, body=2, linger=2, write=2), "inline_body_bytes": 1}


class Case:
    """One connection on its way to a row."""

    def __init__(self, data: bytes = b"", **settings: Any) -> None:
        self.lab = Lab(InterfaceSettings(**CALLS, **settings))
        self.transport = SlowTransport()
        self.client: Client = self.lab.connect(self.transport)
        self.client.send(data)

    def send(self, data: bytes) -> None:
        self.client.send(data)

    def leave(self) -> None:
        self.client.leave()

    def abort(self) -> None:
        self.client.protocol.abort()


def closed() -> Case:
    case = Case(b"nonsense\r\n\r\n")
    case.transport.read_all()
    return case


def aborted() -> Case:
    case = Case(GET)
    case.abort()
    return case


def turned_away() -> None:
    case = Case()
    case.lab.context.accepting = False
    case.send(GET)


def go(reach: Callable[[], Case], cause: Callable[[Case], object]) -> None:
    cause(reach())


REACH: dict[ConnectionState, Callable[[], Case]] = {
    ConnectionState.READY: Case,
    ConnectionState.COLLECTING: lambda: Case(POST),
    ConnectionState.ANSWERING: lambda: Case(POST + b"ab", stream_uploads=True),
    ConnectionState.ENDING: lambda: Case(b"nonsense\r\n\r\n"),
    ConnectionState.CLOSING: closed,
    ConnectionState.ABORTED: aborted,
}
CAUSE: dict[tuple[ConnectionState, ConnectionEvent], Callable[[Case], object]] = {
    (ConnectionState.READY, ConnectionEvent.REQUEST): lambda case: case.send(GET),
    (ConnectionState.READY, ConnectionEvent.BODY_AWAITED): lambda case: case.send(POST),
    (ConnectionState.READY, ConnectionEvent.CONTINUE_AWAITED): lambda case: case.send(EXPECT),
    (ConnectionState.READY, ConnectionEvent.UPGRADE): lambda case: case.send(UPGRADE),
    (ConnectionState.READY, ConnectionEvent.REFUSED): lambda case: case.send(b"nonsense\r\n\r\n"),
    (ConnectionState.READY, ConnectionEvent.QUIET): lambda case: case.lab.wait(3),
    (ConnectionState.COLLECTING, ConnectionEvent.BODY_READY): lambda case: case.send(b"abc"),
    (ConnectionState.COLLECTING, ConnectionEvent.REFUSED): lambda case: case.lab.wait(3),
    (ConnectionState.ANSWERING, ConnectionEvent.REFUSED): lambda case: case.lab.wait(3),
    (ConnectionState.ANSWERING, ConnectionEvent.ANSWERED_LAST): lambda case: case.lab.reply(response()),
    (ConnectionState.ENDING, ConnectionEvent.WRITTEN): lambda case: case.transport.read_all(),
    (ConnectionState.CLOSING, ConnectionEvent.OVERDUE): lambda case: case.lab.wait(3),
}
#: Row -> what brings it about.
WAYS: dict[Row, Callable[[], object]] = {
    **{(state, event): partial(go, REACH[state], cause) for (state, event), cause in CAUSE.items()},
    **{(state, ConnectionEvent.LOST): partial(go, reach, Case.leave) for state, reach in REACH.items()},
    **{(state, ConnectionEvent.ABORT): partial(go, reach, Case.abort) for state, reach in REACH.items()},
    (ConnectionState.READY, ConnectionEvent.TURNED_AWAY): turned_away,
    (ConnectionState.ANSWERING, ConnectionEvent.ANSWERED): lambda: Case(GET).lab.reply(response()),
}


def test_every_row_of_the_table_happens_in_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    assert unreached(TABLE, WAYS, record_moves(monkeypatch, HttpConnection)) == set()


def test_a_row_that_nothing_brings_about_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    wishes = {
        (ConnectionState.UPGRADED, ConnectionEvent.LOST),
        (ConnectionState.CLOSING, ConnectionEvent.REQUEST),
    }
    table = {state: dict(row) for state, row in TABLE.items()}
    ways = {**WAYS, (ConnectionState.CLOSING, ConnectionEvent.REQUEST): lambda: closed().send(GET)}
    for state, event in wishes:
        table[state][event] = (ConnectionState.LOST, None)
    assert unreached(table, ways, record_moves(monkeypatch, HttpConnection)) == wishes

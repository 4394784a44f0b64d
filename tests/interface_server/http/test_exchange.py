"""The table of a request's states, and how outcomes and replies become events."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from headrace_asgi import control
from headrace_asgi.contract import Outcome
from headrace_interface.deadlines import RUNNING_NOTICE_SECONDS, Deadlines
from headrace_interface.http.actions import (
    Action,
    AnswerError,
    Await,
    CutOff,
    GiveCredit,
    Hold,
    Hurry,
    Last,
    NoteFull,
    NoteLate,
    Part,
    SendRequest,
    Shed,
    Start,
    TellLeft,
    TimeOut,
    Whole,
)
from headrace_interface.http.exchange import TABLE, Actions, Event, HttpExchange, RequestState, RequestStep
from headrace_interface.settings import InterfaceSettings
from tests.support.http_lab import Client, Lab, SlowTransport
from tests.support.http_lab import response as reply
from tests.support.table_rows import Row, record_moves, unreached

DATE, SERVER = b"Sun, 06 Nov 1994 08:49:37 GMT", b"headrace"


def exchange(*events: Event) -> HttpExchange:
    this = HttpExchange("GET", "1.1")
    for event in events:
        this.happened(event)
    return this


def response(this: HttpExchange, **message: Any) -> Actions:
    return this.response(message, True, DATE, SERVER)


def streaming(**message: Any) -> HttpExchange:
    this = exchange(Event.BEGIN)
    response(this, status=200, more_content=True, **message)
    return this


def test_every_state_is_in_the_table_and_can_be_reached() -> None:
    assert set(TABLE) == set(RequestState)
    reached = {RequestState.NEW}
    for _ in RequestState:
        reached |= {target for state in reached for target, _ in TABLE[state].values()}
    assert reached == set(RequestState)


def test_every_step_is_taken_somewhere_and_becomes_an_action_of_its_own() -> None:
    assert {step for row in TABLE.values() for _, steps in row.values() for step in steps} == set(RequestStep)


def test_every_open_state_ends_by_deadline_and_when_the_client_leaves() -> None:
    for state in set(RequestState) - {RequestState.NEW, RequestState.DONE}:
        for event in (Event.DEADLINE, Event.CLIENT_LEFT, Event.FAILED):
            assert TABLE[state][event][0] is RequestState.DONE, (state, event)


def test_a_state_that_goes_on_has_a_deadline_but_for_an_unknown_outcome() -> None:
    without = {
        event
        for row in TABLE.values()
        for event, (after, steps) in row.items()
        if after is not RequestState.DONE and not {RequestStep.WAIT, RequestStep.HURRY} & set(steps)
    }
    assert without == {Event.UNKNOWN}, "an unknown outcome is no reason to wait longer"


def test_nothing_happens_after_the_end() -> None:
    assert TABLE[RequestState.DONE] == {}
    this = exchange(Event.BEGIN)
    response(this, status=200)
    assert not this.open
    assert [this.happened(event) for event in Event] == [()] * len(Event)
    assert this.deadline(behind=False) == this.failed(500, "late") == response(this, status=200) == ()


def test_a_disconnect_is_told_only_of_what_was_sent_and_is_not_answered_h10() -> None:
    telling = {
        state
        for state, row in TABLE.items()
        if RequestStep.TELL_LEFT in row.get(Event.CLIENT_LEFT, (0, ()))[1]
    }
    assert telling == {
        RequestState.QUEUED,
        RequestState.UNSURE,
        RequestState.LOST,
        RequestState.RUNNING,
        RequestState.STREAMING,
    }


@pytest.mark.parametrize(
    ("events", "actions"),
    [
        ((Event.BEGIN,), (NoteLate(), Shed())),
        ((Event.BEGIN, Event.RUNNING), (TimeOut(),)),
        ((Event.BEGIN, Event.UNKNOWN), (TimeOut(),)),
        ((Event.BEGIN, Event.UNKNOWN, Event.DATA_LOST), (Shed(),)),
        ((Event.BEGIN, Event.DATA_LOST), (Shed(),)),
        ((Event.BEGIN, Event.DATA_LOST, Event.RUNNING), (TimeOut(),)),
        ((Event.BEGIN, Event.RUNNING, Event.DATA_LOST), (TimeOut(),)),
        ((Event.BEGIN_WITHOUT_LAYER,), (Shed(),)),
    ],
)
def test_what_a_deadline_means(events: tuple[Event, ...], actions: Actions) -> None:
    assert exchange(*events).deadline(behind=False) == actions


def test_a_part_that_does_not_come_cuts_the_response_unless_its_reader_is_behind() -> None:
    this = streaming()
    assert this.deadline(behind=True) == (Await("response"),)
    assert this.deadline(behind=False) == (CutOff("the application did not send the next part in time"),)


def test_a_reader_that_is_behind_does_not_keep_a_request_queued() -> None:
    assert exchange(Event.BEGIN).deadline(behind=True) == (NoteLate(), Shed())


@pytest.mark.parametrize(
    ("outcome", "actions", "state"),
    [
        (Outcome.SENT, (), RequestState.QUEUED),
        (Outcome.DUPLICATE, (), RequestState.QUEUED),
        (Outcome.FULL, (NoteFull(), Shed()), RequestState.DONE),
        (Outcome.UNAVAILABLE, (Await("layer"), Hold()), RequestState.HELD),
        (Outcome.UNKNOWN, (), RequestState.UNSURE),
    ],
)
def test_what_an_outcome_means(outcome: Outcome, actions: Actions, state: RequestState) -> None:
    this = exchange(Event.BEGIN)
    assert this.outcome(outcome) == actions
    assert this.state is state


def test_a_request_that_no_layer_carries_fails() -> None:
    [action] = exchange(Event.BEGIN).outcome(Outcome.UNSENDABLE)
    assert isinstance(action, AnswerError)
    assert action.status == 500


def test_a_late_outcome_changes_nothing() -> None:
    this = streaming()
    assert this.outcome(Outcome.UNAVAILABLE) == ()
    assert this.state is RequestState.STREAMING


def test_a_response_carries_its_bytes() -> None:
    [whole] = response(exchange(Event.BEGIN), status=200, content=b"abc")
    assert isinstance(whole, Whole)
    assert (whole.status, whole.content_bytes, whole.keep_alive) == (200, 3, True)
    assert whole.data.startswith(b"HTTP/1.1 200 OK")
    assert whole.data.endswith(b"abc")


def test_a_response_in_parts_carries_their_bytes() -> None:
    this = exchange(Event.BEGIN)
    wait, start, credit = response(
        this, status=200, more_content=True, credit_channel="http.response.credit?x"
    )
    assert (wait, credit) == (Await("response"), GiveCredit())
    assert isinstance(start, Start)
    assert start.credit_channel == "http.response.credit?x"
    assert this.part({"content": b"a", "more_content": True}, 100) == (
        Await("response"),
        Part(b"1\r\na\r\n", 1),
        GiveCredit(),
    )
    assert this.part({"content": b"bc"}, 100) == (Last(b"2\r\nbc\r\n0\r\n\r\n", 2, True),)


def test_a_part_without_room_ends_the_response_and_the_application_is_told() -> None:
    tell, cut = streaming().part({"content": b"12345", "more_content": True}, 5)
    assert tell == TellLeft()
    assert isinstance(cut, CutOff)
    assert cut.slow_reader


def test_a_reply_that_breaks_the_specification_fails_the_request_h14() -> None:
    this = exchange(Event.BEGIN)
    [failure] = response(this, content=b"a", credit_channel="http.response.credit?x")
    assert isinstance(failure, AnswerError)
    assert (failure.status, failure.credit_channel) == (500, "http.response.credit?x")
    assert "'status'" in failure.reason
    [cut] = streaming().part({"status": 200}, 100)
    assert isinstance(cut, CutOff)


def test_a_response_that_cannot_be_written_fails_before_a_byte_of_it_was_st15() -> None:
    for more in (False, True):
        [failure] = response(
            exchange(Event.BEGIN), status=200, headers=[[b"X", b"a\r\nb"]], more_content=more
        )
        assert isinstance(failure, AnswerError)


def test_a_failure_has_a_status_and_a_reason() -> None:
    assert exchange(Event.BEGIN).failed(502, "the worker died") == (AnswerError(502, "the worker died"),)
    assert streaming().failed(502, "the worker died") == (CutOff("the worker died"),)


def test_a_part_before_the_response_is_ignored() -> None:
    assert exchange(Event.BEGIN).part({"content": b"a"}, 100) == ()


@pytest.mark.parametrize(
    ("events", "action"),
    [
        ((Event.BEGIN,), Await("queue")),
        ((Event.BEGIN, Event.DATA_LOST), Hurry(RUNNING_NOTICE_SECONDS)),
        ((Event.BEGIN, Event.RUNNING), Await("response")),
        ((Event.BEGIN_WITHOUT_LAYER,), Await("layer")),
        ((Event.BEGIN_WITHOUT_LAYER, Event.LAYER_BACK), Await("queue")),
    ],
)
def test_the_deadline_of_each_state(events: tuple[Event, ...], action: Action) -> None:
    this = exchange(*events[:-1])
    assert this.happened(events[-1])[0] == action


def test_a_request_is_sent_when_its_clock_runs() -> None:
    assert exchange().happened(Event.BEGIN) == (Await("queue"), SendRequest())


# Every row happens: real shells, a request whose body still comes, a client that reads when it is told to.

UPLOAD = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n14\r\n01234567890123456789\r\n"
SETTINGS: dict[str, Any] = {
    "inline_body_bytes": 10,
    "stream_uploads": True,
    "max_response_backlog_bytes": 1000,
    "sendfile_root": "/no/such/folder",
    "deadlines": Deadlines(queue=1, layer=1, response=1, write=1000, body=1000),
}


class Case:
    """One request on its way to a row."""

    def __init__(self, layer_up: bool = True, **settings: Any) -> None:
        self.lab = Lab(InterfaceSettings(**{**SETTINGS, **settings}), layer_up)
        self.transport = SlowTransport()
        self.client: Client = self.lab.connect(self.transport)

    def begin(self, *outcomes: Outcome) -> Case:
        self.lab.port.outcomes = list(outcomes)
        self.client.send(UPLOAD)
        return self

    def read(self) -> Case:
        if self.transport.backlogged:
            self.transport.read_all()
        return self


def shut() -> Case:
    case = Case()
    case.lab.context.accepting = False
    return case


def lost() -> Case:
    case = Case().begin()
    case.lab.inbox.data_lost()
    return case


def running() -> Case:
    case = Case().begin()
    case.lab.note(control.RUNNING)
    return case


def started() -> Case:
    case = Case().begin()
    case.lab.reply(reply(b"a", more_content=True))
    return case


REACH: dict[RequestState, Callable[[], Case]] = {
    RequestState.HELD: lambda: Case(layer_up=False).begin(),
    RequestState.QUEUED: lambda: Case().begin(),
    RequestState.UNSURE: lambda: Case().begin(Outcome.UNKNOWN),
    RequestState.LOST: lost,
    RequestState.RUNNING: running,
    RequestState.STREAMING: started,
}
CAUSE: dict[Event, Callable[[Case], object]] = {
    Event.LAYER_BACK: lambda case: case.lab.start_layer(),
    Event.DATA_LOST: lambda case: case.lab.inbox.data_lost(),
    Event.RUNNING: lambda case: case.lab.note(control.RUNNING),
    Event.READ: lambda case: case.lab.note(control.CREDIT, bytes=1),
    Event.FAILED: lambda case: case.read().client.send(b"no chunk\r\n"),
    Event.DEADLINE: lambda case: case.read().lab.wait(2),
    Event.CLIENT_LEFT: lambda case: case.client.leave(),
}
REPLY: dict[Event, Callable[[Case], object]] = {
    Event.WHOLE: lambda case: case.lab.reply(),
    Event.START: lambda case: case.lab.reply(reply(b"a", more_content=True)),
    Event.PART: lambda case: case.lab.reply({"content": b"b", "more_content": True}),
    Event.LAST: lambda case: case.lab.reply({"content": b"b"}),
    Event.REDIRECTED: lambda case: case.lab.reply(reply(headers=[[b"X-Sendfile", b"a"]])),
    Event.BEHIND: lambda case: case.lab.wait(2),
    Event.CLIENT_READ: lambda case: case.transport.read_all(),
    Event.TOO_MUCH: lambda case: case.lab.reply({"content": b"b" * 2000, "more_content": True}),
}


def go(reach: Callable[[], Case], cause: Callable[[Case], object]) -> None:
    cause(reach())


#: Row -> what brings it about.
WAYS: dict[Row, Callable[[], object]] = {
    **{
        (state, event): partial(go, reach, cause)
        for state, reach in REACH.items()
        for event, cause in {**CAUSE, **({} if state is RequestState.HELD else REPLY)}.items()
    },
    (RequestState.NEW, Event.BEGIN): lambda: Case().begin(),
    (RequestState.NEW, Event.BEGIN_WITHOUT_LAYER): lambda: Case(layer_up=False).begin(),
    (RequestState.NEW, Event.TURNED_AWAY): lambda: shut().begin(),
    (RequestState.HELD, Event.TURNED_AWAY): lambda: Case(layer_up=False, max_held=0).begin(),
    (RequestState.QUEUED, Event.FULL): lambda: Case().begin(Outcome.FULL),
    (RequestState.QUEUED, Event.NOT_SENT): lambda: Case().begin(Outcome.UNAVAILABLE),
    (RequestState.QUEUED, Event.UNKNOWN): lambda: Case().begin(Outcome.UNKNOWN),
}


def test_every_row_of_the_table_happens_in_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    assert unreached(TABLE, WAYS, record_moves(monkeypatch, HttpExchange)) == set()


def test_a_row_that_nothing_brings_about_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    wishes = {(RequestState.LOST, Event.LAYER_BACK), (RequestState.RUNNING, Event.FULL)}
    table = {state: dict(row) for state, row in TABLE.items()}
    for state, event in wishes:
        table[state][event] = (RequestState.DONE, ())
    assert unreached(table, WAYS, record_moves(monkeypatch, HttpExchange)) == wishes

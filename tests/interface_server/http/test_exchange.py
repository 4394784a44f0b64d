"""The table of a request's states, and how replies become events."""

from __future__ import annotations

import pytest

from headrace_asgi.contract import Outcome
from headrace_interface.deadlines import RUNNING_NOTICE_SECONDS, Deadlines
from headrace_interface.http.actions import Action
from headrace_interface.http.exchange import TABLE, Event, HttpExchange, RequestState


def exchange(*events: Event) -> HttpExchange:
    this = HttpExchange()
    for event in events:
        this.happened(event)
    return this


def test_every_state_is_in_the_table_and_can_be_reached() -> None:
    assert set(TABLE) == set(RequestState)
    reached = {RequestState.NEW}
    for _ in RequestState:
        reached |= {target for state in reached for target, _ in TABLE[state].values()}
    assert reached == set(RequestState)


def test_every_action_is_decided_somewhere() -> None:
    assert {action for row in TABLE.values() for _, action in row.values() if action} == set(Action)


def test_every_open_state_ends_by_deadline_and_when_the_client_leaves() -> None:
    for state in set(RequestState) - {RequestState.NEW, RequestState.DONE}:
        for event in (Event.DEADLINE, Event.CLIENT_LEFT, Event.FAILED):
            assert TABLE[state][event][0] is RequestState.DONE, (state, event)


def test_nothing_happens_after_the_end() -> None:
    assert TABLE[RequestState.DONE] == {}
    this = exchange(Event.BEGIN, Event.WHOLE)
    assert not this.open
    assert [this.happened(event) for event in Event] == [None] * len(Event)
    assert not this.moved


def test_a_disconnect_is_told_only_of_what_was_sent_and_is_not_answered_h10() -> None:
    telling = {
        state
        for state, row in TABLE.items()
        for event, (_, action) in row.items()
        if action is Action.TELL_LEFT and event is Event.CLIENT_LEFT
    }
    assert telling == {
        RequestState.QUEUED,
        RequestState.UNSURE,
        RequestState.LOST,
        RequestState.RUNNING,
        RequestState.STREAMING,
    }


@pytest.mark.parametrize(
    ("events", "action"),
    [
        ((Event.BEGIN,), Action.SHED),
        ((Event.BEGIN, Event.RUNNING), Action.TIMEOUT),
        ((Event.BEGIN, Event.UNKNOWN), Action.TIMEOUT),
        ((Event.BEGIN, Event.UNKNOWN, Event.DATA_LOST), Action.SHED),
        ((Event.BEGIN, Event.DATA_LOST), Action.SHED),
        ((Event.BEGIN, Event.DATA_LOST, Event.RUNNING), Action.TIMEOUT),
        ((Event.BEGIN, Event.RUNNING, Event.DATA_LOST), Action.TIMEOUT),
        ((Event.BEGIN, Event.START), Action.ABORT),
        ((Event.BEGIN_WITHOUT_LAYER,), Action.SHED),
    ],
)
def test_what_a_deadline_means(events: tuple[Event, ...], action: Action) -> None:
    assert exchange(*events).happened(Event.DEADLINE) is action


@pytest.mark.parametrize(
    ("outcome", "action", "state"),
    [
        (Outcome.SENT, None, RequestState.QUEUED),
        (Outcome.DUPLICATE, None, RequestState.QUEUED),
        (Outcome.FULL, Action.SHED, RequestState.DONE),
        (Outcome.UNAVAILABLE, Action.HOLD, RequestState.HELD),
        (Outcome.UNKNOWN, None, RequestState.UNSURE),
        (Outcome.GONE, Action.FAIL, RequestState.DONE),
    ],
)
def test_what_an_outcome_means(outcome: Outcome, action: Action | None, state: RequestState) -> None:
    this = exchange(Event.BEGIN)
    assert this.outcome(outcome) is action
    assert this.state is state
    assert this.moved is not (outcome.accepted or outcome is Outcome.UNKNOWN)


def test_a_late_outcome_changes_nothing() -> None:
    this = exchange(Event.BEGIN, Event.START)
    assert this.outcome(Outcome.UNAVAILABLE) is None
    assert this.state is RequestState.STREAMING


def test_replies_become_events() -> None:
    this = exchange(Event.BEGIN)
    assert this.reply({"status": 200, "more_content": True}) is Action.START
    assert this.message == {
        "status": 200,
        "status_text": b"",
        "headers": [],
        "content": b"",
        "more_content": True,
        "credit_channel": None,
    }
    assert this.reply({"content": b"a", "more_content": True}) is Action.PART
    assert this.reply({"content": b"b"}) is Action.LAST
    assert exchange(Event.BEGIN).reply({"status": 200}) is Action.WHOLE


def test_a_reply_that_breaks_the_specification_fails_the_request_h14() -> None:
    this = exchange(Event.BEGIN)
    assert this.reply({"content": b"a"}) is Action.FAIL
    assert this.failure[0] == 500
    assert "'status'" in this.failure[1]
    assert exchange(Event.BEGIN, Event.START).reply({"status": 200}) is Action.ABORT


def test_a_failure_has_a_status_and_a_reason() -> None:
    this = exchange(Event.BEGIN)
    assert this.failed(502, "the worker died") is Action.FAIL
    assert this.failure == (502, "the worker died")


def test_the_deadline_of_each_state() -> None:
    deadlines = Deadlines(queue=1, response=2, layer=3)
    assert exchange(Event.BEGIN).deadline_seconds(deadlines) == 1
    assert exchange(Event.BEGIN, Event.UNKNOWN).deadline_seconds(deadlines) == 1
    assert exchange(Event.BEGIN, Event.DATA_LOST).deadline_seconds(deadlines) == RUNNING_NOTICE_SECONDS
    assert exchange(Event.BEGIN, Event.RUNNING).deadline_seconds(deadlines) == 2
    assert exchange(Event.BEGIN, Event.START).deadline_seconds(deadlines) == 2
    assert exchange(Event.BEGIN_WITHOUT_LAYER).deadline_seconds(deadlines) == 3


def test_a_shell_can_end_it() -> None:
    this = exchange(Event.BEGIN)
    this.end()
    assert not this.open

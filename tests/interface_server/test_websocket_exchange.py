"""The life of a WebSocket as a table, without a socket."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from headrace_asgi.contract import Outcome
from headrace_interface.websocket_actions import (
    BUSY,
    SLOW,
    Abort,
    Accept,
    Action,
    Close,
    Deny,
    Forget,
    Pause,
    Resume,
    SendFrame,
    Tell,
    Write,
)
from headrace_interface.websocket_exchange import TABLE, Exchange, Fact, State, Step
from headrace_interface.websocket_reply import Reply

ACCEPT = Reply(accept=True, acceptance=Accept(None, []))
REFUSE = Reply(accept=False, denial=Deny(403, "no"))
CLOSE = Close(1000, "")


def exchange(ordered: Any = False, limit: int = 100_000) -> Exchange:
    """One that is open and knows its order."""
    new = Exchange(limit)
    new.connect_answered(Outcome.SENT)
    new.verdict(ordered)
    new.reply(ACCEPT)
    assert new.state is State.OPEN
    return new


def in_state(state: State) -> Exchange:
    new = Exchange(100_000)
    steps: dict[State, list[Callable[[], Any]]] = {
        State.CONNECTING: [],
        State.LEFT: [new.lost],
        State.HANDSHAKE: [lambda: new.connect_answered(Outcome.SENT)],
        State.OPEN: [lambda: new.reply(ACCEPT)],
        State.CLOSING: [lambda: new.reply(ACCEPT), lambda: new.close(CLOSE)],
        State.EMPTYING: [lambda: new.reply(ACCEPT), lambda: new.received("x"), new.lost],
        State.ENDED: [lambda: new.connect_answered(Outcome.FULL)],
    }
    for step in steps[state]:
        step()
    assert new.state is state
    return new


@pytest.mark.parametrize(("state", "fact"), list(itertools.product(State, Fact)))
def test_the_table_is_all_there_is(state: State, fact: Fact) -> None:
    """A fact goes where the table says, or changes nothing."""
    new = in_state(state)
    detail = {
        Fact.ACCEPTED: Accept(None, []),
        Fact.SAID: Write("x"),
        Fact.RECEIVED: SendFrame("x", 1, False),
        Fact.CLOSE: CLOSE,
    }.get(fact, BUSY)
    actions = new.happened(fact, detail)
    expected, steps = TABLE[state].get(fact, (state, ()))
    assert new.state is expected
    kinds = {
        Step.ACCEPT: Accept,
        Step.DENY: Deny,
        Step.FORGET: Forget,
        Step.TELL: Tell,
        Step.WRITE: Write,
        Step.CLOSE: Close,
        Step.SEND: SendFrame,
        Step.ABORT: Abort,
    }
    assert [type(action) for action in actions] == [kinds[step] for step in steps]


def test_every_state_is_reached_and_none_but_the_last_is_a_dead_end() -> None:
    reached = {state for row in TABLE.values() for state, _ in row.values()} | {State.CONNECTING}
    assert reached == set(State)
    assert [state for state in State if not TABLE[state]] == [State.ENDED]


def test_a_step_without_its_action_is_a_bug_that_shows() -> None:
    with pytest.raises(TypeError, match="accept"):
        Exchange(1).happened(Fact.ACCEPTED)


def test_a_client_that_was_expelled_and_never_answers_is_told_with_the_reason() -> None:
    for said, told in ((1006, 1008), (1001, 1001)):
        new = exchange()
        assert new.expel(SLOW) == [SLOW]
        assert new.state is State.CLOSING
        assert new.lost(said) == [Tell(told, 1)]
    new = exchange()
    new.close(Close(1013, "the server is busy"))
    assert new.lost() == [Tell(1006, 1)]


# The handshake.


def test_full_and_unreachable_channels_answer_503_and_owe_nothing() -> None:
    for outcome in (Outcome.FULL, Outcome.UNAVAILABLE, Outcome.GONE):
        new = Exchange(1)
        (denial,) = new.connect_answered(outcome)
        assert isinstance(denial, Deny)
        assert denial.status == 503
        assert (b"retry-after", b"1") in denial.headers
        assert new.lost() == []


def test_an_unknown_outcome_waits_for_the_application() -> None:
    new = Exchange(1)
    assert new.connect_answered(Outcome.UNKNOWN) == []
    assert new.reply(ACCEPT) == [ACCEPT.acceptance]


def test_an_answer_may_overtake_the_layers_own() -> None:
    new = Exchange(1)
    assert new.reply(ACCEPT) == [ACCEPT.acceptance]
    assert list(new.connect_answered(Outcome.SENT)) == []
    assert new.state is State.OPEN


def test_a_refusal_by_the_application_is_no_disconnect_s8() -> None:
    new = in_state(State.HANDSHAKE)
    assert new.reply(REFUSE) == [Forget(), REFUSE.denial]
    assert new.lost() == []


def test_a_handshake_turned_away_by_the_server_tells_the_disconnect() -> None:
    new = in_state(State.HANDSHAKE)
    assert new.turn_away(BUSY) == [BUSY, Tell(1006, 1)]


def test_a_client_that_leaves_during_the_handshake_is_told_once_it_is_known_that_it_came() -> None:
    new = Exchange(1)
    assert new.lost() == []
    assert new.connect_answered(Outcome.SENT) == [Tell(1006, 1)]
    gone = Exchange(1)
    gone.lost()
    assert gone.connect_answered(Outcome.FULL) == []
    assert gone.state is State.ENDED


def test_a_failed_consumer_ends_the_handshake_at_once() -> None:
    new = in_state(State.HANDSHAKE)
    failed = Deny(500, "no route")
    assert new.failed(failed) == [failed, Tell(1006, 1)]


# Replies: the table of Send/Close/Accept.


def both(reply: Reply) -> tuple[list[str], list[str]]:
    """What a reply does while handshaking and while open."""
    return (
        [type(action).__name__ for action in in_state(State.HANDSHAKE).reply(reply)],
        [type(action).__name__ for action in in_state(State.OPEN).reply(reply)],
    )


def test_accept_with_data() -> None:
    assert both(Reply(True, "hi", None, Accept(None, []))) == (["Accept", "Write"], ["Write"])


def test_accept_false_with_anything() -> None:
    assert both(Reply(False, "hi", CLOSE, denial=Deny(403, ""))) == (["Forget", "Deny"], [])


def test_data_alone_accepts() -> None:
    assert both(Reply(None, b"", None, Accept(None, []))) == (["Accept", "Write"], ["Write"])


def test_close_alone_refuses_or_closes() -> None:
    assert both(Reply(None, None, CLOSE, denial=Deny(403, "")))[0] == ["Forget", "Deny"]
    assert both(Reply(None, None, CLOSE))[1] == ["Close"]


def test_data_and_close() -> None:
    reply = Reply(None, "bye", Close(4001, "why"), Accept(None, []))
    assert both(reply) == (["Accept", "Write", "Close"], ["Write", "Close"])


def test_nothing_at_all() -> None:
    assert both(Reply()) == ([], [])


def test_a_wrong_acceptance_is_turned_away_and_told() -> None:
    assert both(Reply(True, problem=Deny(500, "")))[0] == ["Deny", "Tell"]


def test_after_a_close_nothing_is_written() -> None:
    new = in_state(State.CLOSING)
    assert new.reply(Reply(None, "late", CLOSE)) == []


# Frames of a socket that is not ordered.


def test_plain_frames_leave_at_once_and_are_numbered_from_one() -> None:
    new = exchange()
    assert [*new.received("a"), *new.received(b"b")] == [
        SendFrame("a", 1, False),
        SendFrame(b"b", 2, False),
    ]
    assert new.lost(1001) == [Tell(1001, 3)]


def test_frames_before_the_verdict_are_ordered_and_slight_ones_plain() -> None:
    new = Exchange(100_000)
    new.reply(ACCEPT)
    assert new.received("a") == (SendFrame("a", 1, True),)
    assert new.received("b") == ()
    assert new.verdict("slight") == [SendFrame("b", 2, False)]
    assert new.received("c") == (SendFrame("c", 3, False),)


def test_only_the_first_verdict_counts() -> None:
    new = exchange(ordered=True)
    assert new.verdict(False) == ()
    assert new.ordered is True


@pytest.mark.parametrize(
    ("outcome", "code"), [(Outcome.FULL, 1013), (Outcome.UNAVAILABLE, 1013), (Outcome.GONE, 1012)]
)
def test_a_refused_plain_frame_closes_and_the_disconnect_is_still_told_s7(
    outcome: Outcome, code: int
) -> None:
    new = exchange()
    new.received("a")
    (close,) = new.plain_answered(outcome)
    assert isinstance(close, Close)
    assert close.code == code
    assert new.lost(code) == [Tell(code, 2)]


def test_an_unknown_plain_frame_is_no_reason_to_close() -> None:
    new = exchange()
    new.received("a")
    assert new.plain_answered(Outcome.UNKNOWN) == ()
    assert new.state is State.OPEN


def test_a_flood_is_not_read_until_the_layer_has_answered_all_of_it() -> None:
    new = exchange(limit=300)
    assert new.received("12345678") == (SendFrame("12345678", 1, False),)
    assert new.received("12345678") == (SendFrame("12345678", 2, False), Pause())
    assert new.received("1") == (SendFrame("1", 3, False),)
    assert new.plain_answered(Outcome.SENT) == ()
    assert new.plain_answered(Outcome.SENT) == ()
    assert new.plain_answered(Outcome.SENT) == (Resume(),)


# Frames of an ordered socket.


def test_one_ordered_frame_is_outstanding_and_the_rest_waits() -> None:
    new = exchange(ordered=True)
    assert new.received("a") == (SendFrame("a", 1, True),)
    assert new.received("b") == ()
    assert new.received("c") == ()
    assert new.ordered_answered(Outcome.BOXED) == (SendFrame("b", 2, True),)
    assert new.ordered_answered(Outcome.SENT) == (SendFrame("c", 3, True),)
    assert new.ordered_answered(Outcome.SENT) == ()
    assert new.received("d") == (SendFrame("d", 4, True),)


def test_what_waits_is_bounded_by_bytes() -> None:
    new = exchange(ordered=True, limit=520)
    new.received("first")
    assert new.received("123456") == ()
    assert new.received("123456") == (Pause(),)
    assert new.received("12") == ()
    assert new.ordered_answered(Outcome.SENT) == (SendFrame("123456", 2, True),)
    assert new.ordered_answered(Outcome.SENT) == [SendFrame("123456", 3, True), Resume()]


@pytest.mark.parametrize("outcome", [Outcome.FULL, Outcome.UNKNOWN, Outcome.UNAVAILABLE, Outcome.GONE])
@pytest.mark.parametrize("ordered", [True, None])
def test_an_ordered_socket_never_skips_a_frame_silently(outcome: Outcome, ordered: bool | None) -> None:
    new = Exchange(1)
    if ordered is not None:
        new.verdict(ordered)
    new.reply(ACCEPT)
    new.received("a")
    assert new.received("bc") == (Pause(),)
    resume, close = new.ordered_answered(outcome)
    assert resume == Resume()
    assert isinstance(close, Close)
    assert close.code == (1012 if outcome is Outcome.GONE else 1013)
    assert new.received("d") == ()
    assert new.lost(1013) == [Tell(1013, 2)]


def test_a_lost_message_of_a_strict_socket_closes_it_and_of_another_does_not() -> None:
    died = Deny(502, "the worker died")
    (close,) = exchange(ordered=True).failed(died)
    assert isinstance(close, Close)
    assert close.code == 1013
    assert exchange(ordered="slight").failed(died) == ()
    assert exchange(ordered=False).failed(died) == ()


def test_frames_that_came_before_the_end_still_leave_before_the_disconnect() -> None:
    new = exchange(ordered=True)
    for text in "abc":
        new.received(text)
    assert new.lost(1000) == []
    assert new.state is State.EMPTYING
    assert new.ordered_answered(Outcome.SENT) == (SendFrame("b", 2, True),)
    assert new.ordered_answered(Outcome.SENT) == (SendFrame("c", 3, True),)
    assert new.ordered_answered(Outcome.SENT) == [Tell(1000, 4)]


def test_frames_that_came_before_a_close_still_leave() -> None:
    new = exchange(ordered=True)
    new.received("a")
    new.received("b")
    assert new.close(CLOSE) == [CLOSE]
    assert new.ordered_answered(Outcome.SENT) == (SendFrame("b", 2, True),)


def test_a_refused_frame_after_the_end_does_not_keep_the_disconnect() -> None:
    new = exchange(ordered=True)
    new.received("a")
    new.received("b")
    new.lost(1001)
    assert new.ordered_answered(Outcome.FULL) == [Tell(1001, 2)]


def test_a_late_verdict_empties_what_waits_after_the_end() -> None:
    new = Exchange(100_000)
    new.reply(ACCEPT)
    new.received("a")
    new.received("b")
    new.lost(1001)
    assert new.verdict(False) == [SendFrame("b", 2, False)]
    assert new.ordered_answered(Outcome.SENT) == [Tell(1001, 3)]


# Closing, pausing.


def test_a_paused_client_is_read_again_for_its_part_of_the_closing_handshake() -> None:
    new = exchange(limit=0)
    assert new.received("a") == (SendFrame("a", 1, False), Pause())
    assert new.close(CLOSE) == [Resume(), CLOSE]
    again = exchange(limit=0)
    again.received("a")
    assert again.close_begun() == (Resume(),)


def test_an_overdue_close_drops_the_connection() -> None:
    assert in_state(State.CLOSING).happened(Fact.OVERDUE) == [Abort()]


def test_two_reasons_to_pause_are_one_pause() -> None:
    new = exchange(limit=0)
    assert new.too_fast() == (Pause(),)
    assert new.received("a") == (SendFrame("a", 1, False),)
    assert new.plain_answered(Outcome.SENT) == ()
    assert new.slow_enough() == (Resume(),)
    assert new.slow_enough() == ()


# Whatever happens.


def random_step(new: Exchange, rng: random.Random, flight: list[SendFrame]) -> Sequence[Action]:
    reply = rng.choice(
        [ACCEPT, REFUSE, Reply(None, "x", CLOSE, ACCEPT.acceptance), Reply(None, "y"), Reply()]
    )
    steps: list[Callable[[], Sequence[Action]]] = [
        lambda: new.reply(reply),
        lambda: new.received("abc"),
        lambda: new.received(b"abc"),
        lambda: new.verdict(rng.choice([True, False, "slight"])),
        lambda: new.lost(rng.choice([1000, 1006])),
        lambda: new.close(CLOSE),
        new.close_begun,
        lambda: new.turn_away(BUSY),
        lambda: new.failed(BUSY),
        lambda: new.happened(Fact.OVERDUE),
        new.too_fast,
        new.slow_enough,
    ]
    if flight and rng.random() < 0.5:
        frame = flight.pop(0)
        outcome = rng.choice(
            [Outcome.SENT] * 6 + [Outcome.BOXED, Outcome.FULL, Outcome.UNKNOWN, Outcome.GONE]
        )
        return new.ordered_answered(outcome) if frame.ordered else new.plain_answered(outcome)
    return rng.choice(steps)()


@pytest.mark.parametrize("seed", range(400))
def test_whatever_happens_the_end_is_told_once_or_refused_and_no_order_is_broken(seed: int) -> None:
    rng = random.Random(seed)
    new = Exchange(rng.choice([0, 5, 100]))
    done: list[Action] = []
    flight: list[SendFrame] = []
    connected, sent = False, True
    for _ in range(60):
        if not connected and rng.random() < 0.2:
            connected = True
            outcome = rng.choice([Outcome.SENT] * 4 + [Outcome.FULL, Outcome.UNKNOWN])
            sent = outcome is not Outcome.FULL
            actions = new.connect_answered(outcome)
        else:
            actions = random_step(new, rng, flight)
        done += actions
        flight += [action for action in actions if isinstance(action, SendFrame)]
    if not connected:
        done += new.connect_answered(Outcome.SENT)
    done += new.lost()
    while flight:
        frame = flight.pop(0)
        answered = new.ordered_answered if frame.ordered else new.plain_answered
        actions = answered(Outcome.SENT)
        done += actions
        flight += [action for action in actions if isinstance(action, SendFrame)]

    assert new.state is State.ENDED
    kinds = [type(action) for action in done]
    owed = kinds.count(Tell) + kinds.count(Forget)
    assert owed == 1 if sent else owed <= 1
    assert kinds.count(Accept) + kinds.count(Deny) <= 1
    for kind in (Write, Close, SendFrame):
        assert kind not in kinds or kinds.index(Accept) < kinds.index(kind)
    assert kinds.count(Close) <= 1
    assert Write not in kinds[kinds.index(Close) :] if Close in kinds else True
    orders = [action.order for action in done if isinstance(action, SendFrame)]
    assert orders == list(range(1, len(orders) + 1))
    for action in done:
        if isinstance(action, Tell):
            assert action.order == len(orders) + 1
            assert not any(isinstance(later, SendFrame) for later in done[done.index(action) :])
    pauses = [kind for kind in kinds if kind in (Pause, Resume)]
    assert pauses == [Pause, Resume] * (len(pauses) // 2) + [Pause] * (len(pauses) % 2)


@pytest.mark.parametrize("ordered", [True, False])
def test_messages_without_content_count_for_what_waits_as_well(ordered: bool) -> None:
    new = exchange(ordered, limit=64 * 1024)
    sent = 0
    while not new.pauses and sent < 10_000:
        new.received("")
        sent += 1
    assert new.pauses, "a client may make us hold any number of messages"
    answer = new.ordered_answered if ordered else new.plain_answered
    for _ in range(sent):
        answer(Outcome.SENT)
    assert not new.pauses
    assert new._held == 0

"""The life of a WebSocket as a table, without a socket."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from headrace_asgi.contract import Outcome
from headrace_interface.websocket.actions import (
    BUSY,
    SLOW,
    Abort,
    Accept,
    Action,
    Close,
    Deny,
    Forget,
    Go,
    Pause,
    ReadOn,
    Resume,
    SendFrame,
    Tell,
    Wait,
    Write,
)
from headrace_interface.websocket.exchange import (
    MESSAGE_BYTES,
    TRY_AGAIN,
    Exchange,
)
from headrace_interface.websocket.reply import Reply
from headrace_interface.websocket.states import TABLE, Fact, SocketState, SocketStep

ACCEPT = Reply(accept=True, acceptance=Accept(None, []))
REFUSE = Reply(accept=False, denial=Deny(403, "no"))
CLOSE = Close(1000, "")


def made(messages: int = 1_000, weight: int = 100_000) -> Exchange:
    return Exchange(messages, weight)


def exchange(ordered: Any = False, messages: int = 1_000, weight: int = 100_000) -> Exchange:
    """One that is open and knows its order."""
    new = made(messages, weight)
    new.connect_answered(Outcome.SENT)
    new.verdict(ordered)
    new.reply(ACCEPT)
    assert new.state is SocketState.OPEN
    return new


def going(
    new: Exchange, actions: Sequence[Action], room: tuple[int, int] = (1_000, 1_000_000)
) -> list[Action]:
    """These actions, with the frames that leave in the place of each permission to go."""
    done: list[Action] = []
    for action in actions:
        done += new.take(*room) if isinstance(action, Go) else [action]
    return done


def say(new: Exchange, *payloads: str | bytes) -> list[Action]:
    return going(new, new.received(payloads))


def answer(new: Exchange, outcome: Outcome) -> list[Action]:
    return going(new, new.answered(outcome))


def in_state(state: SocketState) -> Exchange:
    new = made()
    steps: dict[SocketState, list[Callable[[], Any]]] = {
        SocketState.CONNECTING: [],
        SocketState.LEFT: [new.lost],
        SocketState.HANDSHAKE: [lambda: new.connect_answered(Outcome.SENT)],
        SocketState.OPEN: [lambda: new.reply(ACCEPT)],
        SocketState.CLOSING: [lambda: new.reply(ACCEPT), lambda: new.close(CLOSE)],
        SocketState.EMPTYING: [lambda: new.reply(ACCEPT), lambda: new.received(["x"]), new.lost],
        SocketState.ENDED: [lambda: new.connect_answered(Outcome.FULL)],
    }
    for step in steps[state]:
        step()
    assert new.state is state
    return new


@pytest.mark.parametrize(("state", "fact"), list(itertools.product(SocketState, Fact)))
def test_the_table_is_all_there_is(state: SocketState, fact: Fact) -> None:
    """A fact goes where the table says, or changes nothing."""
    new = in_state(state)
    detail: Any = {
        Fact.ACCEPTED: Accept(None, []),
        Fact.SAID: Write("x"),
        Fact.RECEIVED: ["x"],
        Fact.HELD_UP: 1,
        Fact.CLOSE: CLOSE,
        Fact.GIVEN_UP: CLOSE,
    }.get(fact, BUSY)
    actions = new.happened(fact, detail)
    expected, steps = TABLE[state].get(fact, (state, ()))
    assert new.state is expected
    assert (new.may_write, new.may_receive) == (
        Fact.SAID in TABLE[expected],
        Fact.RECEIVED in TABLE[expected],
    )
    kinds = {
        SocketStep.ACCEPT: Accept,
        SocketStep.DENY: Deny,
        SocketStep.FORGET: Forget,
        SocketStep.TELL: Tell,
        SocketStep.WRITE: Write,
        SocketStep.CLOSE: Close,
        SocketStep.SEND: Go,
        SocketStep.PAUSE: Pause,
        SocketStep.ABORT: Abort,
    }
    assert [type(action) for action in actions] == [kinds[step] for step in steps if step in kinds]


def test_a_step_without_its_action_is_a_bug_that_shows() -> None:
    with pytest.raises(TypeError, match="open"):
        made().happened(Fact.ACCEPTED)


def test_a_client_that_was_expelled_and_never_answers_is_told_with_the_reason() -> None:
    for said, told in ((1006, 1008), (1001, 1001)):
        new = exchange()
        assert new.expel(SLOW) == [SLOW]
        assert new.state is SocketState.CLOSING
        assert new.lost(said) == [Tell(told, 1)]
    new = exchange()
    new.close(Close(1013, "the server is busy"))
    assert new.lost() == [Tell(1006, 1)]


# The handshake.


def test_full_and_unreachable_channels_answer_503_and_owe_nothing() -> None:
    for outcome in (Outcome.FULL, Outcome.UNAVAILABLE, Outcome.GONE):
        new = made()
        (denial,) = new.connect_answered(outcome)
        assert isinstance(denial, Deny)
        assert denial.status == 503
        assert (b"retry-after", b"1") in denial.headers
        assert new.lost() == []


def test_an_unknown_outcome_waits_for_the_application() -> None:
    new = made()
    assert new.connect_answered(Outcome.UNKNOWN) == []
    assert new.reply(ACCEPT) == [ACCEPT.acceptance]


def test_an_answer_may_overtake_the_layers_own() -> None:
    new = made()
    assert new.reply(ACCEPT) == [ACCEPT.acceptance]
    assert list(new.connect_answered(Outcome.SENT)) == []
    assert new.state is SocketState.OPEN


def test_a_refusal_by_the_application_is_no_disconnect_s8() -> None:
    new = in_state(SocketState.HANDSHAKE)
    assert new.reply(REFUSE) == [Forget(), REFUSE.denial]
    assert new.lost() == []


def test_a_handshake_turned_away_by_the_server_tells_the_disconnect() -> None:
    new = in_state(SocketState.HANDSHAKE)
    assert new.turn_away(BUSY) == [BUSY, Tell(1006, 1)]


def test_a_client_that_leaves_during_the_handshake_is_told_once_it_is_known_that_it_came() -> None:
    new = made()
    assert new.lost() == []
    assert new.connect_answered(Outcome.SENT) == [Tell(1006, 1)]
    gone = made()
    gone.lost()
    assert gone.connect_answered(Outcome.FULL) == []
    assert gone.state is SocketState.ENDED


def test_a_failed_consumer_ends_the_handshake_at_once() -> None:
    new = in_state(SocketState.HANDSHAKE)
    failed = Deny(500, "no route")
    assert new.failed(failed) == [failed, Tell(1006, 1)]


# Replies: the table of Send/Close/Accept.


def both(reply: Reply) -> tuple[list[str], list[str]]:
    """What a reply does while handshaking and while open."""
    return (
        [type(action).__name__ for action in in_state(SocketState.HANDSHAKE).reply(reply)],
        [type(action).__name__ for action in in_state(SocketState.OPEN).reply(reply)],
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
    new = in_state(SocketState.CLOSING)
    assert new.reply(Reply(None, "late", CLOSE)) == []


# Frames of a socket that is not ordered.


def test_plain_frames_leave_at_once_and_are_numbered_from_one() -> None:
    new = exchange()
    assert say(new, "a", b"b") == [SendFrame("a", 1), SendFrame(b"b", 2)]
    assert not any(frame.ordered for frame in new._flight)
    assert answer(new, Outcome.SENT) == answer(new, Outcome.SENT) == []
    assert new.lost(1001) == [Tell(1001, 3)]


def test_frames_before_the_verdict_are_ordered_and_slight_ones_plain() -> None:
    new = made()
    new.reply(ACCEPT)
    assert say(new, "a") == [SendFrame("a", 1)]
    assert new._flight[0].ordered
    assert say(new, "b", "c") == []
    assert new.verdict("slight") == ()
    assert answer(new, Outcome.SENT) == [SendFrame("b", 2), SendFrame("c", 3)]
    assert not any(frame.ordered for frame in new._flight)


def test_only_the_first_verdict_counts() -> None:
    new = exchange(ordered=True)
    assert new.verdict(False) == ()
    assert new.ordered is True


def test_the_next_batch_of_a_plain_socket_leaves_when_all_of_the_last_was_answered() -> None:
    new = exchange()
    assert say(new, "a", "b") == [SendFrame("a", 1), SendFrame("b", 2)]
    assert say(new, "c") == say(new, "d") == []
    assert answer(new, Outcome.SENT) == []
    assert answer(new, Outcome.SENT) == [SendFrame("c", 3), SendFrame("d", 4)]


def test_a_batch_is_as_large_as_there_is_room_and_never_empty() -> None:
    new = exchange()
    assert going(new, new.received(list("abcd")), (2, 1_000_000)) == [SendFrame("a", 1), SendFrame("b", 2)]
    new.answered(Outcome.SENT)
    assert going(new, new.answered(Outcome.SENT), (5, 1)) == [SendFrame("c", 3)]
    assert going(new, new.answered(Outcome.SENT), (5, 2 * MESSAGE_BYTES + 1)) == [SendFrame("d", 4)]


def test_a_socket_from_another_process_name_is_closed_1012_and_told() -> None:
    new = exchange()
    say(new, "a", "b")
    new.answered(Outcome.GONE)
    (close,) = new.answered(Outcome.GONE)
    assert isinstance(close, Close)
    assert close.code == 1012
    assert new.lost(1012) == [Tell(1012, 3)]


@pytest.mark.parametrize("ordered", [True, False, None, "slight"])
@pytest.mark.parametrize(
    "outcome", [Outcome.FULL, Outcome.UNAVAILABLE, Outcome.UNKNOWN, Outcome.FORGOTTEN], ids=lambda o: o.name
)
def test_what_was_refused_is_kept_and_sent_again_with_its_number_and_the_client_waits(
    outcome: Outcome, ordered: bool | str | None
) -> None:
    new = made()
    if ordered is not None:
        new.verdict(ordered)
    new.reply(ACCEPT)
    assert say(new, "a") == [SendFrame("a", 1)]
    assert say(new, "b") == []
    for _ in range(3):
        assert [each for each in new.answered(outcome) if each != Pause()] == [Wait(outcome)]
        assert new.pauses
        assert say(new, "c") == [] or new.room
        assert new.take(10, 10_000)[0] == SendFrame("a", 1)
        assert new.take(10, 10_000) == []
    assert new.known == 0
    rest = answer(new, Outcome.DUPLICATE)
    assert rest[0] == SendFrame("b", 2)
    assert new.known == 1
    assert new.state is SocketState.OPEN


def test_only_what_was_not_accepted_of_a_batch_is_sent_again() -> None:
    new = exchange()
    say(new, "a", "b", "c")
    say(new, "d")
    for outcome in (Outcome.SENT, Outcome.FULL):
        assert new.answered(outcome) == ()
        assert new.known == 1
    assert new.answered(Outcome.FULL) == (Pause(), Wait(Outcome.FULL))
    assert (new.known, new.passed) == (1, 1)
    assert new.take(1, 10_000) == [SendFrame("b", 2)]
    assert answer(new, Outcome.SENT) == [SendFrame("c", 3), Resume()]
    assert answer(new, Outcome.SENT) == [SendFrame("d", 4)]
    assert answer(new, Outcome.SENT) == []


def test_a_client_is_not_read_while_there_is_no_room_for_its_next_message() -> None:
    new = exchange()
    assert new.received(["a"]) == [Go()]
    assert new.hold() == [Pause()]
    assert new.received(["b"]) == []
    assert new.take(5, 10_000) == [SendFrame("a", 1), SendFrame("b", 2)]
    new.answered(Outcome.SENT)
    assert new.answered(Outcome.SENT) == (Resume(),)


def test_a_flood_is_not_read_until_most_of_it_was_accepted() -> None:
    new = exchange(messages=4)
    assert new.room == 4
    assert going(new, new.received(list("abcd")), (2, 10_000)) == [
        Pause(),
        SendFrame("a", 1),
        SendFrame("b", 2),
    ]
    assert new.room == 0
    assert new.answered(Outcome.SENT) == ()
    assert going(new, new.answered(Outcome.SENT)) == [SendFrame("c", 3), SendFrame("d", 4), Resume()]


def test_a_message_weighs_its_path_and_overhead_too() -> None:
    new = Exchange(1_000, 50_000, path_bytes=16_000)
    new.verdict(False)
    new.reply(ACCEPT)
    assert new.room == 4
    say(new, "")
    assert new.room == 3
    assert new._weight == 16_256
    assert new.received([""] * 3) == [Pause()]
    assert new.room <= 0


# Frames of an ordered socket.


def test_one_ordered_frame_is_outstanding_and_the_rest_waits() -> None:
    new = exchange(ordered=True)
    assert say(new, "a", "b") == [SendFrame("a", 1)]
    assert say(new, "c") == []
    assert answer(new, Outcome.BOXED) == [SendFrame("b", 2)]
    assert answer(new, Outcome.SENT) == [SendFrame("c", 3)]
    assert answer(new, Outcome.SENT) == []
    assert say(new, "d") == [SendFrame("d", 4)]
    assert all(frame.ordered for frame in new._flight)


def test_what_waits_is_bounded_by_bytes() -> None:
    new = exchange(ordered=True, weight=3 * 262)
    assert say(new, "123456", "123456") == [SendFrame("123456", 1)]
    assert say(new, "123456") == [Pause()]
    assert answer(new, Outcome.SENT) == [SendFrame("123456", 2)]
    assert answer(new, Outcome.SENT) == [SendFrame("123456", 3), Resume()]


def test_a_mailbox_that_holds_much_is_tried_slowly_until_it_is_empty() -> None:
    new = exchange(ordered=True, weight=10_000_000)
    say(new, "first", *["x" * 600_000] * 4)
    assert len(answer(new, Outcome.SENT)) == 1
    assert len(answer(new, Outcome.BOXED)) == 1
    assert new.answered(Outcome.BOXED) == (Pause(), Wait(Outcome.BOXED))
    new.take(16, 1)
    assert new.answered(Outcome.BOXED) == (Wait(Outcome.BOXED),)
    new.take(16, 1)
    assert new.answered(Outcome.SENT) == (Resume(),)


@pytest.mark.parametrize("ordered", [True, None])
def test_a_strict_socket_whose_message_was_lost_is_closed_1013(ordered: bool | None) -> None:
    new = made()
    if ordered is not None:
        new.verdict(ordered)
    new.reply(ACCEPT)
    say(new, "a", "b")
    close, *rest = answer(new, Outcome.LAPSED)
    assert isinstance(close, Close)
    assert (close.code, close.reason) == (1013, "a message was lost")
    assert rest == []
    assert say(new, "d") == []
    assert new.lost(1013) == [Tell(1013, 3)]


@pytest.mark.parametrize("ordered", [False, "slight"])
def test_a_lost_message_is_no_reason_to_close_a_socket_without_strict_order(ordered: bool | str) -> None:
    new = made()
    new.reply(ACCEPT)
    say(new, "a", "b")
    new.verdict(ordered)
    assert answer(new, Outcome.LAPSED) == [SendFrame("a", 1)]
    assert answer(new, Outcome.SENT) == [SendFrame("b", 2)]
    assert new.lapsed() == ()
    assert new.state is SocketState.OPEN


@pytest.mark.parametrize("ordered", [True, None])
def test_a_note_of_a_lost_message_closes_a_strict_socket_and_drops_what_waits(ordered: bool | None) -> None:
    new = made()
    if ordered is not None:
        new.verdict(ordered)
    new.reply(ACCEPT)
    say(new, "a", "b")
    (close,) = new.lapsed()
    assert isinstance(close, Close)
    assert close.code == 1013
    assert answer(new, Outcome.UNKNOWN) == []
    assert new.lost(1013) == [Tell(1013, 3)]


def test_a_connect_that_was_lost_is_answered_503() -> None:
    new = in_state(SocketState.HANDSHAKE)
    assert new.lapsed() == [BUSY, Tell(1006, 1)]


def test_a_lost_message_of_a_strict_socket_closes_it_and_of_another_does_not() -> None:
    died = Deny(502, "the worker died")
    (close,) = exchange(ordered=True).failed(died)
    assert isinstance(close, Close)
    assert close.code == 1013
    assert exchange(ordered="slight").failed(died) == ()
    assert exchange(ordered=False).failed(died) == ()


def test_frames_that_came_before_the_end_still_leave_before_the_disconnect() -> None:
    new = exchange(ordered=True)
    say(new, *"abc")
    assert new.lost(1000) == []
    assert new.state is SocketState.EMPTYING
    assert answer(new, Outcome.SENT) == [SendFrame("b", 2)]
    assert answer(new, Outcome.UNAVAILABLE) == [Wait(Outcome.UNAVAILABLE)]
    assert new.take(1, 1) == [SendFrame("b", 2)]
    assert answer(new, Outcome.SENT) == [SendFrame("c", 3)]
    assert answer(new, Outcome.SENT) == [Tell(1000, 4)]


def test_frames_that_came_before_a_close_still_leave() -> None:
    new = exchange(ordered=True)
    say(new, "a", "b")
    assert new.close(CLOSE) == [CLOSE]
    assert answer(new, Outcome.SENT) == [SendFrame("b", 2)]


def test_what_has_no_chance_any_more_does_not_keep_the_disconnect() -> None:
    new = exchange(ordered=True)
    say(new, "a", "b")
    new.lost(1001)
    new.answered(Outcome.FULL)
    assert new.give_up(TRY_AGAIN) == [Tell(1001, 3)]


def test_giving_up_awaits_the_answer_of_what_is_with_the_layer() -> None:
    new = exchange()
    say(new, "a")
    say(new, "b")
    assert new.give_up(TRY_AGAIN) == [TRY_AGAIN]
    assert new.lost(1013) == []
    assert new.answered(Outcome.UNKNOWN) == [Tell(1013, 3)]


def test_a_late_verdict_empties_what_waits_after_the_end() -> None:
    new = made()
    new.reply(ACCEPT)
    say(new, "a", "b")
    new.lost(1001)
    new.verdict(False)
    assert answer(new, Outcome.SENT) == [SendFrame("b", 2)]
    assert answer(new, Outcome.SENT) == [Tell(1001, 3)]


# Closing, pausing.


def test_a_paused_client_is_read_again_for_its_part_of_the_closing_handshake() -> None:
    new = exchange(messages=1)
    assert say(new, "a") == [Pause(), SendFrame("a", 1)]
    assert new.close(CLOSE) == [Resume(), CLOSE]
    again = exchange(messages=1)
    say(again, "a")
    assert again.close_begun() == [Resume()]


def test_what_was_read_before_a_pause_is_looked_at_before_the_client_is_read_on() -> None:
    new = exchange(messages=1)
    say(new, "a")
    new.left_over()
    assert new.read_on() == ()
    assert answer(new, Outcome.SENT) == [ReadOn()]
    assert new.too_fast() == []
    assert new.read_on() == ()
    assert new.slow_enough() == (ReadOn(),)
    assert new.read_on() == (Resume(),)


def test_an_overdue_close_drops_the_connection() -> None:
    assert in_state(SocketState.CLOSING).overdue() == [Abort()]


def test_a_client_that_does_not_read_what_it_is_sent_is_not_read_either() -> None:
    new = in_state(SocketState.OPEN)
    assert new.falls_behind() == [Pause()]
    assert new.too_fast() == []
    assert new.caught_up() == ()
    assert new.slow_enough() == (Resume(),)
    assert in_state(SocketState.CLOSING).falls_behind() == ()


def test_two_reasons_to_pause_are_one_pause() -> None:
    new = exchange(messages=1)
    assert new.too_fast() == [Pause()]
    assert say(new, "a") == [SendFrame("a", 1)]
    assert answer(new, Outcome.SENT) == []
    assert new.slow_enough() == (Resume(),)
    assert new.slow_enough() == ()


# Whatever happens.


class Layer:
    """Redis as a socket's frames see it, with a network that breaks before or after a call is executed."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.accepted: list[tuple[int, str | bytes]] = []
        self.last = 0

    def send(self, frames: Sequence[SendFrame]) -> list[Outcome]:
        """A batch: behind what is not accepted nothing is."""
        if not frames:
            return []
        fate = self._rng.choice(["fine"] * 6 + ["full", "away", "lost before", "lost after"])
        if fate in ("away", "lost before"):
            return [Outcome.UNAVAILABLE if fate == "away" else Outcome.UNKNOWN] * len(frames)
        room = self._rng.randrange(len(frames)) if fate == "full" else len(frames)
        outcomes = []
        for frame in frames:
            if frame.order <= self.last:
                outcomes.append(Outcome.DUPLICATE)
            elif room <= 0:
                outcomes.append(Outcome.FULL)
            else:
                room -= 1
                self.last = frame.order
                self.accepted.append((frame.order, frame.payload))
                outcomes.append(
                    self._rng.choice([Outcome.SENT, Outcome.BOXED]) if frame.ordered else Outcome.SENT
                )
        return [Outcome.UNKNOWN] * len(frames) if fate == "lost after" else outcomes

    def lose_data(self, known: int) -> None:
        """It came back empty, and was told what was known to have been accepted."""
        self.last = known
        self.accepted = [each for each in self.accepted if each[0] <= known]


@pytest.mark.seeds(300)
def test_whatever_breaks_what_was_said_arrives_in_order_and_once_and_nobody_is_closed(seed: int) -> None:
    rng = random.Random(seed)
    new, layer = made(rng.choice([2, 5, 100])), Layer(rng)
    new.connect_answered(Outcome.SENT)
    new.reply(ACCEPT)
    flight: list[Outcome] = []
    said: list[str] = []
    free_to_go = False
    for step in range(400):
        actions: Sequence[Action] = ()
        ending = step > 300
        if flight and rng.random() < 0.7:
            actions = new.answered(flight.pop(0))
        elif new.ordered is None and rng.random() < 0.1:
            actions = new.verdict(rng.choice([True, False, "slight"]))
        elif not ending and not new.pauses and new.room > 0:
            texts = [f"{len(said) + n}" for n in range(rng.randint(1, new.room if new.room < 6 else 5))]
            said += texts
            actions = new.received(texts)
        elif not flight and rng.random() < 0.05:
            layer.lose_data(new.known)
        free_to_go = free_to_go or any(isinstance(each, (Go, Wait)) for each in actions)
        assert not any(isinstance(each, Close) for each in actions)
        if free_to_go and not new.due and rng.random() < 0.6:
            if rng.random() < 0.2:
                new.hold()
                continue
            free_to_go = False
            frames = new.take(rng.choice([1, 3, 100]), rng.choice([300, 100_000]))
            flight += layer.send(frames)
            assert len({each.ordered for each in frames}) <= 1
            assert new.ordered is False or len(frames) <= 1 or not frames[0].ordered
    told = list(new.lost(1000))
    for _ in range(1_000):
        while flight:
            told += new.answered(flight.pop(0))
        flight += layer.send(new.take(100, 100_000))
    assert [each for each in told if isinstance(each, Tell)] == [Tell(1000, len(said) + 1)]
    assert [payload for _, payload in layer.accepted] == said
    assert [order for order, _ in layer.accepted] == list(range(1, len(said) + 1))


def random_step(new: Exchange, rng: random.Random, flight: list[SendFrame]) -> Sequence[Action]:
    reply = rng.choice(
        [ACCEPT, REFUSE, Reply(None, "x", CLOSE, ACCEPT.acceptance), Reply(None, "y"), Reply()]
    )
    steps: list[Callable[[], Sequence[Action]]] = [
        lambda: new.reply(reply),
        lambda: new.received(["abc"]),
        lambda: new.received([b"abc", ""]),
        lambda: new.verdict(rng.choice([True, False, "slight"])),
        lambda: new.lost(rng.choice([1000, 1006])),
        lambda: new.close(CLOSE),
        new.close_begun,
        lambda: new.turn_away(BUSY),
        lambda: new.failed(BUSY),
        lambda: new.give_up(TRY_AGAIN),
        new.lapsed,
        new.overdue,
        new.too_fast,
        new.slow_enough,
        new.falls_behind,
        new.caught_up,
        new.hold,
        lambda: new.take(3, 1_000),
    ]
    if flight and rng.random() < 0.5:
        flight.pop(0)
        outcomes = [*[Outcome.SENT] * 6, *(each for each in Outcome if each is not Outcome.TOLD)]
        return new.answered(rng.choice(outcomes))
    return rng.choice(steps)()


@pytest.mark.seeds(400)
def test_whatever_happens_the_end_is_told_once_or_refused_and_no_order_is_broken(seed: int) -> None:
    rng = random.Random(seed)
    new = made(rng.choice([1, 5, 100]))
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
        actions = going(new, actions)
        done += actions
        flight += [action for action in actions if isinstance(action, SendFrame)]
    if not connected:
        done += new.connect_answered(Outcome.SENT)
    done += new.lost()
    for _ in range(200):
        while flight:
            flight.pop(0)
            actions = going(new, new.answered(Outcome.SENT))
            done += actions
            flight += [action for action in actions if isinstance(action, SendFrame)]
        flight += new.take(100, 100_000)
        done += flight

    assert new.state is SocketState.ENDED
    kinds = [type(action) for action in done]
    owed = kinds.count(Tell) + kinds.count(Forget)
    assert owed == 1 if sent else owed <= 1
    assert kinds.count(Accept) + kinds.count(Deny) <= 1
    for kind in (Write, Close, SendFrame):
        assert kind not in kinds or kinds.index(Accept) < kinds.index(kind)
    assert kinds.count(Close) <= 1
    assert Write not in kinds[kinds.index(Close) :] if Close in kinds else True
    orders = [action.order for action in done if isinstance(action, SendFrame)]
    first_tries = list(dict.fromkeys(orders))
    assert first_tries == list(range(1, len(first_tries) + 1))
    for action in done:
        if isinstance(action, Tell):
            assert action.order > len(first_tries)
            assert not any(isinstance(later, SendFrame) for later in done[done.index(action) :])
    pauses = [kind for kind in kinds if kind in (Pause, Resume)]
    assert pauses == [Pause, Resume] * (len(pauses) // 2) + [Pause] * (len(pauses) % 2)


@pytest.mark.parametrize("ordered", [True, False])
def test_messages_without_content_count_for_what_waits_as_well(ordered: bool) -> None:
    new = exchange(ordered, messages=10_000, weight=64 * 1024)
    sent = 0
    while not new.pauses and sent < 10_000:
        new.received([""])
        sent += 1
    assert new.pauses, "a client may make us hold any number of messages"
    flight = list(new.take(10_000, 10_000_000))
    while flight:
        flight.pop()
        flight += [each for each in answer(new, Outcome.SENT) if isinstance(each, SendFrame)]
    assert not new.pauses
    assert new._weight == 0

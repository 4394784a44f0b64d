"""What one reactor turn gathers."""

from __future__ import annotations

from headrace_asgi.contract import Outcome
from headrace_asgi.layers.redis.plan.plan import ENTRIES_PER_COMMAND
from headrace_asgi.layers.redis.plan.turn import Frame, Turn
from tests.support.interfaces import plan_for

PLAN, _ = plan_for("redis://localhost?prefix=t")


def nothing(outcome: Outcome) -> None:
    """Nobody wants to know."""


def test_messages_are_gathered_by_channel_and_frames_by_place() -> None:
    turn = Turn(PLAN)
    assert turn.empty
    for number in range(3):
        turn.send("http.request", b"r%d" % number, nothing)
        turn.send("answers?x", b"a%d" % number, nothing)
        turn.frame(Frame("0", f"l{number}", number, b"f%d" % number, nothing))
    assert not turn.empty
    requests, answers, frames = turn.batches("hr1.0.p!")
    assert requests.command.args[-3:] == (b"r0", b"r1", b"r2")
    assert answers.command.args[-3:] == (b"a0", b"a1", b"a2")
    assert frames.command.args[-9:] == ("l0", 0, b"f0", "l1", 1, b"f1", "l2", 2, b"f2")
    assert [len(batch.dones) for batch in (requests, answers, frames)] == [3, 3, 3]
    assert [frame.local for frame in frames.frames] == ["l0", "l1", "l2"]
    assert not requests.frames


def test_the_next_turn_begins_empty() -> None:
    turn = Turn(PLAN)
    turn.frame(Frame("0", "a", 1, b"f", nothing))
    turn.batches("hr1.0.p!")
    assert turn.empty
    assert turn.batches("hr1.0.p!") == []


def test_no_call_carries_more_messages_than_lua_can_unpack_and_frames_are_never_split() -> None:
    turn = Turn(PLAN)
    for number in range(2 * ENTRIES_PER_COMMAND + 1):
        turn.send("http.request", b"r", nothing)
        turn.frame(Frame("0", "a", number, b"f", nothing))
    sizes = [len(batch.dones) for batch in turn.batches("hr1.0.p!")]
    assert sizes == [ENTRIES_PER_COMMAND, ENTRIES_PER_COMMAND, 1, 2 * ENTRIES_PER_COMMAND + 1]


def test_ordered_frames_go_first_and_are_split_as_each_socket_has_one_on_its_way() -> None:
    turn = Turn(PLAN)
    turn.frame(Frame("0", "plain", 1, b"f", nothing))
    for number in range(2 * ENTRIES_PER_COMMAND + 1):
        turn.frame(Frame("0", f"l{number}", 1, b"f", nothing, ordered=True))
    batches = turn.batches("hr1.0.p!")
    assert [len(batch.dones) for batch in batches] == [ENTRIES_PER_COMMAND, ENTRIES_PER_COMMAND, 1, 1]
    assert [batch.command.name for batch in batches] == ["frames_ordered"] * 3 + ["frames"]
    assert batches[1].frames[0].local == f"l{ENTRIES_PER_COMMAND}"

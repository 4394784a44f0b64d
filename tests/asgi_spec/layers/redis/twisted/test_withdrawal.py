"""The order in which a process that ends is taken out of Redis. The effect is tested with the port."""

from __future__ import annotations

from typing import Any, cast

from headrace_asgi.errors import OutcomeUnknown
from headrace_asgi.layers.redis.memory_watch import MemoryWatch
from headrace_asgi.layers.redis.twisted.executor import TwistedExecutor
from headrace_asgi.layers.redis.twisted.withdrawal import withdraw
from tests.support.interfaces import plan_for
from tests.support.links import ScriptedLink

PLAN, _ = plan_for("redis://localhost")


def answer_all(link: ScriptedLink, members: Any) -> None:
    """Answer the first round: SMEMBERS gets `members`, the others 1."""
    for _ in range(len(link.sent)):
        link.answer(members if link.commands[0][0] == b"SMEMBERS" else 1)


def test_groups_are_left_after_the_marks_are_gone() -> None:
    link, done = ScriptedLink(), []
    withdraw(
        PLAN,
        TwistedExecutor(cast(Any, {"0": link}), MemoryWatch("here", "nothing")),
        "hr1.0.p!",
        lambda: done.append(True),
    )
    assert b"DEL" in [command[0] for command in link.commands]
    answer_all(link, [b"g", b"h"])
    assert [command[0] for command in link.commands] == [b"HDEL", b"HDEL"]
    link.answer(1)
    assert not done
    link.answer(1)
    assert done == [True]


def test_without_groups_one_round_is_enough() -> None:
    for members in ([], OutcomeUnknown("lost")):
        link, done = ScriptedLink(), []
        withdraw(
            PLAN,
            TwistedExecutor(cast(Any, {"0": link}), MemoryWatch("here", "nothing")),
            "hr1.0.p!",
            lambda done=done: done.append(True),
        )
        answer_all(link, members)
        assert done == [True]
        assert not link.sent

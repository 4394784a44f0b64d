"""When Redis is told of groups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from headrace_asgi.errors import OutcomeUnknown
from headrace_asgi.layers.redis.memory_watch import MemoryWatch
from headrace_asgi.layers.redis.plan.membership import GHOST_DELAY_SECONDS, LEAVE_DELAY_SECONDS
from headrace_asgi.layers.redis.twisted.executor import TwistedExecutor
from headrace_asgi.layers.redis.twisted.groups import Groups
from tests.support.interfaces import plan_for
from tests.support.links import ScriptedLink

PLAN, _ = plan_for("redis://localhost")


class Bench:
    """Groups with a clock and a place of the test's own."""

    def __init__(self) -> None:
        self.link = ScriptedLink()
        self.executor = TwistedExecutor(cast(Any, {"0": self.link}), MemoryWatch("here", "nothing"))
        self.executor.open = True
        self.now = 0.0
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.groups = Groups(PLAN, self.executor, self.call_later, lambda: self.now)
        self.groups.process = "hr1.0.p!"

    def call_later(self, seconds: float, command: Callable[[], None]) -> Any:
        self.timers.append((self.now + seconds, command))
        return self

    def cancel(self) -> None:
        self.timers.clear()

    def wait(self, seconds: float) -> None:
        """Let time pass; timers that are due run."""
        self.now += seconds
        due = [command for at, command in self.timers if at <= self.now]
        self.timers = [timer for timer in self.timers if timer[0] > self.now]
        for command in due:
            command()


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_the_last_one_leaving_is_told_once_after_a_second(bench: Bench) -> None:
    bench.groups.add("g", "a", True)
    assert not bench.timers
    bench.groups.close("a")
    bench.groups.close("a")
    assert len(bench.timers) == 1
    bench.wait(LEAVE_DELAY_SECONDS)
    [command] = bench.link.commands
    assert command[-3:] == ("hr1.0.p!", "g", 1)
    bench.link.answer(1)
    assert bench.groups.membership.groups() == []


def test_nothing_is_told_while_the_process_is_not_registered(bench: Bench) -> None:
    bench.executor.open = False
    bench.groups.add("g", "a", True)
    bench.groups.discard("g", "a")
    bench.wait(2 * LEAVE_DELAY_SECONDS)
    assert not bench.link.sent
    bench.executor.open = True
    bench.groups.changed()
    bench.wait(0)
    assert bench.link.sent


def test_registering_anew_says_whether_all_of_it_worked(bench: Bench) -> None:
    done: list[bool] = []
    bench.groups.reassert(True, done.append)
    assert done == [True]
    for group in "gh":
        bench.groups.add(group, "a", True)
    bench.groups.reassert(True, done.append)
    bench.link.answer([1, 1])
    assert done == [True]
    bench.link.answer([0, 4])
    assert done == [True, True]
    bench.groups.reassert(True, done.append)
    bench.link.answer(OutcomeUnknown("lost"))
    bench.link.answer([0, 2])
    assert done == [True, True, False]
    bench.groups.reassert(True, done.append)
    bench.link.answer([-1, 0])
    bench.link.answer([0, 3])
    assert done == [True, True, False, False]


def test_a_ghost_is_laid_after_two_looks(bench: Bench) -> None:
    bench.groups.unexpected("g")
    bench.groups.unexpected("g")
    assert len(bench.link.sent) == 1
    bench.link.answer(b"3")
    bench.groups.remove_stale_members()
    assert not bench.link.sent
    bench.wait(GHOST_DELAY_SECONDS)
    bench.groups.remove_stale_members()
    bench.link.answer(b"3")
    [command] = bench.link.commands
    assert command[-3:] == ("hr1.0.p!", "g", 3)


def test_a_count_that_cannot_be_read_is_read_with_the_next_beat_and_is_not_taken_for_none(
    bench: Bench,
) -> None:
    bench.groups.add("g", "a", True)
    bench.groups.close("a")
    bench.wait(LEAVE_DELAY_SECONDS)
    bench.link.answer(0)  # an add is on its way, or was counted by a worker that died
    bench.groups.unexpected("g")
    bench.link.answer(OutcomeUnknown("lost"))
    assert bench.groups.membership.groups() == ["g"]
    bench.groups.remove_stale_members()
    bench.link.answer(b"2")
    bench.wait(GHOST_DELAY_SECONDS)
    bench.groups.remove_stale_members()
    bench.link.answer(b"2")
    [command] = bench.link.commands
    assert command[-3:] == ("hr1.0.p!", "g", 2)


def test_stopped_groups_tell_nothing(bench: Bench) -> None:
    bench.groups.add("g", "a", True)
    bench.groups.close("a")
    bench.groups.stop()
    bench.wait(2 * LEAVE_DELAY_SECONDS)
    assert not bench.link.sent

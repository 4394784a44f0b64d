"""Coarse deadlines for many."""

from __future__ import annotations

import math

import pytest
from twisted.internet import task

from headrace_interface.timers import TICK_SECONDS, Timers


class Thing:
    """Something with a deadline."""

    def __init__(self, error: Exception | None = None) -> None:
        self.due = self.watched = math.inf
        self.passed: list[float] = []
        self._error = error

    def deadline_passed(self, now: float) -> None:
        self.passed.append(now)
        if self._error is not None:
            raise self._error


def advance(clock: task.Clock, seconds: float) -> None:
    clock.pump([TICK_SECONDS / 2] * int(seconds / TICK_SECONDS * 2))


def test_a_deadline_is_met_once_and_at_most_a_tick_late() -> None:
    clock = task.Clock()
    timers, thing = Timers(clock), Thing()
    timers.set(thing, 10)
    advance(clock, 9.9)
    assert thing.passed == []
    advance(clock, 20)
    assert len(thing.passed) == 1
    assert 10 <= thing.passed[0] <= 10 + 2 * TICK_SECONDS
    assert thing.due == math.inf


def test_a_deadline_can_be_moved_both_ways() -> None:
    clock = task.Clock()
    timers, later, sooner, none = Timers(clock), Thing(), Thing(), Thing()
    for thing in (later, sooner, none):
        timers.set(thing, 10)
    timers.set(later, 20)
    timers.set(sooner, 2)
    timers.set(none, math.inf)
    advance(clock, 5)
    assert (len(later.passed), len(sooner.passed)) == (0, 1)
    advance(clock, 10)
    assert later.passed == []
    advance(clock, 10)
    assert (len(later.passed), len(none.passed)) == (1, 0)


def test_what_is_forgotten_is_not_held() -> None:
    clock = task.Clock()
    timers, thing = Timers(clock), Thing()
    timers.set(thing, 10)
    timers.forget(thing)
    timers.forget(thing)
    assert not any(bucket for bucket in timers._buckets.values())
    advance(clock, 20)
    assert thing.passed == []


def test_moving_a_deadline_away_costs_no_bookkeeping() -> None:
    timers, thing = Timers(task.Clock()), Thing()
    timers.set(thing, 10)
    for at in range(11, 1000):
        timers.set(thing, at)
    assert sum(len(bucket) for bucket in timers._buckets.values()) == 1


def test_a_clock_without_deadlines_is_not_asked() -> None:
    clock = task.Clock()
    timers, thing = Timers(clock), Thing()
    assert clock.getDelayedCalls() == []
    timers.set(thing, 1)
    advance(clock, 3)
    assert clock.getDelayedCalls() == []
    timers.set(thing, clock.seconds() + 1)
    advance(clock, 3)
    assert len(thing.passed) == 2


def test_one_that_fails_does_not_stop_the_others_h8(caplog: pytest.LogCaptureFixture) -> None:
    clock = task.Clock()
    timers = Timers(clock)
    things = [Thing(ValueError("bad")) for _ in range(3)] + [Thing()]
    for thing in things:
        timers.set(thing, 1)
    late = Thing()
    timers.set(late, 2)
    advance(clock, 5)
    assert [len(thing.passed) for thing in (*things, late)] == [1] * 5
    assert len(caplog.records) == 3


def test_a_deadline_may_be_set_again_while_it_is_met() -> None:
    clock = task.Clock()
    timers = Timers(clock)

    class Again(Thing):
        def deadline_passed(self, now: float) -> None:
            super().deadline_passed(now)
            timers.set(self, now + 1)

    thing = Again()
    timers.set(thing, 1)
    advance(clock, 6)
    assert len(thing.passed) >= 4


def test_now_is_the_clocks() -> None:
    clock = task.Clock()
    clock.advance(5)
    assert Timers(clock).now() == 5

"""What a registration does with the answers to its beats. Over a real Redis it is tested with the port."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import pytest

from headrace_asgi.contract import OpenSocket
from headrace_asgi.errors import LayerUnavailable
from headrace_asgi.layers.redis.memory_watch import MemoryWatch
from headrace_asgi.layers.redis.plan.clock import RedisClock
from headrace_asgi.layers.redis.plan.command import ALIVE, FENCED, LOST, UNMARKED
from headrace_asgi.layers.redis.plan.scripts import script
from headrace_asgi.layers.redis.twisted.executor import TwistedExecutor
from headrace_asgi.layers.redis.twisted.groups import Groups
from headrace_asgi.layers.redis.twisted.registration import (
    BEAT_SECONDS,
    KEEP_SECONDS,
    RETRY_SECONDS,
    SOCKETS_PER_COMMAND,
    Registration,
)
from tests.support.interfaces import plan_for
from tests.support.links import ScriptedLink

PLAN, _ = plan_for("redis://localhost")


class Bench:
    """A registration, its owner, a clock and a place of the test's own."""

    def __init__(self) -> None:
        self.link = ScriptedLink()
        self.executor = TwistedExecutor(cast(Any, {"0": self.link}), MemoryWatch("here", "nothing"))
        self.now = 0.0
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.events: list[Any] = []
        self.sockets: list[OpenSocket] = []
        monotonic = lambda: self.now  # noqa: E731
        self.groups = Groups(PLAN, self.executor, self.call_later, monotonic)
        self.clock = RedisClock(60, monotonic)
        self.registration = Registration(
            PLAN, self.executor, self.groups, self.clock, self, self.call_later, monotonic, "test"
        )

    # The owner

    def sockets_to_register(self, data_lost: bool) -> list[OpenSocket]:
        self.events.append(("asked", data_lost))
        return self.sockets

    def registered(self, sockets: Mapping[str, str]) -> None:
        self.events.append(("registered", dict(sockets)))

    def data_lost(self) -> None:
        self.events.append("data lost")

    def renamed(self) -> None:
        self.events.append("renamed")

    def here(self) -> None:
        self.events.append("here")

    def flushed(self) -> None:
        self.events.append("flushed")

    def beaten(self) -> None:
        self.events.append("beaten")

    # The clock

    def call_later(self, seconds: float, command: Callable[[], None]) -> Any:
        timer = _Timer(self.now + seconds, command, self.timers)
        self.timers.append(cast(Any, timer))
        return timer

    def wait(self, seconds: float) -> None:
        self.now += seconds
        for timer in [timer for timer in cast(Any, self.timers) if timer.at <= self.now]:
            self.timers.remove(timer)
            timer.command()

    # Redis

    def beat(self, status: int, flushes: int = 0, taken: Sequence[bytes] = ()) -> None:
        assert self.link.commands[0][1] == script("beat").sha
        assert self.registration.process in self.link.commands[0]
        self.link.answer([status, 1_000_000, flushes, list(taken)])

    def answer_all(self) -> list[Any]:
        """Answer everything that waits, as a Redis that has nothing against it."""
        names = []
        for _ in range(len(self.link.sent)):
            command = self.link.commands[0]
            names.append(command[0])
            regrouped = command[1] == script("group_reassert").sha
            self.link.answer([] if names[-1] == b"HGETALL" else [0, 1] if regrouped else 1)
        return names

    def registered_first(self) -> Bench:
        """Go through the first registration."""
        self.registration.connected()
        self.beat(LOST)
        self.answer_all()
        assert self.events.pop() == "here"
        self.events.clear()
        return self


class _Timer:
    def __init__(self, at: float, command: Callable[[], None], timers: list[Any]) -> None:
        self.at, self.command, self.timers = at, command, timers

    def cancel(self) -> None:
        self.timers.remove(self)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_the_first_registration_is_no_loss_of_data(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.registration.connected()
    assert not bench.registration.is_here
    bench.beat(LOST)
    assert bench.events == [("asked", False)]
    assert not bench.executor.open
    assert b"EVALSHA" in bench.answer_all()
    assert bench.events == [("asked", False), ("registered", {}), "here"]
    assert bench.executor.open
    assert bench.registration.is_here
    assert not caplog.records


def test_a_living_process_beats_every_few_seconds_and_learns_the_clock(bench: Bench) -> None:
    bench.registered_first()
    bench.wait(BEAT_SECONDS)
    bench.beat(ALIVE)
    assert bench.events == ["beaten"]
    assert bench.clock.now_ms() == 1_000_000
    bench.wait(BEAT_SECONDS - 0.1)
    assert not bench.link.sent
    bench.wait(0.1)
    assert bench.link.sent


def test_lost_data_is_registered_again_under_the_same_name(bench: Bench) -> None:
    name = bench.registered_first().registration.process
    bench.wait(BEAT_SECONDS)
    bench.beat(LOST)
    assert bench.events == ["data lost", ("asked", True)]
    bench.answer_all()
    assert bench.events[-1] == "here"
    assert bench.registration.process == name


def test_lost_data_is_told_once_however_often_the_registration_is_tried(bench: Bench) -> None:
    bench.registered_first()
    bench.registration.disconnected()
    bench.registration.connected()
    bench.beat(LOST)
    bench.link.answer(LayerUnavailable("not now"))
    bench.answer_all()
    bench.wait(RETRY_SECONDS)
    bench.beat(ALIVE)  # so much of it had worked
    bench.answer_all()
    told = [event for event in bench.events if event in ("data lost", "here") or event[0] == "asked"]
    assert told == ["data lost", ("asked", True), ("asked", True), "here"]
    bench.registration.disconnected()
    bench.registration.connected()
    bench.beat(LOST)
    assert bench.events.count("data lost") == 2


def test_a_process_whose_mark_is_gone_registers_again_and_lost_nothing(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    name = bench.registered_first().registration.process
    bench.wait(BEAT_SECONDS)
    bench.beat(UNMARKED)
    assert bench.events == [("asked", False)]
    bench.answer_all()
    assert bench.events[-1] == "here"
    assert bench.registration.process == name
    assert len(caplog.records) == 1


def test_each_beat_tells_which_channels_have_takers(bench: Bench) -> None:
    bench.registered_first()
    assert bench.registration.taken_channels == frozenset()
    bench.wait(BEAT_SECONDS)
    bench.beat(ALIVE, taken=[b"http.request"])
    assert bench.registration.taken_channels == {"http.request"}
    bench.wait(BEAT_SECONDS)
    bench.beat(ALIVE)
    assert bench.registration.taken_channels == frozenset()


def test_a_fenced_process_takes_a_new_name_and_leaves_its_groups(bench: Bench) -> None:
    name = bench.registered_first().registration.process
    bench.groups.add("g", "a", True)
    bench.wait(BEAT_SECONDS)
    bench.beat(FENCED)
    assert bench.events == ["renamed", ("asked", False)]
    assert bench.registration.process != name
    assert bench.groups.process == bench.registration.process
    assert bench.groups.membership.groups() == []


def test_after_a_reconnect_everything_is_registered_again(bench: Bench) -> None:
    bench.registered_first()
    bench.registration.disconnected()
    assert not bench.executor.open
    assert not bench.timers
    bench.groups.add("g", "a", True)
    bench.registration.connected()
    bench.beat(ALIVE)
    assert bench.events == [("asked", False)]
    assert bench.answer_all().count(b"EVALSHA") == 2  # the process and the group


def test_answers_of_a_connection_before_are_ignored(bench: Bench) -> None:
    bench.registration.connected()
    old = bench.link.sent.pop()
    bench.registration.disconnected()
    bench.registration.connected()
    old[1]([FENCED, 1, 0, []])
    assert bench.events == []
    bench.beat(LOST)
    bench.registration.disconnected()
    bench.answer_all()
    assert "here" not in bench.events


def test_a_registration_that_was_refused_is_tried_again(bench: Bench) -> None:
    bench.registration.connected()
    bench.link.answer(LayerUnavailable("not now"))
    bench.wait(RETRY_SECONDS)
    bench.beat(LOST)
    while bench.link.sent:
        bench.link.answer(LayerUnavailable("not now"))
    assert not bench.registration.is_here
    bench.wait(RETRY_SECONDS)
    bench.beat(LOST)
    bench.answer_all()
    assert bench.registration.is_here


def test_many_sockets_are_registered_in_calls_of_a_thousand(bench: Bench) -> None:
    bench.sockets = [
        OpenSocket(f"l{number}", "/", 7, number == 1) for number in range(SOCKETS_PER_COMMAND + 1)
    ]
    bench.registration.connected()
    bench.beat(LOST)
    large, small = [args for args in bench.link.commands if args[:2] == (b"EVALSHA", script("reassert").sha)]
    # The registry, the numbers, and the slot of the one that is ordered, which comes first.
    assert (large[2], len(large) - 6) == (3, 3 * SOCKETS_PER_COMMAND)
    assert large[6:9] == ("l1", "/", 7)
    assert (small[2], small[5:]) == (2, (f"l{SOCKETS_PER_COMMAND}", "/", 7))


def test_a_flush_of_the_layer_registers_the_groups(bench: Bench) -> None:
    bench.registered_first()
    bench.groups.add("g", "a", True)
    bench.wait(BEAT_SECONDS)
    bench.beat(ALIVE, flushes=1)
    assert [args[-1] for args in bench.link.commands] == ["g"]
    assert bench.events == ["flushed", "beaten"]


def test_a_beat_asked_for_behind_one_on_its_way_is_made_after_it(bench: Bench) -> None:
    """The one on its way may have been answered before what raised the question."""
    bench.registered_first()
    bench.registration.beat()
    bench.registration.beat()
    assert len(bench.link.sent) == 1
    bench.beat(ALIVE)
    assert bench.events == []
    bench.beat(ALIVE)
    assert bench.events == ["beaten"]


def test_marks_are_kept_from_rubbish_collection(bench: Bench) -> None:
    bench.registered_first()
    bench.wait(KEEP_SECONDS + 1)
    bench.beat(ALIVE)
    assert [args[0] for args in bench.link.commands] == [b"EXPIRE"]


def test_a_stopped_registration_beats_no_more(bench: Bench) -> None:
    bench.registered_first()
    bench.registration.stop()
    bench.registration.beat()
    bench.registration.disconnected()
    bench.registration.connected()
    bench.wait(2 * BEAT_SECONDS)
    assert not bench.link.sent

"""What is done for a worker while it runs a consumer."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from headrace.conf import WorkerSettings
from headrace.worker.activity import Activity
from headrace.worker.flusher import QUIET_LOOKS, Flusher
from headrace.worker.line import Line
from headrace_asgi import InMemoryChannelLayer
from headrace_asgi.contract import Delivery, Send
from headrace_asgi.envelope import pack_message
from tests.support.workers import Clock


class Scene:
    """A flusher of an owner that the test plays, and a clock."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.layer = InMemoryChannelLayer()
        self.counters: Counter[str] = Counter()
        self.stopping = False
        self.activity = Activity()
        self.line = Line(self.layer, WorkerSettings(), self.counters, lambda: self.stopping, self.clock)
        self.batch: deque[Delivery] = deque()
        self.flusher = Flusher(self.line, self.activity, self.batch, lambda: self.stopping, self.clock)

    def take(self, count: int) -> None:
        """Take messages, and begin to run the first."""
        for number in range(count):
            self.layer.send("work", {"n": number})
        self.batch.extend(self.line.turn(["work"], count))
        self.activity.running = (self.batch.popleft(), self.clock())

    def written(self, channel: str = "answers") -> list[int]:
        return [message["n"] for _, message in self.layer.receive_many([channel], 1000)]


@pytest.fixture
def scene() -> Iterator[Scene]:
    scene = Scene()
    yield scene
    scene.flusher.close()


def eventually(check: Callable[[], Any]) -> None:
    give_up = time.monotonic() + 5
    while not check():
        assert time.monotonic() < give_up
        time.sleep(0.002)


def test_answers_leave_when_the_message_behind_them_runs_for_some_milliseconds(scene: Scene) -> None:
    scene.take(2)
    scene.line.put([Send("answers", pack_message({"n": 1}))])
    scene.clock.sleep(0.002)
    assert scene.flusher.look()
    assert scene.written() == []
    scene.clock.sleep(0.004)
    scene.flusher.look()
    assert scene.written() == [1]
    assert not scene.line.pending


def test_an_owner_that_runs_nothing_writes_itself(scene: Scene) -> None:
    scene.line.put([Send("answers", pack_message({"n": 1}))])
    scene.clock.sleep(1)
    assert not scene.flusher.look()
    assert scene.written() == []


def test_at_a_stop_what_was_not_started_goes_back_before_what_runs_has_ended(scene: Scene) -> None:
    scene.take(10)
    scene.flusher.start()
    scene.stopping = True
    scene.flusher.rouse()
    eventually(lambda: scene.layer.statistics("work")["pending"] == 9)
    assert not scene.batch
    assert scene.written("work") == list(range(1, 10))
    assert scene.counters == {"given back": 9}


def test_what_waits_behind_a_long_message_goes_back_in_its_order(scene: Scene) -> None:
    scene.take(5)
    scene.clock.sleep(0.019)
    assert scene.flusher.look()
    assert len(scene.batch) == 4
    scene.clock.sleep(0.002)
    scene.flusher.look()
    assert not scene.batch
    assert scene.written("work") == [1, 2, 3, 4]


def test_the_flusher_sleeps_when_there_is_nothing_to_do_and_wakes_for_what_is_there(scene: Scene) -> None:
    looks = []
    look = scene.flusher.look
    scene.flusher.look = lambda: looks.append(1) or look()  # type: ignore[method-assign, func-returns-value]
    scene.flusher.start()
    assert scene.flusher.asleep
    scene.flusher.rouse()
    eventually(lambda: scene.flusher.asleep)
    time.sleep(0.05)
    assert QUIET_LOOKS <= len(looks) <= QUIET_LOOKS + 3
    scene.take(2)
    scene.clock.sleep(1)
    scene.line.put([Send("answers", pack_message({"n": 1}))])
    scene.flusher.rouse()
    eventually(lambda: not scene.line.pending)
    assert scene.written() == [1]


def test_a_look_that_fails_is_not_the_last(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    looked = threading.Event()

    def fails() -> bool:
        if "a bug of ours" in caplog.text:
            looked.set()
        raise ZeroDivisionError("a bug of ours")

    scene.flusher.look = fails  # type: ignore[method-assign]
    scene.flusher.start()
    scene.flusher.rouse()
    assert looked.wait(5)


def test_of_two_that_want_a_delivery_one_gets_it(scene: Scene) -> None:
    scene.take(900)
    popped = []

    def owner() -> None:
        try:
            while True:
                popped.append(scene.batch.popleft().message["n"])
        except IndexError:
            pass

    thread = threading.Thread(target=owner)
    thread.start()
    scene.flusher.give_back()
    thread.join()
    assert sorted(popped + scene.written("work")) == list(range(1, 900))

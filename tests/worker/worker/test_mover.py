"""The thread that moves what is due."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from headrace.worker.mover import Mover
from headrace_asgi import InMemoryChannelLayer
from headrace_asgi.contract import ChannelLayer
from headrace_asgi.errors import LayerUnavailable
from headrace_asgi.layers.redis.blocking.layer import RedisPlaceLayer
from tests.support.stack import eventually


@contextmanager
def moving(layer: ChannelLayer) -> Iterator[Mover]:
    mover = Mover(layer, ["work"])
    mover.start()
    try:
        yield mover
    finally:
        began = time.monotonic()
        mover.close()
        assert time.monotonic() - began < 1.0, "it did not end at once"
        assert not mover._thread.is_alive()


def pending(layer: ChannelLayer) -> int:
    return layer.statistics("work")["pending"]


def test_what_is_due_is_moved_in_its_time_also_behind_something_far_away(redis_url: str) -> None:
    layer = RedisPlaceLayer([redis_url])
    with moving(layer):
        layer.send_later("work", {"n": 1}, delay=30)
        time.sleep(0.1)
        due = time.monotonic() + 0.3
        layer.send_later("work", {"n": 2}, delay=0.3)
        assert layer.receive_many(["work"], 2, 5) == [("work", {"n": 2})]
        assert abs(time.monotonic() - due) < 0.1
    layer.close()


def test_several_movers_move_each_message_once(redis_url: str) -> None:
    layer = RedisPlaceLayer([redis_url])
    with moving(layer), moving(layer), moving(layer):
        for number in range(300):
            layer.send_later("work", {"n": number}, delay=0.05 + number % 7 / 50)
        eventually(lambda: pending(layer) >= 300)
        time.sleep(0.2)
        found = layer.receive_many(["work"], 1000)
    assert sorted(message["n"] for _, message in found) == list(range(300))
    layer.close()


def test_a_layer_in_memory_has_movers_too() -> None:
    layer = InMemoryChannelLayer()
    with moving(layer):
        layer.send_later("work", {}, delay=0.1)
        assert pending(layer) == 0
        eventually(lambda: pending(layer) == 1, 5)


class Failing(InMemoryChannelLayer):
    """Fails with `errors`, one for each look."""

    errors: list[Exception]

    def move_due(self, channels: Iterable[str] = ()) -> float:
        if self.errors:
            raise self.errors.pop()
        return super().move_due(channels)


@pytest.mark.parametrize("error", [LayerUnavailable("away"), RuntimeError("a bug")])
def test_it_goes_on_after_a_failure(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.worker.mover.LONGEST_PAUSE_SECONDS", 0.1)
    layer = Failing()
    layer.errors = [error]
    with moving(layer):
        layer.send_later("work", {}, delay=0.05)
        eventually(lambda: pending(layer) == 1, 5)
    assert layer.errors == []


def test_where_nothing_becomes_due_there_is_no_thread() -> None:
    class Plain(InMemoryChannelLayer):
        extensions = ("groups",)

    before = threading.active_count()
    mover = Mover(Plain(), [])
    mover.start()
    assert threading.active_count() == before
    mover.close()


def test_it_sees_to_the_bells_of_the_channels_that_are_taken() -> None:
    layer = InMemoryChannelLayer(acknowledged=["work"])
    layer.send("work", {"n": 1})
    with layer._hub as store:
        store.take_all("work")
    port: Any = layer.open_worker_port(lambda item, outcome: None)
    assert port.turn([], ["work"], 1, 0) == []
    with moving(layer):
        (delivery,) = port.turn([], ["work"], 1, 5)
    assert delivery.message == {"n": 1}

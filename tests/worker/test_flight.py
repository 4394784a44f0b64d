"""What runs long, and who is told."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest

from headrace.conf import Settings
from headrace.flight import Slot, Watcher
from headrace_asgi import InMemoryChannelLayer
from headrace_asgi.contract import Delivery
from headrace_asgi.errors import LayerUnavailable
from tests.support.workers import Clock, layer_with

SETTINGS = Settings(long_running_seconds=1.0, renew_seconds=5.0, stop_deadline_seconds=10.0)


class Scene:
    """A watcher of one slot, an interface process, and a clock."""

    def __init__(self, **config: Any) -> None:
        self.clock = Clock()
        self.layer = layer_with([], clock=self.clock, **config)
        self.process = self.layer.open_process()
        self.slot = Slot()
        self.left: list[int] = []
        self.stops: list[str] = []
        self.watcher = self.watch()

    def watch(self, lifeline: int | None = None) -> Watcher:
        return Watcher(
            self.layer,
            [self.slot],
            SETTINGS,
            lambda: self.stops.append("stop"),
            lifeline,
            self.clock,
            self.left.append,
        )

    def run(self, channel: str = "http.request", order: int | None = None) -> Delivery:
        content = {"reply_channel": self.process.process + "a", "path": "/"}
        delivery = Delivery(channel, content, b"", 0, "0", self.clock(), order)
        self.slot.running = (delivery, self.clock())
        return delivery

    def heard(self, after: float) -> list[str]:
        self.clock.sleep(after)
        self.watcher.check()
        return [one.control for one in self.process.heard()]


def test_a_client_whose_message_runs_for_over_a_second_is_told_once() -> None:
    scene = Scene()
    scene.run()
    assert scene.heard(after=0.5) == []
    assert scene.heard(after=0.6) == ["running"]
    assert scene.heard(after=1.0) == []
    scene.run()
    assert scene.heard(after=0.5) == []
    assert scene.heard(after=0.6) == ["running"]
    scene.slot.running = None
    assert scene.heard(after=5) == []


def test_background_messages_and_foreign_clients_are_left_alone() -> None:
    scene = Scene()
    for content in ({}, {"reply_channel": "other!x"}, {"reply_channel": 5}):
        scene.slot.running = (Delivery("http.request", content, b"", 0, "0", 0.0), scene.clock())
        assert scene.heard(after=2) == []
    for channel in ("work", "websocket.receive"):
        scene.run(channel)
        assert scene.heard(after=2) == []


def test_the_lease_of_an_ordered_message_that_runs_long_is_renewed() -> None:
    scene = Scene(ordering_lease_seconds=8, expiry=2)
    content = {"reply_channel": scene.process.process + "a", "path": "/"}
    scene.process.connect("a", "/", content)
    port = scene.layer.open_worker_port(lambda item, outcome: None)
    (delivery,) = port.turn([], ["websocket.connect"], 1, 0)
    scene.slot.running = (delivery, scene.clock())
    for _ in range(10):
        scene.heard(after=3)
    assert port.renew(delivery)
    scene.clock.sleep(9)
    assert not port.renew(delivery)


def test_a_lapsed_lease_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene()
    scene.run("websocket.receive", order=3)
    scene.heard(after=6)
    assert "ordering lease of a running websocket.receive lapsed" in caplog.text


def test_a_lost_layer_only_delays_the_word(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene()

    class Down(InMemoryChannelLayer):
        def open_worker_port(self, on_refused: Any) -> Any:
            raise LayerUnavailable("nobody there")

    layer, scene.layer.channel_layer = scene.layer.channel_layer, Down()
    scene.run()
    assert scene.heard(after=2) == []
    assert "Cannot say what runs long" in caplog.text
    scene.layer.channel_layer = layer
    assert scene.heard(after=1) == ["running"]


def test_a_stop_that_takes_too_long_ends_the_process(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene()
    scene.run()
    scene.watcher.stopping()
    scene.heard(after=9)
    assert scene.left == []
    scene.watcher.stopping()
    scene.heard(after=2)
    assert scene.left == [1]
    assert "A message on http.request still runs" in caplog.text


def test_the_thread_stops_the_worker_when_the_parent_is_gone(caplog: pytest.LogCaptureFixture) -> None:
    read, write = os.pipe()
    stopped = threading.Event()
    watcher = Watcher(layer_with([]), [], SETTINGS, stopped.set, read)
    watcher.start()
    try:
        assert not stopped.wait(0.05)
        os.close(write)
        assert stopped.wait(5)
    finally:
        watcher.close()
        os.close(read)
    assert "The parent process is gone" in caplog.text

"""What runs long, and who is told."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest

from headrace import takers
from headrace.conf import WorkerSettings
from headrace.worker.activity import Activity
from headrace.worker.watcher import Watcher
from headrace_asgi import InMemoryChannelLayer
from headrace_asgi.contract import Delivery
from headrace_asgi.errors import KeySpoilt, LayerUnavailable
from tests.support.workers import Clock, layer_with

SETTINGS = WorkerSettings(long_running_seconds=1.0, renew_seconds=5.0)


class Scene:
    """A watcher of one thread, an interface process, and a clock."""

    def __init__(self, **config: Any) -> None:
        self.clock = Clock()
        self.layer = layer_with([], clock=self.clock, **config)
        self.process = self.layer.channel_layer.open_process()
        self.activity = Activity()
        self.stops: list[str] = []
        self.flushes: list[float] = []
        self.watcher = self.watch()

    def watch(self, lifeline: int | None = None) -> Watcher:
        return Watcher(
            self.layer,
            [self.activity],
            SETTINGS,
            lambda: self.stops.append("stop"),
            lifeline,
            self.clock,
            ["http.request"],
            lambda: self.flushes.append(self.clock()),
        )

    def run(self, channel: str = "http.request", order: int | None = None) -> Delivery:
        content = {"reply_channel": self.process.process + "a", "path": "/"}
        delivery = Delivery(channel, content, b"", 0, "0", self.clock(), order)
        self.activity.running = (delivery, self.clock())
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
    scene.activity.running = None
    assert scene.heard(after=5) == []


def test_background_messages_and_foreign_clients_are_left_alone() -> None:
    scene = Scene()
    for content in ({}, {"reply_channel": "other!x"}, {"reply_channel": 5}):
        scene.activity.running = (Delivery("http.request", content, b"", 0, "0", 0.0), scene.clock())
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
    scene.activity.running = (delivery, scene.clock())
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


def test_a_message_that_runs_very_long_is_logged_once_with_where_it_is_and_when_it_ended(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scene = Scene()
    stuck, release = threading.Event(), threading.Event()

    def a_stuck_view() -> None:
        scene.activity.thread_id = threading.get_ident()
        stuck.set()
        release.wait(5)

    thread = threading.Thread(target=a_stuck_view)
    thread.start()
    assert stuck.wait(5)
    delivery = scene.run()
    scene.heard(after=29)
    assert "has been running" not in caplog.text
    for _ in range(5):
        scene.heard(after=1)
    release.set()
    thread.join()
    lines = [record.message for record in caplog.records if "has been running for 30 s" in record.message]
    assert len(lines) == 1
    reply_channel = delivery.message["reply_channel"]
    assert lines[0].startswith(
        f"A message on http.request (path '/', reply channel '{reply_channel}') has been running"
    )
    assert "threading.py" in lines[0]
    assert f"called from {__file__}" in lines[0]
    assert "in a_stuck_view" in lines[0]
    scene.activity.running = None
    scene.heard(after=1)
    scene.heard(after=1)
    assert caplog.text.count("ended after 35 s") == 1


def test_the_end_of_a_message_that_did_not_run_long_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene()
    scene.run()
    scene.heard(after=20)
    scene.run()
    scene.heard(after=20)
    assert not caplog.records


def test_what_is_held_back_is_written_while_a_consumer_runs_and_not_for_an_idle_worker() -> None:
    scene = Scene()
    scene.heard(after=0.5)
    assert scene.flushes == []
    scene.run()
    scene.heard(after=0.5)
    scene.heard(after=0.5)
    assert len(scene.flushes) == 2


def test_the_channels_of_a_worker_are_announced_at_the_start_and_every_30_seconds() -> None:
    scene = Scene()
    said: list[tuple[float, Any]] = []
    vars(scene.layer.channel_layer)["announce"] = lambda channels: said.append((scene.clock.now, channels))
    for _ in range(61):
        scene.heard(after=1)
    assert said == [(1001.0, ["http.request"]), (1031.0, ["http.request"]), (1061.0, ["http.request"])]


def test_the_layer_looks_for_dead_interface_servers_every_five_seconds_also_after_an_outage() -> None:
    scene = Scene()
    looked: list[float] = []

    def reap() -> None:
        looked.append(scene.clock.now)
        if len(looked) == 2:
            raise LayerUnavailable("nobody there")

    vars(scene.layer.channel_layer)["reap"] = reap
    for _ in range(16):
        scene.heard(after=1)
    assert looked == [1001.0, 1006.0, 1011.0, 1016.0]


def test_who_cannot_look_for_the_dead_because_of_a_spoilt_key_says_so_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scene = Scene()

    def reap() -> None:
        raise KeySpoilt("somebody wrote hr1:{0}:beat")

    vars(scene.layer.channel_layer)["reap"] = reap
    for _ in range(20):
        scene.heard(after=1)
    assert (
        caplog.text.count("Nobody can tell which interface servers are dead: somebody wrote hr1:{0}:beat")
        == 1
    )


def test_a_layer_that_is_away_only_delays_the_announcement(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene()

    class Down(InMemoryChannelLayer):
        def announce(self, channels: Any) -> None:
            raise LayerUnavailable("nobody there")

    layer, scene.layer.channel_layer = scene.layer.channel_layer, Down()
    scene.watcher.check()
    scene.layer.channel_layer = layer
    assert scene.process.taken_channels == frozenset()
    scene.heard(after=6)
    assert scene.process.taken_channels == {"http.request"}
    assert not caplog.records


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


def test_it_looks_whether_anybody_takes_what_consumers_send(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene()
    monkeypatch.setattr(takers, "_noted", {"work": scene.layer})
    monkeypatch.setattr(takers, "settled", set())
    scene.watcher.check()
    assert takers.settled == {"work"}
    assert takers._noted == {}


def test_the_claim_of_an_acknowledged_message_that_runs_long_is_renewed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scene = Scene(acknowledged=["kept"])
    scene.layer.send("kept", {})
    port = scene.layer.open_worker_port(lambda item, outcome: None)
    (delivery,) = port.turn([], ["kept"], 1, 0)
    scene.activity.running = (delivery, scene.clock())
    for _ in range(10):
        scene.heard(after=2.5)
    scene.layer.move_due(["kept"])
    assert port.turn([], ["kept"], 1, 0) == []
    assert "claim" not in caplog.text
    scene.clock.sleep(10)
    assert len(port.turn([], ["kept"], 1, 0)) == 1
    scene.heard(after=0)
    assert "The claim of a running kept lapsed" in caplog.text

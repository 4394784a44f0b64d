"""What a dead interface server left behind, ended by those that live; on a real Redis."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from headrace_asgi.contract import Outcome
from headrace_asgi.envelope import encode, pack_message
from headrace_asgi.errors import LayerUnavailable
from headrace_asgi.layers.redis.blocking.layer import RedisPlaceLayer
from headrace_asgi.layers.redis.blocking.reaper import Reaper
from headrace_asgi.layers.redis.plan.command import ALIVE, FENCED, RedisCommand, as_is
from headrace_asgi.messages import WEBSOCKET_DISCONNECT
from headrace_asgi.names import new_process_queue


class Scene:
    """An interface process as Redis knows it, and an observer with a clock of its own."""

    def __init__(self, url: str) -> None:
        self.layer = RedisPlaceLayer([url])
        self.plan = self.layer.plan
        self.now = 1000.0
        self.reaper = self.observer()
        self.process = self.register()
        self.beat(self.process)

    def observer(self) -> Reaper:
        return Reaper(self.plan, self.layer, lambda: self.now)

    def register(self) -> str:
        process = new_process_queue("0")
        for command in self.plan.register(process, "{}"):
            self.layer.ask(command)
        return process

    def beat(self, process: str) -> int:
        status: int = self.layer.ask(self.plan.beat(process)).status
        return status

    def connect(self, *locals_: str) -> None:
        """Sockets whose connect was handled."""
        for local in locals_:
            socket = self.process + local
            assert self.layer.ask(self.plan.connect(socket, f"/{local}", message(socket, 0))) is Outcome.SENT
        self.layer.receive_many(["websocket.connect"], 1000)

    def look(self, *observers: Reaper, times: int = 1) -> None:
        for _ in range(times):
            self.now += 5
            for observer in observers or (self.reaper,):
                observer.look()

    def told(self) -> Counter[str]:
        """Which disconnects lie on their channel."""
        return Counter(content["path"] for _, content in self.disconnects())

    def disconnects(self) -> list[tuple[str, dict[str, Any]]]:
        return self.layer.receive_many(["websocket.disconnect"], 1000)

    def keys(self) -> set[str]:
        found = self.layer.ask(RedisCommand("0", (b"KEYS", self.plan.key("0", "*")), as_is))
        return {key.decode().removeprefix(self.plan.key("0", "")) for key in found}


def message(socket: str, order: int) -> bytes:
    return encode(pack_message({"reply_channel": socket, "path": "/sent"}), order=order)


@pytest.fixture
def scene(redis_url: str) -> Iterator[Scene]:
    made = Scene(redis_url)
    yield made
    made.layer.close()


def test_each_socket_of_a_dead_process_gets_one_disconnect_and_nothing_is_left(scene: Scene) -> None:
    before = scene.keys()
    names = [f"{number:03}" for number in range(350)]
    scene.connect(*names)
    scene.layer.group_add("room", scene.process + names[0])
    scene.layer.group_add("hall", scene.process + names[1])
    scene.look(times=4)
    assert scene.disconnects() == []
    scene.look()
    told = [content for _, content in scene.disconnects()]
    for content in told:
        WEBSOCKET_DISCONNECT.check(content)
    assert {content["code"] for content in told} == {1006}
    assert sorted(content["reply_channel"] for content in told) == [scene.process + name for name in names]
    assert sorted(content["path"] for content in told) == [f"/{name}" for name in names]
    scene.look(times=2)
    assert scene.told() == {}
    assert scene.layer.ask(scene.plan.group_read("room")) == ([], [])
    left = {key for key in scene.keys() - before if not key.startswith(("o:", "tally:"))}
    assert left == {f"fenced:{scene.process}", "n", "reaper"}


def test_a_process_that_dies_before_its_heart_beats_is_missed_too(scene: Scene) -> None:
    scene.process = scene.register()
    scene.connect("a")
    scene.look(times=5)
    assert scene.told() == {"/a": 1}


def test_a_process_whose_heart_beats_is_left_alone(scene: Scene) -> None:
    scene.connect("a")
    for _ in range(10):
        scene.look()
        assert scene.beat(scene.process) == ALIVE
    assert scene.told() == {}


def test_a_paused_process_that_comes_back_finds_itself_fenced_and_tells_nothing_twice(scene: Scene) -> None:
    scene.connect("a", "b")
    scene.look(times=6)
    assert scene.beat(scene.process) == FENCED
    told, new = scene.process + "a", scene.process + "c"
    assert scene.layer.ask(scene.plan.disconnect(told, 9, message(told, 9))) is Outcome.TOLD
    assert scene.layer.ask(scene.plan.connect(new, "/c", message(new, 0))) is Outcome.GONE
    assert scene.told() == {"/a": 1, "/b": 1}


def test_a_process_that_wakes_while_it_registers_stays_dead(scene: Scene) -> None:
    scene.connect("a")
    scene.look(times=6)
    assert [scene.layer.ask(command) for command in scene.plan.register(scene.process, "{}")] == [False]
    assert scene.beat(scene.process) == FENCED


def test_a_heart_that_beats_once_more_before_the_fence_is_alive(scene: Scene) -> None:
    counters, _ = scene.layer.ask(scene.plan.look_after("somebody"))
    scene.beat(scene.process)
    assert not scene.layer.ask(scene.plan.fence(scene.process, counters[scene.process]))
    assert scene.beat(scene.process) == ALIVE


def test_one_observer_looks_and_another_takes_over_when_it_is_gone(scene: Scene) -> None:
    other = scene.observer()
    scene.connect("a")
    scene.look(scene.reaper, other, times=3)
    scene.layer.ask(RedisCommand("0", (b"DEL", scene.plan.key("0", "reaper")), as_is))  # its time is over
    scene.look(other, times=6)
    assert scene.told() == {"/a": 1}


def test_a_forked_copy_of_an_observer_is_another_one(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.look()
    monkeypatch.setattr(os, "getpid", lambda: 1)
    assert scene.layer.ask(scene.plan.look_after(scene.reaper.name)) is None


def test_several_that_clean_up_at_once_tell_each_disconnect_once(scene: Scene) -> None:
    scene.connect(*map(str, range(300)))
    scene.look(times=4)
    counters, _ = scene.layer.ask(scene.plan.look_after(scene.reaper.name))
    assert scene.layer.ask(scene.plan.fence(scene.process, counters[scene.process]))
    threads = [threading.Thread(target=scene.observer()._clean, args=[scene.process]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert scene.told() == Counter(f"/{number}" for number in range(300))


def test_what_could_not_be_cleaned_up_is_with_the_next_look(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.connect(*map(str, range(300)))
    scene.look(times=4)
    run, rounds = scene.layer.run, []

    def breaks(commands: Any) -> Any:
        rounds.append(commands)
        if len(rounds) == 2:
            raise LayerUnavailable("the connection broke")
        return run(commands)

    with monkeypatch.context() as patch:
        patch.setattr(scene.layer, "run", breaks)
        with pytest.raises(LayerUnavailable):
            scene.look()
    scene.look()
    assert scene.told() == Counter(f"/{number}" for number in range(300))


def test_a_socket_with_messages_in_its_mailbox_gets_its_disconnect_last(scene: Scene) -> None:
    scene.connect("a")
    socket = scene.process + "a"
    for order in (1, 2):
        scene.layer.ask(scene.plan.frame_ordered(socket, order, message(socket, order)))
    scene.look(times=6)
    assert scene.told() == {}, "the frames come first"
    for order in (1, 2):
        scene.layer.ask(scene.plan.finish(socket, order, "0"))
    assert scene.told() == {"/a": 1}


def test_the_layer_looks_when_it_is_asked_to(scene: Scene) -> None:
    scene.connect("a")
    scene.layer._reaper._monotonic = lambda: scene.now
    for _ in range(6):
        scene.now += 5
        scene.layer.reap()
    assert scene.told() == {"/a": 1}

"""The interface port over blocking methods: what of the contract those can give, and its own."""

from __future__ import annotations

import threading
import time
import unittest
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from headrace_asgi.conformance.interface_port import InterfacePortConformance
from headrace_asgi.conformance.receiver import Recorder
from headrace_asgi.contract import ChannelLayer, InterfacePort, Outcome
from headrace_asgi.envelope import Message
from headrace_asgi.errors import LayerUnavailable, OutcomeUnknown
from headrace_asgi.layers.memory.layer import InMemoryChannelLayer
from headrace_asgi.layers.threaded_port import ThreadedPort, open_interface_ports
from tests.support.reactors import HandReactor, hand_reactor


class BlockingLayer(InMemoryChannelLayer):
    """A memory layer that has no line for an interface server, and that can be away."""

    #: Raised by whatever is asked.
    error: Exception | None = None

    def open_interface_port(self, reactor: Any, version_label: str = "") -> Any:
        return ChannelLayer.open_interface_port(self, reactor, version_label)

    def send(self, channel: str, message: Message) -> None:
        if self.error is not None:
            raise self.error
        super().send(channel, message)

    def receive(
        self, channels: Iterable[str], block: bool = False
    ) -> tuple[str, Message] | tuple[None, None]:
        listed = list(channels)
        give_up = time.monotonic() + 5
        while self.error is None:
            found = super().receive(listed)
            if found[0] is not None or not block or time.monotonic() > give_up:
                return found
            time.sleep(0.001)
        raise self.error


class TestTheContract(InterfacePortConformance, unittest.TestCase):
    capacity_limit = 5
    is_native = False
    reactor: HandReactor
    channel_layer: BlockingLayer

    def setUp(self) -> None:
        self.reactor = self.enterContext(hand_reactor())
        self.channel_layer = BlockingLayer(capacity=5, channel_capacity={"headrace.*!": 100})
        super().setUp()

    def turn_reactor(self) -> None:
        self.reactor.iterate(0.005)

    def lose_layer(self) -> None:
        self.channel_layer.error = LayerUnavailable("a test's own outage")

    def restore_layer(self) -> None:
        self.channel_layer.error = None

    def test_replies_said_during_an_outage_are_heard_after_it(self) -> None:
        """Here workers have the same outage."""
        self.lose_layer()
        self.until(lambda: self.receiver.of("lost"))
        self.restore_layer()
        self.channel_layer.send(self.port.process + "a", {"number": 1})
        self.until(lambda: self.receiver.of("reply"))


class Scene:
    def __init__(self, reactor: HandReactor) -> None:
        self.reactor = reactor
        self.layer = BlockingLayer(capacity=5)
        self.receiver = Recorder()
        self.port: InterfacePort = open_interface_ports(self.layer, reactor)[0]
        self.outcomes: list[Outcome] = []

    def start(self) -> Scene:
        self.port.start(self.receiver)
        self.reactor.until(lambda: self.receiver.heard)
        return self

    def awaited(self, count: int) -> list[Outcome]:
        self.reactor.until(lambda: len(self.outcomes) >= count)
        return self.outcomes

    def connect(self) -> None:
        self.port.connect("a", "/", {"path": "/"}, 30, self.outcomes.append)

    def frame(self, order: int) -> None:
        self.port.frame("a", {"text": str(order)}, order, True, self.outcomes.append)

    def stop(self, seconds: float = 5.0) -> None:
        ended: list[None] = []
        self.port.stop(lambda: ended.append(None), seconds)
        self.reactor.until(lambda: ended)


@pytest.fixture
def scene() -> Iterator[Scene]:
    with hand_reactor() as reactor:
        scene = Scene(reactor)
        yield scene
        scene.layer.error = None
        if not scene.port._stopping:  # type: ignore[attr-defined]
            scene.stop()


def names() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("headrace-interface")]


def test_a_layer_without_a_line_of_its_own_gets_one(scene: Scene) -> None:
    scene.start()
    assert isinstance(scene.port, ThreadedPort)
    assert scene.port.taken_channels == frozenset()
    assert scene.port.label == "memory"


def test_both_threads_end_with_the_port_and_at_once(scene: Scene) -> None:
    before = len(names())
    scene.start()
    assert len(names()) == before + 2
    started = time.monotonic()
    scene.stop()
    while len(names()) > before and time.monotonic() < started + 3:
        time.sleep(0.01)
    assert len(names()) == before
    assert scene.receiver.of("reply") == []


def test_an_unknown_outcome_is_told_and_nothing_behind_it_is_accepted(scene: Scene) -> None:
    scene.start().connect()
    scene.awaited(1)
    scene.layer.error = OutcomeUnknown("a test's own")
    scene.frame(1)
    scene.frame(2)
    assert scene.awaited(3)[1:] == [Outcome.UNKNOWN, Outcome.UNAVAILABLE]
    scene.layer.error = None
    scene.frame(1)
    scene.frame(2)
    scene.frame(2)
    assert scene.awaited(6)[3:] == [Outcome.SENT, Outcome.SENT, Outcome.DUPLICATE]
    texts = [message["text"] for _, message in scene.layer.receive_many(["websocket.receive"], 5)]
    assert texts == ["1", "2"]


def test_errors_that_no_layer_of_ours_raises_are_outages(scene: Scene) -> None:
    scene.layer.error = ConnectionResetError("refused by an old layer")
    scene.start()
    assert scene.receiver.heard == [("lost", "refused by an old layer")]
    scene.port.send("test", {}, 30, scene.outcomes.append)
    assert scene.awaited(1) == [Outcome.UNAVAILABLE]


def test_a_disconnect_waits_for_room_and_keeps_nobody_else_waiting(scene: Scene) -> None:
    scene.start().connect()
    scene.awaited(1)
    scene.layer.send_many([("websocket.disconnect", {})] * 5)
    told: list[Outcome] = []
    scene.port.disconnect("a", {"code": 1000}, 1, told.append)
    scene.port.send("test", {}, 30, scene.outcomes.append)
    assert scene.awaited(2)[1] is Outcome.SENT
    assert told == []
    scene.layer.receive(["websocket.disconnect"])
    scene.reactor.until(lambda: told)
    assert told == [Outcome.SENT]


def test_a_port_that_may_not_wait_any_longer_ends_and_says_what_was_not_told(scene: Scene) -> None:
    scene.start().connect()
    scene.awaited(1)
    scene.layer.error = LayerUnavailable("for good")
    told: list[Outcome] = []
    scene.port.disconnect("a", {"code": 1000}, 1, told.append)
    scene.stop(0.3)
    scene.reactor.until(lambda: told)
    assert told == [Outcome.UNAVAILABLE]

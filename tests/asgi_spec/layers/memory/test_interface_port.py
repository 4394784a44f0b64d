"""The interface port of the memory layer: the contract of every port, and what is its own."""

from __future__ import annotations

import math
import unittest
from concurrent.futures import ThreadPoolExecutor

import pytest
from twisted.internet.task import Clock

from headrace_asgi.conformance.interface_port import InterfacePortConformance
from headrace_asgi.conformance.receiver import Recorder
from headrace_asgi.contract import InterfacePort, Outcome
from headrace_asgi.layers.memory.interface_port import MemoryInterfacePort
from headrace_asgi.layers.memory.layer import InMemoryChannelLayer
from tests.support.reactors import hand_reactor


class ThreadClock(Clock):
    """A clock that other threads may call, as they may a reactor."""

    def callFromThread(self, call: object) -> None:  # noqa: N802 - Twisted's name
        self.callLater(0, call)


class TestTheContract(InterfacePortConformance, unittest.TestCase):
    capacity_limit = 5
    expiry_delay = 1.1

    def setUp(self) -> None:
        self.reactor = ThreadClock()
        self.ports: list[MemoryInterfacePort] = []
        self.channel_layer = InMemoryChannelLayer(expiry=1, capacity=5, clock=self.reactor.seconds)
        super().setUp()

    def turn_reactor(self) -> None:
        self.reactor.advance(0.02)

    def wait_for_expiry(self) -> None:
        self.reactor.advance(1.1)

    def open_port(self, receiver: Recorder) -> InterfacePort:
        port = super().open_port(receiver)
        assert isinstance(port, MemoryInterfacePort)
        self.ports.append(port)
        return port

    def lose_layer(self) -> None:
        for port in self.ports:
            port.lose()

    def restore_layer(self) -> None:
        for port in self.ports:
            port.restore()


ANSWER_SECONDS = 0.01


class Scene:
    """A layer on a clock, a port on it, and what was answered."""

    def __init__(self) -> None:
        self.reactor = Clock()
        self.layer = InMemoryChannelLayer(clock=self.reactor.seconds)
        self.receiver = Recorder()
        self.port = self.layer.open_interface_port(self.reactor)
        self.port.answer_seconds = ANSWER_SECONDS
        self.outcomes: list[Outcome] = []

    def start(self) -> Scene:
        self.port.start(self.receiver)
        self.turn()
        return self

    def turn(self) -> None:
        """One turn of the reactor."""
        self.reactor.advance(0)

    def answer(self) -> None:
        """The time that an answer takes."""
        self.turn()
        self.reactor.advance(ANSWER_SECONDS)

    def connect(self, local: str = "a") -> None:
        message = {"reply_channel": self.port.process + local, "path": "/"}
        self.receiver.sockets[local] = "/"
        self.port.connect(local, "/", message, 30, self.outcomes.append)

    def frame(self, order: int, ordered: bool = False) -> None:
        message = {"reply_channel": self.port.process + "a", "text": str(order)}
        self.port.frame("a", message, order, ordered, self.outcomes.append)

    def disconnect(self) -> None:
        self.receiver.sockets.clear()
        message = {"reply_channel": self.port.process + "a", "path": "/"}
        self.port.disconnect("a", message, 9, self.outcomes.append)

    def pending(self, channel: str) -> int:
        return self.layer.statistics(channel)["pending"]


@pytest.fixture
def scene() -> Scene:
    return Scene().start()


def test_before_its_start_nothing_is_sent() -> None:
    scene = Scene()
    scene.port.send("test", {}, 30, scene.outcomes.append)
    scene.turn()
    assert scene.outcomes == [Outcome.UNAVAILABLE]
    assert scene.pending("test") == 0


def test_a_line_that_is_cut_finds_each_call_not_written_or_not_answered_or_answered(scene: Scene) -> None:
    told: dict[str, Outcome] = {}

    def send(name: str) -> None:
        scene.port.send("test", {"name": name}, 30, lambda outcome: told.update({name: outcome}))

    send("answered")
    scene.answer()
    send("written")
    scene.turn()
    send("asked")
    scene.port.lose()
    assert told == {
        "answered": Outcome.SENT,
        "written": Outcome.UNKNOWN,
        "asked": Outcome.UNAVAILABLE,
    }
    scene.answer()
    names = [message["name"] for _, message in scene.layer.receive_many(["test"], 5)]
    assert names == ["answered", "written"]


@pytest.mark.parametrize("turns", [0, 1])
def test_a_connect_that_met_an_outage_is_repeated_and_starts_once(scene: Scene, turns: int) -> None:
    scene.connect()
    for _ in range(turns):
        scene.turn()
    scene.port.lose()
    assert scene.outcomes == []
    scene.port.restore()
    scene.answer()
    assert scene.outcomes == [Outcome.DUPLICATE if turns else Outcome.SENT]
    assert scene.pending("websocket.connect") == 1


def test_a_socket_that_ends_before_its_connect_is_answered_begins_once_in_an_outage(scene: Scene) -> None:
    scene.connect()
    scene.turn()
    scene.disconnect()
    scene.turn()
    scene.port.lose()
    scene.port.restore()
    scene.answer()
    scene.answer()
    assert scene.outcomes == [Outcome.DUPLICATE, Outcome.BOXED]
    assert scene.pending("websocket.connect") == 1


def test_a_line_that_is_cut_before_its_start_says_so(scene: Scene) -> None:
    other = Scene()
    other.port.lose("the network is down")
    other.start()
    assert other.receiver.heard == [("lost", "the network is down")]
    other.port.restore()
    other.turn()
    assert other.receiver.of("back") == [()]


def test_a_line_that_is_cut_again_before_it_is_back_was_lost_once(scene: Scene) -> None:
    scene.port.lose()
    scene.port.restore()
    scene.port.lose()
    scene.turn()
    assert [what[0] for what in scene.receiver.heard] == ["back", "lost"]
    scene.port.restore()
    scene.port.restore()
    scene.answer()
    assert [what[0] for what in scene.receiver.heard] == ["back", "lost", "back"]


def test_a_layer_that_lost_its_data_gets_the_sockets_again_at_once(scene: Scene) -> None:
    scene.connect()
    scene.answer()
    scene.receiver.orders["a"] = 3
    scene.layer.lose_data()
    scene.answer()
    assert [what[0] for what in scene.receiver.heard] == ["back", "data lost"]
    scene.outcomes.clear()
    scene.frame(3)
    scene.frame(4, ordered=True)
    scene.answer()
    assert scene.outcomes == [Outcome.DUPLICATE, Outcome.SENT]
    scene.layer.send(scene.port.process + "a", {"text": "known again"})
    scene.turn()
    assert scene.receiver.of("reply") == [("a", {"text": "known again"})]


def test_what_is_asked_of_a_layer_that_lost_its_data_waits_until_all_is_registered(scene: Scene) -> None:
    scene.connect()
    scene.answer()
    scene.outcomes.clear()
    scene.frame(1)
    scene.layer.lose_data()
    scene.port.send("test", {}, 30, scene.outcomes.append)
    scene.answer()
    scene.answer()
    assert scene.outcomes == [Outcome.SENT, Outcome.SENT]
    assert scene.receiver.of("data lost") == [()]


def test_a_disconnect_is_told_to_a_layer_that_lost_its_data(scene: Scene) -> None:
    scene.connect()
    scene.answer()
    scene.port.lose()
    scene.disconnect()
    scene.layer.lose_data()
    scene.port.restore()
    scene.answer()
    assert scene.outcomes == [Outcome.SENT, Outcome.SENT]
    assert scene.pending("websocket.disconnect") == 1


def test_an_expiry_is_that_of_the_message(scene: Scene) -> None:
    scene.port.send("test", {"n": 1}, 2, scene.outcomes.append)
    scene.port.send("test", {"n": 2}, math.inf, scene.outcomes.append)
    scene.port.connect("b", "/", {"reply_channel": scene.port.process + "b"}, 2, scene.outcomes.append)
    scene.answer()
    scene.reactor.advance(1000)
    assert scene.layer.receive_many(["test"], 5) == [("test", {"n": 2})]
    assert scene.layer.receive_many(["websocket.connect"], 5) == []


def test_a_port_that_may_not_wait_any_longer_answers_everything_and_ends(scene: Scene) -> None:
    scene.connect()
    scene.answer()
    scene.port.lose()
    scene.disconnect()
    scene.receiver.sockets["b"] = "/"
    ended: list[None] = []
    scene.port.stop(lambda: ended.append(None), 2)
    scene.reactor.pump([0.1] * 19)
    assert ended == []
    scene.reactor.pump([0.1] * 2)
    assert ended == [None]
    assert scene.outcomes == [Outcome.SENT, Outcome.UNAVAILABLE]
    scene.disconnect()
    scene.turn()
    assert scene.outcomes[-1] is Outcome.UNAVAILABLE


def test_bytes_that_are_no_entry_are_counted_and_the_next_is_heard(scene: Scene) -> None:
    scene.layer.put_raw(scene.port.process + "a", b"rubbish")
    scene.layer.send(scene.port.process + "a", {"n": 1})
    scene.turn()
    assert scene.port.counters == {"unreadable": 1}
    assert scene.receiver.of("reply") == [("a", {"n": 1})]


def test_a_reactor_is_called_from_other_threads_as_it_allows() -> None:
    with hand_reactor() as reactor:
        layer = InMemoryChannelLayer()
        receiver = Recorder()
        port = layer.open_interface_port(reactor)
        port.start(receiver)
        reactor.until(lambda: receiver.of("back"))
        with ThreadPoolExecutor(1) as pool:
            pool.submit(layer.send, port.process + "a", {"n": 1}).result()
        reactor.until(lambda: receiver.of("reply"))
        assert receiver.of("reply") == [("a", {"n": 1})]

"""The worker port of the memory layer: the contract of every port, and what is its own."""

from __future__ import annotations

import unittest

import pytest

from headrace_asgi.conformance.worker_port import WorkerPortConformance
from headrace_asgi.contract import Control, Delivery, Finish, Out, Outcome, Send
from headrace_asgi.envelope import pack_message
from headrace_asgi.errors import MessageTooLarge
from headrace_asgi.layers.memory.layer import InMemoryChannelLayer
from headrace_asgi.layers.memory.process import MemoryProcess
from tests.support.conformance import HandClock


class TestTheContract(WorkerPortConformance, unittest.TestCase):
    capacity_limit = 5
    expiry_delay = 1.1
    acknowledged_channel = "test.acknowledged"

    def setUp(self) -> None:
        self.clock = HandClock()
        self.layer = self.channel_layer = InMemoryChannelLayer(
            expiry=1,
            capacity=5,
            clock=self.clock,
            acknowledged=["test.acknow*"],
            acknowledged_attempts=self.attempts,
        )
        super().setUp()

    def wait_for_expiry(self) -> None:
        self.clock.now += 1.1

    def pass_time(self, seconds: float) -> None:
        self.clock.now += seconds

    def lose_bells(self, channel: str) -> None:
        with self.layer._hub as store:
            store.take_all(channel)

    def let_leases_lapse(self) -> None:
        self.clock.now += 1000

    def open_process(self) -> MemoryProcess:
        return self.layer.open_process()

    def put_raw(self, channel: str, entry: bytes) -> None:
        self.layer.put_raw(channel, entry)


def ignore(out: Out, outcome: Outcome) -> None:
    pass


def test_a_note_that_cannot_be_packed_is_an_error_before_anything_is_written() -> None:
    layer = InMemoryChannelLayer(max_message_bytes=100)
    port = layer.open_worker_port(ignore)
    for wrong, error in (({"value": object()}, TypeError), ({"value": "x" * 100}, MessageTooLarge)):
        with pytest.raises(error):
            port.turn([Send("test", pack_message({})), Control("hr1.0.feed!abc", wrong)], [], 1, 0)
    assert layer.receive(["test"]) == (None, None)


def test_a_message_may_live_for_a_time_of_its_own() -> None:
    clock = HandClock()
    layer = InMemoryChannelLayer(clock=clock)
    port = layer.open_worker_port(ignore)
    port.turn([Send("short", pack_message({}), expiry_seconds=2), Send("long", pack_message({}))], [], 1, 0)
    clock.now += 3
    assert [one.channel for one in port.turn([], ["short", "long"], 5, 0)] == ["long"]


def test_the_handler_of_refusals_may_use_the_layer() -> None:
    layer = InMemoryChannelLayer(capacity=1)
    port = layer.open_worker_port(lambda out, outcome: layer.send("refusals", {"outcome": outcome.name}))
    port.turn([Send("test", pack_message({})), Send("test", pack_message({}))], [], 1, 0)
    assert layer.receive(["refusals"]) == ("refusals", {"outcome": "FULL"})


def test_a_stale_finish_is_told_as_refused() -> None:
    refused: list[tuple[Out, Outcome]] = []
    layer = InMemoryChannelLayer()
    port = layer.open_worker_port(lambda out, outcome: refused.append((out, outcome)))
    finish = Finish("hr1.0.x!client", 3, "0")
    port.turn([finish], [], 1, 0)
    assert refused == [(finish, Outcome.STALE)]


def test_a_lapsed_lease_moves_the_mailbox_on_and_fences_the_late_holder() -> None:
    clock = HandClock()
    layer = InMemoryChannelLayer(expiry=1, ordering_lease_seconds=5, clock=clock)
    process, port = layer.open_process(), layer.open_worker_port(ignore)
    socket = process.process + "client"
    for order in range(3):
        message = {"reply_channel": socket, "order": order}
        if order:
            process.frame("client", message, order)
        else:
            process.connect("client", "/", message)

    def take() -> list[Delivery]:
        return port.turn([], ["websocket.connect", "websocket.receive"], 5, 0)

    (connect,) = take()
    clock.now += 4
    assert port.renew(connect)
    clock.now += 4
    assert take() == []
    clock.now += 2
    (frame,) = take()
    assert frame.order == 1
    assert not port.may_start(connect, connect.taken_at)
    assert not port.renew(connect)
    port.turn([Finish(socket, 0, connect.place)], [], 1, 0)
    assert take() == []
    port.turn([Finish(socket, 1, frame.place)], [], 1, 0)
    assert [one.order for one in take()] == [2]


def test_what_was_given_back_counts_as_not_taken() -> None:
    layer = InMemoryChannelLayer()
    port = layer.open_worker_port(ignore)
    layer.send_many([("test", {})] * 3)
    port.give_back(port.turn([], ["test"], 2, 0))
    assert port.requeue(port.turn([], ["test"], 1, 0)[0])
    counted = layer.statistics("test")
    assert (counted["sent"], counted["taken"], counted["pending"]) == (3, 0, 3)

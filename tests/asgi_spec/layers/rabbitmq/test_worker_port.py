"""RabbitMQWorkerPort: the contract, as far as it goes, and what is its own."""

from __future__ import annotations

import time
import unittest
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from headrace_asgi.conformance.worker_port import WorkerPortConformance
from headrace_asgi.contract import Control, Finish, Out, Outcome, Send, SendGroup
from headrace_asgi.envelope import pack_message
from headrace_asgi.errors import LayerUnavailable, OutcomeUnknown
from headrace_asgi.layers.rabbitmq import RabbitMQChannelLayer
from headrace_asgi.layers.rabbitmq.publisher import Publication
from headrace_asgi.layers.rabbitmq.session import BrokerSession
from headrace_asgi.layers.rabbitmq.topology import QueueDeclaration
from tests.support.rabbitmq_raw import publish_raw


class TestTheContract(WorkerPortConformance, unittest.TestCase):
    expiry_delay = 1.2
    capacity_limit = 5
    several_processes = True
    receive_tries = 20
    config: dict[str, Any]

    @pytest.fixture(autouse=True)
    def _server(self, rabbitmq_config: dict[str, Any]) -> None:
        self.config = rabbitmq_config

    def setUp(self) -> None:
        self.channel_layer = RabbitMQChannelLayer(**self.config, expiry=1, capacity=5)
        self.addCleanup(self.channel_layer.close)
        super().setUp()

    def put_raw(self, channel: str, entry: bytes) -> None:
        self.channel_layer.receive([channel])  # so that its queue is there
        publish_raw(self.config, channel, entry)


class Worker:
    """A port, its layer, and what it refused."""

    def __init__(self, config: dict[str, Any], **more: Any) -> None:
        self.layer = RabbitMQChannelLayer(**config, **more)
        self.refused: list[tuple[Out, Outcome]] = []
        self.port = self.layer.open_worker_port(lambda item, outcome: self.refused.append((item, outcome)))

    def close(self) -> None:
        self.port.close()
        self.layer.close()


def test_what_is_said_to_channels_and_groups_arrives_in_the_order_it_was_said(
    rabbitmq_config: dict[str, Any],
) -> None:
    worker = Worker(rabbitmq_config)
    worker.layer.group_add("group", "server!a")
    out: list[Out] = [
        Send("server!a", pack_message({"number": 0})),
        SendGroup("group", pack_message({"number": 1})),
        SendGroup("group", pack_message({"number": 2})),
        Send("server!a", pack_message({"number": 3})),
    ]
    worker.port.turn(out, [], 1, 0)
    got: list[int] = []
    while len(got) < 4:
        found = worker.layer.receive_many(["server!"], 4, 2)
        assert found, got
        got += [message["number"] for _, message in found]
    assert got == [0, 1, 2, 3]
    worker.close()


def test_notes_and_finishes_are_for_nobody_here_and_no_error(rabbitmq_config: dict[str, Any]) -> None:
    worker = Worker(rabbitmq_config)
    control = Control("server!a", {"control": "close", "local": "a"})
    worker.port.turn([control, Finish("server!a", 1, "0"), Send("test", pack_message({}))], [], 1, 0)
    assert worker.refused == []
    assert worker.layer.receive(["test"], block=True) == ("test", {})
    worker.close()


def test_a_message_may_have_a_shorter_life_than_the_others(rabbitmq_config: dict[str, Any]) -> None:
    worker = Worker(rabbitmq_config)
    short = Send("test", pack_message({"number": "short"}), expiry_seconds=0.2)
    worker.port.turn([short, Send("test", pack_message({"number": "long"}))], [], 1, 0)
    time.sleep(0.4)
    assert [one.message for one in worker.port.turn([], ["test"], 5, 1)] == [{"number": "long"}]
    worker.close()


def test_what_was_taken_is_not_delivered_again_when_its_taker_dies(rabbitmq_config: dict[str, Any]) -> None:
    worker = Worker(rabbitmq_config)
    worker.layer.send("test", {"number": 1})
    assert len(worker.port.turn([], ["test"], 1, 2)) == 1
    worker.layer.close()  # without a word of the port
    other = Worker(rabbitmq_config)
    assert other.port.turn([], ["test"], 1, 0.5) == []
    other.close()


def test_what_is_given_back_finds_its_place_in_a_channel_that_was_filled_meanwhile(
    rabbitmq_config: dict[str, Any],
) -> None:
    worker = Worker(rabbitmq_config, capacity=3)
    worker.layer.send_many([("test", {"number": number}) for number in range(3)])
    taken = worker.port.turn([], ["test"], 1, 1) + worker.port.turn([], ["test"], 1, 1)
    worker.layer.send_many([("test", {"number": number}) for number in (3, 4)])
    worker.port.give_back(taken)
    assert worker.layer.statistics("test") == {"pending": 5}
    got: list[int] = []
    while found := worker.port.turn([], ["test"], 2, 0.2):
        got += [one.message["number"] for one in found]
    assert got == [0, 1, 2, 3, 4]
    worker.close()


def test_a_waiting_worker_hears_of_what_another_one_gave_back(rabbitmq_config: dict[str, Any]) -> None:
    one, other = Worker(rabbitmq_config), Worker(rabbitmq_config)
    one.layer.send("test", {"number": 1})
    taken = one.port.turn([], ["test"], 1, 1)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(other.port.turn, [], ["test"], 1, 10)
        time.sleep(0.3)
        started = time.monotonic()
        one.port.give_back(taken)
        assert [each.message for each in waiting.result()] == [{"number": 1}]
        assert time.monotonic() - started < 3
    one.close()
    other.close()


def test_a_parent_gives_back_what_its_dead_child_took_and_of_which_it_knows_less(
    rabbitmq_config: dict[str, Any],
) -> None:
    child, parent = Worker(rabbitmq_config), Worker(rabbitmq_config)
    child.layer.send_many([("test", {"number": number}) for number in range(3)])
    taken = child.port.turn([], ["test"], 1, 1) + child.port.turn([], ["test"], 1, 1)
    child.close()
    parent.port.give_back([replace(one, message={}, expiry_ms=0, taken_at=0.0) for one in taken])
    got: list[int] = []
    while found := parent.port.turn([], ["test"], 3, 0.2):
        got += [one.message["number"] for one in found]
    assert got == [0, 1, 2]
    parent.close()


def test_a_message_that_is_given_back_has_the_rest_of_its_life(rabbitmq_config: dict[str, Any]) -> None:
    worker = Worker(rabbitmq_config, expiry=1)
    worker.layer.send("test", {"number": 1})
    taken = worker.port.turn([], ["test"], 1, 1)
    time.sleep(0.8)
    worker.port.give_back(taken)
    time.sleep(0.5)
    assert worker.port.turn([], ["test"], 1, 0) == []
    worker.close()


def test_who_gives_back_learns_whether_some_of_it_may_be_back(rabbitmq_config: dict[str, Any]) -> None:
    worker = Worker(rabbitmq_config)
    worker.layer.send_many([(channel, {"on": channel}) for channel in ("test", "other")])
    taken = worker.port.turn([], ["test"], 1, 1) + worker.port.turn([], ["other"], 1, 1)

    def let(*outcomes: Outcome) -> None:
        """Have the broker say so, one after another, of what is published from now on."""
        coming = list(outcomes)

        async def publish(messages: list[Publication]) -> list[Outcome]:
            return [coming.pop(0) for _ in messages]

        async def have(session: BrokerSession) -> None:
            session._publisher.publish = publish  # type: ignore[method-assign]

        worker.layer._thread.ask(have)

    let(Outcome.SENT, Outcome.FULL)
    with pytest.raises(OutcomeUnknown):
        worker.port.give_back(taken)
    let(Outcome.FULL, Outcome.FULL)
    with pytest.raises(LayerUnavailable) as raised:
        worker.port.give_back(taken)
    assert not isinstance(raised.value, OutcomeUnknown)
    worker.close()


def test_what_the_broker_took_is_not_said_again_when_it_goes_before_the_rest_finds_its_queue(
    rabbitmq_config: dict[str, Any],
) -> None:
    worker = Worker(rabbitmq_config)
    channels = ["here", "removed"]
    out = [Send(channel, pack_message({})) for channel in channels]
    worker.port.turn(out, [], 0, 0)

    async def remove(session: BrokerSession) -> None:
        """As the broker does with a queue that nobody used for long; then it goes."""
        declared = session._declared
        await declared.delete(session._topology.channel("removed").name)

        async def need(*queues: QueueDeclaration) -> None:
            if any(queue.name not in declared._known for queue in queues):
                raise LayerUnavailable("the broker is gone")

        declared.need = need  # type: ignore[method-assign]

    worker.layer._thread.ask(remove)
    worker.port.turn(out, [], 0, 0)
    assert worker.refused == [(out[1], Outcome.UNAVAILABLE)]
    worker.layer.close()
    assert [worker.layer.statistics(channel)["pending"] for channel in channels] == [2, 0]
    worker.close()

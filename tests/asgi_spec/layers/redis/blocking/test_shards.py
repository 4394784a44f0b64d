"""A layer over several Redis: the contract over three of them, and what one that is away costs."""

from __future__ import annotations

import contextlib
import threading
import time
import unittest
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest

from headrace_asgi.conformance.layer import ChannelLayerConformance
from headrace_asgi.conformance.receiver import Recorder
from headrace_asgi.conformance.worker_port import WorkerPortConformance
from headrace_asgi.contract import Delivery, Out, Outcome, Send, SendGroup
from headrace_asgi.envelope import pack_message
from headrace_asgi.errors import ChannelFull, ConfigurationError, LayerUnavailable
from headrace_asgi.layers.redis.blocking.shards import RedisChannelLayer
from headrace_asgi.layers.redis.blocking.shards_worker_port import REFUSED_SECONDS
from headrace_asgi.layers.redis.blocking.silence import ANSWER_SECONDS
from headrace_asgi.layers.redis.plan.command import RedisCommand, as_is
from headrace_asgi.tally import Tally
from tests.support.conformance import OnValkey
from tests.support.reactors import hand_reactor
from tests.support.redis_process import OverShards
from tests.support.services import RedisServer, valkey_binary
from tests.support.stack import eventually


def three(url: str, **options: Any) -> RedisChannelLayer:
    """A layer over three databases of one server."""
    base, _, query = url.partition("?")
    return RedisChannelLayer([f"{base}?db={number}&{query}" for number in range(3)], **options)


class TestTheContract(OnValkey, ChannelLayerConformance, unittest.TestCase):
    expiry_delay = 1.1
    capacity_limit = 18
    keeps_order = False
    several_processes = True

    def setUp(self) -> None:
        self.channel_layer = three(self.url, expiry=1, group_expiry=1, capacity=18)
        self.addCleanup(self.channel_layer.close)
        super().setUp()


class TestTheContractOfPorts(OnValkey, OverShards, WorkerPortConformance, unittest.TestCase):
    acknowledged_channel = "test.acknowledged"
    expiry_delay = 1.1
    capacity_limit = 18
    keeps_order = False
    several_processes = True

    def setUp(self) -> None:
        self.layer = self.channel_layer = three(
            self.url,
            expiry=1,
            capacity=18,
            acknowledged=["test.acknow*"],
            acknowledged_attempts=self.attempts,
        )
        self.addCleanup(self.layer.close)
        super().setUp()


class Servers:
    """Three servers of their own, and a layer over them."""

    def __init__(self, servers: list[RedisServer]) -> None:
        self.by_url = {server.url: server for server in servers}
        self.hosts = list(self.by_url)
        self.layers: list[RedisChannelLayer] = []
        self.layer = self.another()

    def another(self, count: int = 3, **options: Any) -> RedisChannelLayer:
        """The layer as another process has it, over so many of the servers."""
        self.layers.append(RedisChannelLayer(self.hosts[:count], **options))
        return self.layers[-1]

    def server(self, place: str) -> RedisServer:
        """The server at a place."""
        return self.by_url[self.layer.map.labels[place]]


@pytest.fixture
def servers() -> Iterator[Servers]:
    with ExitStack() as stack:
        scene = Servers([stack.enter_context(RedisServer(valkey_binary())) for _ in range(3)])
        yield scene
        for layer in scene.layers:
            layer.close()


def values(deliveries: list[Delivery]) -> list[int]:
    return [delivery.message["value"] for delivery in deliveries]


def said(channel: str, value: int) -> Send:
    return Send(channel, pack_message({"value": value}))


def pending(layer: RedisChannelLayer, channel: str) -> list[int]:
    return sorted(shard.statistics(channel)["pending"] for shard in layer.shards.values())


def test_messages_go_to_each_in_turn_and_come_from_all(servers: Servers) -> None:
    layer = servers.layer
    for value in range(30):
        layer.send("work", {"value": value})
    assert pending(layer, "work") == [10, 10, 10]
    taken = [layer.receive(["work"])[1] for _ in range(30)]
    assert sorted(message["value"] for message in taken if message) == list(range(30))
    assert layer.receive(["work"]) == (None, None)


def test_a_full_place_costs_nothing_while_another_has_room(servers: Servers) -> None:
    layer = servers.another(capacity=6)
    shards = list(layer.shards.values())
    for value in range(2):
        shards[0].send("work", {"value": value})
    for value in range(4):
        layer.send("work", {"value": value})
    with pytest.raises(ChannelFull):
        layer.send("work", {"value": 4})
    assert layer.send_many([("work", {"value": 5})]) == [Outcome.FULL]


def test_a_batch_goes_on_elsewhere_where_a_place_is_full(servers: Servers) -> None:
    layer = servers.another(capacity=6)
    outcomes = layer.send_many([("work", {"value": value}) for value in range(7)])
    assert Counter(outcomes) == {Outcome.SENT: 6, Outcome.FULL: 1}


def test_a_waiting_take_ends_with_what_comes_anywhere(servers: Servers) -> None:
    layer = servers.layer
    port = layer.open_worker_port(ignore)
    for shard in layer.shards.values():
        begun = time.monotonic()
        threading.Timer(0.1, shard.send, ("work", {"value": 1})).start()
        assert values(port.turn((), ["work"], 1, 5)) == [1]
        assert time.monotonic() - begun < 2
    assert sum(pending(layer, "work")) == 0
    port.close()


def test_what_two_places_bring_at_once_is_not_held_by_one_worker(servers: Servers) -> None:
    layer, other = servers.layer, servers.another()
    port, another_port = layer.open_worker_port(ignore), other.open_worker_port(ignore)
    with ThreadPoolExecutor(1) as pool:
        for _ in range(20):
            waiting = pool.submit(port.turn, (), ["work"], 1, 5)
            time.sleep(0.02)
            for value, shard in enumerate(layer.shards.values()):
                shard.send("work", {"value": value})
            taken = waiting.result()
            rest = [another_port.turn((), ["work"], 1, 2) for _ in range(2)]
            assert len(taken) == 1
            assert sorted(values(taken) + [value for one in rest for value in values(one)]) == [0, 1, 2]
    port.close()
    another_port.close()


def test_a_send_with_an_id_that_is_said_again_is_there_once(redis_url: str) -> None:
    layer = three(redis_url, acknowledged=["kept"])
    port, message_id = layer.open_worker_port(ignore), layer.new_message_id("kept")
    for _ in range(3):  # to each place, were it not for the id
        port.turn([Send("kept", pack_message({"n": 1}), id=message_id)], (), 0, 0)
    assert layer.statistics("kept")["pending"] == 1
    port.close()
    layer.close()


def test_wake_ends_the_wait_and_nothing_is_lost(servers: Servers) -> None:
    port = servers.layer.open_worker_port(ignore)
    threading.Timer(0.1, port.wake).start()
    begun = time.monotonic()
    assert port.turn((), ["work"], 1, 10) == []
    assert time.monotonic() - begun < 3
    servers.layer.send("work", {"value": 1})
    assert values(port.turn((), ["work"], 1, 5)) == [1]
    port.close()


def test_one_that_is_away_costs_its_own_channels_only_and_comes_back(servers: Servers) -> None:
    layer = servers.layer
    refused: list[tuple[Out, Outcome]] = []
    port = layer.open_worker_port(lambda item, outcome: refused.append((item, outcome)))
    place = layer.map.places[1]
    own = f"mail?{place}.1"
    servers.server(place).kill()
    for value in range(30):
        layer.send("work", {"value": value})
    found: list[int] = []
    while len(found) < 30:
        found += values(port.turn((), ["work"], 10, 1))
    assert sorted(found) == list(range(30))
    with pytest.raises(LayerUnavailable):
        layer.send(own, {"value": 1})
    port.turn([said(own, 2)], (), 0, 0)  # kept for it
    assert refused == []

    servers.server(place).start()
    give_up = time.monotonic() + 10
    while layer.receive([own]) == (None, None):
        assert time.monotonic() < give_up
        port.turn((), ["work"], 1, 0.05)
    layer.shards[place].send("work", {"value": 31})
    assert values(port.turn((), ["work"], 1, 5)) == [31]
    port.close()


def test_one_that_hangs_does_not_hold_what_others_bring(servers: Servers) -> None:
    layer = servers.layer
    port = layer.open_worker_port(ignore)
    assert port.turn((), ["work"], 1, 0.05) == []
    hung, healthy = layer.map.places[:2]
    taken: list[Delivery] = []
    waiting = threading.Thread(target=lambda: taken.extend(port.turn((), ["work"], 1, 8)))
    waiting.start()
    time.sleep(0.2)
    servers.server(hung).pause()
    try:
        begun = time.monotonic()
        layer.shards[healthy].send("work", {"value": 1})
        waiting.join()
        assert values(taken) == [1]
        assert time.monotonic() - begun < 4
        layer.shards[healthy].send("work", {"value": 2})
        assert values(port.turn((), ["work"], 1, 5)) == [2]
    finally:
        servers.server(hung).resume()
    layer.shards[hung].send("work", {"value": 3})
    found: list[int] = []
    give_up = time.monotonic() + 10
    while found != [3]:
        assert time.monotonic() < give_up
        found += values(port.turn((), ["work"], 1, 1))
    port.close()


def test_with_none_left_the_layer_is_away(servers: Servers) -> None:
    port = servers.layer.open_worker_port(ignore)
    for place in servers.layer.map.places:
        servers.server(place).kill()
    for _ in servers.layer.map.places:  # each is found to be away by a turn
        with contextlib.suppress(LayerUnavailable):
            port.turn([said("work", 1)], (), 0, 0)
    with pytest.raises(LayerUnavailable, match="none of the Redis at unix:"):
        port.turn([said("work", 1)], (), 0, 0)
    with pytest.raises(LayerUnavailable):
        servers.another().open_worker_port(ignore)
    port.close()


def test_a_group_has_members_at_every_place_and_reaches_those_that_are_there(servers: Servers) -> None:
    layer = servers.layer
    with hand_reactor() as reactor:
        ports = layer.open_interface_ports(reactor)
        receivers = [Recorder() for _ in ports]
        for port, receiver in zip(ports, receivers, strict=True):
            receiver.sockets["client"] = "/"
            port.start(receiver)
        reactor.until(lambda: all(receiver.of("back") for receiver in receivers))
        added = threading.Thread(
            target=lambda: [layer.group_add("room", port.process + "client") for port in ports]
        )
        added.start()
        reactor.until(lambda: not added.is_alive())
        layer.send_group("room", {"text": "to all"})
        reactor.until(lambda: all(receiver.of("group") for receiver in receivers))

        worker = layer.open_worker_port(ignore)
        place = layer.map.of(ports[1].process)
        servers.server(place).kill()
        layer.send_group("room", {"text": "to those there"})
        worker.turn([SendGroup("room", pack_message({"text": "by a worker"}))], (), 0, 0)
        others = [receiver for at, receiver in enumerate(receivers) if at != 1]
        reactor.until(lambda: all(len(receiver.of("group")) == 3 for receiver in others))
        assert receivers[1].of("lost")
        assert not any(receiver.of("lost") for receiver in others)
        worker.close()
        for port in ports:
            port.stop(lambda: None, 0.1)
        reactor.turn(0.3)


@pytest.mark.parametrize("count", [1, 3])
def test_who_still_receives_while_the_layer_is_closed_leaves_no_connection(
    private_redis_server: RedisServer, count: int
) -> None:
    layer = RedisChannelLayer([f"{private_redis_server.url}?db={number}" for number in range(count)])
    layer.send("other", {})
    with ThreadPoolExecutor(1) as pool:
        got = pool.submit(layer.receive_many, ["test"], 1, 0.5)
        eventually(lambda: b"blocked_clients:%d" % count in private_redis_server.command("INFO", "clients"))
        layer.close()
        assert got.result() == []
    # The one that asks.
    eventually(lambda: b"connected_clients:1\r" in private_redis_server.command("INFO", "clients"))


def test_hosts_that_differ_between_processes_are_refused(servers: Servers) -> None:
    servers.layer.ensure_usable()
    servers.another().ensure_usable()
    fewer = servers.another(2)
    with pytest.raises(ConfigurationError, match="hosts differ between processes") as caught:
        fewer.ensure_usable()
    assert servers.layer.map.fingerprint in str(caught.value)
    with pytest.raises(ConfigurationError, match="Give every process the same hosts"):
        servers.another(1).ensure_usable()


def test_one_host_alone_is_no_map(servers: Servers) -> None:
    servers.another(1).ensure_usable()
    servers.another(1).ensure_usable()


def ignore(item: Out, outcome: Outcome) -> None:
    """Nothing here is refused."""


def test_what_was_taken_anywhere_is_accounted_for_together(servers: Servers) -> None:
    layer = servers.layer
    for value in range(9):
        layer.send("work", {"value": value})
    port = layer.open_worker_port(lambda item, outcome: None)
    held = [one for _ in range(6) for one in port.turn((), ["work"], 1, 1)]
    port.give_back(held[:2])
    port.close()
    layer.count("work", "done", 3)
    account = layer.statistics("work")
    assert (account["sent"], account["taken"], account["pending"]) == (9, 4, 5)
    assert (account["done"], account["running"], account["unknown"]) == (3, 1, 0)
    other = servers.another()
    assert other.statistics("work") == account
    layer.flush()
    assert set(other.statistics("work").values()) == {0}


def test_what_is_received_at_one_place_is_counted_once_wherever_the_answer_is_lost(servers: Servers) -> None:
    layer = servers.layer
    first, other = list(layer.shards.values())[:2]
    reply = other.new_channel("reply?")
    layer.send(reply, {"value": 2})
    layer.count("work", "done")
    servers.server(first.place).kill()
    assert layer.receive_many([reply], 1) == [(reply, {"value": 2})]
    layer.close()
    assert other.ask(RedisCommand(other.place, (b"HLEN", other.plan.key(other.place, "n")), as_is)) == 0


def test_counters_are_there_while_the_first_place_is_away(servers: Servers) -> None:
    layer = servers.layer
    for value in range(6):
        layer.send("work", {"value": value})
    layer.count("work", "done")
    servers.server(layer.map.places[0]).kill()
    counted = layer.statistics("work")
    assert (counted["sent"], counted["pending"]) == (4, 4)


class KillsAtTheFirstTake(Tally):
    """Counts, and has a server killed in the middle of the turn that takes something."""

    def __init__(self, server: RedisServer) -> None:
        super().__init__()
        self._server = server

    def add(self, channel: str, what: str, number: int = 1) -> None:
        if self._server.is_running:
            self._server.kill()
        super().add(channel, what, number)


def openers(layer: RedisChannelLayer) -> list[str]:
    """The threads that open a Redis again, by name."""
    names = [f"open-{place}" for place in layer.map.places]
    return [thread.name for thread in threading.enumerate() if thread.name in names]


def test_one_thread_opens_a_redis_that_died_while_its_take_was_ended(servers: Servers) -> None:
    layer = servers.another(2)
    port = layer.open_worker_port(ignore)
    healthy, dying = layer.map.places
    layer.use_tally(KillsAtTheFirstTake(servers.by_url[layer.map.labels[dying]]))
    threading.Timer(0.2, layer.shards[healthy].send, ("work", {"value": 1})).start()
    assert values(port.turn((), ["work"], 1, 5)) == [1]
    assert openers(layer) == [f"open-{dying}"]
    port.close()


def test_workers_go_on_with_the_others_while_one_hangs_and_nothing_it_has_is_lost(servers: Servers) -> None:
    layer = servers.another(2)
    healthy, hung = layer.map.places
    port = layer.open_worker_port(ignore)
    assert port.turn((), ["work"], 1, 0.05) == []
    layer.shards[hung].send("work", {"value": 100})
    servers.by_url[layer.map.labels[hung]].pause()
    try:
        begun = time.monotonic()
        for value in range(5):
            layer.shards[healthy].send("work", {"value": value})
            assert values(port.turn((), ["work"], 1, 2)) == [value]
        threading.Timer(0.2, port.wake).start()
        assert port.turn((), ["work"], 1, 30) == []
        assert time.monotonic() - begun < 2
    finally:
        servers.by_url[layer.map.labels[hung]].resume()
    found: list[int] = []
    eventually(lambda: found.extend(values(port.turn((), ["work"], 1, 0.5))) or found == [100])
    port.close()


def test_what_is_said_to_one_that_hangs_holds_a_worker_once(servers: Servers) -> None:
    layer = servers.another(2)
    healthy, hung = layer.map.places
    refused: list[Outcome] = []
    port = layer.open_worker_port(lambda item, outcome: refused.append(outcome))
    server = servers.by_url[layer.map.labels[hung]]
    server.pause()
    try:
        begun = time.monotonic()
        port.turn([said(f"mail?{hung}.1", 1)], ["work"], 1, 0)
        assert time.monotonic() - begun < ANSWER_SECONDS + 2
        assert refused == [Outcome.UNKNOWN]
        begun = time.monotonic()
        for value in range(10):
            layer.shards[healthy].send("work", {"value": value})
            assert values(port.turn([said(f"mail?{hung}.1", 2)], ["work"], 1, 2)) == [value]
        with pytest.raises(LayerUnavailable):
            port.renew(Delivery("test", {"reply_channel": "a!b"}, b"", 0, hung, 0.0, 1))
        layer.announce(["work"])
        assert layer.move_due() > 0
        layer.reap()
        assert set(layer.takers()) == {"work"}
        with contextlib.closing(layer.open_worker_port(ignore)) as another:
            layer.shards[healthy].send("work", {"value": 11})
            assert values(another.turn((), ["work"], 1, 2)) == [11]
        assert time.monotonic() - begun < 2
    finally:
        server.resume()
    layer.shards[hung].send("work", {"value": 12})
    found: list[int] = []
    eventually(lambda: found.extend(values(port.turn((), ["work"], 1, 0.5))) or found == [12])
    port.close()


def test_what_is_still_kept_when_a_port_is_closed_is_refused(servers: Servers) -> None:
    layer = servers.another(2)
    there, away = layer.map.places
    servers.by_url[layer.map.labels[away]].kill()
    refused: list[tuple[Out, Outcome]] = []
    port = layer.open_worker_port(lambda item, outcome: refused.append((item, outcome)))
    kept, group = said(f"mail?{away}.1", 1), SendGroup("room", pack_message({}))
    port.turn([said(f"mail?{there}.1", 1), kept, group], (), 0, 0)
    assert port.kept == [kept]
    assert refused == []
    port.close()
    assert refused == [(kept, Outcome.UNAVAILABLE), (group, Outcome.GONE)]


def test_a_group_that_one_place_refuses_again_and_again_is_given_up(
    servers: Servers, caplog: pytest.LogCaptureFixture
) -> None:
    layer = servers.another(2)
    spoilt = layer.map.places[0]
    refused: list[Outcome] = []
    port = layer.open_worker_port(lambda item, outcome: refused.append(outcome))
    key = layer.shards[spoilt].plan.key(spoilt, "g", "room")
    servers.by_url[layer.map.labels[spoilt]].command("SET", key, "something else")
    port.turn([SendGroup("room", pack_message({}))], (), 0, 0)
    assert refused == []
    begun = time.monotonic()
    eventually(lambda: port.turn((), ["work"], 1, 0.05) or refused == [Outcome.GONE])
    assert REFUSED_SECONDS - 0.5 < time.monotonic() - begun < REFUSED_SECONDS + 2
    assert "The members of the group room at" in caplog.text
    port.close()


def test_what_is_kept_for_one_that_is_away_is_kept_as_long_as_a_message_lives(servers: Servers) -> None:
    layer = servers.another(2, expiry=1)
    away = layer.map.places[1]
    servers.by_url[layer.map.labels[away]].kill()
    refused: list[Out] = []
    port = layer.open_worker_port(lambda item, outcome: refused.append(item))
    first, second = said(f"mail?{away}.1", 1), said(f"mail?{away}.1", 2)
    port.turn([first], (), 0, 0)
    time.sleep(0.6)
    port.turn([second], (), 0, 0)
    time.sleep(0.6)
    port.turn((), (), 0, 0)
    assert refused == [first]
    assert port.kept == [second]
    port.close()

"""RedisPlaceLayer: the contract, over Valkey and over Redis, and what is its own."""

from __future__ import annotations

import threading
import time
import unittest
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from headrace_asgi import control
from headrace_asgi.conformance.layer import ChannelLayerConformance
from headrace_asgi.contract import Outcome
from headrace_asgi.errors import ConfigurationError, LayerUnavailable, OutcomeUnknown
from headrace_asgi.layers.redis.blocking import layer as redis_blocking
from headrace_asgi.layers.redis.blocking.layer import RedisPlaceLayer
from headrace_asgi.layers.redis.plan.command import RedisCommand, as_is
from headrace_asgi.names import new_process_queue
from tests.support.conformance import AsTheLeastUser, OnRedis, OnValkey, OverSentinel
from tests.support.redis_process import RedisProcess
from tests.support.services import RedisServer, valkey_binary


class RedisConformance(ChannelLayerConformance):
    expiry_delay = 1.1
    capacity_limit = 5
    several_processes = True
    options: dict[str, Any] = {}
    url: str

    def setUp(self) -> None:
        self.channel_layer = RedisPlaceLayer([self.url], expiry=1, group_expiry=1, capacity=5, **self.options)
        self.addCleanup(self.channel_layer.close)
        super().setUp()


class TestOnValkey(OnValkey, RedisConformance, unittest.TestCase):
    pass


class TestOnRedis(OnRedis, RedisConformance, unittest.TestCase):
    pass


class TestEncrypted(OnValkey, RedisConformance, unittest.TestCase):
    options = {"symmetric_encryption_keys": ["the key of the conformance tests"]}


class TestAsTheLeastUser(AsTheLeastUser, RedisConformance, unittest.TestCase):
    pass


class TestOverSentinel(OverSentinel, RedisConformance, unittest.TestCase):
    pass


@pytest.fixture
def layer(redis_url: str) -> Iterator[RedisPlaceLayer]:
    made = RedisPlaceLayer([redis_url])
    yield made
    made.close()


@pytest.fixture
def private_layer(private_redis_server: RedisServer) -> Iterator[RedisPlaceLayer]:
    made = RedisPlaceLayer([private_redis_server.url])
    yield made
    made.close()


def raw(layer: RedisPlaceLayer, *args: bytes | str | int, repeat: bool = False) -> object:
    return layer.ask(RedisCommand(layer.places.home, args, as_is, repeat=repeat))


def test_it_works_over_tcp(redis_server: RedisServer) -> None:
    layer = RedisPlaceLayer([redis_server.tcp_url], prefix="tcp")
    layer.send("test", {"value": 1})
    assert layer.receive(["test"], block=True) == ("test", {"value": 1})
    layer.close()


def test_a_redis_that_can_never_serve_is_told_at_the_start_in_one_line() -> None:
    with RedisServer(valkey_binary(), ["--requirepass", "secret"]) as server:
        address = f"127.0.0.1:{server.port}"
        wrong = {
            f"redis://{address}/0": "refused the login",
            f"redis://:guess@{address}/0": "refused the login",
            f"redis://:secret@{address}/99": "must be that of a database this server has",
            f"unix://:secret@{server.path}?db=99": "must be that of a database this server has",
        }
        for url, text in wrong.items():
            with pytest.raises(ConfigurationError, match=text) as raised:
                RedisPlaceLayer([url]).ensure_usable()
            assert "\n" not in str(raised.value)
            assert "secret" not in str(raised.value)
            assert "guess" not in str(raised.value)
        layer = RedisPlaceLayer([f"redis://:secret@{address}/3"])
        layer.ensure_usable()
        layer.close()


def test_a_redis_that_is_away_may_come_back_and_is_no_fault_of_the_settings(
    private_redis_server: RedisServer,
) -> None:
    private_redis_server.kill()
    layer = RedisPlaceLayer([private_redis_server.url])
    layer.ensure_usable()
    layer.close()


@pytest.mark.parametrize(
    ("host", "options", "label"),
    [
        ("redis://me:secret@r:6380/2", {}, "redis://r:6380/2, prefix ''"),
        ("redis://:secret@r/0?prefix=x", {}, "redis://r:6379/0, prefix 'x'"),
        ("rediss://r", {"prefix": "y"}, "rediss://r:6379/0, prefix 'y'"),
        ("unix://me:secret@/run/v.sock?db=3", {}, "unix:///run/v.sock?db=3, prefix ''"),
        ("redis://r", {"connection_kwargs": {"db": 4, "password": "secret"}}, "redis://r:6379/4, prefix ''"),
        ("redis://r/3", {"connection_kwargs": {"db": 4, "port": 6380}}, "redis://r:6380/4, prefix ''"),
    ],
)
def test_a_layer_says_where_it_is_without_a_password(host: str, options: dict[str, Any], label: str) -> None:
    assert RedisPlaceLayer([host], **options).label == label


def test_a_flushed_script_cache_costs_no_message_and_no_order(private_layer: RedisPlaceLayer) -> None:
    private_layer.send("test", {"number": 0})
    raw(private_layer, "SCRIPT", "FLUSH")
    outcomes = private_layer.send_many([("test", {"number": 1}), ("test.b", {}), ("test", {"number": 2})])
    assert outcomes == [Outcome.SENT] * 3
    received = private_layer.receive_many(["test"], 3)
    assert [message["number"] for _, message in received] == [0, 1, 2]


def test_without_redis_a_send_says_that_nothing_was_sent(
    private_layer: RedisPlaceLayer, private_redis_server: RedisServer
) -> None:
    private_layer.send("test", {})
    private_redis_server.kill()
    with pytest.raises(LayerUnavailable, match="there is no connection to Redis at unix://") as raised:
        private_layer.send("test", {})
    assert not isinstance(raised.value, OutcomeUnknown)
    assert private_layer.send_many([("test", {})] * 2) == [Outcome.UNAVAILABLE] * 2


def test_it_comes_back_by_itself_when_redis_does(
    private_layer: RedisPlaceLayer, private_redis_server: RedisServer
) -> None:
    private_layer.send("test", {"number": 0})
    private_redis_server.restart()
    private_layer.send("test", {"number": 1})
    assert private_layer.receive(["test"]) == ("test", {"number": 1})


def test_a_send_without_an_answer_is_unknown_and_never_repeated(
    private_layer: RedisPlaceLayer, private_redis_server: RedisServer
) -> None:
    private_layer.send("test", {"number": 0})
    killer = threading.Timer(0.2, private_redis_server.kill)
    private_redis_server.pause()
    killer.start()
    with pytest.raises(OutcomeUnknown):
        private_layer.send("test", {"number": 1})
    killer.join()


def test_a_group_member_of_our_own_kind_is_registered_and_told(layer: RedisPlaceLayer) -> None:
    process = RedisProcess(layer)
    layer.group_add("group", process.process + "a")
    layer.group_add("group", process.process + "b")
    layer.send_group("group", {"value": 1})
    layer.group_discard("group", process.process + "a")
    heard = [(one.control, one.local) for one in process.heard()]
    assert heard == [(control.ADD, "a"), (control.ADD, "b"), (control.GROUP, ""), (control.DISCARD, "a")]
    processes, plain = layer.ask(layer.plan.group_read("group"))
    assert (processes, plain) == ([process.process], [])
    process.close()


def test_group_channels_asks_the_processes_and_leaves_out_those_that_are_silent(
    layer: RedisPlaceLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_blocking, "MEMBERS_SECONDS", 0.5)
    answering, silent = RedisProcess(layer), RedisProcess(layer)
    for member in (answering.process + "a", silent.process + "b", "plain"):
        layer.group_add("group", member)
    answering.heard()

    def answer() -> None:
        while not (asked := answering.heard()):
            time.sleep(0.005)
        layer.send(asked[0].message["answer"], {"members": [answering.process + "a"]})

    thread = threading.Thread(target=answer)
    thread.start()
    assert sorted(layer.group_channels("group")) == sorted([answering.process + "a", "plain"])
    thread.join()


def test_group_count_adds_what_the_processes_answer_to_the_plain_members(layer: RedisPlaceLayer) -> None:
    processes = [RedisProcess(layer), RedisProcess(layer)]
    for member in (*(process.process + "a" for process in processes), "plain", "plain.too"):
        layer.group_add("group", member)

    def answer(process: RedisProcess, body: dict[str, object]) -> None:
        while not (asked := [one for one in process.heard() if one.control == control.MEMBERS]):
            time.sleep(0.005)
        assert asked[0].message["count"] is True
        layer.send(asked[0].message["answer"], body)

    bodies: list[dict[str, object]] = [{"count": 40}, {"count": "many"}]
    with ThreadPoolExecutor(2) as pool:
        answered = [pool.submit(answer, *pair) for pair in zip(processes, bodies, strict=True)]
        assert layer.group_count("group") == 42
        for each in answered:
            each.result()


def test_adding_a_client_of_a_process_that_ended_does_not_wait(layer: RedisPlaceLayer) -> None:
    process = RedisProcess(layer)
    process.close()
    started = time.monotonic()
    layer.group_add("group", process.process + "a")
    assert time.monotonic() - started < 1
    assert layer.ask(layer.plan.group_read("group")) == ([], [])


def test_adding_waits_for_a_process_that_redis_forgot_until_it_is_known_again(
    layer: RedisPlaceLayer,
) -> None:
    process = RedisProcess(layer)
    raw(layer, "DEL", layer.plan.key("0", "up", process.process))
    back = threading.Timer(0.2, process.register)
    back.start()
    layer.group_add("group", process.process + "a")
    back.join()
    assert [one.control for one in process.heard()] == [control.FORGOTTEN, control.ADD]


def test_a_message_for_a_process_that_redis_forgot_waits_until_it_is_known_again(
    layer: RedisPlaceLayer,
) -> None:
    process = RedisProcess(layer)
    raw(layer, "DEL", layer.plan.key("0", "up", process.process))
    assert layer.send_many([(process.process + "a", {}), ("test", {})]) == [Outcome.FORGOTTEN, Outcome.SENT]
    back = threading.Timer(0.2, process.register)
    back.start()
    layer.send(process.process + "a", {"n": 1})
    back.join()
    layer.group_add("group", process.process + "a")
    raw(layer, "DEL", layer.plan.key("0", "up", process.process))
    back = threading.Timer(0.2, process.register)
    back.start()
    layer.group_discard("group", process.process + "a")
    back.join()
    heard = [one.control or one.message for one in process.heard()]
    assert heard == [control.FORGOTTEN, {"n": 1}, control.ADD, control.DISCARD]
    process.close()


def test_a_message_for_a_process_that_never_comes_back_is_dropped_after_a_while(
    layer: RedisPlaceLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_blocking, "FORGOTTEN_SECONDS", 0.3)
    started = time.monotonic()
    layer.send(new_process_queue("0") + "client", {})
    assert 0.2 < time.monotonic() - started < 3


def test_a_group_message_for_a_stopped_process_is_dropped_when_its_queue_is_full(
    layer: RedisPlaceLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace_asgi.layers.redis.plan.plan.PROCESS_QUEUE_CAPACITY", 3)
    process = RedisProcess(layer)
    layer.group_add("group", process.process + "a")
    for number in range(5):
        layer.send_group("group", {"number": number})
    layer.group_add("group", process.process + "b")
    heard = [one.control for one in process.heard()]
    # Notes ignore the capacity; messages do not.
    assert heard == [control.ADD, control.GROUP, control.GROUP, control.ADD]


def test_a_message_for_a_process_that_is_gone_is_dropped(layer: RedisPlaceLayer) -> None:
    process = RedisProcess(layer)
    process.close()
    gone = process.process + "client"
    layer.send(gone, {})
    assert layer.send_many([(gone, {}), ("test", {})]) == [Outcome.GONE, Outcome.SENT]


def test_flush_leaves_processes_their_sockets_and_other_prefixes_alone_r10(redis_url: str) -> None:
    layer, longer = RedisPlaceLayer([redis_url]), RedisPlaceLayer([redis_url + "x"])
    process = RedisProcess(layer)
    process.connect("a", "/", {"reply_channel": process.process + "a"})
    longer.send("test", {"value": 1})
    layer.send("test", {"value": 1})
    layer.flush()
    assert layer.receive(["test", "websocket.connect"]) == (None, None)
    assert longer.receive(["test"]) == ("test", {"value": 1})
    assert layer.ask(layer.plan.registered_sockets("0", process.process)) == {"a": "/"}
    assert layer.ask(layer.plan.beat(process.process)).flushes == 1
    process.close()
    layer.close()
    longer.close()


def test_plain_receive_finishes_what_is_ordered(layer: RedisPlaceLayer) -> None:
    process = RedisProcess(layer)
    reply = process.process + "a"
    assert process.connect("a", "/", {"reply_channel": reply, "order": 0}) is Outcome.SENT
    assert process.frame("a", {"reply_channel": reply, "order": 1}, 1) is Outcome.BOXED
    assert process.frame("a", {"reply_channel": reply, "order": 2}, 2) is Outcome.BOXED
    channels = ["websocket.connect", "websocket.receive"]
    orders = []
    for _ in range(3):
        _, message = layer.receive(channels)
        assert message is not None
        orders.append(message["order"])
    assert orders == [0, 1, 2]
    process.close()


def test_out_of_memory_is_a_full_channel(private_redis_server: RedisServer) -> None:
    layer = RedisPlaceLayer([private_redis_server.url])
    layer.send("test", {})
    private_redis_server.command("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(layer.ChannelFull, match="out of memory"):
        layer.send("test", {})
    assert layer.send_many([("test", {})]) == [Outcome.FULL]
    layer.close()


# Encryption


FIRST, SECOND = "the key that was there first", "the key that comes after it"


def encrypted(url: str, *keys: str) -> RedisPlaceLayer:
    return RedisPlaceLayer([url], symmetric_encryption_keys=keys)


def test_redis_sees_names_and_no_words_st13(redis_url: str) -> None:
    layer = encrypted(redis_url, FIRST)
    layer.group_add("some-group", "test.member")
    layer.send("test.secret", {"words": "nobody else reads this"})
    layer.send_group("some-group", {"words": "nobody else reads this"})
    for channel in ("test.secret", "test.member"):
        (entry,) = raw(layer, "LRANGE", layer.plan.key("0", "c", channel), 0, -1)  # type: ignore[misc]
        assert not any(word in entry for word in (b"words", b"nobody", b"else"))
        assert layer.receive([channel]) == (channel, {"words": "nobody else reads this"})
    layer.close()


def test_keys_are_rotated_process_by_process_without_a_loss_st13(redis_url: str) -> None:
    steps = [(FIRST,), (FIRST, SECOND), (SECOND, FIRST), (SECOND,)]
    processes = [encrypted(redis_url, *steps[0]) for _ in range(4)]
    sent, received = 0, []

    def everybody_sends_then_takes_turns() -> None:
        nonlocal sent
        for process in processes:
            process.send_many([("test", {"number": sent + more}) for more in range(5)])
            sent += 5
        for reader in processes * 5:
            received.append(reader.receive_many(["test"])[0][1]["number"])

    for step in steps[1:]:
        for number in range(len(processes)):
            everybody_sends_then_takes_turns()
            # What it sent is still there when it ends.
            processes[number].send("test", {"number": sent})
            sent += 1
            processes[number].close()
            processes[number] = encrypted(redis_url, *step)
            received.append(processes[(number + 2) % 4].receive_many(["test"])[0][1]["number"])
    everybody_sends_then_takes_turns()
    assert received == list(range(sent))
    assert processes[0].receive(["test"]) == (None, None)
    for process in processes:
        process.close()


def test_whoever_writes_to_redis_cannot_move_prolong_change_or_forge_a_message_st13(
    redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    layer, stranger = encrypted(redis_url, FIRST), encrypted(redis_url, SECOND)
    plain = RedisPlaceLayer([redis_url])
    here, there = layer.plan.key("0", "c", "test.here"), layer.plan.key("0", "c", "test.there")
    layer.send("test.here", {"pay": 1})
    entry = raw(layer, "LPOP", here)
    assert isinstance(entry, bytes)
    raw(layer, "RPUSH", there, entry)
    raw(
        layer,
        "RPUSH",
        here,
        entry[:2] + bytes(8) + entry[10:],
        entry[:-1],
        entry[:-1] + bytes((entry[-1] ^ 1,)),
    )
    for other in (plain, stranger):
        other.send("test.here", {"pay": 1000})
    assert layer.receive(["test.there"]) == (None, None)
    assert layer.receive_many(["test.here"], 10) == []
    counters = layer._readers["0"].counters
    assert (counters["test.here|unreadable"], counters["test.there|unreadable"]) == (5, 1)
    raw(layer, "RPUSH", here, entry)
    assert layer.receive(["test.here"]) == ("test.here", {"pay": 1})
    for each in (layer, plain, stranger):
        each.close()
    assert len([record for record in caplog.records if "Dropped from" in record.message]) == 1


def test_a_message_that_is_tried_again_stays_encrypted(redis_url: str) -> None:
    layer = encrypted(redis_url, FIRST)
    port = layer.open_worker_port(lambda item, outcome: None)
    layer.send("test", {"words": "nobody else reads this"})
    (delivery,) = port.turn([], ["test"], 1, 1)
    assert port.requeue(delivery)
    (entry,) = raw(layer, "LRANGE", layer.plan.key("0", "c", "test"), 0, -1)  # type: ignore[misc]
    assert b"nobody" not in entry
    (again,) = port.turn([], ["test"], 1, 1)
    assert (again.message, again.retries) == ({"words": "nobody else reads this"}, 1)
    port.give_back([again])
    assert port.turn([], ["test"], 1, 1)[0].message == {"words": "nobody else reads this"}
    port.close()
    layer.close()


def test_no_keys_stand_in_what_a_layer_says_of_itself(redis_url: str) -> None:
    layer = encrypted(redis_url, FIRST)
    assert FIRST not in f"{layer!r} {layer.label} {vars(layer)} {layer.plan.codec}"
    layer.close()

"""RedisWorkerPort: the contract, over Valkey and over Redis, and what is its own."""

from __future__ import annotations

import threading
import time
import unittest
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from headrace_asgi import control
from headrace_asgi.conformance.worker_port import WorkerPortConformance
from headrace_asgi.contract import Control, Finish, Out, Outcome, Send, SendGroup
from headrace_asgi.envelope import pack_message
from headrace_asgi.errors import KeySpoilt, LayerRefused, LayerUnavailable, OutcomeUnknown
from headrace_asgi.layers.redis.blocking import worker_port as redis_port
from headrace_asgi.layers.redis.blocking.layer import RedisPlaceLayer
from headrace_asgi.layers.redis.blocking.worker_port import RedisWorkerPort
from headrace_asgi.layers.redis.memory_watch import OVER_SECONDS
from headrace_asgi.layers.redis.plan.command import RedisCommand, as_is
from tests.support.conformance import AsTheLeastUser, OnRedis, OnValkey, OverSentinel
from tests.support.redis_process import RedisProcess, bring_forward, let_leases_lapse
from tests.support.services import RedisServer


class RedisPortConformance(WorkerPortConformance):
    expiry_delay = 1.1
    capacity_limit = 5
    several_processes = True
    options: dict[str, Any] = {}
    url: str
    channel_layer: RedisPlaceLayer
    acknowledged_channel = "test.acknowledged"

    def setUp(self) -> None:
        self.channel_layer = RedisPlaceLayer(
            [self.url],
            expiry=1,
            capacity=5,
            acknowledged=["test.acknow*"],
            acknowledged_attempts=self.attempts,
            **self.options,
        )
        self.addCleanup(self.channel_layer.close)
        super().setUp()

    def open_process(self) -> RedisProcess:
        process = RedisProcess(self.channel_layer)
        self.addCleanup(process.close)
        return process

    def pass_time(self, seconds: float) -> None:
        bring_forward(self.channel_layer, seconds)

    def lose_bells(self, channel: str) -> None:
        layer = self.channel_layer
        for place in layer.places.names:
            layer.ask(RedisCommand(place, (b"DEL", layer.plan.queue_key(place, channel)), as_is))

    def let_leases_lapse(self) -> None:
        let_leases_lapse(self.channel_layer)

    def put_raw(self, channel: str, entry: bytes) -> None:
        layer = self.channel_layer
        key = layer.plan.queue_key(layer.places.home, channel)
        layer.ask(RedisCommand(layer.places.home, (b"RPUSH", key, entry), as_is))


class TestOnValkey(OnValkey, RedisPortConformance, unittest.TestCase):
    pass


class TestOnRedis(OnRedis, RedisPortConformance, unittest.TestCase):
    pass


class TestEncrypted(OnValkey, RedisPortConformance, unittest.TestCase):
    options = {"symmetric_encryption_keys": ["the key of the conformance tests"]}


class TestAsTheLeastUser(AsTheLeastUser, RedisPortConformance, unittest.TestCase):
    pass


class TestOverSentinel(OverSentinel, RedisPortConformance, unittest.TestCase):
    pass


class Worker:
    """A port, what it refused, and the process that it answers."""

    def __init__(self, url: str) -> None:
        self.layer = RedisPlaceLayer([url])
        self.refused: list[tuple[Out, Outcome]] = []
        self.port = RedisWorkerPort(self.layer, lambda item, outcome: self.refused.append((item, outcome)))
        self.process = RedisProcess(self.layer)
        self.reply = self.process.process + "client"

    def raw(self, *args: bytes | str | int) -> object:
        return self.layer.ask(RedisCommand("0", args, as_is))

    def calls_of(self, command: str) -> int:
        """How often Redis ran a command."""
        text = self.raw("INFO", "commandstats")
        assert isinstance(text, bytes)
        for line in text.decode().splitlines():
            if line.startswith(f"cmdstat_{command}:calls="):
                return int(line.partition("=")[2].partition(",")[0])
        return 0

    def kill_take(self) -> None:
        """Break the connection that takes."""
        self.raw("CLIENT", "KILL", "ID", self.port._connection.client_id)

    def blocked(self) -> None:
        """Wait until the take of the port blocks."""
        deadline = time.monotonic() + 5
        while "blocked_clients:1" not in str(self.raw("INFO", "clients")):
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def close(self) -> None:
        self.port.close()
        self.layer.close()


@pytest.fixture
def worker(private_redis_server: RedisServer) -> Iterator[Worker]:
    made = Worker(private_redis_server.url)
    yield made
    made.close()


def after(seconds: float, act: Callable[[], object]) -> threading.Timer:
    timer = threading.Timer(seconds, act)
    timer.start()
    return timer


def test_replies_of_one_turn_to_one_process_travel_as_one_command(worker: Worker) -> None:
    before = worker.calls_of("evalsha")
    out: list[Out] = [
        Control(worker.reply, control.note(control.VERDICT, local="client", ordered=False)),
        *(
            Send(worker.process.process + f"c{number}", pack_message({"number": number}))
            for number in range(10)
        ),
    ]
    worker.port.turn(out, ["test"], 1, 0)
    assert worker.calls_of("evalsha") == before + 1
    heard = worker.process.heard()
    assert heard[0].control == control.VERDICT
    assert [one.message["number"] for one in heard[1:]] == list(range(10))


def test_a_group_message_keeps_its_place_between_two_replies(worker: Worker) -> None:
    worker.layer.group_add("group", worker.reply)
    worker.process.heard()
    first, last = Send(worker.reply, pack_message({"n": 1})), Send(worker.reply, pack_message({"n": 3}))
    worker.port.turn([first, SendGroup("group", pack_message({"n": 2})), last], [], 1, 0)
    heard = [one.message["n"] for one in worker.process.heard()]
    assert heard == [1, 2, 3]


def test_two_group_messages_of_one_reused_dict_arrive_as_they_were_said(worker: Worker) -> None:
    worker.layer.group_add("group", worker.reply)
    worker.process.heard()
    message, out = {"n": 0}, []
    for number in (1, 2):
        message["n"] = number
        out.append(SendGroup("group", pack_message(message)))
    worker.port.turn(out, [], 1, 0)
    assert [one.message for one in worker.process.heard()] == [{"n": 1}, {"n": 2}]


def test_a_flushed_script_cache_is_made_good_while_the_take_waits(worker: Worker) -> None:
    worker.raw("SCRIPT", "FLUSH")
    out: list[Out] = [Send(worker.reply, pack_message({"n": 1})), Send("test.other", pack_message({}))]
    timer = after(0.1, lambda: worker.layer.send("test", {"n": 2}))
    started = time.monotonic()
    (delivery,) = worker.port.turn(out, ["test"], 1, 10)
    timer.join()
    assert delivery.message == {"n": 2}
    assert time.monotonic() - started < 5
    assert [one.message for one in worker.process.heard()] == [{"n": 1}]
    assert worker.refused == []


def test_answers_are_heard_before_the_wait(worker: Worker) -> None:
    heard_at: list[float] = []
    port = RedisWorkerPort(worker.layer, lambda item, outcome: heard_at.append(time.monotonic()))
    worker.process.close()
    port.turn([Send(worker.reply, pack_message({}))], ["test"], 1, 0.4)
    assert time.monotonic() - heard_at[0] > 0.3
    port.close()


def test_a_worker_that_is_refused_at_its_start_may_try_again(private_redis_server: RedisServer) -> None:
    private_redis_server.command("CONFIG", "SET", "requirepass", "another")
    layer = RedisPlaceLayer([private_redis_server.url])
    for _ in range(2):
        with pytest.raises(LayerRefused, match="refused the login"):
            layer.open_worker_port(lambda item, outcome: None)
    private_redis_server.restart()
    layer.open_worker_port(lambda item, outcome: None).close()
    layer.close()


def test_wake_loses_nothing_that_a_take_popped_w6(worker: Worker) -> None:
    taken: list[int] = []
    stop = threading.Event()

    def wake() -> None:
        while not stop.is_set():
            worker.port.wake()
            time.sleep(0.0005)

    def send() -> None:
        for number in range(300):
            worker.layer.send("test", {"number": number})

    threads = [threading.Thread(target=wake), threading.Thread(target=send)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 20
    while len(taken) < 300 and time.monotonic() < deadline:
        taken += [one.message["number"] for one in worker.port.turn([], ["test"], 3, 1)]
    stop.set()
    for thread in threads:
        thread.join()
    assert taken == list(range(300))


def test_wake_ends_a_wait_within_a_tenth_of_a_second(worker: Worker) -> None:
    woken_at: list[float] = []

    def wake() -> None:
        worker.blocked()
        woken_at.append(time.monotonic())
        worker.port.wake()

    thread = threading.Thread(target=wake)
    thread.start()
    assert worker.port.turn([], ["test"], 1, 30) == []
    assert time.monotonic() - woken_at[0] < 0.1
    thread.join()


def test_a_take_is_asked_anew_now_and_then(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_port, "LONGEST_TAKE_SECONDS", 0.05)
    assert worker.port.turn([], ["test"], 1, 1) == []
    assert worker.calls_of("blmpop") >= 2


def test_a_broken_take_tells_nothing_of_what_was_written_with_it(worker: Worker) -> None:
    timer = after(0.1, worker.kill_take)
    assert worker.port.turn([Send(worker.reply, pack_message({"n": 1}))], ["test"], 1, 10) == []
    timer.join()
    worker.layer.send("test", {"n": 2})
    (delivery,) = worker.port.turn([], ["test"], 1, 5)
    assert delivery.message == {"n": 2}
    assert [one.message for one in worker.process.heard()] == [{"n": 1}]
    assert worker.refused == []


def test_a_take_that_breaks_when_asked_anew_tells_nothing_of_what_was_written(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_port, "LONGEST_TAKE_SECONDS", 0.05)
    timer = after(0.3, worker.kill_take)
    assert worker.port.turn([Send(worker.reply, pack_message({"n": 1}))], ["test"], 1, 10) == []
    timer.join()
    assert [one.message for one in worker.process.heard()] == [{"n": 1}]


def test_a_broken_take_with_nothing_written_says_that_the_layer_is_away(worker: Worker) -> None:
    timer = after(0.1, worker.kill_take)
    with pytest.raises(LayerUnavailable):
        worker.port.turn([], ["test"], 1, 10)
    timer.join()


def test_a_connection_that_broke_while_a_consumer_ran_costs_no_reply(worker: Worker) -> None:
    worker.kill_take()
    worker.port.turn([Send(worker.reply, pack_message({"n": 1}))], [], 1, 0)
    assert [one.message for one in worker.process.heard()] == [{"n": 1}]


def test_without_redis_nothing_is_executed_and_with_it_the_next_turn_works(
    worker: Worker, private_redis_server: RedisServer
) -> None:
    private_redis_server.kill()
    for _ in range(2):
        with pytest.raises(LayerUnavailable) as raised:
            worker.port.turn([Send(worker.reply, pack_message({}))], ["test"], 1, 1)
        assert not isinstance(raised.value, OutcomeUnknown)
    private_redis_server.start()
    worker.process.register()
    worker.port.turn([Send(worker.reply, pack_message({"n": 1}))], ["test"], 1, 0)
    assert [one.message for one in worker.process.heard()] == [{"n": 1}]


def test_who_gives_back_learns_whether_some_of_it_may_be_back(worker: Worker) -> None:
    layer = worker.layer
    layer.send_many([(channel, {}) for channel in ("good", "spoilt")])
    good, spoilt = (worker.port.turn([], [channel], 1, 1) for channel in ("good", "spoilt"))
    key = layer.plan.queue_key("0", "spoilt")
    layer.ask(RedisCommand("0", ("SET", key, "no list"), as_is))
    with pytest.raises(KeySpoilt):
        worker.port.give_back(spoilt)
    with pytest.raises(OutcomeUnknown, match="1 of 2"):
        worker.port.give_back(good + spoilt)
    assert layer.statistics("good")["pending"] == 1
    layer.flush()


def test_a_write_without_an_answer_is_unknown(worker: Worker, private_redis_server: RedisServer) -> None:
    private_redis_server.pause()
    timer = after(0.2, private_redis_server.kill)
    with pytest.raises(OutcomeUnknown):
        worker.port.turn([Send(worker.reply, pack_message({}))], [], 1, 0)
    timer.join()
    assert worker.refused == []


def test_what_cannot_be_packed_is_refused_before_anything_is_written(worker: Worker) -> None:
    with pytest.raises(TypeError):
        worker.port.turn(
            [Send(worker.reply, pack_message({"n": 1})), Control(worker.reply, {"n": object()})],
            ["test"],
            1,
            0,
        )
    assert worker.process.heard() == []


@pytest.mark.parametrize("name", ["a b", "a!b", "ä", ""])
def test_a_name_that_is_none_is_refused_before_anything_is_written(worker: Worker, name: str) -> None:
    for _ in range(2):
        with pytest.raises(TypeError):
            worker.port.turn([Send(worker.reply, pack_message({"n": 1}))], ["test", name], 1, 0)
    assert worker.process.heard() == []


def test_an_expired_connect_takes_its_socket_along_with_the_next_write(worker: Worker) -> None:
    plan = worker.layer.plan
    reply = {"reply_channel": worker.reply}
    assert worker.process.connect("client", "/", {**reply, "n": 0}) is Outcome.SENT
    assert worker.process.frame("client", {**reply, "n": 1}, 1) is Outcome.BOXED
    assert worker.process.disconnect("client", reply, 2) is Outcome.BOXED
    clock = worker.layer.executor("0").clock
    clock.sample(clock.now_ms())
    # The entry of the connect, made 2 ms old: as if it had waited longer than it may.
    key = plan.queue_key("0", "websocket.connect")
    entry = worker.raw("LPOP", key)
    assert isinstance(entry, bytes)
    worker.raw("LPUSH", key, entry[:2] + (clock.now_ms() - 2).to_bytes(8, "big") + entry[10:])
    channels = ["websocket.connect", "websocket.receive", "websocket.disconnect"]
    assert worker.port.turn([], channels, 1, 0) == []
    assert worker.port.turn([], channels, 1, 0) == []
    assert worker.port.counters["websocket.connect|expired"] == 1
    assert [worker.layer.statistics(channel)["dropped"] for channel in channels] == [0, 1, 1]
    for kind in ("o", "m"):
        assert worker.raw("EXISTS", plan.key("0", kind, worker.reply)) == 0
    assert worker.raw("ZCARD", plan.key("0", "w")) == 0


def test_a_fresh_delivery_starts_without_a_word_and_an_expired_one_asks_the_clock_first(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        worker.layer.send("test", {})
    first, second = worker.port.turn([], ["test"], 2, 1)
    asked = worker.calls_of("time")
    assert worker.port.may_start(first, time.monotonic())
    assert worker.calls_of("time") == asked
    clock = worker.layer.executor("0").clock
    monkeypatch.setattr(clock, "_monotonic", lambda: time.monotonic() + 61)
    # Our clock ran on while that of Redis did not: what looks expired is not.
    assert worker.port.may_start(first, time.monotonic())
    assert worker.calls_of("time") > asked
    second.expiry_ms = clock.now_ms() - 1
    clock._drop_nothing_until = 0
    assert not worker.port.may_start(second, time.monotonic())
    assert worker.port.counters["test|expired"] == 1


def test_an_ordered_socket_whose_frame_expired_is_closed_and_not_skipped(worker: Worker) -> None:
    plan = worker.layer.plan
    reply = {"reply_channel": worker.reply}
    worker.process.connect("client", "/", reply)
    (connect,) = worker.port.turn([], ["websocket.connect"], 1, 5)
    worker.process.frame("client", {**reply, "n": 1}, 1)
    worker.port.turn([Finish(worker.reply, 0, connect.place)], [], 1, 0)
    clock = worker.layer.executor("0").clock
    clock.sample(clock.now_ms())
    key = plan.queue_key("0", "websocket.receive")
    entry = worker.raw("LPOP", key)
    assert isinstance(entry, bytes)
    worker.raw("LPUSH", key, entry[:2] + (clock.now_ms() - 2).to_bytes(8, "big") + entry[10:])
    assert worker.port.turn([], ["websocket.receive"], 1, 0) == []
    worker.port.turn([], [], 1, 0)
    assert [one.message["control"] for one in worker.process.heard()] == ["close"]


def test_a_late_holder_may_not_start_when_somebody_moved_on(worker: Worker) -> None:
    reply = {"reply_channel": worker.reply}
    worker.process.connect("client", "/", reply)
    (delivery,) = worker.port.turn([], ["websocket.connect"], 1, 1)
    assert delivery.order == 0
    before = worker.calls_of("evalsha")
    assert worker.port.may_start(delivery, delivery.taken_at + 1)
    assert worker.calls_of("evalsha") == before
    assert worker.port.may_start(delivery, delivery.taken_at + 16)
    assert worker.calls_of("evalsha") == before + 1
    worker.port.turn([Finish(worker.reply, 0, delivery.place)], [], 1, 0)
    assert not worker.port.may_start(delivery, delivery.taken_at + 16)
    assert not worker.port.renew(delivery)
    assert not worker.port.requeue(delivery)


def test_a_second_finish_is_told_as_stale(worker: Worker) -> None:
    worker.process.connect("client", "/", {"reply_channel": worker.reply})
    finish = Finish(worker.reply, 0, "0")
    worker.port.turn([finish], [], 1, 0)
    worker.port.turn([finish], [], 1, 0)
    assert worker.refused == [(finish, Outcome.STALE)]


def test_out_of_memory_refuses_messages_as_full_and_lets_replies_pass(
    worker: Worker, private_redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    private_redis_server.command("CONFIG", "SET", "maxmemory", "1")
    send = Send("test.other", pack_message({}))
    note = Control(worker.reply, control.note(control.RUNNING, local="client"))
    worker.port.turn([send, note, Send(worker.reply, pack_message({"n": 1}))], [], 1, 0)
    assert worker.refused == [(send, Outcome.FULL)]
    assert [one.control or one.message for one in worker.process.heard()] == [control.RUNNING, {"n": 1}]
    worker.port.turn([send, Send(worker.reply, pack_message({}))], [], 1, 0)
    [record] = caplog.records
    assert "is out of memory: what is sent to channels and groups is refused" in record.getMessage()
    private_redis_server.command("CONFIG", "SET", "maxmemory", "0")
    worker.layer.executor("0").memory._trouble.last_at -= OVER_SECONDS
    worker.port.turn([send], [], 1, 0)
    assert len(caplog.records) == 2
    assert "has memory again" in caplog.text


def test_a_worker_that_speaks_to_a_group_drains_a_full_redis(
    worker: Worker, private_redis_server: RedisServer
) -> None:
    worker.layer.group_add("group", worker.reply)
    worker.layer.group_add("group", "plain")
    for number in range(10):
        worker.layer.send("test", {"n": number})
    worker.process.heard()
    private_redis_server.command("CONFIG", "SET", "maxmemory", "1")
    taken: list[int] = []
    for _ in range(5):
        out: list[Out] = [
            Send(worker.reply, pack_message({"n": len(taken)})),
            SendGroup("group", pack_message({"group": True})),
            Control(worker.reply, control.note(control.RUNNING, local="client")),
        ]
        taken += [one.message["n"] for one in worker.port.turn(out, ["test"], 2, 1)]
    assert taken == list(range(10))
    heard = [one.control or one.message["n"] for one in worker.process.heard()]
    assert heard == [part for number in range(0, 10, 2) for part in (number, control.RUNNING)]
    assert worker.refused == []
    private_redis_server.command("CONFIG", "SET", "maxmemory", "0")
    worker.port.turn([SendGroup("group", pack_message({"n": "after"}))], [], 1, 0)
    assert [one.message for one in worker.process.heard()] == [{"n": "after"}]
    assert worker.layer.receive(["plain"]) == ("plain", {"n": "after"})


def test_a_group_that_cannot_be_read_costs_its_own_message_only(
    worker: Worker, private_redis_server: RedisServer
) -> None:
    worker.raw("SET", worker.layer.plan.key("0", "g", "broken"), "no hash")
    worker.layer.group_add("group", worker.reply)
    worker.layer.send("test", {"n": 1})
    worker.process.heard()
    lost = SendGroup("broken", pack_message({}))
    out: list[Out] = [
        lost,
        SendGroup("group", pack_message({"n": 2})),
        Send(worker.reply, pack_message({"n": 3})),
    ]
    (delivery,) = worker.port.turn(out, ["test"], 1, 1)
    assert delivery.message == {"n": 1}
    assert worker.refused == [(lost, Outcome.UNAVAILABLE)]
    assert [one.message["n"] for one in worker.process.heard()] == [2, 3]
    worker.port.turn([lost], [], 1, 0)
    assert worker.refused == [(lost, Outcome.UNAVAILABLE)] * 2


def test_a_group_message_is_not_said_to_be_refused_when_the_whole_turn_is(
    worker: Worker, private_redis_server: RedisServer
) -> None:
    private_redis_server.kill()
    with pytest.raises(LayerUnavailable):
        worker.port.turn(
            [SendGroup("group", pack_message({})), Send(worker.reply, pack_message({}))], ["test"], 1, 0
        )
    assert worker.refused == []


def test_replies_to_a_process_that_redis_forgot_are_told_apart_from_those_to_one_that_ended(
    worker: Worker,
) -> None:
    worker.raw("DEL", worker.layer.plan.key("0", "up", worker.process.process))
    ended = RedisProcess(worker.layer)
    ended.close()
    early, late = (
        Send(worker.reply, pack_message({"n": 1})),
        Send(ended.process + "client", pack_message({"n": 2})),
    )
    note = Control(worker.reply, control.note(control.RUNNING, local="client"))
    worker.port.turn([early, late, note], [], 1, 0)
    refused = [(early, Outcome.FORGOTTEN), (note, Outcome.FORGOTTEN), (late, Outcome.GONE)]
    assert worker.refused == refused
    worker.process.register()
    worker.port.turn([early], [], 1, 0)
    assert worker.refused == refused
    assert [one.control or one.message for one in worker.process.heard()] == [control.FORGOTTEN, {"n": 1}]


def test_a_name_that_only_looks_like_a_reply_channel_stops_no_worker(worker: Worker) -> None:
    with pytest.raises(TypeError, match=r"hr1\.bad!x"):
        worker.layer.send("hr1.bad!x", {})
    # As it comes with a message that somebody else wrote.
    out: list[Out] = [
        Control("hr1.bad!x", control.note(control.RUNNING, local="x")),
        Finish("hr1.bad!x", 3, "0"),
        Send(worker.reply, pack_message({"n": 1})),
    ]
    worker.layer.send("test", {"n": 2})
    (delivery,) = worker.port.turn(out, ["test"], 1, 1)
    assert delivery.message == {"n": 2}
    assert worker.refused == [(out[1], Outcome.STALE)]
    assert [one.message for one in worker.process.heard()] == [{"n": 1}]


def test_a_note_for_a_foreign_server_is_left_out(worker: Worker) -> None:
    note = Control("daphne!client", control.note(control.RUNNING, local="client"))
    worker.port.turn([note], [], 1, 0)
    assert worker.refused == []
    assert worker.layer.receive(["daphne!"]) == (None, None)


def test_a_wait_that_may_not_be_ended_early_is_waited_for(private_redis_server: RedisServer) -> None:
    private_redis_server.command("ACL", "SETUSER", "default", "-client|unblock")
    worker = Worker(private_redis_server.url)
    timer = after(0.1, worker.port.wake)
    started = time.monotonic()
    assert worker.port.turn([], ["test"], 1, 0.5) == []
    assert 0.3 < time.monotonic() - started < 3
    timer.join()
    worker.close()

"""The worker with one thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from django.core.signals import request_finished

from headrace import Channel, route
from headrace.asgi import ChannelLayerWrapper
from headrace.conf import WorkerSettings
from headrace.exceptions import ConsumeLater
from headrace.handler import ViewConsumer
from headrace.message import Message
from headrace.signals import consumer_finished, consumer_started, worker_ready
from headrace.worker.single import BatchSize, Worker
from headrace_asgi import InMemoryChannelLayer, RedisChannelLayer
from headrace_asgi.contract import Delivery, Out, RefusedHandler
from headrace_asgi.errors import LayerRefused, LayerUnavailable, OutcomeUnknown
from headrace_asgi.layers.memory.worker_port import MemoryWorkerPort
from tests.support.rubbish import Rubbish
from tests.support.workers import layer_with, work_off, worker_for

REPLY = "test.reply!a"
#: Takes are as large as they may be, however slow this machine is today.
LARGE_TAKES = WorkerSettings(take_seconds=60, origin_check=False)


def echo(message: Message) -> None:
    message.reply_channel.send({"text": message["text"]})


def replies(layer: Any) -> list[Any]:
    return [message for _, message in layer.receive_many(["test.reply!"], 100)]


def test_answers_leave_with_the_next_turn() -> None:
    worker = worker_for([route("work", echo)])
    for text in "abc":
        worker.channel_layer.send("work", {"reply_channel": REPLY, "text": text})
    work_off(worker)
    assert replies(worker.channel_layer) == [{"text": "a"}, {"text": "b"}, {"text": "c"}]
    assert worker.counters == {"done": 3}


def test_signals_stand_around_a_consumer_and_a_worker() -> None:
    told: list[str] = []

    def started(**kwargs: Any) -> None:
        told.append(f"started {kwargs['environ']}")

    def finished(**kwargs: Any) -> None:
        told.append("finished")

    def ready(worker: Worker, **kwargs: Any) -> None:
        told.append("ready")
        worker.channel_layer.send("work", {})

    def consumer(message: Message) -> None:
        told.append("consumer")
        worker.stop()

    worker = worker_for([route("work", consumer)])
    consumer_started.connect(started)
    consumer_finished.connect(finished)
    worker_ready.connect(ready)
    try:
        worker.run()
    finally:
        consumer_started.disconnect(started)
        consumer_finished.disconnect(finished)
        worker_ready.disconnect(ready)
    assert told == ["ready", "started {}", "consumer", "finished"]


def test_a_callback_hears_of_each_message() -> None:
    heard: list[Any] = []
    layer = layer_with([route("work", lambda message: None)])
    worker = Worker(layer, lambda channel, content: heard.append((channel, content)))
    layer.send("work", {"n": 1})
    work_off(worker)
    assert heard == [("work", {"n": 1})]


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
def test_w1_w7_a_consumer_cannot_end_a_worker(error: type[BaseException]) -> None:
    def consumer(message: Message) -> None:
        message.reply_channel.send({"half": True})
        raise error

    worker = worker_for([route("bad", consumer), route("work", echo)])
    worker.channel_layer.send("bad", {"reply_channel": REPLY})
    worker.channel_layer.send("work", {"reply_channel": REPLY, "text": "lives"})
    work_off(worker)
    assert replies(worker.channel_layer) == [{"text": "lives"}]


def test_w7_a_message_consumed_later_repeats_none_of_its_side_messages() -> None:
    tries = []

    def consumer(message: Message) -> None:
        Channel("side", channel_layer=message.channel_layer).send({"n": len(tries)})
        tries.append(message.delivery.retries)
        if len(tries) < 4:
            raise ConsumeLater

    worker = worker_for([route("work", consumer)])
    worker.channel_layer.send("work", {})
    work_off(worker, until=lambda: len(tries) == 4)
    worker._write()
    assert tries == [0, 1, 2, 3]
    assert worker.channel_layer.receive_many(["side"], 10) == [("side", {"n": 3})]


def test_w8_a_message_is_consumed_later_after_growing_pauses_and_not_for_ever() -> None:
    times: list[float] = []

    def consumer(message: Message) -> None:
        times.append(time.monotonic())
        raise ConsumeLater

    settings = WorkerSettings(message_retries=3, retry_pause_seconds=0.04, origin_check=False)
    worker = worker_for([route("work", consumer)], settings)
    worker.channel_layer.send("work", {})
    work_off(worker, until=lambda: worker.counters["dead"])
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert len(times) == 4
    assert all(pause >= wanted for pause, wanted in zip(pauses, (0.01, 0.02, 0.04), strict=True))
    assert worker.counters == {"requeued": 3, "dead": 1}


def test_w3_a_full_channel_ends_no_worker_and_its_messages_are_counted() -> None:
    def consumer(message: Message) -> None:
        for number in range(3):
            Channel("full", channel_layer=message.channel_layer).send({"n": number})
        message.reply_channel.send({"text": "done"})

    settings = WorkerSettings(send_retry_seconds=0.1, origin_check=False)
    worker = worker_for([route("work", consumer)], settings, channel_capacity={"full": 1})
    worker.channel_layer.send("work", {"reply_channel": REPLY})
    work_off(worker)
    while worker.counters["shed"] < 2:
        time.sleep(worker._line.wait_seconds(1))
        worker._line.turn()
    assert replies(worker.channel_layer) == [{"text": "done"}]
    assert worker.channel_layer.receive_many(["full"], 9) == [("full", {"n": 0})]


class FlakyLayer(InMemoryChannelLayer):
    """Loses its connection when told."""

    def __init__(self, **config: Any) -> None:
        super().__init__(**config)
        self.faults: list[BaseException] = []
        self.turns = 0

    def open_worker_port(self, on_refused: RefusedHandler) -> MemoryWorkerPort:
        layer = self

        class Port(MemoryWorkerPort):
            def turn(
                self, out: Sequence[Out], channels: Sequence[str], limit: int, block_seconds: float
            ) -> list[Delivery]:
                layer.turns += 1
                if layer.faults:
                    raise layer.faults.pop(0)
                return super().turn(out, channels, limit, block_seconds)

        return Port(self._hub, on_refused, self.expiry, self.max_message_bytes)


def test_w5_a_lost_layer_is_logged_once_and_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    layer = layer_with([route("work", echo)])
    layer.channel_layer = flaky = FlakyLayer()
    worker = Worker(layer)
    layer.send("work", {"reply_channel": REPLY, "text": "one"})
    worker.step()
    flaky.faults = [LayerUnavailable("nobody there"), OutcomeUnknown("broken"), LayerUnavailable("no")]
    began = time.monotonic()
    for _ in range(3):
        assert worker.step() == 0
    assert time.monotonic() - began > 0.05
    layer.send("work", {"reply_channel": REPLY, "text": "two"})
    work_off(worker)
    assert replies(layer) == [{"text": "two"}]  # the answer whose fate nobody knows is not said twice
    lines = [record.message for record in caplog.records if record.name == "headrace.layer"]
    assert len(lines) == 2
    assert lines[0].startswith("The channel layer is unavailable (nobody there)")
    assert lines[1].startswith("The channel layer is back after")
    assert worker.counters["unknown"] == 1


def test_w5_a_lost_layer_that_then_refuses_us_is_told_once_more(caplog: pytest.LogCaptureFixture) -> None:
    layer = layer_with([route("work", echo)])
    layer.channel_layer = flaky = FlakyLayer()
    worker = Worker(layer)
    worker.step()
    flaky.faults = [LayerUnavailable("it broke"), *[LayerRefused("refused the login")] * 3]
    for _ in range(5):
        worker.step()
    lines = [record.message for record in caplog.records if record.name == "headrace.layer"]
    assert [line.partition("(")[0] for line in lines[:2]] == [
        "The channel layer is unavailable ",
        "The channel layer refuses us ",
    ]
    assert lines[1].endswith("(refused the login); trying again until that is put right")
    assert lines[2].startswith("The channel layer is back")


def test_a_fault_of_the_layer_itself_costs_one_item_not_the_worker() -> None:
    layer = layer_with([route("work", echo)])
    layer.channel_layer = flaky = FlakyLayer()
    worker = Worker(layer)
    layer.send("work", {"reply_channel": REPLY, "text": "one"})
    worker.step()
    flaky.faults = [ZeroDivisionError("a bug"), ZeroDivisionError("a bug")]
    worker.step()
    layer.send("work", {"reply_channel": REPLY, "text": "two"})
    work_off(worker)
    assert replies(layer) == [{"text": "two"}]
    assert worker.counters["shed"] == 1


def test_w6_what_was_not_started_goes_back_to_the_head_at_a_stop() -> None:
    seen: list[str] = []

    def consumer(message: Message) -> None:
        seen.append(message["text"])
        if message["text"] == "b":
            worker.stop()
        echo(message)

    worker = worker_for([route("work", consumer)], LARGE_TAKES)
    for text in "a":
        worker.channel_layer.send("work", {"reply_channel": REPLY, "text": text})
    work_off(worker)
    for text in "bcde":
        worker.channel_layer.send("work", {"reply_channel": REPLY, "text": text})
    assert worker._pace.limit(time.monotonic()) == 20
    worker.run()
    worker.channel_layer.send("work", {"text": "f"})
    assert seen == ["a", "b"]
    assert replies(worker.channel_layer) == [{"text": "a"}, {"text": "b"}]
    left = worker.channel_layer.receive_many(["work"], 9)
    assert [message["text"] for _, message in left] == ["c", "d", "e", "f"]


def test_w6_an_idle_worker_stops_at_once() -> None:
    worker = worker_for([route("work", echo)])
    thread = threading.Thread(target=worker.run)
    thread.start()
    time.sleep(0.05)
    began = time.monotonic()
    worker.stop()
    thread.join(3)
    assert not thread.is_alive()
    assert time.monotonic() - began < 1


def test_a_stop_before_the_first_turn_counts() -> None:
    worker = worker_for([route("work", echo)])
    worker.stop()
    worker.run()


def test_answers_do_not_wait_for_slow_messages_behind_them() -> None:
    arrived: list[int] = []

    def consumer(message: Message) -> None:
        arrived.append(len(replies(message.channel_layer)))
        if message["text"] == "slow":
            time.sleep(0.005)
        echo(message)

    worker = worker_for([route("work", consumer)], LARGE_TAKES)
    worker.channel_layer.send("work", {"reply_channel": REPLY, "text": "quick"})
    work_off(worker)
    for text in ("slow", "slow", "quick"):
        worker.channel_layer.send("work", {"reply_channel": REPLY, "text": text})
    assert worker.step() == 3
    assert arrived == [0, 1, 1, 1]


class InThread:
    """A worker that runs in a thread, warm: its takes are as large as they may be."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        worker.channel_layer.send("work", {"reply_channel": REPLY, "text": "warm up"})
        work_off(worker)
        worker.channel_layer.receive_many(["test.reply!"], 1)
        self.thread = threading.Thread(target=worker.run)

    def __enter__(self) -> Worker:
        self.thread.start()
        return self.worker

    def __exit__(self, *_: object) -> None:
        self.worker.stop()
        self.thread.join(10)
        assert not self.thread.is_alive()


def test_what_is_done_is_answered_while_the_next_message_of_the_same_take_runs() -> None:
    release, arrived = threading.Event(), list[Any]()

    def consumer(message: Message) -> None:
        if message["text"] == "slow":
            release.wait(5)
        echo(message)

    worker = worker_for([route("work", consumer)], LARGE_TAKES)
    in_thread = InThread(worker)
    for text in ("one", "two", "slow", "three"):
        worker.channel_layer.send("work", {"reply_channel": REPLY, "text": text})
    with in_thread:
        give_up = time.monotonic() + 3
        while len(arrived) < 2 and time.monotonic() < give_up:
            arrived += replies(worker.channel_layer)
            time.sleep(0.001)
        assert [message["text"] for message in arrived] == ["one", "two"]
        release.set()
        while len(arrived) < 4 and time.monotonic() < give_up:
            arrived += replies(worker.channel_layer)
            time.sleep(0.001)
    assert [message["text"] for message in arrived] == ["one", "two", "slow", "three"]


def test_a_slow_receiver_of_request_finished_delays_no_answer() -> None:
    release = threading.Event()

    def slow(**kwargs: Any) -> None:
        release.wait(5)

    worker = worker_for([route("work", echo), route("http.request", ViewConsumer())], LARGE_TAKES)
    in_thread = InThread(worker)
    request_finished.connect(slow)
    content = {"reply_channel": REPLY, "http_version": "1.1", "method": "GET", "path": "/hello/"}
    content |= {"query_string": b"", "headers": [[b"host", b"localhost"]]}  # type: ignore[dict-item]
    worker.channel_layer.send("http.request", content)
    try:
        with in_thread:
            give_up = time.monotonic() + 3
            while not (arrived := replies(worker.channel_layer)) and time.monotonic() < give_up:
                time.sleep(0.001)
            release.set()
    finally:
        request_finished.disconnect(slow)
    assert [message["status"] for message in arrived] == [200]
    assert worker.counters["failed"] == 0


def test_messages_that_waited_behind_a_slow_one_ask_whether_they_may_still_start() -> None:
    asked, ran = list[str](), list[str]()

    def consumer(message: Message) -> None:
        ran.append(message["text"])
        if message["text"] == "slow":
            time.sleep(0.02)

    class Asking(MemoryWorkerPort):
        def may_start(self, delivery: Delivery, now: float) -> bool:
            asked.append(delivery.message["text"])
            return not delivery.message["text"].startswith("expired")

    worker = worker_for([route("work", consumer)], LARGE_TAKES)
    layer = worker.channel_layer.channel_layer
    layer.open_worker_port = lambda refused: Asking(layer._hub, refused, layer.expiry, 2**20)
    worker.channel_layer.send("work", {"text": "warm up"})
    work_off(worker)
    for text in ("first", "second", "slow", "expired 1", "good", "expired 2"):
        worker.channel_layer.send("work", {"text": text})
    assert worker.step() == 6
    assert ran == ["warm up", "first", "second", "slow", "good"]
    assert asked == ["expired 1", "good", "expired 2"]
    assert worker.counters["expired"] == 2


def test_at_a_stop_what_was_not_started_is_taken_by_others_while_the_consumer_still_runs() -> None:
    release, started = threading.Event(), threading.Event()

    def consumer(message: Message) -> None:
        if message["text"] == "slow":
            started.set()
            release.wait(5)
        echo(message)

    worker = worker_for([route("work", consumer)], LARGE_TAKES)
    in_thread = InThread(worker)
    for text in ("one", "slow", *"abcdefgh"):
        worker.channel_layer.send("work", {"reply_channel": REPLY, "text": text})
    with in_thread:
        assert started.wait(5)
        worker.stop()
        give_up = time.monotonic() + 3
        while worker.channel_layer.statistics("work")["pending"] < 8 and time.monotonic() < give_up:
            time.sleep(0.001)
        left = worker.channel_layer.receive_many(["work"], 20)
        assert [message["text"] for _, message in left] == list("abcdefgh")
        release.set()
    assert [message["text"] for message in replies(worker.channel_layer)] == ["one", "slow"]
    assert worker.counters["given back"] == 8


def test_earlier_answers_of_a_socket_leave_before_an_immediate_one() -> None:
    def consumer(message: Message) -> None:
        message.reply_channel.send({"text": message["text"]}, immediately=message["text"] == "immediate")

    worker = worker_for([route("work", consumer)], LARGE_TAKES)
    worker.channel_layer.send("work", {"reply_channel": REPLY, "text": "warm up"})
    work_off(worker)
    for text in ("first", "immediate"):
        worker.channel_layer.send("work", {"reply_channel": REPLY, "text": text})
    assert worker.step() == 2
    assert [message["text"] for message in replies(worker.channel_layer)] == [
        "warm up",
        "first",
        "immediate",
    ]


def test_o2_an_ordered_socket_goes_on_after_a_consumer_that_fails() -> None:
    seen: list[str] = []

    def connected(message: Message) -> None:
        message.reply_channel.send({"accept": True})

    def received(message: Message) -> None:
        seen.append(message["text"])
        if message["text"] == "1":
            raise ValueError
        echo(message)

    received.headrace_ordering = True  # type: ignore[attr-defined]
    worker = worker_for([route("websocket.connect", connected), route("websocket.receive", received)])
    process = worker.channel_layer.channel_layer.open_process()
    reply_channel = process.process + "a"
    process.connect("a", "/", {"reply_channel": reply_channel, "path": "/"})
    for number in (1, 2, 3):
        content = {"reply_channel": reply_channel, "path": "/", "text": str(number)}
        assert process.frame("a", content, number).accepted
    work_off(worker)
    heard = [one.control or one.message for one in process.heard()]
    assert heard == ["verdict", {"accept": True}, {"text": "2"}, {"text": "3"}]
    assert seen == ["1", "2", "3"]


def test_a_socket_that_is_not_ordered_gets_all_its_waiting_frames_at_once() -> None:
    worker = worker_for([route("websocket.connect", lambda message: None), route("websocket.receive", echo)])
    process = worker.channel_layer.channel_layer.open_process()
    reply_channel = process.process + "a"
    process.connect("a", "/", {"reply_channel": reply_channel, "path": "/"})
    for number in (1, 2):
        process.frame("a", {"reply_channel": reply_channel, "path": "/", "text": str(number)}, number)
    worker.step()
    assert worker.channel_layer.statistics("websocket.receive")["pending"] == 0
    worker._write()
    assert worker.channel_layer.statistics("websocket.receive")["pending"] == 2
    work_off(worker)
    verdict, *texts = process.heard()
    assert verdict.message["ordered"] is False
    assert [one.message["text"] for one in texts] == ["1", "2"]


def test_a_take_is_worth_about_two_milliseconds() -> None:
    pace = BatchSize(WorkerSettings().take_seconds, 20)
    assert pace.limit(0.0) == 1
    for _ in range(30):
        pace.ran("fast", 0.00001, 0.0)
    assert pace.limit(0.0) == 20
    for _ in range(100):
        pace.ran("views", 0.0003, 0.5)
    assert pace.limit(0.5) == 6
    pace.ran("slow", 0.2, 1.0)
    assert pace.limit(1.0) == 1
    assert pace.limit(2.6) == 1
    pace.ran("fast", 0.00001, 3.5)
    assert pace.limit(3.5) == 20


@pytest.mark.seeds(3)
def test_a_worker_runs_the_good_messages_among_rubbish(seed: int) -> None:
    done: list[int] = []

    def consumer(message: Message) -> None:
        if "good" in message:
            done.append(message["good"])
        elif message.reply_channel is not None:
            message.reply_channel.send({"text": "x"})

    channels = ["work", "http.request", "websocket.connect", "websocket.receive"]
    worker = worker_for([route(channel, consumer) for channel in channels], capacity=10_000)
    layer: Any = worker.channel_layer.channel_layer
    for number, blob in enumerate(Rubbish(seed).blobs(500)):
        for channel in channels:
            layer.put_raw(channel, blob)
        layer.send("work", {"good": number})
    work_off(worker)
    assert done == list(range(500))
    assert worker.counters["done"] >= 500


def test_every_message_is_accounted_for_however_it_ends() -> None:
    def consumer(message: Message) -> None:
        match message["text"]:
            case "raises":
                raise ValueError("no")
            case "later":
                raise ConsumeLater

    settings = WorkerSettings(message_retries=2, retry_pause_seconds=0.01)
    worker = worker_for([route("work", consumer)], settings)
    layer = worker.channel_layer
    for text in ("fine", "raises", "later", "fine"):
        layer.send("work", {"text": text})
    layer.channel_layer.put_raw("work", b"rubbish")
    work_off(worker, lambda: worker.counters["dead"] == 1)
    worker.close()
    account = {what: number for what, number in layer.statistics("work").items() if number}
    ends = {"done": 2, "failed": 1, "dead": 1, "unreadable": 1}
    assert account == {"offered": 5, "sent": 5, "taken": 5, **ends}


def test_what_a_worker_counts_is_written_when_it_leaves(redis_url: str) -> None:
    layer = ChannelLayerWrapper(
        RedisChannelLayer([redis_url]), "default", [route("work", lambda message: None)]
    )
    other = RedisChannelLayer([redis_url])
    worker = Worker(layer, settings=WorkerSettings(origin_check=False))
    for _ in range(3):
        other.send("work", {})
    work_off(worker, lambda: worker.counters["done"] == 3)
    worker.close()
    account = other.statistics("work")
    assert (account["sent"], account["done"], account["running"], account["unknown"]) == (3, 3, 0, 0)
    layer.close()
    other.close()

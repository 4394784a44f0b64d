"""The worker with several threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from headrace import route
from headrace.asgi import ChannelLayerWrapper
from headrace.conf import WorkerSettings
from headrace.exceptions import ConsumeLater
from headrace.message import Message
from headrace.worker.single import Worker
from headrace.worker.threads import ThreadedWorker
from headrace_asgi import RedisChannelLayer
from headrace_asgi.contract import Delivery
from headrace_asgi.errors import HeadraceError
from headrace_asgi.layers.memory.worker_port import MemoryWorkerPort
from tests.support.services import RedisServer
from tests.support.workers import layer_with

REPLY = "test.reply!a"


@contextmanager
def running(routing: Any, threads: int = 3, **config: Any) -> Iterator[ThreadedWorker]:
    with running_on(layer_with(routing, **config), threads) as worker:
        yield worker


@contextmanager
def running_on(layer: ChannelLayerWrapper, threads: int) -> Iterator[ThreadedWorker]:
    worker = ThreadedWorker(layer, threads=threads, settings=WorkerSettings(origin_check=False))
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield worker
    finally:
        worker.stop()
        thread.join(10)
        assert not thread.is_alive()


def eventually(check: Callable[[], Any]) -> None:
    give_up = time.monotonic() + 5
    while not check():
        assert time.monotonic() < give_up
        time.sleep(0.002)


def test_as_many_consumers_run_at_once_as_there_are_threads() -> None:
    together = threading.Barrier(3, timeout=5)

    def consumer(message: Message) -> None:
        together.wait()
        message.reply_channel.send({"ok": True})

    with running([route("work", consumer)]) as worker:
        for _ in range(6):
            worker.channel_layer.send("work", {"reply_channel": REPLY})
        eventually(lambda: worker.counters["done"] == 6)
    assert len(worker.channel_layer.receive_many(["test.reply!"], 10)) == 6


def test_a_worker_takes_only_for_idle_threads() -> None:
    release = threading.Event()
    with running([route("work", lambda message: release.wait(5))], threads=2) as worker:
        for _ in range(5):
            worker.channel_layer.send("work", {})
        statistics = worker.channel_layer.statistics
        eventually(lambda: statistics("work")["pending"] == 3)
        time.sleep(0.05)
        assert statistics("work")["pending"] == 3
        release.set()
        eventually(lambda: worker.counters["done"] == 5)


def test_w6_what_runs_at_a_stop_is_finished_and_answered() -> None:
    started = threading.Event()

    def consumer(message: Message) -> None:
        started.set()
        time.sleep(0.1)
        message.reply_channel.send({"ok": True})

    with running([route("work", consumer)], threads=1) as worker:
        for _ in range(3):
            worker.channel_layer.send("work", {"reply_channel": REPLY})
        assert started.wait(5)
    assert len(worker.channel_layer.receive_many(["test.reply!"], 10)) == 1
    assert worker.channel_layer.statistics("work")["pending"] == 2


def test_a_message_that_waited_in_a_thread_asks_whether_it_may_still_start() -> None:
    asked, ran = list[int](), list[int]()

    class Asking(MemoryWorkerPort):
        def may_start(self, delivery: Delivery, now: float) -> bool:
            asked.append(delivery.message["n"])
            return delivery.message["n"] != 1

        def turn(self, *args: Any) -> list[Delivery]:
            taken = super().turn(*args)
            for delivery in taken:  # as if the process had been stopped for a minute
                delivery.taken_at -= 60
            return taken

    layer = layer_with([route("work", lambda message: ran.append(message["n"]))])
    inner = layer.channel_layer
    vars(inner)["open_worker_port"] = lambda refused: Asking(inner._hub, refused, inner.expiry, 2**20)
    with running_on(layer, threads=1) as worker:
        for number in range(3):
            layer.send("work", {"n": number})
        eventually(lambda: ran == [0, 2])
    assert asked == [0, 1, 2]
    assert worker.counters["expired"] == 1


def test_w6_what_arrives_with_a_stop_is_given_back_and_not_started() -> None:
    ran = list[int]()
    layer = layer_with([route("work", lambda message: ran.append(message["n"]))])
    worker = ThreadedWorker(layer, threads=1, settings=WorkerSettings(origin_check=False))
    inner = layer.channel_layer

    class Stopping(MemoryWorkerPort):
        def turn(self, *args: Any) -> list[Delivery]:
            taken = super().turn(*args)
            if taken:
                worker.stop()
            return taken

    vars(inner)["open_worker_port"] = lambda refused: Stopping(inner._hub, refused, inner.expiry, 2**20)
    layer.send("work", {"n": 1})
    thread = threading.Thread(target=worker.run)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    assert ran == []
    assert layer.receive(["work"]) == ("work", {"n": 1})
    assert worker.counters["given back"] == 1


@pytest.mark.parametrize("error", [ValueError, SystemExit, ConsumeLater])
def test_w5_no_thread_is_lost_to_what_a_consumer_raises(error: type[BaseException]) -> None:
    def consumer(message: Message) -> None:
        if message.get("bad") and not message.delivery.retries:
            raise error

    with running([route("work", consumer)], threads=2) as worker:
        for number in range(12):
            worker.channel_layer.send("work", {"bad": number % 2})
        again = 6 if error is ConsumeLater else 0
        eventually(lambda: worker.counters["done"] == 6 + again)
        assert sum(handler.is_alive() for handler in worker._handlers) == 2
    assert worker.counters["requeued"] == again


def test_an_ordered_socket_keeps_its_order_over_the_threads() -> None:
    seen: list[str] = []

    def received(message: Message) -> None:
        time.sleep(0.001 * (int(message["text"]) % 3))
        seen.append(message["text"])
        message.reply_channel.send({"text": message["text"]})

    received.headrace_ordering = True  # type: ignore[attr-defined]
    routing = [
        route("websocket.connect", lambda message: message.reply_channel.send({"accept": True})),
        route("websocket.receive", received),
    ]
    with running(routing) as worker:
        process = worker.channel_layer.channel_layer.open_process()
        reply_channel = process.process + "a"
        process.connect("a", "/", {"reply_channel": reply_channel, "path": "/"})
        numbers = [str(number) for number in range(1, 31)]
        for number in numbers:
            process.frame("a", {"reply_channel": reply_channel, "path": "/", "text": number}, int(number))
        eventually(lambda: len(seen) == 30)
    heard = [one.message.get("text") for one in process.heard()]
    assert seen == numbers
    assert heard == [None, None, *numbers]


@pytest.mark.parametrize("threads", [1, 3])
def test_w5_w6_workers_outlive_redis_and_lose_nothing_at_a_stop(
    private_redis_server: RedisServer, threads: int
) -> None:
    layer = ChannelLayerWrapper(
        RedisChannelLayer(hosts=[private_redis_server.url]),
        "default",
        [route("work", lambda message: message.reply_channel.send({"n": message["n"]}))],
    )
    worker = Worker(layer) if threads == 1 else ThreadedWorker(layer, threads=threads)
    thread = threading.Thread(target=worker.run)
    thread.start()

    def answered(number: int) -> bool:
        try:
            layer.send("work", {"reply_channel": "answer?x", "n": number})
            return bool(layer.receive_many(["answer?x"], 1, 1))
        except HeadraceError:
            return False

    try:
        assert answered(1)
        private_redis_server.kill()
        time.sleep(0.2)
        assert thread.is_alive()
        private_redis_server.start()
        eventually(lambda: answered(2))
        for number in range(200):
            layer.send("work", {"reply_channel": "answer?y", "n": number})
    finally:
        worker.stop()
        thread.join(10)
    assert not thread.is_alive()
    numbers = [message["n"] for _, message in layer.receive_many(["answer?y"], 1000)]
    numbers += [message["n"] for _, message in layer.receive_many(["work"], 1000)]
    assert sorted(numbers) == list(range(200))
    layer.close()

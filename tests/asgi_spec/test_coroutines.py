"""Receiving in an event loop: whose a message is in every moment, and what becomes of the connections."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from headrace_asgi.contract import Delivery, Outcome, RefusedHandler
from headrace_asgi.errors import LayerUnavailable
from headrace_asgi.layers.memory.layer import InMemoryChannelLayer
from headrace_asgi.layers.memory.worker_port import MemoryWorkerPort
from headrace_asgi.layers.redis.blocking.layer import RedisPlaceLayer
from tests.support.services import RedisServer


class Port(MemoryWorkerPort):
    """Counts its ends; `give_back` may fail, or take its time."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.closed = 0
        self.broken = False
        self.slow_seconds = 0.0

    def give_back(self, deliveries: Sequence[Delivery]) -> None:
        time.sleep(self.slow_seconds)
        if self.broken:
            raise LayerUnavailable("away")
        super().give_back(deliveries)

    def close(self) -> None:
        self.closed += 1


class Layer(InMemoryChannelLayer):
    """Notes the ports that it opened."""

    def __init__(self, **limits: Any) -> None:
        super().__init__(**limits)
        self.ports: list[Port] = []

    def open_worker_port(self, on_refused: RefusedHandler) -> Port:
        self.ports.append(Port(self._hub, on_refused, self.expiry, self.max_message_bytes))
        return self.ports[-1]


async def cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(main())


def eventually(what: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 5
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_message_that_was_ready_for_a_task_in_the_moment_of_its_cancellation_goes_back() -> None:
    layer = Layer()

    async def main() -> None:
        task = asyncio.create_task(layer.areceive(["test"], block=True))
        await asyncio.sleep(0.05)
        for number in range(3):
            layer.send("test", {"number": number})
        # The thread takes it; the event loop, held up here, has not heard of it.
        eventually(lambda: layer.statistics("test")["pending"] == 2)
        time.sleep(0.05)
        await cancelled(task)
        received = await layer.areceive_many(["test"], 5)
        assert [message["number"] for _, message in received] == [0, 1, 2]

    run(main)


def test_a_coroutine_that_is_thrown_away_leaves_its_message() -> None:
    layer = Layer()

    async def main() -> None:
        waiting = layer.areceive(["test"], block=True)
        waiting.send(None)
        time.sleep(0.05)
        waiting.close()
        layer.send("test", {"number": 1})

    run(main)
    eventually(lambda: layer._async_receiver.idle)
    assert layer.receive(["test"]) == ("test", {"number": 1})


def test_what_cannot_be_put_back_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    layer = Layer()

    async def main() -> None:
        task = asyncio.create_task(layer.areceive(["test"], block=True))
        await asyncio.sleep(0.05)
        layer.ports[0].broken = True
        layer.send("test", {"number": 1})
        time.sleep(0.1)
        with caplog.at_level(logging.ERROR, "headrace.layer"):
            await cancelled(task)

    run(main)
    assert "1 messages that were taken for a cancelled coroutine could not be put back: away" in caplog.text


def test_ports_are_used_again_and_closed_with_the_layer() -> None:
    layer = Layer()

    async def main() -> None:
        waiting = [asyncio.create_task(layer.areceive([f"test.{number}"], True)) for number in range(3)]
        await asyncio.sleep(0.05)
        for number in range(3):
            await layer.asend(f"test.{number}", {"number": number})
        assert [message["number"] for _, message in await asyncio.gather(*waiting) if message] == [0, 1, 2]
        for _ in range(5):
            assert await layer.areceive(["test.0"]) == (None, None)
        assert len(layer.ports) == 3
        waits = asyncio.create_task(layer.areceive(["test.0"], True))
        await asyncio.sleep(0.05)
        layer.close()
        assert sorted(port.closed for port in layer.ports) == [0, 1, 1]
        layer.send("test.0", {"number": 4})
        assert (await waits)[1] == {"number": 4}

    run(main)
    eventually(lambda: [port.closed for port in layer.ports] == [1, 1, 1])
    run(lambda: _received_nothing(layer))
    assert len(layer.ports) == 4
    layer.close()
    assert layer.ports[3].closed == 1


async def _received_nothing(layer: Layer) -> None:
    assert await layer.areceive(["test"]) == (None, None)


def test_a_layer_is_closed_when_what_nobody_awaits_any_more_was_put_back() -> None:
    layer = Layer()

    async def main() -> None:
        task = asyncio.create_task(layer.areceive(["test"], block=True))
        await asyncio.sleep(0.05)
        layer.ports[0].slow_seconds = 0.2
        layer.send("test", {"number": 1})
        time.sleep(0.1)  # the thread has taken it, the task does not know
        task.cancel()
        await asyncio.sleep(0)
        layer.close()
        assert layer.ports[0].closed
        assert layer.receive(["test"]) == ("test", {"number": 1})

    run(main)


def test_a_layer_without_coroutines_has_nothing_to_close() -> None:
    layer = Layer()
    layer.close()
    assert "_async_receiver" not in vars(layer)


def test_a_forked_child_begins_with_ports_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = Layer()
    run(lambda: _received_nothing(layer))
    receiver, parent = layer._async_receiver, os.getpid()
    monkeypatch.setattr(receiver, "_pid", parent + 1)
    receiver.close()
    assert layer.ports[0].closed == 0, "those of the parent are not the child's to close"
    run(lambda: _received_nothing(layer))
    assert len(layer.ports) == 2


def test_the_next_message_of_an_ordered_socket_goes_out_when_a_coroutine_has_one() -> None:
    layer = Layer()
    process = layer.open_process()
    message = {"reply_channel": f"{process.process}a", "path": "/"}
    process.connect("a", "/", message)
    assert process.frame("a", {**message, "order": 1}, 1) is Outcome.BOXED

    async def main() -> None:
        task = asyncio.create_task(layer.areceive(["websocket.connect"]))
        await asyncio.sleep(0)
        time.sleep(0.05)
        await cancelled(task)
        assert await layer.areceive(["websocket.receive"]) == (None, None)
        assert (await layer.areceive(["websocket.connect"]))[1] == message
        received = await layer.areceive(["websocket.receive"], block=True)
        assert received == ("websocket.receive", {**message, "order": 1})

    run(main)


def test_a_connection_that_ended_while_nobody_waited_is_no_error(private_redis_server: RedisServer) -> None:
    layer = RedisPlaceLayer([private_redis_server.url])

    async def main() -> None:
        assert await layer.areceive(["test"]) == (None, None)
        layer._async_receiver.idle[0]._connection._sock.close()  # type: ignore[attr-defined]
        await layer.asend("test", {"number": 1})
        assert await layer.areceive(["test"]) == ("test", {"number": 1})

    run(main)
    layer.close()


def test_a_layer_that_is_away_is_an_error_where_it_is_awaited(private_redis_server: RedisServer) -> None:
    layer = RedisPlaceLayer([private_redis_server.url])

    async def main() -> None:
        private_redis_server.stop()
        with pytest.raises(LayerUnavailable):
            await layer.areceive(["test"], block=True)
        with pytest.raises(LayerUnavailable):
            await layer.asend("test", {})

    run(main)
    layer.close()

"""The worker's parts: routing and dispatch, Django's handler, and its line to Redis."""

from __future__ import annotations

import io
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from django.core.handlers.wsgi import WSGIHandler

from headrace import conf, route
from headrace.asgi import ChannelLayerWrapper
from headrace.handler import AsgiHandler, ViewConsumer
from headrace.message import Message
from headrace.worker.dispatch import Dispatcher
from headrace.worker.hooks import default_hooks
from headrace_asgi import InMemoryChannelLayer
from headrace_asgi.contract import Delivery, Out, Outcome, Send
from headrace_asgi.envelope import pack_message
from headrace_asgi.layers.redis.blocking.layer import RedisPlaceLayer
from headrace_asgi.layers.redis.plan.command import RedisCommand, as_is
from headrace_asgi.names import new_process_queue

from .samples import FRAME, HEADERS, LOCAL, REQUEST, RESPONSE
from .timing import Lap, Sample, calls

__all__ = ["RedisTurn", "laps"]

#: Messages and replies of one turn of the port.
BATCH = 10


def laps() -> list[Lap]:
    """The laps without Redis. Django is set up with the measured application's settings."""
    from bench.routing import routes  # type: ignore[import-not-found]

    routing = [*routes, route("bench.function", _answer), route("http.request", ViewConsumer())]
    layer = ChannelLayerWrapper(InMemoryChannelLayer(), "default", routing)
    dispatcher = Dispatcher(layer, layer.router, conf.settings(), default_hooks(), Counter())
    return [
        calls("worker: route and dispatch a function", _runs(dispatcher, "bench.function", FRAME)),
        calls("worker: … a JsonWebsocketConsumer that echoes", _runs(dispatcher, "websocket.receive", FRAME)),
        calls("worker: … Django's bare view", _runs(dispatcher, "http.request", REQUEST)),
        calls("worker: AsgiHandler alone on a bare view", _asgi(layer)),
        calls("Django: WSGIHandler on the same view", _wsgi()),
    ]


def _answer(message: Message) -> None:
    reply_channel = message.reply_channel
    if reply_channel is not None:
        reply_channel.send({"text": "ok"})


def _runs(dispatcher: Dispatcher, channel: str, content: dict[str, Any]) -> Callable[[], list[Out] | None]:
    delivery = Delivery(channel, content, b"", 0, "0", time.monotonic())
    out = dispatcher.run(delivery)
    if out is None or len(out) != 1 or not isinstance(out[0], Send):
        raise RuntimeError(f"a message on {channel} was answered with {out}")
    return lambda: dispatcher.run(delivery)


def _asgi(layer: ChannelLayerWrapper) -> Callable[[], object]:
    handler = AsgiHandler()

    def call() -> list[dict[str, Any]]:
        return list(handler(Message(REQUEST, "http.request", layer)))

    _require_hello(b"".join(each["content"] for each in call()))
    return call


def _wsgi() -> Callable[[], object]:
    handler = WSGIHandler()
    environ = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/hello",
        "QUERY_STRING": "name=value",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": False,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for name, value in HEADERS:
        environ["HTTP_" + name.decode().upper().replace("-", "_")] = value.decode()

    def call() -> bytes:
        response: Any = handler({**environ, "wsgi.input": io.BytesIO()}, _start_response)
        content = b"".join(response)
        response.close()
        return content

    _require_hello(call())
    return call


def _start_response(status: str, headers: Iterable[tuple[str, str]], *_: Any) -> Callable[[bytes], None]:
    return lambda data: None


def _require_hello(content: bytes) -> None:
    if content != b"Hello, world!":
        raise RuntimeError(f"the bare view answered {content!r}")


class RedisTurn:
    """A worker port's turn on a real server: ten replies out and ten messages in, with one write."""

    def __init__(self, url: str) -> None:
        """Connect to a server that nobody else uses, and register a process that is answered."""
        self._layer = RedisPlaceLayer([url])
        self._port = self._layer.open_worker_port(self._refused)
        self._process = new_process_queue("0")
        self._queue = self._layer.plan.queue_key("0", self._process)
        for call in self._layer.plan.register(self._process, "{}"):
            self._layer.ask(call)
        self._request = ("http.request", {**REQUEST, "reply_channel": self._process + LOCAL})
        self._packed = pack_message(RESPONSE)

    def lap(self) -> Iterator[Sample]:
        """One turn; the queues are filled and emptied outside of it."""
        layer = self._layer
        layer.send_many([self._request] * BATCH)
        out: list[Out] = [Send(self._process + LOCAL, self._packed) for _ in range(BATCH)]
        began, used = time.perf_counter(), time.process_time()
        taken = self._port.turn(out, ["http.request", "websocket.receive"], BATCH, 5)
        used, took = time.process_time() - used, time.perf_counter() - began
        if len(taken) != BATCH:
            raise RuntimeError(f"a turn took {len(taken)} of {BATCH} messages")
        answered = layer.ask(RedisCommand("0", (b"LLEN", self._queue), as_is))
        layer.ask(RedisCommand("0", (b"DEL", self._queue), as_is))
        if answered != BATCH:
            raise RuntimeError(f"{answered} of {BATCH} replies are on the queue")
        yield f"worker: port turn on Redis, {BATCH} replies and {BATCH} messages", used, 1
        yield "worker: … elapsed, Redis included", took, 1

    def close(self) -> None:
        """Disconnect."""
        self._port.close()
        self._layer.close()

    @staticmethod
    def _refused(item: Out, outcome: Outcome) -> None:
        raise RuntimeError(f"Redis refused {item}: {outcome!r}")

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from headrace.exceptions import RequestAborted, RequestTimeout
from headrace.http.body import Credit, receive_body
from headrace.message import Message
from headrace_asgi import InMemoryChannelLayer, LayerUnavailable
from headrace_asgi.contract import Outcome
from tests.support.http import request_message


class Clock:
    """A clock that a layer moves on when somebody waits on it."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Waiting(InMemoryChannelLayer):
    """Waits in no time; `while_waiting` is called each time somebody waits in vain."""

    def __init__(self, clock: Clock, while_waiting: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self._clock = clock
        self.while_waiting = while_waiting
        self.waits: list[float] = []

    def receive_many(self, channels: Any, limit: int = 1, timeout_seconds: float = 0) -> Any:
        taken = super().receive_many(channels, limit)
        if not taken:
            self.waits.append(timeout_seconds)
            self._clock.now += timeout_seconds
            self.while_waiting()
        return taken


def streamed(layer: Any, *chunks: dict[str, Any], reply_channel: str = "test!1", **values: Any) -> Message:
    channel = layer.new_channel("http.request.body?")
    for chunk in chunks:
        layer.send(channel, chunk)
    return request_message(layer=layer, body_channel=channel, reply_channel=reply_channel, **values)


def test_a_body_is_its_beginning_and_all_chunks() -> None:
    layer = InMemoryChannelLayer()
    message = streamed(layer, {"content": b"b", "more_content": True}, {"content": b"c"}, body=b"a")
    stream, size_bytes = receive_body(message)
    with stream:
        assert (stream.read(), size_bytes) == (b"abc", 3)


def test_a_last_chunk_may_have_no_content_h4() -> None:
    layer = InMemoryChannelLayer()
    stream, size_bytes = receive_body(streamed(layer, {"content": b"b", "more_content": True}, {}))
    stream.close()
    assert size_bytes == 1


def test_what_was_read_is_credited_to_the_interface_process() -> None:
    layer = InMemoryChannelLayer()
    process = layer.open_process()
    chunks = [{"content": b"x" * 1000, "more_content": True}] * 20
    message = streamed(layer, *chunks, {"content": b""}, reply_channel=process.process + "local")
    receive_body(message)[0].close()
    heard = process.heard()
    assert all((one.control, one.message["local"]) == ("credit", "local") for one in heard)
    assert sum(one.message["bytes"] for one in heard) == 16_000


def test_other_servers_get_no_credit() -> None:
    layer = InMemoryChannelLayer()
    receive_body(streamed(layer, *[{"content": b"x", "more_content": True}] * 20, {}))[0].close()
    assert layer.receive(["test!"]) == (None, None)


def test_a_client_that_left_ends_the_reading() -> None:
    with pytest.raises(RequestAborted, match="client left"):
        receive_body(streamed(InMemoryChannelLayer(), {"closed": True}))


def test_silence_ends_the_reading_at_the_deadline(settings: Any) -> None:
    settings.HEADRACE = {"BODY_RECEIVE_SECONDS": 2.5}
    clock = Clock()
    layer = Waiting(clock)
    with pytest.raises(RequestTimeout, match=r"2\.5 s"):
        receive_body(streamed(layer), clock)
    assert layer.waits == [1.0, 1.0, 0.5]


def test_each_chunk_renews_the_deadline(settings: Any) -> None:
    settings.HEADRACE = {"BODY_RECEIVE_SECONDS": 1.5}
    clock = Clock()
    layer = Waiting(clock)
    message = streamed(layer)
    sent: list[float] = []

    def send_slowly() -> None:
        sent.append(clock.now)
        layer.send(message.content["body_channel"], {"content": b"x", "more_content": len(sent) < 5})

    layer.while_waiting = send_slowly
    stream, size_bytes = receive_body(message, clock)
    stream.close()
    assert (size_bytes, clock.now) == (5, 5.0)


def test_a_killed_interface_process_is_noticed_within_a_second() -> None:
    clock = Clock()
    layer = Waiting(clock)
    process = layer.open_process()
    message = streamed(layer, reply_channel=process.process + "a")
    process.close()
    with pytest.raises(RequestAborted, match="gone"):
        receive_body(message, clock)
    assert clock.now == 1.0


def test_credit_that_could_not_be_given_is_given_with_the_next() -> None:
    given: list[int] = []
    outcomes = [Outcome.UNKNOWN, Outcome.SENT, None, Outcome.SENT]

    class Port:
        def __init__(self, refused: Any) -> None:
            self._refused = refused

        def turn(self, out: Any, *_: Any) -> list[Any]:
            given.append(out[0].body["bytes"])
            outcome = outcomes.pop(0)
            if outcome is None:
                raise LayerUnavailable("away")
            if not outcome.accepted:
                self._refused(out[0], outcome)
            return []

    class Layer:
        def open_worker_port(self, refused: Any) -> Port:
            return Port(refused)

    name = InMemoryChannelLayer().open_process().process + "a"
    credit = Credit(Message({"reply_channel": name}, "http.request", Layer()))
    for size_bytes in (1, 2, 4, 8):
        credit.give(size_bytes)
    assert given == [1, 3, 4, 12]

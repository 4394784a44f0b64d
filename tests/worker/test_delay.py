"""The channel `asgi.delay` of Channels 1.x."""

from __future__ import annotations

from typing import Any

import pytest

from headrace import Channel, route
from headrace.delay import send_later
from headrace.message import Message
from headrace_asgi.errors import BadMessage
from tests.support.workers import Clock, layer_with, work_off, worker_for


def test_a_message_is_sent_after_so_many_milliseconds() -> None:
    clock = Clock()
    worker = worker_for([route("asgi.delay", send_later)], clock=clock)
    layer = worker.channel_layer
    Channel("asgi.delay", channel_layer=layer).send({"channel": "work", "delay": 1500, "content": {"n": 1}})
    work_off(worker)
    clock.sleep(1.4)
    assert layer.receive(["work"]) == (None, None)
    clock.sleep(0.2)
    assert layer.receive(["work"]) == ("work", {"n": 1})


@pytest.mark.parametrize(
    "wrong",
    [
        {"channel": "a b"},
        {"channel": None},
        {"delay": 0},
        {"delay": -5},
        {"delay": 1.5},
        {"delay": True},
        {"delay": "10"},
        {"content": "text"},
        {"content": None},
    ],
)
def test_a_message_that_asks_for_nothing_possible_is_named(wrong: dict[str, Any]) -> None:
    content = {"channel": "work", "delay": 10, "content": {}, **wrong}
    with pytest.raises(BadMessage, match=f"asgi.delay: {next(iter(wrong))}"):
        send_later(Message(content, "asgi.delay", layer_with([])))


def test_a_bad_message_ends_no_worker_y1() -> None:
    worker = worker_for([route("asgi.delay", send_later)])
    channel = Channel("asgi.delay", channel_layer=worker.channel_layer)
    channel.send({"delay": "soon"})
    channel.send({"channel": "work", "delay": 1, "content": {}})
    work_off(worker)
    assert worker.counters["failed"] == 1
    assert worker.counters["done"] == 1

"""Sends that wait for their consumer."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import pytest

from headrace import Channel, outbox
from headrace.outbox import Outbox
from headrace_asgi.contract import Send
from headrace_asgi.envelope import unpack_message
from headrace_asgi.errors import LayerUnavailable, MessageTooLarge
from tests.support.workers import layer_with


@pytest.mark.parametrize("error", [TypeError, LayerUnavailable])
def test_another_layer_that_fails_costs_only_what_was_for_it(error: type[Exception]) -> None:
    here, there = layer_with([]), layer_with([], "there")

    def send(channel: str, content: Any) -> None:
        raise error("no")

    vars(there)["send"] = send
    collected, counters = Outbox(here, "app.consumer"), Counter[str]()
    collected.send(there, "work", {})
    collected.send_elsewhere(1.0, counters)
    assert counters == {"shed": 1}


def test_what_is_for_another_layer_is_what_was_said_not_what_became_of_it() -> None:
    here, there = layer_with([]), layer_with([], "there")
    collected, content = Outbox(here, "app.consumer"), {"n": 1}
    collected.send(there, "work", content)
    content["n"] = 2
    collected.send_elsewhere(1.0, Counter())
    assert there.receive(["work"]) == ("work", {"n": 1})


def test_an_outbox_belongs_to_its_thread() -> None:
    layer = layer_with([])
    mine = Outbox(layer, "app.consumer")
    before = outbox.enter(mine)
    try:
        Channel("work", channel_layer=layer).send({"n": 1})
        thread = threading.Thread(target=lambda: Channel("work", channel_layer=layer).send({"n": 2}))
        thread.start()
        thread.join()
    finally:
        outbox.leave(before)
    assert outbox.current() is None
    assert layer.receive(["work"]) == ("work", {"n": 2})
    assert layer.receive(["work"]) == (None, None)
    assert [unpack_message(item.packed) for item in mine.items if isinstance(item, Send)] == [{"n": 1}]


def test_the_layers_size_limit_holds_where_something_is_said() -> None:
    layer = layer_with([], max_message_bytes=100)
    with pytest.raises(MessageTooLarge):
        Outbox(layer, "").send(layer, "work", {"x": b"x" * 200})
    with pytest.raises(MessageTooLarge):
        Outbox(layer, "").send_groups(layer, ["group"], {"x": b"x" * 200})


def test_what_was_committed_stands_whatever_the_consumer_does_next() -> None:
    layer, said_now = layer_with([]), list[Any]()
    collected = Outbox(layer, "", None, said_now.extend)
    collected.send(layer, "answer", {"n": 1})
    collected.commit("answer")
    collected.send(layer, "work", {"n": 2})
    collected.drop()
    assert [unpack_message(item.packed) for item in said_now] == [{"n": 1}]
    assert collected.items == []
    assert collected.has_said_to("answer")
    assert not collected.has_said_to("work")


def test_earlier_answers_leave_before_an_immediate_send() -> None:
    flushed: list[str] = []
    layer = layer_with([])
    before = outbox.enter(Outbox(layer, "", lambda: flushed.append("earlier")))
    try:
        Channel("work", channel_layer=layer).send({"n": 1}, immediately=True)
    finally:
        outbox.leave(before)
    assert flushed == ["earlier"]
    assert layer.receive(["work"]) == ("work", {"n": 1})

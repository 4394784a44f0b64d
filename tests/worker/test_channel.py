"""Channels and groups outside of consumers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync

from headrace import (
    Channel,
    Group,
    asend_to_groups,
    channel,
    channel_layers,
    outbox,
    route,
    send_to_groups,
)
from headrace.asgi import ChannelLayerWrapper
from headrace.log import LimitedLog
from headrace_asgi.contract import ChannelLayer, SendGroup
from headrace_asgi.errors import ChannelFull, ConfigurationError
from tests.support.workers import Clock, layer_with, work_off, worker_for

REPLY = "hr1.0.feed!abc"


def test_outside_of_consumers_a_message_is_sent_at_once() -> None:
    layer = layer_with([], capacity=1)
    Channel("work", channel_layer=layer).send({"n": 1})
    with pytest.raises(ChannelFull):
        Channel("work", channel_layer=layer).send({"n": 2})
    assert layer.receive(["work"]) == ("work", {"n": 1})


def test_a_channel_is_found_by_the_alias_of_its_layer() -> None:
    layer = layer_with([])
    old = channel_layers.set("default", layer)
    try:
        Channel("work").send({"n": 1})
        Channel(b"work", alias="default").send({"n": 2}, immediately=True)
        assert len(layer.receive_many(["work"], 5)) == 2
        Group("g").add("work")
        Group("g").send({"n": 3})
        assert layer.receive(["work"]) == ("work", {"n": 3})
    finally:
        channel_layers.set("default", old)


def test_names_are_checked_at_once() -> None:
    layer = layer_with([])
    for name in ("a b", "", "a!b!c", "é", 5):
        with pytest.raises(TypeError):
            Channel(name, channel_layer=layer)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            Group(name, channel_layer=layer)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Group("a!b", channel_layer=layer)


def test_a_message_is_a_dict() -> None:
    layer = layer_with([])
    with pytest.raises(TypeError):
        Channel("work", channel_layer=layer).send([1])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="dict"):
        Group("g", channel_layer=layer).send([1])  # type: ignore[arg-type]


def test_a_group_reaches_its_members_until_they_leave() -> None:
    layer = layer_with([])
    group = Group("g", channel_layer=layer)
    group.add(Channel("one", channel_layer=layer))
    group.add("two")
    group.send({"n": 1}, immediately=True)
    group.discard("two")
    group.discard(Channel("three", channel_layer=layer))
    group.send({"n": 2})
    assert [message["n"] for _, message in layer.receive_many(["one"], 5)] == [1, 2]
    assert [message["n"] for _, message in layer.receive_many(["two"], 5)] == [1]


def test_one_call_reaches_the_members_of_several_groups_once_at_each_layer() -> None:
    layer, other = layer_with([]), layer_with([])
    old = channel_layers.set("default", layer)
    try:
        for group in ("one", "two"):
            Group(group).add("in-both")
        Group("two").add("in-two")
        Group("far", channel_layer=other).add("far")
        groups = ["one", Group("two"), Group("far", channel_layer=other), "one"]
        send_to_groups(groups, {"n": 1})
        send_to_groups([], {"n": "nobody"})
        asyncio.run(asend_to_groups(groups, {"n": 2}, immediately=True))
        for channel, where in (("in-both", layer), ("in-two", layer), ("far", other)):
            assert [message["n"] for _, message in where.receive_many([channel], 5)] == [1, 2]
        with pytest.raises(TypeError, match="not to the string"):
            send_to_groups("one", {"n": 3})
        with pytest.raises(ValueError, match="dict"):
            send_to_groups(["one"], [3])  # type: ignore[arg-type]
    finally:
        channel_layers.set("default", old)


def test_what_a_consumer_sends_to_several_groups_leaves_when_it_returns() -> None:
    layer = layer_with([])
    for group in ("g", "h"):
        Group(group, channel_layer=layer).add("member")
    collected = outbox.Outbox(layer, "chat.consumers.said")
    before = outbox.enter(collected)
    try:
        send_to_groups([Group(name, channel_layer=layer) for name in ("g", "h")], {"n": 1})
    finally:
        outbox.leave(before)
    assert layer.receive(["member"]) == (None, None)
    ((item),) = collected.items
    assert isinstance(item, SendGroup)
    assert item.groups == ("g", "h")


def test_a_channel_is_called_by_its_name() -> None:
    layer = layer_with([])
    assert str(Channel(b"work", channel_layer=layer)) == "work"
    assert repr(Channel("work", channel_layer=layer)) == "<Channel work>"
    assert str(Group(b"room", channel_layer=layer)) == "room"
    assert repr(Group("room", channel_layer=layer)) == "<Group room>"


@pytest.fixture(autouse=True)
def _nothing_said_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "_limited_log", LimitedLog())


def test_it_is_said_once_for_each_key_and_consumer(caplog: pytest.LogCaptureFixture) -> None:
    layer = layer_with([])
    before = outbox.enter(outbox.Outbox(layer, "chat.consumers.said"))
    try:
        for key in ("txet", "txet", "colour"):
            Channel(REPLY, channel_layer=layer).send({key: "x"})
    finally:
        outbox.leave(before)
    first, second = caplog.messages
    assert first.startswith(
        f"chat.consumers.said sent the unknown key 'txet' to {REPLY}: did you mean 'text'?"
    )
    assert "'colour'" in second
    assert "; known are accept, bytes, close, content, " in second


def test_the_keys_of_another_protocol_are_its_own(caplog: pytest.LogCaptureFixture) -> None:
    Channel(f"{REPLY.partition('!')[0]}!.client", channel_layer=layer_with([])).send({"data": b"x"})
    assert caplog.messages == []


def test_code_outside_of_consumers_is_told_too(caplog: pytest.LogCaptureFixture) -> None:
    Channel(REPLY, channel_layer=layer_with([])).send({"closed": True})
    assert caplog.messages[0].startswith("Code outside of consumers sent the unknown key 'closed'")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (REPLY, {"text": "x", "close": 1000, "reason": "r"}),
        (REPLY, {"status": 200, "headers": [], "content": b"", "more_content": True}),
        (REPLY, {}),
        ("work", {"anything": "goes"}),
        ("foreign.process!x", {"anything": "goes"}),
    ],
)
def test_what_is_right_or_for_others_is_not_mentioned(
    name: str, content: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    Channel(name, channel_layer=layer_with([])).send(content)
    assert caplog.messages == []


# In event loops


def test_coroutines_outside_of_consumers_send_at_once_and_wait_for_the_answer() -> None:
    layer = layer_with([], capacity=1)

    async def main() -> None:
        work, group = Channel("work", channel_layer=layer), Group("g", channel_layer=layer)
        await work.asend({"n": 1})
        assert layer.receive(["work"]) == ("work", {"n": 1})
        await group.aadd(work)
        await group.asend({"n": 2})
        assert layer.receive(["work"]) == ("work", {"n": 2})
        await group.adiscard("work")
        await group.asend({"n": 3})
        assert layer.receive(["work"]) == (None, None)
        await work.asend({"n": 4}, immediately=True)
        with pytest.raises(ChannelFull):
            await work.asend({"n": 5})
        with pytest.raises(TypeError):
            await work.asend([1])  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="dict"):
            await group.asend([1])  # type: ignore[arg-type]

    asyncio.run(main())


Speak = Callable[[ChannelLayer], Coroutine[Any, Any, None]]


def left_by(speak: Speak, fails: bool = False) -> tuple[list[Any], list[Any]]:
    """What a consumer that calls a coroutine has sent before it returned, and in all."""
    before: list[Any] = []

    def consumer(message: Any) -> None:
        async_to_sync(speak)(worker.channel_layer)
        before.extend(worker.channel_layer.receive_many(["said"], 9))
        if fails:
            raise ZeroDivisionError

    worker = worker_for([route("work", consumer)])
    worker.channel_layer.group_add("g", "said")
    worker.channel_layer.send("work", {})
    work_off(worker)
    found = before + worker.channel_layer.receive_many(["said"], 9)
    return [message["n"] for _, message in before], [message["n"] for _, message in found]


async def speak(layer: ChannelLayer) -> None:
    said, group = Channel("said", channel_layer=layer), Group("g", channel_layer=layer)
    said.send({"n": 1})
    await said.asend({"n": 2})
    await group.asend({"n": 3})
    await asyncio.to_thread(said.send, {"n": 4})
    await asyncio.gather(asyncio.create_task(said.asend({"n": 5})))


def test_what_a_coroutine_of_a_consumer_says_leaves_when_the_consumer_returns() -> None:
    assert left_by(speak) == ([], [1, 2, 3, 4, 5])


def test_nothing_leaves_that_a_coroutine_of_a_failed_consumer_said() -> None:
    assert left_by(speak, fails=True) == ([], [])


def test_what_a_coroutine_of_a_consumer_says_immediately_leaves_at_once() -> None:
    async def at_once(layer: ChannelLayer) -> None:
        await Channel("said", channel_layer=layer).asend({"n": 1})
        await Channel("said", channel_layer=layer).asend({"n": 2}, immediately=True)
        await Group("g", channel_layer=layer).asend({"n": 3}, immediately=True)

    assert left_by(at_once) == ([2, 3], [2, 3, 1])


def test_what_is_said_in_the_context_of_a_consumer_that_has_returned_is_sent_at_once() -> None:
    layer = layer_with([])
    before = outbox.enter(outbox.Outbox(layer, "chat.consumers.said"))
    kept = copy_context()
    outbox.leave(before)
    kept.run(Channel("work", channel_layer=layer).send, {"n": 1})
    assert layer.receive(["work"]) == ("work", {"n": 1})


def test_outside_of_consumers_a_message_for_later_is_kept_at_once_and_can_be_taken_back() -> None:
    clock = Clock()
    layer = layer_with([], clock=clock)
    channel = Channel("work", channel_layer=layer)
    channel.send_later({"n": 1}, delay=60)
    taken_back = channel.send_later({"n": 2}, delay=timedelta(minutes=1))
    clock.sleep(59)
    assert layer.receive(["work"]) == (None, None)
    assert channel.cancel(taken_back)
    clock.sleep(2)
    assert layer.receive_many(["work"], 5) == [("work", {"n": 1})]


def test_a_consumer_says_what_is_for_later_when_it_returns_and_knows_its_id_before() -> None:
    ids: list[str] = []

    def consumer(message: Any) -> None:
        ids.append(message.channel.send_later({"n": message["n"] + 1}, delay=10))
        assert not message.channel.cancel(ids[-1])
        if message["n"] < 0:
            raise ValueError

    clock = Clock()
    worker = worker_for([route("work", consumer)], clock=clock)
    layer = worker.channel_layer
    for number in (1, -5):
        Channel("work", channel_layer=layer).send({"n": number})
    work_off(worker)
    clock.sleep(11)
    assert layer.receive_many(["work"], 5) == [("work", {"n": 2})]
    Channel("work", channel_layer=layer).send({"n": 1})
    work_off(worker)
    assert Channel("work", channel_layer=layer).cancel(ids[-1])


def test_what_is_for_later_on_another_layer_goes_there() -> None:
    clock = Clock()
    there = layer_with([], "there", clock=clock)

    def consumer(message: Any) -> None:
        Channel("other", channel_layer=there).send_later({"n": 1}, delay=10)
        Channel("other", channel_layer=there).send_later({"n": 2}, at=0)

    worker = worker_for([route("work", consumer)])
    Channel("work", channel_layer=worker.channel_layer).send({})
    work_off(worker)
    assert there.receive_many(["other"], 5) == [("other", {"n": 2})]
    clock.sleep(11)
    assert there.receive_many(["other"], 5) == [("other", {"n": 1})]


def test_a_wrong_time_is_an_error_in_the_line_that_says_it() -> None:
    layer = layer_with([])
    with pytest.raises(TypeError, match="delay or a time"):
        Channel("work", channel_layer=layer).send_later({})
    with pytest.raises(TypeError, match="dict"):
        Channel("work", channel_layer=layer).send_later([1], delay=1)  # type: ignore[arg-type]


def test_a_layer_that_keeps_nothing_for_later_says_so() -> None:
    class Plain(ChannelLayerWrapper):
        def send_later(self, *args: Any, **more: Any) -> str:
            return ChannelLayer.send_later(self, *args, **more)

    layer = Plain(layer_with([]).channel_layer, "default", [])
    with pytest.raises(ConfigurationError, match="no extension 'delay'"):
        Channel("work", channel_layer=layer).send_later({}, delay=1)


def test_coroutines_send_for_later_too() -> None:
    layer = layer_with([])

    async def kept_and_taken_back() -> bool:
        channel = Channel("work", channel_layer=layer)
        return await channel.acancel(await channel.asend_later({}, delay=10))

    assert asyncio.run(kept_and_taken_back())

"""Channels and groups outside of consumers."""

from __future__ import annotations

import pytest

from headrace import Channel, Group, channel, channel_layers, outbox
from headrace.log import LimitedLog
from headrace_asgi.errors import ChannelFull
from tests.support.workers import layer_with

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

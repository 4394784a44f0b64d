"""What a consumer is called with."""

from __future__ import annotations

from headrace.message import Message
from tests.support.workers import layer_with


def test_a_message_reads_like_its_content() -> None:
    message = Message({"reply_channel": "x!y", "path": "/"}, "work", layer_with([]))
    assert message["path"] == message.get("path") == "/"
    assert message.get("nothing", 3) == 3
    assert "path" in message
    message["path"] = "/other"
    assert dict(message.items()) == message.content == {"reply_channel": "x!y", "path": "/other"}
    assert list(message.keys()) == ["reply_channel", "path"]
    assert list(message.values()) == ["x!y", "/other"]
    assert repr(message) == "<Message on work: ['path', 'reply_channel']>"


def test_a_message_knows_its_channels() -> None:
    layer = layer_with([])
    message = Message({"reply_channel": "x!y"}, "work", layer)
    assert message.channel.name == "work"
    assert message.reply_channel is message.reply_channel
    assert message.reply_channel is not None
    assert message.reply_channel.name == "x!y"
    assert message.reply_channel.channel_layer is layer
    assert Message({}, "work", layer).reply_channel is None


def test_a_copy_is_deep_and_nobodys_delivery() -> None:
    original = Message({"headers": [["a", "b"]]}, "work", layer_with([]), delivery=object())  # type: ignore[arg-type]
    copied = original.copy()
    copied["headers"][0][0] = "c"
    assert original["headers"] == [["a", "b"]]
    assert copied.channel_name == "work"
    assert copied.delivery is None


def test_decorators_may_hang_things_on_a_message() -> None:
    message = Message({}, "work", layer_with([]))
    message.user = "somebody"  # type: ignore[attr-defined]
    assert message.user == "somebody"  # type: ignore[attr-defined]

from __future__ import annotations

import pytest

from headrace import Channel, outbox, reply_keys
from headrace.log import Seldom
from tests.support.workers import layer_with

REPLY = "hr1.0.feed!abc"


@pytest.fixture(autouse=True)
def _nothing_said_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reply_keys, "_seldom", Seldom())


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
    reply_keys.look_at(REPLY, {"closed": True})
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
    reply_keys.look_at(name, content)
    assert caplog.messages == []

"""What a consumer may raise."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.exceptions import ChannelSocketException, DenyConnection, WebsocketCloseException
from headrace.message import Message
from tests.support.workers import layer_with


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 2999, 5000, True, "1000", 1000.0])
def test_a_close_code_that_may_not_be_sent_is_refused(code: Any) -> None:
    with pytest.raises(ValueError, match="close code"):
        WebsocketCloseException(code)


@pytest.mark.parametrize("code", [None, 1000, 1001, 1008, 1013, 3000, 4999])
def test_w2_a_close_code_reaches_the_socket(code: int | None) -> None:
    layer = layer_with([])
    WebsocketCloseException(code).run(Message({"reply_channel": "x!y"}, "websocket.receive", layer))
    assert layer.receive(["x!"]) == ("x!y", {"close": code or True})


def test_a_message_without_a_socket_has_nothing_to_close() -> None:
    layer = layer_with([])
    for channel, content in (("http.request", {"reply_channel": "x!y"}), ("websocket.receive", {})):
        with pytest.raises(TypeError, match="no WebSocket"):
            DenyConnection().run(Message(content, channel, layer))


def test_an_exception_of_ones_own_says_how_it_runs() -> None:
    with pytest.raises(NotImplementedError, match="run"):
        ChannelSocketException().run(Message({}, "work", layer_with([])))

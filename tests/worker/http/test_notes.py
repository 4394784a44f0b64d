from __future__ import annotations

from typing import Any

import pytest

from headrace.exceptions import RequestAborted
from headrace.http.notes import NoteSender
from headrace.message import Message
from headrace_asgi import InMemoryChannelLayer, LayerUnavailable
from tests.support.http import request_message


def test_a_note_reaches_the_process_that_holds_the_request_at_once() -> None:
    layer = InMemoryChannelLayer()
    process = layer.open_process()
    notes = NoteSender(request_message(layer=layer, reply_channel=process.process + "a"))
    assert notes.say("credit", bytes=5)
    assert notes.say("credit", bytes=6)
    notes.close()
    assert [one.message for one in process.heard()] == [
        {"control": "credit", "local": "a", "bytes": count} for count in (5, 6)
    ]


def test_other_servers_get_no_notes() -> None:
    layer = InMemoryChannelLayer()
    notes = NoteSender(request_message(layer=layer))
    assert not notes.say("credit", bytes=5)
    notes.close()
    assert layer.receive(["test!"]) == (None, None)


def test_a_process_that_is_gone_aborts_the_request() -> None:
    layer = InMemoryChannelLayer()
    process = layer.open_process()
    process.close()
    notes = NoteSender(request_message(layer=layer, reply_channel=process.process + "a"))
    with pytest.raises(RequestAborted, match="gone"):
        notes.say("credit", bytes=5)


def test_a_layer_that_is_away_takes_no_note() -> None:
    class Layer:
        def open_worker_port(self, refused: Any) -> Any:
            raise LayerUnavailable("away")

    name = InMemoryChannelLayer().open_process().process + "a"
    notes = NoteSender(Message({"reply_channel": name}, "http.request", Layer()))
    assert not notes.say("credit", bytes=5)
    notes.close()

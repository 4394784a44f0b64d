"""An interface process played by a test."""

from __future__ import annotations

from headrace_asgi.contract import Control, Outcome
from headrace_asgi.control import VERDICT, note
from headrace_asgi.layers.memory.layer import InMemoryChannelLayer
from headrace_asgi.layers.memory.process import Heard
from headrace_asgi.names import is_process_queue


def test_a_process_hears_messages_and_notes_for_its_clients_in_order() -> None:
    layer = InMemoryChannelLayer()
    process = layer.open_process()
    assert is_process_queue(process.process)
    socket = process.process + "client"
    port = layer.open_worker_port(lambda out, outcome: None)
    layer.send(socket, {"text": "first"})
    verdict = note(VERDICT, local="client", ordered=False)
    port.turn([Control(socket, verdict)], [], 1, 0)
    assert process.heard() == [
        Heard("client", {"text": "first"}),
        Heard("client", verdict, VERDICT),
    ]
    assert process.heard() == []


def test_each_process_has_a_queue_of_its_own() -> None:
    layer = InMemoryChannelLayer()
    one, two = layer.open_process(), layer.open_process()
    layer.send(one.process + "client", {"text": "for one"})
    assert two.heard() == []
    assert len(one.heard()) == 1


def test_a_group_reaches_the_sockets_of_a_process_until_they_leave() -> None:
    layer = InMemoryChannelLayer()
    process = layer.open_process()
    for local in ("a", "b", "c"):
        process.connect(local, "/", {"reply_channel": process.process + local})
        layer.group_add("room", process.process + local)
    process.disconnect("b", {"reply_channel": process.process + "b"}, 1)
    process.forget("c")
    layer.send_group("room", {"text": "hello"})
    assert process.heard() == [Heard("a", {"text": "hello"})]
    assert layer.group_channels("room") == [process.process + "a"]


def test_a_closed_process_is_gone_from_everywhere() -> None:
    layer = InMemoryChannelLayer()
    process = layer.open_process()
    channel = process.process + "client"
    layer.group_add("room", channel)
    process.close()
    assert layer.group_channels("room") == []
    layer.group_add("room", channel)
    assert layer.group_channels("room") == []
    assert process.connect("client", "/", {}) is Outcome.GONE


def test_frames_of_a_socket_that_is_not_ordered_go_out_at_once() -> None:
    layer = InMemoryChannelLayer()
    process = layer.open_process()
    message = {"reply_channel": process.process + "client"}
    assert process.frame("client", message, 1, ordered=False) is Outcome.GONE
    process.connect("client", "/", message)
    assert process.frame("client", message, 1, ordered=False) is Outcome.SENT
    assert process.frame("client", message, 2, ordered=False) is Outcome.SENT
    assert layer.statistics("websocket.receive")["pending"] == 2


def test_flush_keeps_the_processes_and_their_sockets() -> None:
    layer = InMemoryChannelLayer()
    process = layer.open_process()
    process.connect("client", "/", {"reply_channel": process.process + "client"})
    layer.flush()
    layer.send(process.process + "client", {"text": "still there"})
    assert len(process.heard()) == 1
    assert process.disconnect("client", {}, 1) is Outcome.SENT

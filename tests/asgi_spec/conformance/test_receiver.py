"""The interface server that the cases play."""

from __future__ import annotations

from headrace_asgi.conformance.receiver import Recorder
from headrace_asgi.contract import OpenSocket


def test_everything_is_written_down_in_its_order() -> None:
    recorder = Recorder()
    recorder.layer_back()
    recorder.reply("a", {"n": 1})
    recorder.control("running", "a", {})
    recorder.group_message("room", ["a", "b"], {"n": 2})
    recorder.level("websocket.receive", 3, 2, 10)
    recorder.data_lost()
    recorder.layer_lost("gone")
    recorder.fenced()
    assert recorder.heard == [
        ("back",),
        ("reply", "a", {"n": 1}),
        ("control", "running", "a", {}),
        ("group", "room", ("a", "b"), {"n": 2}),
        ("level", "websocket.receive", 3, 2, 10),
        ("data lost",),
        ("lost", "gone"),
        ("fenced",),
    ]
    assert recorder.of("lost") == [("gone",)]


def test_a_client_hears_replies_and_the_messages_of_its_groups() -> None:
    recorder = Recorder()
    recorder.reply("a", {"n": 1})
    recorder.reply("b", {"n": 2})
    recorder.group_message("room", ["a", "b"], {"n": 3})
    assert recorder.heard_by("a") == [{"n": 1}, {"n": 3}]
    assert recorder.heard_by("b") == [{"n": 2}, {"n": 3}]
    assert recorder.heard_by("c") == []


def test_the_sockets_are_those_that_the_test_says() -> None:
    recorder = Recorder()
    recorder.sockets = {"a": "/", "b": "/chat"}
    recorder.orders["b"] = 7
    recorder.ordered.add("b")
    assert recorder.is_open("a")
    assert not recorder.is_open("c")
    assert list(recorder.open_sockets()) == [OpenSocket("a", "/"), OpenSocket("b", "/chat", 7, True)]

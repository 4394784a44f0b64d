"""What the layer brings, and to whom."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import pytest

from headrace_asgi.contract import OpenSocket
from headrace_interface.deadlines import OFF, Deadlines
from headrace_interface.settings import InterfaceSettings
from tests.support.http_lab import Lab


class Member:
    """A client that notes what it hears."""

    local = ""
    path = "/chat"
    registered = True
    progress = (0, False)

    def __init__(self, error: Exception | None = None) -> None:
        self.heard: list[Any] = []
        self._error = error

    def _note(self, *what: Any) -> None:
        self.heard.append(what)
        if self._error is not None:
            raise self._error

    def reply(self, message: Any) -> None:
        self._note("reply", message)

    def control(self, kind: str, body: Any) -> None:
        self._note("control", kind, body)

    def group_message(self, message: Any, frame_cache: dict[Any, Any]) -> None:
        self._note("group", message, frame_cache.setdefault("built", len(frame_cache)))

    def abort(self) -> None:
        self.heard.append(("abort",))

    def close(self, code: int, reason: str) -> None:
        self._note("close", code)

    def layer_back(self) -> None:
        self._note("back")

    def data_lost(self) -> None:
        self._note("data lost")


def test_messages_find_their_client() -> None:
    lab, member = Lab(), Member()
    local = lab.context.connections.add(member)
    lab.inbox.reply(local, {"text": "a"})
    lab.inbox.control("verdict", local, {"ordered": True})
    lab.inbox.group_message("g", [local], {"text": "b"})
    assert member.heard == [
        ("reply", {"text": "a"}),
        ("control", "verdict", {"ordered": True}),
        ("group", {"text": "b"}, 0),
    ]
    assert lab.inbox.is_open(local)


def test_messages_for_nobody_are_counted() -> None:
    lab = Lab()
    lab.inbox.reply("gone", {})
    lab.inbox.control("close", "gone", {})
    lab.inbox.group_message("g", ["gone", "away"], {})
    assert lab.context.counters["discarded"] == 4
    assert not lab.inbox.is_open("gone")


def test_members_of_a_group_share_what_one_of_them_built() -> None:
    lab, members = Lab(), [Member() for _ in range(3)]
    lab.inbox.group_message("g", [lab.context.connections.add(member) for member in members], {"text": "a"})
    assert [member.heard[0][2] for member in members] == [0, 0, 0]


def test_a_client_that_fails_is_dropped_and_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    lab, bad, good = Lab(), Member(ValueError("bug")), Member()
    locals_ = [lab.context.connections.add(member) for member in (bad, good)]
    lab.inbox.group_message("g", locals_, {})
    lab.inbox.reply(locals_[0], {})
    lab.inbox.control("close", locals_[0], {})
    assert bad.heard.count(("abort",)) == 3
    assert len(good.heard) == 1
    assert lab.context.counters["client_errors"] == 3
    assert "group g" in caplog.text


def test_the_layer_is_reported_lost_and_back_once_each(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    lab = Lab(layer_up=False)
    for _ in range(3):
        lab.inbox.layer_lost("connection refused")
    assert len(caplog.records) == 1
    assert "connection refused" in caplog.text
    lab.inbox.layer_back()
    assert len(caplog.records) == 2
    lab.inbox.layer_lost("again")
    assert len(caplog.records) == 3
    lab.inbox.stop()


def test_a_layer_that_is_there_at_once_is_no_news(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    lab = Lab()
    assert lab.context.layer_up
    assert caplog.records == []


def test_what_waited_is_told_when_the_layer_is_back() -> None:
    lab, waiting, bad = Lab(layer_up=False), Member(), Member(ValueError("bug"))
    lab.context.held[bad] = lab.context.held[waiting] = None
    lab.inbox.layer_back()
    assert waiting.heard == [("back",)]
    assert ("abort",) in bad.heard
    assert not lab.context.held


def test_sockets_survive_a_short_outage_and_are_closed_after_the_grace() -> None:
    lab = Lab(InterfaceSettings(deadlines=replace(Deadlines(), layer_grace=60)))
    member = Member()
    lab.context.connections.add_socket(member)
    lab.inbox.layer_lost("x")
    lab.clock.advance(59)
    lab.inbox.layer_back()
    lab.clock.advance(100)
    assert member.heard == []
    lab.inbox.layer_lost("x")
    lab.clock.advance(61)
    assert member.heard == [("close", 1013)]
    assert not lab.context.accepting
    lab.inbox.layer_back()
    assert lab.context.accepting


def test_a_layer_that_is_back_ends_no_drain() -> None:
    lab = Lab()
    lab.context.draining = True
    lab.inbox.layer_back()
    assert lab.context.draining


def test_without_a_grace_sockets_stay() -> None:
    lab = Lab(InterfaceSettings(deadlines=replace(Deadlines(), layer_grace=OFF)))
    lab.inbox.layer_lost("x")
    assert lab.clock.getDelayedCalls() == []


def test_a_fenced_process_closes_every_socket() -> None:
    lab, member = Lab(), Member()
    lab.context.connections.add_socket(member)
    lab.inbox.fenced()
    assert member.heard == [("close", 1012)]


def test_lost_messages_close_ordered_sockets_which_may_have_missed_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    lab, ordered, plain, request = Lab(), Member(), Member(), Member()
    for member in (ordered, plain):
        lab.context.connections.add_socket(member)
    lab.context.connections.add(request)
    ordered.progress = (7, True)
    lab.inbox.entries_lost(3)
    assert (ordered.heard, plain.heard, request.heard) == ([("close", 1013)], [], [])
    assert "3 messages for clients of this process were lost" in caplog.text
    assert "1 ordered WebSockets" in caplog.text
    assert lab.context.counters["entries_lost"] == 3


def test_the_sockets_that_owe_a_disconnect_are_listed() -> None:
    lab, owing, other = Lab(), Member(), Member()
    owing.local = lab.context.connections.add_socket(owing)
    lab.context.connections.add_socket(other)
    other.registered = False
    owing.progress = (7, True)
    assert list(lab.inbox.open_sockets()) == [OpenSocket(owing.local, "/chat", 7, True)]


def test_lost_data_is_told_to_requests_and_not_to_sockets(caplog: pytest.LogCaptureFixture) -> None:
    lab, request, socket, bad = Lab(), Member(), Member(), Member(ValueError("bug"))
    for member in (bad, request):
        lab.context.connections.add(member)
    lab.context.connections.add_socket(socket)
    lab.inbox.data_lost()
    assert request.heard == [("data lost",)]
    assert socket.heard == []
    assert ("abort",) in bad.heard
    assert "2 open requests" in caplog.text

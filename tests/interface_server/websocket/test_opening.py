"""A handshake that nobody has answered yet."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from twisted.internet.task import Clock

from headrace_asgi.contract import Outcome
from headrace_interface.context import ServerContext
from headrace_interface.deadlines import OFF, RUNNING_NOTICE_SECONDS, Deadlines
from headrace_interface.settings import InterfaceSettings
from headrace_interface.websocket.actions import BUSY, Deny
from headrace_interface.websocket.opening import Opening
from tests.support.recording_port import RecordingPort
from tests.support.websocket_lab import make_head


def opening(
    settings: InterfaceSettings | None = None, head: Any = None, early: bytes = b""
) -> tuple[Opening, ServerContext]:
    clock = Clock()
    context = ServerContext(settings or InterfaceSettings(), RecordingPort(clock), clock)
    context.layer_up = True
    return Opening(context, head or make_head(), early), context


def test_a_good_handshake_is_not_refused() -> None:
    assert opening()[0].judge() is None


def test_a_bad_one_is_refused_with_its_status() -> None:
    denial = opening(head=make_head(method="POST"))[0].judge()
    assert denial is not None
    assert denial.status == 405


def test_a_process_that_takes_no_new_work_is_busy() -> None:
    new, context = opening()
    context.accepting = False
    assert new.judge() is BUSY


def test_the_number_of_sockets_can_be_bounded_s12() -> None:
    new, context = opening(InterfaceSettings(max_websockets=1))
    assert new.judge() is None
    shell: Any = object()
    context.connections.add_socket(shell)
    assert new.judge() is BUSY


def test_only_so_many_wait_for_the_layer() -> None:
    new, context = opening(InterfaceSettings(max_held=1))
    context.layer_up = False
    assert new.judge() is None
    context.held[object()] = None
    assert new.judge() is BUSY


@pytest.mark.parametrize(
    ("deadlines", "seconds"),
    [
        (Deadlines(queue=7, handshake=20), 5),
        (Deadlines(queue=30, handshake=5), 3),
        (Deadlines(queue=OFF, handshake=20), 18),
        (Deadlines(queue=OFF, handshake=OFF), 60),
    ],
)
def test_the_connect_expires_when_its_client_is_turned_away(deadlines: Deadlines, seconds: float) -> None:
    new, context = opening(InterfaceSettings(deadlines=deadlines))
    new.judge()
    outcomes: list[Outcome] = []
    new.ask("local", "hr1.0.x!local", outcomes.append)
    port = context.port
    assert isinstance(port, RecordingPort)
    (asked,) = port.asked
    assert asked.expiry_seconds == seconds
    assert new.queue_seconds() == seconds + RUNNING_NOTICE_SECONDS
    assert asked.path == "/chat/"
    assert asked.message["reply_channel"] == "hr1.0.x!local"


def test_early_bytes_are_kept_and_bounded() -> None:
    new, _ = opening(InterfaceSettings(max_early_bytes=5), early=b"ab")
    assert new.keep(b"cde")
    assert new.early == b"abcde"
    assert not new.keep(b"f")


def test_a_denial_with_headers_that_cannot_be_sent_goes_without_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    new, _ = opening()
    with caplog.at_level(logging.WARNING, "headrace.interface"):
        data = new.denial(Deny(403, "no", [[b"x", b"a\r\nset-cookie: b"]], b"body"))
    assert data.startswith(b"HTTP/1.1 403 ")
    assert b"set-cookie" not in data
    assert len(caplog.records) == 1


def test_a_path_cannot_begin_a_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    new, _ = opening(head=make_head(path="/a\nERROR forged"))
    new.denial(Deny(403, "no", [[b"x", b"a\r\nb"]], b""))
    assert "\n" not in caplog.records[0].getMessage()

"""Frames on their way to one client."""

from __future__ import annotations

import gc
import weakref

from twisted.internet.task import Clock

from headrace_interface.deadlines import Deadlines
from headrace_interface.settings import InterfaceSettings
from headrace_interface.timers import Timers
from headrace_interface.websocket.frame_buffer import SlowSockets
from headrace_interface.websocket.frames import encode_pong
from headrace_interface.websocket.writer import FrameWriter
from tests.support.http_lab import SlowTransport


class Owner:
    """A shell that notes what it hears."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def too_slow(self) -> None:
        self.heard.append("too slow")

    def falls_behind(self) -> None:
        self.heard.append("falls behind")

    def caught_up(self) -> None:
        self.heard.append("caught up")


class Case:
    """A writer to a client that has yet to read something."""

    def __init__(self, reads: bool = False) -> None:
        self.clock = Clock()
        settings = InterfaceSettings(max_pending_bytes=1000, deadlines=Deadlines(slow_client=5))
        self.sockets = SlowSockets(settings, Timers(self.clock))
        self.transport = SlowTransport()
        self.transport.write(b"first")
        if reads:
            self.transport.read_all()
        self.owner = Owner()
        self.writer = FrameWriter(self.transport, self.sockets, self.owner)


def test_a_client_that_keeps_up_gets_each_frame_at_once() -> None:
    case = Case(reads=True)
    case.writer.write(b"a")
    assert case.transport.value() == b"firsta"
    assert case.writer.keeps_up
    assert (case.writer.waiting_bytes, case.sockets.bytes) == (0, 0)


def test_a_client_that_has_yet_to_read_gets_its_frames_in_order_once_it_does() -> None:
    case = Case()
    for frame in (b"a" * 300, b"b" * 300):
        case.writer.write(frame)
    assert not case.writer.keeps_up
    assert case.writer.waiting_bytes >= 600
    assert case.owner.heard == ["falls behind"]
    case.transport.read_all()
    assert case.transport.value() == b"first" + b"a" * 300 + b"b" * 300
    case.transport.read_all()
    assert case.owner.heard == ["falls behind", "caught up"]
    assert case.writer.keeps_up


def test_the_pings_of_a_client_that_reads_are_all_answered_and_of_another_the_last_one() -> None:
    reads, waits = Case(reads=True), Case()
    for case in (reads, waits):
        case.writer.pong([b"1", b"2"])
        case.transport.read_all()
    assert reads.transport.value() == b"first" + encode_pong(b"1") + encode_pong(b"2")
    assert waits.transport.value() == b"first" + encode_pong(b"2")


def test_a_slow_client_is_told_of_and_what_waits_can_be_dropped() -> None:
    case = Case()
    case.writer.write(b"a" * 20_000)
    assert case.owner.heard == ["falls behind", "too slow"]
    case.writer.drop()
    case.transport.read_all()
    assert case.transport.value() == b"first"


def test_what_waits_is_the_transports_before_a_close() -> None:
    case = Case()
    case.writer.write(b"a")
    case.writer.release()
    assert case.writer.keeps_up
    case.transport.read_all()
    assert case.transport.value() == b"firsta"
    assert case.owner.heard == []


def test_after_the_end_nobody_hears_and_the_owner_is_let_go() -> None:
    case = Case()
    case.writer.write(b"a")
    case.writer.end()
    case.transport.read_all()
    assert case.owner.heard == []
    assert case.sockets.bytes == 0
    owner = weakref.ref(case.owner)
    gc.disable()
    try:
        del case.owner
        assert owner() is None
    finally:
        gc.enable()

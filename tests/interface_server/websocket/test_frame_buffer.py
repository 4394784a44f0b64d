"""Frames that wait for their client, and how long."""

from __future__ import annotations

import itertools

from twisted.internet.task import Clock

from headrace_interface.deadlines import OFF, Deadlines
from headrace_interface.settings import InterfaceSettings
from headrace_interface.timers import Timers
from headrace_interface.websocket.frame_buffer import FrameBuffer, SlowSockets
from headrace_interface.write_buffer import PIECE_BYTES
from tests.support.http_lab import SlowTransport

FRAME = b"f" * 100_000


class Case:
    """One process's slow sockets; what they are told is noted."""

    def __init__(self, **values: int) -> None:
        self.clock = Clock()
        seconds = values.pop("seconds", 5)
        self.settings = InterfaceSettings(deadlines=Deadlines(slow_client=seconds), **values)
        self.sockets = SlowSockets(self.settings, Timers(self.clock))
        self.said: list[str] = []
        self.behind: list[str] = []

    def client(self, name: str = "slow") -> tuple[SlowTransport, FrameBuffer]:
        """A client whose transport has something to be read."""
        transport = SlowTransport()
        transport.write(b"first")
        write_buffer = FrameBuffer(
            transport,
            self.sockets,
            lambda: self.slow(name, write_buffer),
            lambda: self.behind.append(name),
            lambda: self.said.append(f"{name} read all"),
        )
        return transport, write_buffer

    def slow(self, name: str, write_buffer: FrameBuffer) -> None:
        self.said.append(f"{name} is slow")
        write_buffer.drop()

    def turn(self, seconds: float) -> None:
        for _ in range(round(seconds * 10)):
            self.clock.advance(0.1)


def test_frames_are_given_whole_and_in_order_as_the_client_reads() -> None:
    case = Case()
    transport, write_buffer = case.client()
    frames = [b"%d" % number * 100_000 for number in range(10)]
    for frame in frames:
        write_buffer.write(frame)
    assert transport.value() == b"first"
    given = [transport.value()]
    while write_buffer.backlogged:
        transport.read_all()
        given.append(transport.value())
    for before, after in itertools.pairwise(given):
        assert len(after[len(before) :]) % 100_000 == 0
        assert len(after) - len(before) <= PIECE_BYTES
    assert transport.value() == b"first" + b"".join(frames)
    assert case.said == ["slow read all"]
    assert case.sockets.bytes == 0


def test_a_client_that_takes_nothing_is_slow_after_the_time_it_has() -> None:
    case = Case()
    _, write_buffer = case.client()
    for _ in range(12):
        write_buffer.write(FRAME)
    case.turn(4.9)
    assert case.said == []
    case.turn(3)
    assert case.said == ["slow is slow"]
    assert case.sockets.bytes == 0


def test_a_client_with_little_waiting_may_take_its_time() -> None:
    case = Case()
    _, write_buffer = case.client()
    write_buffer.write(FRAME * 10)
    case.turn(100)
    assert case.said == []


def test_a_client_that_takes_a_piece_in_its_time_is_not_slow() -> None:
    case = Case()
    transport, write_buffer = case.client()
    for _ in range(30):
        write_buffer.write(FRAME)
    for _ in range(10):
        for _ in range(4):
            write_buffer.write(FRAME)
        transport.read_all()
        transport.read_all()
        case.turn(3)
    assert case.said == []
    assert write_buffer.queued_bytes > 1024 * 1024


def test_time_in_which_we_stood_still_does_not_count() -> None:
    case = Case()
    transport, write_buffer = case.client()
    for _ in range(12):
        write_buffer.write(FRAME)
    case.turn(2)
    for _ in range(2):
        case.clock.advance(15)
    assert case.said == []
    while write_buffer.backlogged:
        transport.read_all()
    case.turn(10)
    assert case.said == ["slow read all"]


def test_the_time_may_be_off_and_the_bound_stays() -> None:
    case = Case(seconds=OFF)  # type: ignore[arg-type]
    _, write_buffer = case.client()
    while case.said == []:
        write_buffer.write(FRAME)
        case.turn(1)
        assert write_buffer.waiting_bytes <= 16 * 1024 * 1024
    assert case.said == ["slow is slow"]


def test_of_all_who_wait_those_with_most_make_room() -> None:
    case = Case(max_backlog_bytes=2_000_000)
    clients = {name: case.client(name) for name in ("little", "much", "more")}
    for name, frames in (("little", 2), ("much", 7), ("more", 11)):
        for _ in range(frames):
            clients[name][1].write(FRAME)
    assert case.said == []
    clients["little"][1].write(FRAME)
    assert case.said == ["more is slow"]
    assert case.sockets.bytes == 1_000_000


def test_a_pong_takes_the_place_of_one_that_waits() -> None:
    transport, write_buffer = Case().client()
    write_buffer.write(b"frame")
    write_buffer.pong(b"one")
    write_buffer.pong(b"two")
    assert write_buffer.queued_bytes == 8
    transport.read_all()
    assert transport.value() == b"first" + b"twoframe"


def test_before_the_connection_is_closed_all_goes_to_the_transport() -> None:
    case = Case()
    transport, write_buffer = case.client()
    for _ in range(5):
        write_buffer.write(FRAME)
    write_buffer.release()
    assert transport.value() == b"first" + FRAME * 5
    assert case.sockets.bytes == 0
    transport.read_all()
    case.turn(10)
    assert case.said == []


def test_nobody_is_looked_at_once_all_have_read() -> None:
    case = Case()
    transport, write_buffer = case.client()
    write_buffer.write(b"frame")
    transport.read_all()
    write_buffer.stop()
    case.turn(3)
    assert case.clock.getDelayedCalls() == []


def test_a_client_for_which_half_of_what_may_wait_waits_is_behind_and_that_is_told_once() -> None:
    case = Case()
    transport, write_buffer = case.client()
    while write_buffer.waiting_bytes + len(FRAME) <= case.settings.max_pending_bytes // 2:
        write_buffer.write(FRAME)
    assert case.behind == []
    write_buffer.write(FRAME)
    write_buffer.write(FRAME)
    assert case.behind == ["slow"]
    while write_buffer.backlogged:
        transport.read_all()
    assert case.said == ["slow read all"]

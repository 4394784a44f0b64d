"""Bytes on their way to a client."""

from __future__ import annotations

from twisted.internet.testing import StringTransport

from headrace_interface.write_buffer import PIECE_BYTES, Backlog, WriteBuffer
from tests.support.http_lab import SlowTransport


class Case:
    """A write buffer that notes what it says."""

    def __init__(self, transport: StringTransport) -> None:
        self.transport = transport
        self.said: list[str] = []
        self.backlog = Backlog()
        self.write_buffer = WriteBuffer(
            transport,
            lambda: self.said.append("moved"),
            lambda: self.said.append("drained"),
            self.backlog,
        )


def test_a_client_that_reads_gets_everything_at_once() -> None:
    case = Case(StringTransport())
    case.write_buffer.write(b"a" * 10)
    case.write_buffer.write(b"")
    case.write_buffer.write(b"b" * 3 * PIECE_BYTES)
    assert case.transport.value() == b"a" * 10 + b"b" * 3 * PIECE_BYTES
    assert not case.write_buffer.backlogged
    assert case.said == []


def test_the_transport_gets_a_piece_at_a_time_in_order() -> None:
    transport = SlowTransport()
    case = Case(transport)
    data = bytes(range(256)) * (PIECE_BYTES // 100)
    case.write_buffer.write(data)
    case.write_buffer.write(b"last")
    assert len(transport.value()) == PIECE_BYTES
    assert case.write_buffer.queued_bytes == case.backlog.bytes == len(data) + 4 - PIECE_BYTES
    while case.write_buffer.backlogged:
        transport.read_all()
    assert transport.value() == data + b"last"
    assert case.write_buffer.queued_bytes == case.backlog.bytes == 0
    assert case.said == ["moved"] * 3 + ["drained"]


def test_small_writes_wait_together() -> None:
    transport = SlowTransport()
    case = Case(transport)
    data = [b"%d," % number for number in range(100_000)]
    for piece in data:
        case.write_buffer.write(piece)
    assert case.write_buffer._queue is not None
    assert len(case.write_buffer._queue) < 10
    assert case.write_buffer.waiting_bytes == sum(map(len, data))
    while case.write_buffer.backlogged:
        transport.read_all()
    assert transport.value() == b"".join(data)
    assert case.write_buffer.waiting_bytes == 0


def test_a_client_that_reads_anything_at_all_is_seen_to_read() -> None:
    transport = SlowTransport()
    case = Case(transport)
    case.write_buffer.write(b"a" * 100)
    case.write_buffer.mark()
    case.write_buffer.write(b"b" * 100)
    assert not case.write_buffer.client_read_some()
    transport.read_bytes += 1
    assert case.write_buffer.client_read_some()


def test_nothing_is_said_after_the_end() -> None:
    transport = SlowTransport()
    case = Case(transport)
    case.write_buffer.write(b"a" * 2 * PIECE_BYTES)
    case.write_buffer.stop()
    assert case.backlog.bytes == 0
    transport.read_all()
    assert case.said == []
    assert len(transport.value()) == PIECE_BYTES


def test_whether_the_transport_is_the_socket() -> None:
    assert Case(SlowTransport()).write_buffer.direct
    assert not Case(StringTransport()).write_buffer.direct

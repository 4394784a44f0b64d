"""A response on its way to the windows of its client: kept in order, counted, let go."""

from __future__ import annotations

import random

import pytest

from headrace_interface.http.writer import ResponseWriter
from headrace_interface.http2.stream import StreamBuffer
from headrace_interface.write_buffer import Backlog


def buffer() -> tuple[StreamBuffer, Backlog, list[None]]:
    backlog, written = Backlog(), []
    return StreamBuffer(backlog, lambda: written.append(None)), backlog, written


@pytest.mark.seeds(20)
def test_what_is_taken_is_what_was_written(seed: int) -> None:
    chosen = random.Random(seed)
    this, backlog, _ = buffer()
    written = taken = b""
    for _ in range(50):
        if chosen.random() < 0.5:
            data = chosen.randbytes(chosen.randrange(0, 2000))
            this.write(data)
            written += data
        else:
            taken += this.take(chosen.randrange(0, 1500))
        assert this.queued_bytes == this.waiting_bytes == backlog.bytes == len(written) - len(taken)
        assert this.backlogged is (len(taken) < len(written))
    assert taken + this.take(10**9) == written
    assert backlog.bytes == 0


def test_a_head_is_kept_beside_its_content() -> None:
    this, backlog, written = buffer()
    head = ResponseWriter("GET", "2", True).start(200, [(b"X-A", b"1")], b"now", b"me")
    assert head == b""
    this.write(head + b"abc")
    assert this.fields == [(b":status", b"200"), (b"x-a", b"1"), (b"date", b"now"), (b"server", b"me")]
    assert (this.take(10), backlog.bytes, len(written)) == (b"abc", 0, 1)


def test_what_nobody_takes_is_let_go_and_counts_no_more() -> None:
    this, backlog, written = buffer()
    this.write(b"a" * 1000)
    this.stop()
    assert (backlog.bytes, this.backlogged, this.take(10)) == (0, False, b"")
    this.write(b"late")
    assert (len(written), backlog.bytes) == (1, 0)

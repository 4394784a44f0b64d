"""A request's body: inside the message, or in chunks with a window."""

from __future__ import annotations

import pytest

from headrace_asgi.contract import Outcome
from headrace_interface.http.body import CHUNK_BYTES, RequestBody, too_large
from headrace_interface.http.head import Refused
from headrace_interface.http.spool import Bodies, Spool
from headrace_interface.settings import InterfaceSettings


def body(
    limit: int = 0, inline: int = 10, window: int = 1000, streams: bool = True, **sizes: int
) -> RequestBody:
    return RequestBody(Spool(Bodies(InterfaceSettings(**sizes))), limit, inline, window, streams)  # type: ignore[arg-type]


def streamed(window: int = 1000) -> RequestBody:
    this = body(window=window)
    this.feed(b"a" * 20)
    assert this.first() == b"a" * 10
    return this


def test_a_small_body_is_given_out_whole() -> None:
    this = body()
    this.feed(b"hello")
    this.feed(b"world")
    assert not this.ready
    this.complete = True
    assert this.ready
    assert (this.first(), this.streamed, this.received) == (b"helloworld", False, 10)
    assert this.next_chunk() is None


def test_an_empty_body() -> None:
    this = body()
    this.complete = True
    assert this.first() == b""


def test_more_than_fits_inside_is_streamed() -> None:
    this = body()
    this.feed(b"hello worlds")
    assert this.ready
    assert (this.first(), this.streamed) == (b"hello worl", True)
    assert this.next_chunk() == {"content": b"ds", "more_content": True}


def test_a_body_is_not_given_out_before_all_of_it_is_there_unless_it_streams() -> None:
    this = body(streams=False)
    this.feed(b"a" * 600)
    assert not this.ready
    assert not this.full, "a client is never kept from making it whole"
    this.feed(b"b" * 600)
    this.complete = True
    assert this.ready
    assert (this.first(), this.streamed) == (b"a" * 10, True)
    assert this.next_chunk() == {"content": b"a" * 590 + b"b" * 410, "more_content": True}
    assert not this.full


def test_what_was_taken_out_counts_until_it_has_arrived() -> None:
    bodies = Bodies(InterfaceSettings())
    this = RequestBody(Spool(bodies), 0, 10, 1000, False)
    this.feed(b"a" * 100)
    this.complete = True
    this.first()
    assert bodies.memory_bytes == 100
    this.sent()
    assert bodies.memory_bytes == 90
    this.next_chunk()
    this.outcome(Outcome.FULL)
    assert bodies.memory_bytes == 90
    this.outcome(Outcome.SENT)
    assert bodies.memory_bytes == 0
    other = RequestBody(Spool(bodies), 0, 10, 1000, False)
    other.feed(b"a" * 100)
    other.first()
    other.close()
    other.close()
    assert bodies.memory_bytes == 0


def test_a_file_that_cannot_be_read_makes_the_body_lost() -> None:
    this = body(spool_memory_bytes=10)
    this.feed(b"a" * 100)
    this.complete = True
    this.first()
    file = this._spool._file
    assert file is not None
    file.truncate(0)
    assert this.next_chunk() is None
    assert this.lost
    this.close()


def test_a_body_that_is_complete_but_large_is_streamed_too() -> None:
    this = body()
    this.feed(b"hello worlds")
    this.complete = True
    assert this.first() == b"hello worl"
    assert this.next_chunk() == {"content": b"ds", "more_content": False}
    this.outcome(Outcome.SENT)
    assert this.next_chunk() is None


def test_one_chunk_is_on_its_way_at_a_time() -> None:
    this = streamed()
    assert this.next_chunk() is not None
    this.feed(b"b" * 20)
    this.complete = True
    assert this.next_chunk() is None
    this.outcome(Outcome.SENT)
    assert this.next_chunk() == {"content": b"b" * 20, "more_content": False}


def test_a_trickle_is_collected_while_there_is_something_to_read() -> None:
    this = streamed()
    this.next_chunk()
    this.outcome(Outcome.SENT)
    this.feed(b"b")
    assert this.next_chunk() is None
    this.credit(10)
    assert this.next_chunk() == {"content": b"b", "more_content": True}


def test_the_window_bounds_what_nobody_has_read() -> None:
    this = streamed(window=30)
    this.next_chunk()
    this.outcome(Outcome.SENT)
    this.feed(b"b" * 100)
    this.complete = True
    assert this.next_chunk() == {"content": b"b" * 20, "more_content": True}
    this.outcome(Outcome.SENT)
    assert this.next_chunk() is None
    this.credit(25)
    chunk = this.next_chunk()
    assert chunk is not None
    assert len(chunk["content"]) == 25


def test_credit_that_nobody_can_have_earned_is_no_wider_window() -> None:
    this = streamed(window=30)
    this.next_chunk()
    this.outcome(Outcome.SENT)
    this.credit(10_000)
    this.credit(-10_000)
    this.feed(b"b" * 100)
    this.complete = True
    chunk = this.next_chunk()
    assert chunk is not None
    assert len(chunk["content"]) == 30


def test_the_end_alone_is_an_empty_chunk() -> None:
    this = streamed()
    this.next_chunk()
    this.outcome(Outcome.SENT)
    this.complete = True
    assert this.next_chunk() == {"content": b"", "more_content": False}


def test_a_client_is_paused_while_a_chunk_and_more_waits() -> None:
    this = streamed(window=50)
    this.feed(b"b" * CHUNK_BYTES)
    assert this.full
    assert this.next_chunk() is not None
    this.outcome(Outcome.SENT)
    this.credit(50)
    assert this.next_chunk() is not None
    assert not this.full


@pytest.mark.parametrize("outcome", [Outcome.FULL, Outcome.UNAVAILABLE])
def test_a_chunk_that_was_not_sent_is_sent_again(outcome: Outcome) -> None:
    this = streamed()
    chunk = this.next_chunk()
    assert this.outcome(outcome) == chunk
    this.feed(b"b" * 500)
    assert this.next_chunk() is None, "nothing overtakes it"
    assert this.outcome(Outcome.SENT) is None


def test_a_chunk_that_may_have_been_sent_makes_the_body_lost() -> None:
    this = streamed()
    this.next_chunk()
    assert this.outcome(Outcome.UNKNOWN) is None
    assert this.lost


def test_an_abandoned_body_says_so_once() -> None:
    this = streamed()
    assert this.abandon() == {"closed": True}
    assert this.abandon() is None
    assert this.next_chunk() is None
    assert body().abandon() is None, "nobody waits for chunks"


def test_a_body_that_was_sent_to_its_end_cannot_be_abandoned() -> None:
    this = streamed()
    this.complete = True
    this.next_chunk()
    this.outcome(Outcome.SENT)
    assert this.abandon() is None


def test_the_limit() -> None:
    this = body(limit=10)
    this.feed(b"a" * 10)
    with pytest.raises(Refused) as caught:
        this.feed(b"a")
    assert caught.value.status == too_large(10).status == 413

"""What a Range asks for, and how several parts are written."""

from __future__ import annotations

import pytest

from headrace_interface.files.ranges import Span, content_range, multipart, spans_of

WHOLE = None


@pytest.mark.parametrize(
    ("value", "spans"),
    [
        (b"bytes=0-0", (Span(0, 1),)),
        (b"bytes=0-99", (Span(0, 100),)),
        (b"bytes=10-", (Span(10, 90),)),
        (b"bytes=-10", (Span(90, 10),)),
        (b"bytes=-1000", (Span(0, 100),)),
        (b"bytes=90-1000", (Span(90, 10),)),
        (b"BYTES=1-2", (Span(1, 2),)),
        (b"bytes=0-1,5-6", (Span(0, 2), Span(5, 2))),
        (b"bytes=5-6 , ,0-1", (Span(5, 2), Span(0, 2))),
        (b"bytes=0-1,200-300", (Span(0, 2),)),
        (b"bytes=100-", ()),
        (b"bytes=200-300,-0", ()),
        (b"bytes=-0", ()),
        (b"bytes=", WHOLE),
        (b"bytes=,", WHOLE),
        (b"bytes=-", WHOLE),
        (b"bytes=1", WHOLE),
        (b"bytes=5-4", WHOLE),
        (b"bytes=a-b", WHOLE),
        (b"bytes=1-2,x", WHOLE),
        (b"bytes=--1", WHOLE),
        (b"bytes=0-1-2", WHOLE),
        (b"bytes=+1-2", WHOLE),
        (b"bytes=0-9999999999999999999999", WHOLE),
        (b"lines=0-1", WHOLE),
        (b"bytes 0-1", WHOLE),
        (b"bytes=0-60,40-99", WHOLE),
        (
            b"bytes=" + b",".join(b"%d-%d" % (at, at) for at in range(16)),
            tuple(Span(at, 1) for at in range(16)),
        ),
        (b"bytes=" + b",".join(b"%d-%d" % (at, at) for at in range(17)), WHOLE),
    ],
)
def test_a_range_is_read_or_the_whole_file_is_sent(value: bytes, spans: tuple[Span, ...] | None) -> None:
    assert spans_of([value], 100) == spans


def test_a_range_that_is_not_there_or_there_twice_asks_for_nothing() -> None:
    assert spans_of([], 100) is None
    assert spans_of([b"bytes=0-1", b"bytes=0-1"], 100) is None


@pytest.mark.parametrize("value", [b"bytes=0-", b"bytes=0-0", b"bytes=-5"])
def test_an_empty_file_has_no_range(value: bytes) -> None:
    assert not spans_of([value], 0)
    assert spans_of([value], 0) is not None


def test_the_place_of_a_part_is_told() -> None:
    assert content_range(Span(10, 5), 100) == b"bytes 10-14/100"
    assert content_range(None, 100) == b"bytes */100"


def test_parts_are_written_between_boundaries_with_type_and_place() -> None:
    pieces = multipart((Span(0, 2), Span(8, 1)), 10, b"text/plain", b"xyz")
    written = b"".join(b"." * each.length if isinstance(each, Span) else each for each in pieces)
    assert written == (
        b"--xyz\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1/10\r\n\r\n.."
        b"\r\n--xyz\r\nContent-Type: text/plain\r\nContent-Range: bytes 8-8/10\r\n\r\n."
        b"\r\n--xyz--\r\n"
    )

"""Parts of a file: RFC 9110 section 14. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..http.grammar import OWS, listed, number

__all__ = ["Piece", "Span", "content_range", "multipart", "spans_of"]

#: Ranges of one request. Readers of documents ask for a few; more cost us a head each and serve nobody.
_MAX_RANGES = 16

_UNIT = re.compile(rb"(?i)bytes=(.*)")


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes of a file, from `start` on."""

    start: int
    length: int


#: What a response is made of: bytes, or a part of the file.
Piece = bytes | Span


def spans_of(values: Sequence[bytes], size: int) -> tuple[Span, ...] | None:
    """What the Range fields of a request ask of a file of so many bytes, in the order of the request.

    None for the whole of it: they ask for nothing that is understood, or for too much (RFC 9110 14.2). Empty
    if nothing of it can be had: that is 416.
    """
    unit = _UNIT.fullmatch(values[0]) if len(values) == 1 else None
    if unit is None:
        return None
    asked = [element for element in listed(unit[1]) if element]
    if not asked or len(asked) > _MAX_RANGES:
        return None
    spans = []
    for element in asked:
        span = _span(element, size)
        if span is None:
            return None
        if span.length > 0:
            spans.append(span)
    if len(spans) > 1 and sum(span.length for span in spans) > size:
        return None  # they overlap, so the whole is less than its parts
    return tuple(spans)


def _span(element: bytes, size: int) -> Span | None:
    """One range; without a length if the file has nothing of it, None if it is none."""
    first, dash, last = (part.strip(OWS) for part in element.partition(b"-"))
    if not dash:
        return None
    end = number(last)
    if not first:
        if end is None:
            return None
        return Span(max(0, size - end), min(end, size))
    start = number(first)
    if start is None or (last and (end is None or end < start)):
        return None
    stop = size if end is None else min(end + 1, size)
    return Span(start, max(0, stop - start))


def content_range(span: Span | None, size: int) -> bytes:
    """The value of Content-Range (RFC 9110 14.4); None is for 416."""
    if span is None:
        return b"bytes */%d" % size
    return b"bytes %d-%d/%d" % (span.start, span.start + span.length - 1, size)


def multipart(spans: Sequence[Span], size: int, kind: bytes | None, boundary: bytes) -> tuple[Piece, ...]:
    """The content of a response with several parts (RFC 9110 14.6); `kind` is the file's Content-Type."""
    pieces: list[Piece] = []
    typed = b"" if kind is None else b"Content-Type: %b\r\n" % kind
    for span in spans:
        begins = b"\r\n--" if pieces else b"--"
        pieces.append(
            b"%b%b\r\n%bContent-Range: %b\r\n\r\n" % (begins, boundary, typed, content_range(span, size))
        )
        pieces.append(span)
    return (*pieces, b"\r\n--%b--\r\n" % boundary)

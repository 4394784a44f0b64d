"""The answer to a request for a file, from its head and what is known of the file. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..http.head import RequestHead
from .conditions import Validators, Verdict, preconditions, range_holds, validators_of
from .ranges import Piece, Span, content_range, multipart, spans_of
from .representation import cache_control, content_type

__all__ = ["Fields", "FileAnswer", "FileFacts", "Wanted", "answer_file", "plain"]

Fields = Sequence[Sequence[bytes]]

_READS = ("GET", "HEAD")
#: A browser shall not take a file for something else than we say.
_NO_SNIFF = (b"X-Content-Type-Options", b"nosniff")
#: What a 304 repeats (RFC 9110 15.4.5), besides what does not describe the content.
_NOT_IN_304 = (b"content-type", b"content-encoding", b"last-modified", b"accept-ranges")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file that is to be the response: `name` in `folder`, None for a name that is not asked for.

    `headers` and `status` are of the view that named it; a static file has None.
    """

    folder: str
    name: str | None
    headers: Fields | None = None
    status: int = 200

    @property
    def static(self) -> bool:
        """Whether no view was asked."""
        return self.headers is None


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What is known of an open file. `varies` if there are copies of it in other codings."""

    size: int
    modified_ns: int
    coding: bytes | None = None
    varies: bool = False


@dataclass(frozen=True, slots=True)
class FileAnswer:
    """A response: its head, and what its content is made of. `length` in bytes is None where it has none."""

    status: int
    headers: Fields
    pieces: tuple[Piece, ...]
    length: int | None


def answer_file(
    head: RequestHead, wanted: Wanted, facts: FileFacts | None, now: float, boundary: bytes
) -> FileAnswer:
    """The answer; `facts` is None if there is no such file.

    `now` is in seconds since 1970, `boundary` is of 1 to 70 characters that are in no file by accident.
    """
    if wanted.static and head.method not in _READS:
        return plain(405, "This is a file: it can only be read.", ((b"Allow", b"GET, HEAD"),))
    if facts is None or wanted.name is None:
        return plain(404, "There is no such file.")
    validators = validators_of(facts.size, facts.modified_ns, facts.coding, now)
    headers = _headers(wanted, wanted.name, facts, validators)
    # Conditions are about a response that would be a success (RFC 9110 13.2.1), ranges about GET (14.2).
    if wanted.status == 200 and head.method in _READS:
        verdict = preconditions(head, validators)
        if verdict is Verdict.FAILED:
            return plain(412, "The file is not in the state that was asked for.")
        if verdict is Verdict.NOT_MODIFIED:
            kept = [each for each in headers if each[0].lower() not in _NOT_IN_304]
            return FileAnswer(304, kept, (), None)
        if head.method == "GET" and _value(headers, b"accept-ranges") == b"bytes":
            spans = spans_of(head.header_values(b"range"), facts.size)
            if spans is not None and range_holds(head, validators):
                return _parts(spans, facts.size, headers, boundary)
    return FileAnswer(wanted.status, headers, (Span(0, facts.size),), facts.size)


def plain(status: int, text: str, headers: Fields = ()) -> FileAnswer:
    """A line of text instead of a file."""
    content = text.encode() + b"\n"
    named = ((b"Content-Type", b"text/plain; charset=utf-8"), _NO_SNIFF, *headers)
    return FileAnswer(status, named, (content,), len(content))


def _headers(wanted: Wanted, name: str, facts: FileFacts, validators: Validators) -> list[Sequence[bytes]]:
    """The view's headers, and what it did not say."""
    headers = list(wanted.headers or ())
    named = frozenset(each[0].lower() for each in headers)
    ours = [
        (b"Content-Type", content_type(name)),
        (b"ETag", validators.tag),
        (b"Last-Modified", validators.last_modified),
        (b"Accept-Ranges", b"bytes"),
        _NO_SNIFF,
    ]
    if wanted.static:
        ours.append((b"Cache-Control", cache_control(name)))
    if facts.coding is not None:
        ours.append((b"Content-Encoding", facts.coding))
    if facts.varies:
        ours.append((b"Vary", b"Accept-Encoding"))
    return [*headers, *(each for each in ours if each[0].lower() not in named)]


def _parts(spans: tuple[Span, ...], size: int, headers: list[Sequence[bytes]], boundary: bytes) -> FileAnswer:
    if not spans:
        return plain(416, "The file has no such range.", ((b"Content-Range", content_range(None, size)),))
    if len(spans) == 1:
        (span,) = spans
        named = [*headers, (b"Content-Range", content_range(span, size))]
        return FileAnswer(206, named, spans, span.length)
    pieces = multipart(spans, size, _value(headers, b"content-type"), boundary)
    named = [each for each in headers if each[0].lower() != b"content-type"]
    named.append((b"Content-Type", b"multipart/byteranges; boundary=" + boundary))
    length = sum(len(piece) if isinstance(piece, bytes) else piece.length for piece in pieces)
    return FileAnswer(206, named, pieces, length)


def _value(headers: Fields, name: bytes) -> bytes | None:
    return next((value for known, value in headers if known.lower() == name), None)

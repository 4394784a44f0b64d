"""The bytes of an HTTP/1.1 response, or the fields and content of one of HTTP/2. Pure.

Headers that come from the application are checked before they are written. Those that describe the
connection (`connection`, `transfer-encoding`, …) are ours; the application's are left out, except that its
`Connection: close` is honoured.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any

from headrace_asgi.errors import PeerError

from .grammar import FIELD_VALUE_BYTES, OWS, TOKEN_BYTES, listed, number

__all__ = [
    "CONTINUE",
    "RETRY_AFTER",
    "BadResponse",
    "Headed",
    "ResponseWriter",
    "headed",
    "response_head",
    "simple_response",
]

#: Seconds that a client is told to wait before it tries again.
RETRY_AFTER = (b"Retry-After", b"5")
#: RFC 9110 10.1.1: the answer to `Expect: 100-continue`.
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_STATUS_LINES = {
    status.value: b"HTTP/1.1 %d %b\r\n" % (status.value, status.phrase.encode("ascii"))
    for status in HTTPStatus
}

#: Headers that need a look; all others are written as they are.
_WATCHED = frozenset(
    (b"connection", b"keep-alive", b"transfer-encoding", b"upgrade", b"content-length", b"date", b"server")
)

_LAST_CHUNK = b"0\r\n\r\n"


class BadResponse(PeerError):
    """The application's response cannot be written as it is; the text says why."""


class Headed(bytes):
    """The first bytes of a response's content on HTTP/2, with the fields of its head beside them.

    Whoever writes bytes passes it on as such; the stream finds the fields (RFC 9113 8.3.2).
    """

    fields: list[tuple[bytes, bytes]]

    def __add__(self, more: Any) -> Headed:
        return headed(self.fields, bytes(self) + more)


def headed(fields: list[tuple[bytes, bytes]], content: bytes) -> Headed:
    """Content with its head beside it."""
    made = Headed(content)
    made.fields = fields
    return made


class _Fields:
    """An application's headers, read once: their lines, and what they say about the framing."""

    __slots__ = ("close", "content_length", "dated", "lines", "served")

    def __init__(self, headers: Iterable[Sequence[bytes]]) -> None:
        self.content_length: int | None = None
        self.close = self.dated = self.served = False
        names, values, self.lines = [], [], []
        for name, value in headers:
            lower = name.lower()
            names.append(name or b"\0")
            values.append(value)
            if lower not in _WATCHED or self._keep(lower, value):
                self.lines.append(b"%b: %b\r\n" % (name, value))
        if _is_bad(b"".join(names), b"".join(values)):
            bad = next(name for name, value in zip(names, values, strict=True) if _is_bad(name, value))
            raise BadResponse(f"response header {bad!r} has bytes a header must not have")

    def _keep(self, lower: bytes, value: bytes) -> bool:
        if lower == b"date":
            self.dated = True
            return True
        if lower == b"server":
            self.served = True
            return True
        if lower == b"content-length":
            length = number(value.strip(OWS))
            if length is None or self.content_length not in (None, length):
                raise BadResponse(f"response header Content-Length {value!r} is not one number")
            self.content_length = length
        elif lower == b"connection":
            self.close = self.close or b"close" in listed(value.lower())
        return False


def _is_bad(names: bytes, values: bytes) -> bool:
    """Whether one of these bytes is in no token or in no field value."""
    return bool(names.translate(None, TOKEN_BYTES) or values.translate(None, FIELD_VALUE_BYTES))


class ResponseWriter:
    """Writes one response to one request: either `whole`, or `start` and then `part` until the last one.

    `keep_alive` says afterwards whether the connection may be used again. Errors are BadResponse; before the
    first byte was written the caller answers 500, later it drops the connection.
    """

    __slots__ = ("_chunked", "_left", "_silent", "_version", "keep_alive", "method")

    def __init__(self, method: str, http_version: str, keep_alive: bool) -> None:
        self.method = method
        self.keep_alive = keep_alive
        self._version = http_version
        self._chunked = False
        self._silent = False
        self._left: int | None = None

    def as_plain(self) -> list[Any]:
        """How far a response in parts is."""
        return [self._chunked, self._silent, self._left, self.keep_alive]

    def resume(self, plain: Sequence[Any]) -> None:
        """Go on with a response in parts."""
        self._chunked, self._silent, self._left, self.keep_alive = plain

    def whole(
        self,
        status: int,
        headers: Iterable[Sequence[bytes]],
        content: bytes,
        date: bytes,
        server: bytes = b"headrace",
    ) -> bytes:
        """A response that is one message. Its Content-Length is counted, whatever the application said.

        For HEAD and 304, where the length is that of the answer to a GET, the application's stands.
        """
        fields = _Fields(headers)
        if status in (204, 304) or self.method == "HEAD":
            length: int | None = fields.content_length
            if length is None and status not in (204, 304):
                length = len(content)
            if status == 204:
                length = None
            content = b""
        else:
            length = len(content)
        return self._head(status, fields, length, date, server) + content

    def start(
        self,
        status: int,
        headers: Iterable[Sequence[bytes]],
        date: bytes,
        server: bytes = b"headrace",
    ) -> bytes:
        """The head of a response whose body comes in parts.

        Its length is the application's Content-Length; without one the body is chunked, or on HTTP/1.0 ended
        by closing the connection. On HTTP/2 the stream says where it ends.
        """
        fields = _Fields(headers)
        self._silent = status in (204, 304) or self.method == "HEAD"
        length = None if status == 204 else fields.content_length
        self._left = length
        if length is None and not self._silent:
            if self._version == "1.0":
                self.keep_alive = False
            elif self._version != "2":
                self._chunked = True
                fields.lines.append(b"Transfer-Encoding: chunked\r\n")
        return self._head(status, fields, length, date, server)

    def part(self, content: bytes, last: bool) -> bytes:
        """The bytes of one more part of the body, possibly none.

        Raises BadResponse if the parts do not add up to the Content-Length that was announced.
        """
        if self._silent:
            return b""
        if self._left is not None:
            self._left -= len(content)
            if self._left < 0 or (last and self._left):
                raise BadResponse(
                    "the parts of a response are {} than its Content-Length".format(
                        "longer" if self._left < 0 else "shorter"
                    )
                )
        if not self._chunked:
            return content
        framed = b"%x\r\n%b\r\n" % (len(content), content) if content else b""
        return framed + _LAST_CHUNK if last else framed

    def _head(self, status: int, fields: _Fields, length: int | None, date: bytes, server: bytes) -> bytes:
        if fields.close:
            self.keep_alive = False
        lines = fields.lines
        if length is not None:
            lines.append(b"Content-Length: %d\r\n" % length)
        if not fields.dated:
            lines.append(b"Date: %b\r\n" % date)
        if server and not fields.served:
            lines.append(b"Server: %b\r\n" % server)
        if self._version == "2":
            return headed(_stream_fields(status, lines), b"")
        if not self.keep_alive:
            lines.append(b"Connection: close\r\n\r\n")
        elif self._version == "1.0":
            lines.append(b"Connection: keep-alive\r\n\r\n")
        else:
            lines.append(b"\r\n")
        first = _STATUS_LINES.get(status) or b"HTTP/1.1 %d Unknown\r\n" % status
        return first + b"".join(lines)


def _stream_fields(status: int, lines: Iterable[bytes]) -> list[tuple[bytes, bytes]]:
    """Lines as fields of HTTP/2: names in lower case, values without space around (RFC 9113 8.2)."""
    fields = [(b":status", b"%d" % status)]
    for line in lines:
        name, _, value = line.partition(b": ")
        name = name.lower()
        # The last of those that are about a connection of HTTP/1; HTTP/1 itself does not know it.
        if name != b"proxy-connection":
            fields.append((name, value.strip(b" \t\r\n")))
    return fields


def response_head(
    status: int,
    headers: Iterable[Sequence[bytes]],
    http_version: str,
    keep_alive: bool,
    body_length: int | None,
    method: str,
    date: bytes,
    server: bytes = b"headrace",
) -> bytes:
    """Status line and headers up to the empty line, for a body of `body_length` bytes that the caller writes.

    None says that there is no body and no Content-Length. Raises BadResponse for headers that cannot be sent.
    """
    writer = ResponseWriter(method, http_version, keep_alive)
    return writer._head(status, _Fields(headers), body_length, date, server)


def simple_response(
    status: int,
    text: str,
    *,
    date: bytes,
    keep_alive: bool = False,
    http_version: str = "1.1",
    method: str = "GET",
    headers: Iterable[Sequence[bytes]] = (),
    server: bytes = b"headrace",
) -> bytes:
    """A whole response of our own with one line of plain text."""
    writer = ResponseWriter(method, http_version, keep_alive)
    named = [(b"Content-Type", b"text/plain; charset=utf-8"), *headers]
    return writer.whole(status, named, text.encode() + b"\n", date, server)

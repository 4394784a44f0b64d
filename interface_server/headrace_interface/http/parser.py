"""Bytes of an HTTP/1 connection in, requests out: llhttp with the limits it lacks. No socket, no clock.

httptools calls back in the middle of `feed` and cannot be paused, so the requests found are put on `ready`.
A request that is refused stops the parser for good; the requests before it are still answered.
"""

from __future__ import annotations

from collections import deque

import httptools

from .. import forwarded
from ..settings import InterfaceSettings
from .body import RequestBody, too_large
from .head import CHUNKED, Endpoints, Framing, Refused, RequestHead, read_head
from .spool import Bodies, Spool

__all__ = ["Incoming", "RequestParser", "SpokeTls"]

#: Requests of one `feed` that may wait; a feed of 4 KiB holds fewer.
_MAX_READY = 256
#: The first byte of a TLS client (RFC 8446 5.1), which no request begins with.
_TLS_HANDSHAKE = b"\x16"


class SpokeTls(Refused):
    """A client that began TLS, where HTTP is spoken without."""


class Incoming:
    """A request whose head is complete. `body` is None if it has none."""

    __slots__ = ("body", "framing", "head")

    def __init__(self, head: RequestHead, framing: Framing, body: RequestBody | None) -> None:
        self.head = head
        self.framing = framing
        self.body = body

    @property
    def complete(self) -> bool:
        """Whether all of it arrived."""
        return self.body is None or self.body.complete


class RequestParser:
    """The parser of one connection.

    After each `feed`: `ready` has the new requests in order, the last of them perhaps still without its whole
    body; `refused` is what follows them, if the client broke the rules; `after_upgrade` has the bytes behind
    a request to upgrade, which is the last in `ready`. With one of the two set nothing may be fed any more.
    """

    __slots__ = (
        "_bodies",
        "_count",
        "_fed",
        "_headers",
        "_http",
        "_moved_on",
        "_settings",
        "_url",
        "after_upgrade",
        "endpoints",
        "in_body",
        "in_head",
        "ready",
        "refused",
    )

    def __init__(self, settings: InterfaceSettings, endpoints: Endpoints, bodies: Bodies) -> None:
        self._settings = settings
        self._bodies = bodies
        self.endpoints = endpoints
        self._http = httptools.HttpRequestParser(self)
        self._headers: list[tuple[bytes, bytes]] = []
        self._url = b""
        self._count = 0
        #: Bytes of a head, or in a row of a body without content: sizes of chunks and trailers.
        self._fed = 0
        #: Whether the present bytes brought a whole head, content, or the end of a request.
        self._moved_on = False
        self.ready: deque[Incoming] = deque()
        self.refused: Refused | None = None
        self.after_upgrade: bytes | None = None
        #: Whether a request's head has begun and is not complete.
        self.in_head = False
        #: The request whose body is arriving.
        self.in_body: Incoming | None = None

    def feed(self, data: bytes) -> None:
        """Parse some bytes. Raises nothing."""
        self._moved_on = False
        try:
            self._http.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgraded(data[upgrade.args[0] :])
            return
        except httptools.HttpParserCallbackError as error:
            self.refused = self._reason(error)
            return
        except httptools.HttpParserError as error:
            self.refused = self._syntax(error, data)
            return
        # One header or trailer that never ends is collected inside llhttp, where `on_header` does not see it.
        # Where something else ended in these bytes, nobody knows how many of them are the next head's.
        if not self._moved_on and (self.in_head or self.in_body is not None):
            self._fed += len(data)
            if self._fed > self._settings.max_head_bytes:
                self.refused = self._head_too_large()
        else:
            self._fed = 0

    def stop(self) -> None:
        """Break the circle of references with llhttp's parser, and let go of bodies that nobody took."""
        del self._http
        for incoming in (*self.ready, self.in_body):
            if incoming is not None and incoming.body is not None:
                incoming.body.close()

    def _upgraded(self, rest: bytes) -> None:
        last = self.ready[-1]
        if last.framing.upgrade == b"websocket":
            self.after_upgrade = rest
            return
        # Other upgrades are ignored (RFC 9110 7.8): what follows is the next request.
        self._http = httptools.HttpRequestParser(self)
        if rest:
            self.feed(rest)

    def _syntax(self, error: Exception, data: bytes) -> Refused:
        if self.ready and not self.ready[-1].head.keep_alive and not self.in_head and self.in_body is None:
            # Bytes after `Connection: close`: not a request, so there is nothing to answer.
            return Refused(0, str(error))
        if data.startswith(_TLS_HANDSHAKE) and not self._url and self.in_body is None:
            return SpokeTls(400, "This port speaks HTTP without TLS: its addresses begin with http://.")
        if isinstance(error, httptools.HttpParserInvalidMethodError):
            return Refused(400, "The request method is not known.")
        return Refused(400, f"This is not HTTP/1.1: {error}.")

    def _reason(self, error: Exception) -> Refused:
        cause = error.__context__
        if isinstance(cause, Refused):
            return cause
        raise error  # a bug of ours, not the client's doing

    def _head_too_large(self) -> Refused:
        if not self._url:
            return Refused(414, "The request target is too long.")
        return Refused(431, "The request's headers are too large.")

    # What httptools calls.

    def on_message_begin(self) -> None:
        if len(self.ready) >= _MAX_READY:
            raise Refused(429, "Too many requests were sent without waiting for an answer.")
        self._headers = []
        self._url = b""
        self._count = self._fed = 0
        self.in_head = True

    def on_url(self, url: bytes) -> None:
        self._url = self._url + url if self._url else url
        if len(self._url) > self._settings.max_target_bytes:
            raise Refused(414, "The request target is too long.")

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.in_head:
            self._trailer(name, value)
            return
        self._headers.append((name.lower(), value))
        self._count += len(name) + len(value)

    def on_headers_complete(self) -> None:
        settings = self._settings
        headers = self._headers
        if len(headers) > settings.max_headers or self._count > settings.max_head_bytes:
            raise Refused(431, "The request's headers are too many or too large.")
        http = self._http
        head, framing = read_head(
            http.get_method().decode("ascii"),
            self._url,
            headers,
            http.get_http_version(),
            http.should_keep_alive(),
            self.endpoints,
        )
        if self.endpoints.trusted:
            forwarded.apply(head, settings)
        body = None
        if framing.body_bytes:
            limit = settings.max_body_bytes
            if limit and framing.body_bytes != CHUNKED and framing.body_bytes > limit:
                raise too_large(limit)
            body = RequestBody(
                Spool(self._bodies),
                limit,
                settings.inline_body_bytes,
                settings.body_window_bytes,
                settings.stream_uploads,
            )
        self.in_head = False
        self._moved_on = True
        incoming = Incoming(head, framing, body)
        if body is not None:
            self.in_body = incoming
        self.ready.append(incoming)

    def on_body(self, data: bytes) -> None:
        incoming = self.in_body
        if incoming is None or incoming.body is None:
            raise Refused(400, "There are bytes where no body was announced.")
        self._moved_on = True
        incoming.body.feed(data)

    def on_message_complete(self) -> None:
        self._moved_on = True
        incoming = self.in_body
        if incoming is not None and incoming.body is not None:
            incoming.body.complete = True
            self.in_body = None

    def _trailer(self, name: bytes, value: bytes) -> None:
        """Trailers are dropped: the request has been framed, and perhaps sent (RFC 9110 6.5.1)."""
        self._count += len(name) + len(value)
        if self._count > self._settings.max_head_bytes:
            raise Refused(431, "The request's trailers are too large.")

"""One request that is answered with a file: opens it, and writes it as fast as its client reads.

It is a call of its stream as `http.call.Call` is, and knows no layer. A piece is read when there is room for
it, so a slow client holds one piece and an open file. Reading blocks as long as the disk takes for a piece.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections import deque
from typing import Any

from ..access_log import escape
from ..context import ServerContext
from ..http.parser import Incoming
from ..http.stream import Stream
from ..http.writer import RETRY_AFTER, BadResponse, ResponseWriter
from .answer import FileAnswer, Wanted, answer_file, plain
from .folder import OpenFile, open_below, open_for
from .ranges import Piece, Span

__all__ = ["FileCall"]

logger = logging.getLogger("headrace.interface")

#: Bytes read at once: what one client may hold in memory, and how long the others wait for the disk.
_READ_BYTES = 64 * 1024
#: Pieces for one client in a turn of the reactor, however fast it reads: the others are served in between.
_PIECES_A_TURN = 4
#: RFC 9110 6.4.1: responses that have none.
_NO_CONTENT = (204, 304)
#: What the access log says of a request whose client left before the answer was written.
_CLIENT_LEFT = 499


class _CutShort(Exception):
    """The file cannot be read to the end that was announced; the text says why."""


class FileCall:
    """A request and the file that answers it. `due` never comes: the stream watches who does not read."""

    __slots__ = (
        "_context",
        "_ended",
        "_file",
        "_pieces",
        "_sent_bytes",
        "_status",
        "_stream",
        "_turn",
        "_wanted",
        "_writer",
        "due",
        "incoming",
    )

    def __init__(self, context: ServerContext, stream: Stream, incoming: Incoming, wanted: Wanted) -> None:
        self._context = context
        self._stream = stream
        self._wanted = wanted
        self.incoming = incoming
        self.due = math.inf
        self._file: OpenFile | None = None
        self._pieces: deque[Piece] = deque()
        #: The next turn of the reactor in which this goes on, if it does by itself.
        self._turn: Any = None
        self._ended = False
        self._status = self._sent_bytes = 0
        self._writer = self._new_writer()

    # Called by the stream.

    def begin(self) -> None:
        """Write the head and the first piece. The rest, and the end, come in later turns of the reactor."""
        answer = self._answer()
        try:
            head = self._head(answer)
        except BadResponse as error:
            self._complain("is answered 500: %s", error)
            self._let_go()
            self._writer = self._new_writer()
            answer = plain(500, "The application could not answer this request.")
            head = self._head(answer)
        self._status = answer.status
        if self.incoming.head.method != "HEAD" and answer.status not in _NO_CONTENT:
            self._pieces.extend(answer.pieces)
        try:
            self._write(head + self._next_piece())
        except _CutShort as error:
            self._cut(error)
            return
        self._go_on_soon()

    def turn_away(self) -> None:
        """No requests are taken for the application, which is not asked here."""
        self.begin()

    def body_arrived(self) -> None:
        """Nobody reads the request's body."""

    def client_read(self) -> None:
        """The client took some of what waited for it. The stream may be in the middle of something: later."""
        if not self._ended:
            self._go_on_soon()

    def deadline_passed(self) -> None:
        """There is none."""

    def client_left(self) -> None:
        """The connection was lost."""
        self._end(_CLIENT_LEFT)

    def failed(self, status: int, reason: str) -> None:
        """The rest of the request will not come, and its answer is on the way already."""
        self._cut(reason)

    # Writing.

    def _answer(self) -> FileAnswer:
        head, wanted = self.incoming.head, self._wanted
        if wanted.name is not None:
            try:
                if wanted.static:
                    accepted = head.header_values(b"accept-encoding")
                    self._file = open_for(wanted.folder, wanted.name, accepted)
                else:
                    self._file = open_below(wanted.folder, wanted.name)
            except OSError as error:
                self._complain("is answered 503: the file cannot be opened: %s", error.strerror)
                return plain(503, "The server is busy. Please try again in a moment.", (RETRY_AFTER,))
        if self._file is None and not wanted.static:
            self._complain("is answered 404: the file that its view names is in none of the folders for that")
        facts = None if self._file is None else self._file.facts
        return answer_file(head, wanted, facts, time.time(), os.urandom(12).hex().encode("ascii"))

    def _new_writer(self) -> ResponseWriter:
        head = self.incoming.head
        keep_alive = head.keep_alive and self.incoming.complete and not self._context.draining
        return ResponseWriter(head.method, head.http_version, keep_alive)

    def _head(self, answer: FileAnswer) -> bytes:
        context, headers = self._context, list(answer.headers)
        if answer.length is not None:
            headers.append((b"Content-Length", b"%d" % answer.length))
        return self._writer.start(answer.status, headers, context.date(), context.settings.server_name)

    def _go_on_soon(self) -> None:
        if self._turn is None:
            self._turn = self._context.clock.callLater(0, self._go_on)

    def _go_on(self) -> None:
        """Write while there is room, for a while."""
        self._turn = None
        buffer = self._stream.write_buffer
        try:
            for _ in range(_PIECES_A_TURN):
                if not self._pieces:
                    self._end(self._status)
                    self._stream.call_done(self, self._writer.keep_alive)
                    return
                if buffer.backlogged:
                    break
                self._write(self._next_piece())
        except _CutShort as error:
            self._cut(error)
            return
        if not self._pieces or not buffer.backlogged:
            self._go_on_soon()
        self._stream.call_moved()

    def _next_piece(self) -> bytes:
        """What comes next, without more of it than may be in memory. Raises _CutShort."""
        if not self._pieces:
            return b""
        piece = self._pieces.popleft()
        if isinstance(piece, Span):
            data = self._read(piece)
            rest = Span(piece.start + len(data), piece.length - len(data))
            if rest.length:
                self._pieces.appendleft(rest)
        else:
            data = piece
        self._sent_bytes += len(data)
        return data

    def _read(self, span: Span) -> bytes:
        if self._file is None or not span.length:
            return b""
        try:
            data = self._file.read(span.start, min(span.length, _READ_BYTES))
        except OSError as error:
            raise _CutShort(f"the file cannot be read: {error.strerror}") from None
        if not data:
            raise _CutShort("the file became shorter")
        return data

    def _write(self, data: bytes) -> None:
        self._stream.write_buffer.write(data)

    # Ending.

    def _cut(self, reason: object) -> None:
        """Drop the connection: only that tells the client that this is not the whole."""
        if not self._ended:
            self._complain("is cut off in the middle of its response: %s", reason)
            self._end(self._status)
            self._stream.abort()

    def _end(self, status: int) -> None:
        if self._ended:
            return
        self._ended = True
        self._let_go()
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        if self.incoming.body is not None:
            self.incoming.body.close()
        if self._context.access_log is not None:
            self._context.access_log.request(self.incoming.head, status, self._sent_bytes)

    def _let_go(self) -> None:
        self._pieces.clear()
        if self._file is not None:
            self._file.close()
            self._file = None

    def _complain(self, what: str, *args: object) -> None:
        head = self.incoming.head
        logger.warning("%s %s from %s " + what, head.method, escape(head.path), head.client, *args)

"""The body of a request: inside the message while it is small, in chunks on a channel of its own beyond.

It is given out when all of it arrived, so that no worker waits for a slow client, or, if it `streams`, when
more arrived than travels inside. In chunks it has a window: bytes that no worker has read yet. The worker
returns them as credit. One chunk is on its way to the layer at a time, so that a chunk that was not sent
leaves no gap behind it.
"""

from __future__ import annotations

from headrace_asgi import messages
from headrace_asgi.contract import Outcome
from headrace_asgi.envelope import Message

from .head import Refused
from .spool import Spool

__all__ = ["CHUNK_BYTES", "RequestBody"]

#: Most bytes of one chunk: 80 messages for an upload of 20 MB, each far under a layer's message limit.
CHUNK_BYTES = 256 * 1024


class RequestBody:
    """Takes the body as it arrives, gives it out as it may leave.

    `complete` says that all of it arrived. `lost` says that a chunk may or may not have been sent: then the
    body cannot be finished.
    """

    __slots__ = (
        "_ended",
        "_in_flight",
        "_inline",
        "_limit",
        "_out_bytes",
        "_spool",
        "_streams",
        "_unread",
        "_window",
        "complete",
        "lost",
        "received",
        "streamed",
    )

    def __init__(
        self, spool: Spool, limit_bytes: int, inline_bytes: int, window_bytes: int, streams: bool
    ) -> None:
        """`limit_bytes` 0 is without a limit."""
        self._spool = spool
        self._limit = limit_bytes
        self._inline = inline_bytes
        self._window = window_bytes
        self._streams = streams
        #: Bytes that were taken out and may have to be sent again: they count as waiting.
        self._out_bytes = 0
        self._unread = 0
        self._in_flight: Message | None = None
        self._ended = False
        self.received = 0
        self.complete = False
        self.streamed = False
        self.lost = False

    def feed(self, data: bytes) -> None:
        """Bytes that arrived. Raises Refused: 413 beyond the limit, 503 if there is no room for them."""
        self.received += len(data)
        try:
            if self._limit and self.received > self._limit:
                raise too_large(self._limit)
            self._spool.put(data)
        except Refused:
            self._spool.close()
            raise

    @property
    def ready(self) -> bool:
        """Whether the request can be sent: its body is there, or as much of it as should be."""
        return self.complete or (self._streams and self._spool.bytes > self._inline)

    @property
    def full(self) -> bool:
        """Whether reading from the client should pause: more waits here than one chunk."""
        return self.streamed and not self.complete and self._spool.bytes > CHUNK_BYTES

    def first(self) -> bytes:
        """What travels inside the request's message, until `sent`; the rest, if any, goes in chunks.

        Raises Refused(503) if it cannot be read.
        """
        waiting = self._spool.bytes
        self.streamed = not self.complete or waiting > self._inline
        return self._take(min(waiting, self._inline))

    def sent(self) -> None:
        """What was taken out has arrived, or will not be sent again."""
        self._spool.bodies.memory_bytes -= self._out_bytes
        self._out_bytes = 0

    def close(self) -> None:
        """Nothing of it is needed any more."""
        self._spool.close()
        self.sent()

    def next_chunk(self) -> Message | None:
        """The next chunk's message, if one may leave now; then `outcome` is owed."""
        if not self.streamed or self._in_flight is not None or self._ended:
            return None
        room, waiting = self._window - self._unread, self._spool.bytes
        small = waiting < CHUNK_BYTES and not self.complete
        # A trickle is collected while the worker has something to read.
        if (waiting and room <= 0) or (small and (self._unread or not waiting)):
            return None
        try:
            content = self._take(min(CHUNK_BYTES, room, waiting)) if waiting else b""
        except Refused:
            self.lost = True
            return None
        more = not (self.complete and not self._spool.bytes)
        self._unread += len(content)
        self._in_flight = messages.HTTP_BODY_CHUNK.build(content=content, more_content=more)
        return self._in_flight

    def outcome(self, outcome: Outcome) -> Message | None:
        """The layer's answer to the chunk; the chunk again if it must be sent once more, later."""
        chunk, self._in_flight = self._in_flight, None
        if chunk is None:
            return None
        if outcome.accepted:
            self.sent()
            self._ended = not chunk["more_content"]
            return None
        if outcome is Outcome.UNKNOWN:
            self.lost = True
            return None
        self._in_flight = chunk
        return chunk

    def credit(self, count: int) -> None:
        """`count` more bytes were read by the worker."""
        self._unread = max(0, self._unread - max(0, count))

    def abandon(self) -> Message | None:
        """The client is gone: the chunk that says so, if somebody may be waiting for one."""
        if not self.streamed or self._ended:
            return None
        self._ended = True
        return messages.HTTP_BODY_CHUNK.build(closed=True)

    def _take(self, count: int) -> bytes:
        taken = self._spool.take(count)
        self._spool.bodies.memory_bytes += count
        self._out_bytes += count
        return taken


def too_large(limit_bytes: int) -> Refused:
    """The refusal of a body beyond the limit."""
    return Refused(413, f"A request body must not be larger than {limit_bytes} bytes.")

"""Bytes on their way to one client, with a bound on what waits below us in the transport.

The transport gets a piece at a time; while it has a backlog the rest waits here, where it is counted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from .direct_send import direct_transport_of

__all__ = ["PIECE_BYTES", "Backlog", "WriteBuffer"]

#: Most bytes given to the transport at once while it has a backlog: what a slow client must read to go on.
PIECE_BYTES = 256 * 1024
#: Bytes below which what waits is put together.
_SMALL_BYTES = 4096


class Backlog:
    """What waits in all write buffers that share it."""

    __slots__ = ("bytes",)

    def __init__(self) -> None:
        self.bytes = 0


class WriteBuffer:
    """Writes to a transport. `when_drained` is called, from the reactor, after a backlog has gone."""

    __slots__ = (
        "_backlog",
        "_direct_transport",
        "_queue",
        "_transport",
        "_unread",
        "queued_bytes",
        "when_drained",
        "when_moved",
    )

    def __init__(
        self,
        transport: Any,
        when_moved: Callable[[], None],
        when_drained: Callable[[], None],
        backlog: Backlog,
    ) -> None:
        """`when_moved` is called when the client has read a piece and more is waiting."""
        self._transport = transport
        self._direct_transport = direct_transport_of(transport)
        self._queue: deque[bytes | bytearray] | None = None
        self._backlog = backlog
        #: What the client had yet to read of what the transport has, when `mark` was called.
        self._unread = 0
        self.queued_bytes = 0
        self.when_moved = when_moved
        self.when_drained = when_drained
        if self._direct_transport is not None:
            self._direct_transport.when_drained = self._drained

    @property
    def direct(self) -> bool:
        """Whether the transport is the socket itself, with nothing (TLS) in between."""
        return self._direct_transport is self._transport

    @property
    def has_input(self) -> bool:
        """Whether something of the client has arrived that the reactor has yet to read."""
        return self._direct_transport is not None and self._direct_transport.has_input

    @property
    def backlogged(self) -> bool:
        """Whether the client has yet to read something."""
        return bool(self._queue) or (self._direct_transport is not None and self._direct_transport.backlogged)

    @property
    def waiting_bytes(self) -> int:
        """What waits in this process, here and in the transport."""
        if not self.backlogged:
            return 0
        return self.queued_bytes + (
            0 if self._direct_transport is None else self._direct_transport.pending_bytes
        )

    def mark(self) -> None:
        """Begin to watch whether the client reads."""
        self._unread = self._unread_bytes()

    def client_read_some(self) -> bool:
        """Whether the client read anything since `mark`. Not to be asked after the transport got more."""
        return self._unread_bytes() < self._unread

    def _unread_bytes(self) -> int:
        return 0 if self._direct_transport is None else self._direct_transport.unread_bytes

    def write(self, data: bytes) -> None:
        """Write now what the client takes now, keep the rest."""
        if len(data) > PIECE_BYTES or self.backlogged:
            self._enqueue(data)
        elif data:
            self._transport.write(data)

    def queued(self) -> bytes:
        """What waits here, without the transport's part."""
        return b"".join(self._queue or ())

    def stop(self) -> None:
        """The connection is gone, or somebody else writes to it now."""
        if self._direct_transport is not None:
            self._direct_transport.when_drained = None
        self._queue = None
        self._count(-self.queued_bytes)
        self.when_moved = self.when_drained = _nothing

    def _enqueue(self, data: bytes) -> None:
        if self._queue is None:
            self._queue = deque()
        self._append(self._queue, data)
        self._count(len(data))
        self._push()

    def _append(self, queue: deque[bytes | bytearray], data: bytes) -> None:
        """Put `data` at the end; small ones together, because an object each weighs more than they do."""
        if len(data) >= _SMALL_BYTES:
            queue.append(data)
        elif queue and queue[-1].__class__ is bytearray and len(queue[-1]) < PIECE_BYTES:
            queue[-1] += data
        else:
            queue.append(bytearray(data))

    def _push(self) -> None:
        queue, direct_transport = self._queue, self._direct_transport
        while queue and not (direct_transport is not None and direct_transport.backlogged):
            piece = self._piece(queue)
            self._count(-len(piece))
            self._transport.write(bytes(piece))
        if not queue:
            self._queue = None

    def _piece(self, queue: deque[bytes | bytearray]) -> bytes | bytearray:
        """What the transport gets next, taken from `queue`."""
        piece = queue.popleft()
        if len(piece) > PIECE_BYTES:
            queue.appendleft(piece[PIECE_BYTES:])
            piece = piece[:PIECE_BYTES]
        return piece

    def _count(self, more: int) -> None:
        self.queued_bytes += more
        self._backlog.bytes += more

    def _drained(self) -> None:
        self._push()
        if self.backlogged:
            self.when_moved()
        else:
            self.when_drained()


def _nothing() -> None:
    """Stands for callbacks of a connection that is gone."""

"""Bytes on their way to one client, with a bound on what waits below us in the transport.

The transport gets a piece at a time; while it has a backlog the rest waits here, where it is counted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from .direct_send import wire_of

__all__ = ["PIECE_BYTES", "Backlog", "Outlet"]

#: Most bytes given to the transport at once while it has a backlog: what a slow client must read to go on.
PIECE_BYTES = 256 * 1024


class Backlog:
    """What waits in all outlets that share it."""

    __slots__ = ("bytes",)

    def __init__(self) -> None:
        self.bytes = 0


class Outlet:
    """Writes to a transport. `when_drained` is called, from the reactor, after a backlog has gone."""

    __slots__ = ("_backlog", "_queue", "_transport", "_wire", "queued_bytes", "when_drained", "when_moved")

    def __init__(
        self,
        transport: Any,
        when_moved: Callable[[], None],
        when_drained: Callable[[], None],
        backlog: Backlog,
    ) -> None:
        """`when_moved` is called when the client has read a piece and more is waiting."""
        self._transport = transport
        self._wire = wire_of(transport)
        self._queue: deque[bytes] | None = None
        self._backlog = backlog
        self.queued_bytes = 0
        self.when_moved = when_moved
        self.when_drained = when_drained
        if self._wire is not None:
            self._wire.when_drained = self._drained

    @property
    def direct(self) -> bool:
        """Whether the transport is the socket itself, with nothing (TLS) in between."""
        return self._wire is self._transport

    @property
    def has_input(self) -> bool:
        """Whether something of the client has arrived that the reactor has yet to read."""
        return self._wire is not None and self._wire.has_input

    @property
    def backlogged(self) -> bool:
        """Whether the client has yet to read something."""
        return bool(self._queue) or (self._wire is not None and self._wire.backlogged)

    def write(self, data: bytes) -> None:
        """Write now what the client takes now, keep the rest."""
        if len(data) > PIECE_BYTES or self.backlogged:
            if self._queue is None:
                self._queue = deque()
            self._queue.append(data)
            self._count(len(data))
            self._push()
        elif data:
            self._transport.write(data)

    def stop(self) -> None:
        """The connection is gone, or somebody else writes to it now."""
        if self._wire is not None:
            self._wire.when_drained = None
        self._queue = None
        self._count(-self.queued_bytes)
        self.when_moved = self.when_drained = _nothing

    def _push(self) -> None:
        queue, wire = self._queue, self._wire
        while queue and not (wire is not None and wire.backlogged):
            piece = queue.popleft()
            if len(piece) > PIECE_BYTES:
                queue.appendleft(piece[PIECE_BYTES:])
                piece = piece[:PIECE_BYTES]
            self._count(-len(piece))
            self._transport.write(piece)
        if not queue:
            self._queue = None

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

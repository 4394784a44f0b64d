"""Frames on their way to a client that has yet to read, and when such a client is too slow.

What a client takes at once never comes here. Once something waits in its transport, later frames wait here,
each as a whole: a client that is closed for its slowness finds the close frame right behind what was begun.

Slowness is measured in time, and only in time in which this process ran: what came at once, or after a stop
of ours, is no slowness of the client's. Memory is bounded all the same, for each client and for all.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..write_buffer import PIECE_BYTES, Backlog, WriteBuffer

if TYPE_CHECKING:
    from ..settings import InterfaceSettings
    from ..timers import Timers

__all__ = ["FrameBuffer", "SlowSockets"]

#: How often clients that have yet to read are looked at, in seconds.
LOOK_SECONDS = 1.0
#: This many times `max_pending_bytes` wait for one client at most, however short the time: 16 MiB, a burst
#: that a client on a home line reads in some seconds.
MOST_TIMES_PENDING = 16
#: When too much waits for all together, this share of the bound is kept, so that it is not met again at once.
_KEPT_SHARE = 7 / 8


class SlowSockets(Backlog):
    """The sockets whose clients have yet to read, looked at each second, and what waits for them all."""

    __slots__ = (
        "_buffers",
        "_looked_at",
        "_timers",
        "due",
        "limit_bytes",
        "look_seconds",
        "pending_bytes",
        "seconds",
        "watched",
    )

    def __init__(self, settings: InterfaceSettings, timers: Timers) -> None:
        super().__init__()
        self._buffers: set[FrameBuffer] = set()
        self._timers = timers
        #: Beyond this much waiting, a client must take a piece within `seconds`.
        self.pending_bytes = settings.max_pending_bytes
        self.seconds = settings.deadlines.slow_client
        self.limit_bytes = settings.max_backlog_bytes
        self.look_seconds = min(LOOK_SECONDS, self.seconds / 2)
        self._looked_at = 0.0
        self.due = self.watched = math.inf

    def add(self, buffer: FrameBuffer) -> None:
        """Look at this one from now on."""
        self._buffers.add(buffer)
        if self.due == math.inf:
            self._look_next(self._timers.now())

    def remove(self, buffer: FrameBuffer) -> None:
        """Its client has read everything, or is gone."""
        self._buffers.discard(buffer)

    def deadline_passed(self, now: float) -> None:
        """Look at all. However late a look comes, it counts for no more than twice its time."""
        passed = min(now - self._looked_at, 2 * self.look_seconds)
        for buffer in list(self._buffers):
            buffer.look(passed)
        if self._buffers:
            self._look_next(now)

    def _look_next(self, now: float) -> None:
        self._looked_at = now
        self._timers.set(self, now + self.look_seconds)

    def relieve(self) -> None:
        """Close those for whom most is waiting, until there is room."""
        for buffer in sorted(self._buffers, key=lambda buffer: buffer.queued_bytes, reverse=True):
            if self.bytes <= self.limit_bytes * _KEPT_SHARE:
                return
            buffer.when_slow()


class FrameBuffer(WriteBuffer):
    """Writes frames to the transport of a client that has yet to read; no longer used once it has.

    `when_slow` is called when the client is too slow, and is expected to `drop` what waits and to close it;
    `when_behind` once when half of what may wait does, `when_drained` when nothing waits any more.
    """

    __slots__ = (
        "_given_bytes",
        "_marked_bytes",
        "_pong",
        "_slow_seconds",
        "_sockets",
        "when_behind",
        "when_slow",
    )

    def __init__(
        self,
        transport: Any,
        sockets: SlowSockets,
        when_slow: Callable[[], None],
        when_behind: Callable[[], None],
        when_drained: Callable[[], None],
    ) -> None:
        super().__init__(transport, _moved, when_drained, sockets)
        self.when_slow = when_slow
        self.when_behind: Callable[[], None] | None = when_behind
        self._sockets = sockets
        self._pong = b""
        #: Given to the transport from here.
        self._given_bytes = 0
        #: Taken by the client when it was last found to be quick enough; only differences mean something.
        self._marked_bytes = 0
        #: None until the first look, which comes at any time after the beginning.
        self._slow_seconds: float | None = None
        sockets.add(self)

    @property
    def waiting_bytes(self) -> int:
        """What the client has yet to read of what was written to it, without the kernel's part."""
        return self.queued_bytes + self._in_transport()

    def write(self, data: bytes) -> None:
        """Write a frame. If too much is waiting then, `when_slow` is called, of this buffer or of others."""
        self._enqueue(data)
        sockets, waiting_bytes = self._sockets, self.waiting_bytes
        if self.when_behind is not None and waiting_bytes > sockets.pending_bytes // 2:
            tell, self.when_behind = self.when_behind, None
            tell()
        if waiting_bytes > MOST_TIMES_PENDING * sockets.pending_bytes:
            self.when_slow()
        elif sockets.bytes > sockets.limit_bytes:
            sockets.relieve()

    def pong(self, frame: bytes) -> None:
        """Answer a ping before what waits, in place of an answer that waits (RFC 6455 5.5.3)."""
        if self._queue is None:
            self._queue = deque()
        queue = self._queue
        if queue and queue[0] is self._pong:
            self._count(-len(queue.popleft()))
        queue.appendleft(frame)
        self._pong = frame
        self._count(len(frame))
        self._push()

    def drop(self) -> None:
        """Forget what the transport was not given yet."""
        self._count(-self.queued_bytes)
        self._queue = None

    def release(self) -> None:
        """Give all that waits to the transport, which is about to be closed, and stop."""
        queue = self._queue
        if queue:
            self._transport.write(b"".join(queue))
        self.stop()

    def stop(self) -> None:
        """Caught up, or the connection is gone."""
        super().stop()
        self._sockets.remove(self)

    def look(self, seconds: float) -> None:
        """`seconds` have passed since the last look: was the client quick enough?"""
        taken = self._given_bytes - self._in_transport()
        few = self.waiting_bytes <= self._sockets.pending_bytes
        if few or taken - self._marked_bytes >= PIECE_BYTES or self._slow_seconds is None:
            self._marked_bytes = taken
            self._slow_seconds = 0.0
            return
        self._slow_seconds += seconds
        if self._slow_seconds >= self._sockets.seconds:
            self._slow_seconds = 0.0
            self.when_slow()

    def _append(self, queue: deque[bytes | bytearray], data: bytes) -> None:
        """Put a frame at the end as it is: all members of a group share one."""
        queue.append(data)

    def _piece(self, queue: deque[bytes | bytearray]) -> bytes | bytearray:
        """As many frames as make a piece, at least one; none is split."""
        frames = [queue.popleft()]
        size = len(frames[0])
        while queue and size + len(queue[0]) <= PIECE_BYTES:
            size += len(queue[0])
            frames.append(queue.popleft())
        self._given_bytes += size
        return b"".join(frames)

    def _in_transport(self) -> int:
        return 0 if self._direct_transport is None else self._direct_transport.pending_bytes


def _moved() -> None:
    """Nothing: how much a client has read is looked at each second."""

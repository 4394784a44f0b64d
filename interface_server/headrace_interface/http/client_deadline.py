"""How long a client may take for what it owes next: a request, its head, its body, the end. Pure.

Deadlines are absolute: bytes that trickle in do not move them. Only a body earns time, by its size.
"""

from __future__ import annotations

from enum import Enum

from headrace_asgi.enums import quick

from ..deadlines import OFF, Deadlines

__all__ = ["BODY_RATE", "ClientDeadline", "Expected"]

#: Bytes a second that a request body must come with in the long run.
BODY_RATE = 1000


@quick
class Expected(Enum):
    """What a client has to do next."""

    NOTHING = "nothing"
    REQUEST = "request"
    HEAD = "head"
    BODY = "body"
    CLOSE = "close"


#: Looked up once: Python 3.11 takes as long for a member of an enumeration as for a call.
_NOTHING, _REQUEST, _BODY = Expected.NOTHING, Expected.REQUEST, Expected.BODY


class ClientDeadline:
    """`due` is when the client took too long for `expected`. Times are seconds of one monotonic clock."""

    __slots__ = ("_deadlines", "_idle", "_paused_at", "_since", "due", "expected")

    def __init__(self, deadlines: Deadlines) -> None:
        self._deadlines = deadlines
        self.expected = _NOTHING
        self.due = OFF
        self._idle = deadlines.idle
        #: When the client began to owe this; for a body, pauses are added.
        self._since = 0.0
        self._paused_at: float | None = None

    def expect(self, expected: Expected, now: float, body_bytes: int = 0) -> None:
        """The client owes this now; nothing changes if it did before, but for a body's bytes so far."""
        if expected is not self.expected:
            self.expected = expected
            self._since = now
            self.due = now + self._seconds(expected)
        if expected is _BODY:
            earned = self._since + self._deadlines.body + body_bytes / BODY_RATE
            self.due = OFF if self._paused_at is not None else earned

    def hasten(self, idle_seconds: float) -> None:
        """From now on a client that owes a request has only so long, counted from when it was last heard."""
        self._idle = min(self._idle, idle_seconds)
        if self.expected is Expected.REQUEST:
            self.due = self._since + self._idle

    def stop(self) -> None:
        """The deadline was met: there is none until the client owes something else."""
        self.due = OFF

    def prolong(self, now: float, seconds: float) -> None:
        """Give it so long from now on."""
        self.due = now + seconds

    def pause(self, now: float) -> None:
        """We stopped reading: the clock of the body stands still."""
        self._paused_at = now

    def resume(self, now: float) -> None:
        """We read again."""
        if self._paused_at is not None:
            self._since += now - self._paused_at
            self._paused_at = None

    def _seconds(self, expected: Expected) -> float:
        if expected is _NOTHING:
            return OFF
        if expected is _REQUEST:
            return self._idle
        if expected is Expected.HEAD:
            return self._deadlines.header
        if expected is Expected.CLOSE:
            return self._deadlines.linger
        return OFF

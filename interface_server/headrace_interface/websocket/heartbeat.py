"""Is the client still there, is the socket too old, does it send too fast? Pure: times in, what to do out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING

from headrace_asgi.enums import quick

if TYPE_CHECKING:
    from ..deadlines import Deadlines

__all__ = ["Heartbeat", "HeartbeatAction", "InputRate", "inflation_charge"]

#: Seconds' worth of messages, or of control frames, that a client may send at once.
_BURST_SECONDS = 1.0
#: The same for bytes of large messages: one of a megabyte passes, the next one waits.
_BYTES_BURST_SECONDS = 0.25
#: A large message that became more than four times as large by inflation counts for more than it weighs, in
#: proportion to that, up to sixteen times: who pays nothing for megabytes would send nothing else, and each
#: holds up everybody for milliseconds. Texts of 100 kB seldom become ten times as large.
_FREE_INFLATION, _MOST_CHARGE = 4, 16
#: Seconds by which a client's control frames may be ahead of their rate, and for which they may be so again
#: and again. It is not read from meanwhile: what gets further is no eager client but a flood.
FLOOD_SECONDS = 10.0


@quick
class HeartbeatAction(Enum):
    """What a look at a socket decides."""

    WAIT = "wait"
    PING = "ping"
    #: No pong came, and nothing else either.
    SILENT = "silent"
    #: It reached its maximum age.
    AGED = "aged"


@quick
class InputRate(Enum):
    """What a client's control frames say about it."""

    FINE = "fine"
    #: It must wait until `held_until`.
    FAST = "fast"
    FLOOD = "flood"


_TIMES = ("heard_at", "held_until", "_pinged_at", "_controls_until", "_quiet_at", "_ends_at")


class Heartbeat:
    """The times of one socket, all in seconds of one clock, infinity for never.

    Only what the client sends counts as a sign of life, never what it is sent: a push to a dead peer
    would postpone its ping for ever. Any of its bytes will do, a pong in particular.
    """

    __slots__ = (
        "_controls_until",
        "_deadlines",
        "_ends_at",
        "_pinged_at",
        "_quiet_at",
        "heard_at",
        "held_until",
    )

    def __init__(self, deadlines: Deadlines, now: float) -> None:
        """The handshake is over."""
        self._deadlines = deadlines
        self._pinged_at = self.held_until = self._controls_until = self._quiet_at = -math.inf
        self.heard_at = now
        self._ends_at = now + deadlines.socket_age

    def as_plain(self) -> list[float]:
        """The times, which mean something as long as the machine runs."""
        return [getattr(self, name) for name in _TIMES]

    def resume(self, plain: Sequence[float]) -> None:
        """Go on as another one, to the machine's clock."""
        for name, at in zip(_TIMES, plain, strict=True):
            setattr(self, name, at)

    @property
    def first_look(self) -> float:
        """When to look first."""
        return min(self.heard_at + self._deadlines.ping_interval, self._ends_at)

    def look(self, now: float, reading: bool) -> tuple[HeartbeatAction, float]:
        """What to do at `now`, and when to look again. A client that is not read from cannot be silent."""
        if now >= self._ends_at:
            return HeartbeatAction.AGED, math.inf
        if not reading:
            self.heard_at = now
        beat, due = self._listen(now)
        due = min(due, self._ends_at)
        return beat, min(due, self.held_until) if self.held_until > now else due

    def _listen(self, now: float) -> tuple[HeartbeatAction, float]:
        interval, patience = self._deadlines.ping_interval, self._deadlines.ping
        if self._pinged_at > self.heard_at:
            late = self._pinged_at + patience
            return (HeartbeatAction.SILENT, math.inf) if now >= late else (HeartbeatAction.WAIT, late)
        if now < self.heard_at + interval:
            return HeartbeatAction.WAIT, self.heard_at + interval
        self._pinged_at = now
        return HeartbeatAction.PING, now + patience

    def meter(self, count: int, rate: float) -> bool:
        """Whether the client must wait until `held_until`, as it may send `rate` messages a second."""
        now = self.heard_at
        self.held_until = max(self.held_until, now - _BURST_SECONDS) + count / rate
        return self.held_until > now

    def meter_bytes(self, size_bytes: int, rate: float, now: float) -> bool:
        """Whether the client must wait until `held_until`, as it may send `rate` bytes a second."""
        self.held_until = max(self.held_until, now - _BYTES_BURST_SECONDS) + size_bytes / rate
        return self.held_until > now

    def meter_controls(self, count: int, rate: float, now: float) -> InputRate:
        """How `count` more control frames fit into `rate` of them a second."""
        if self._controls_until <= now - _BURST_SECONDS:
            self._controls_until = now - _BURST_SECONDS
            self._quiet_at = now
        self._controls_until += count / rate
        ahead = self._controls_until - now
        if ahead <= 0:
            return InputRate.FINE
        self.held_until = max(self.held_until, self._controls_until)
        return (
            InputRate.FLOOD
            if ahead > FLOOD_SECONDS or now - self._quiet_at > FLOOD_SECONDS
            else InputRate.FAST
        )


def inflation_charge(size_bytes: int, received_bytes: int) -> int:
    """Bytes that a message counts for besides its own, as it was inflated to `size_bytes`."""
    times = size_bytes / (_FREE_INFLATION * max(received_bytes, 1))
    return int(size_bytes * (min(times, _MOST_CHARGE) - 1)) if times > 1 else 0

"""When a message is due that is sent for later."""

from __future__ import annotations

import math
import secrets
from datetime import datetime, timedelta
from typing import NamedTuple

__all__ = [
    "DUE_CHANNEL",
    "IDLE_MOVER_SECONDS",
    "Delay",
    "Due",
    "Moment",
    "due",
    "new_message_id",
    "place_of_id",
]

#: Seconds, or a timedelta.
Delay = float | timedelta
#: Seconds since 1970 (UTC), or a datetime with a time zone.
Moment = float | datetime

#: The channel that those wait on who move what is due. Its messages say nothing: they end a wait.
DUE_CHANNEL = "headrace.due"
#: Longest wait of a mover that knows of nothing: so late, at most, is what only a mover knew of that died.
IDLE_MOVER_SECONDS = 20.0
#: A delay beyond this is a mistake, such as milliseconds in place of seconds: a hundred years.
_LONGEST_SECONDS = 100 * 366 * 86_400.0


class Due(NamedTuple):
    """When a message is due: ms from now on, or ms since 1970, on the clock of the layer."""

    ms: int
    from_now: bool


def due(delay: Delay | None, at: Moment | None) -> Due:
    """When a message is due, from what `send_later` was given; one of both.

    Raises TypeError for both or neither, or for something else than a time; ValueError for a time that cannot
    be meant.
    """
    if (delay is None) == (at is None):
        raise TypeError("A message for later has either a delay or a time (`at`)")
    if delay is not None:
        seconds = delay.total_seconds() if isinstance(delay, timedelta) else _number(delay, "delay")
        if not 0 <= seconds <= _LONGEST_SECONDS:
            raise ValueError(f"delay is seconds from 0 to 100 years, not {delay!r}")
        return Due(int(seconds * 1000), True)
    if isinstance(at, datetime):
        if at.tzinfo is None:
            raise ValueError(f"at must be a datetime with a time zone, not {at!r}")
        at = at.timestamp()
    seconds = _number(at, "at")
    if not 0 <= seconds <= 2 * _LONGEST_SECONDS:
        raise ValueError(f"at is seconds since 1970, not {at!r}")
    return Due(int(seconds * 1000), False)


def _number(value: object, name: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise TypeError(f"{name} must be a number of seconds, not {value!r}")
    return value


def new_message_id(place: str) -> str:
    """A name for one message at a place, never used before: 96 random bits."""
    return f"{place}.{secrets.token_hex(12)}"


def place_of_id(message_id: str) -> str:
    """The place that stands in the id of a message. Raises ValueError for what is no such id."""
    if not isinstance(message_id, str) or "." not in message_id:
        raise ValueError(f"{message_id!r} is no id that `send_later` returned")
    return message_id.rpartition(".")[0]

"""Acknowledged channels: which they are, and how often and when their messages are tried."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .errors import ConfigurationError
from .later import DUE_CHANNEL
from .messages import KINDS

__all__ = [
    "CLAIM_LEASE_SECONDS",
    "DEFAULT_ATTEMPTS",
    "EXPIRED_REASON",
    "LAPSED_REASON",
    "LATE_CLAIM_SECONDS",
    "REMEMBERED_SECONDS",
    "RENEW_CLAIM_SECONDS",
    "REPAIR_SECONDS",
    "AcknowledgedChannels",
    "Claim",
    "DeadLetter",
    "retry_seconds",
    "tries_of",
    "without_tries",
]

#: How often a message is tried, by default, before it is laid aside.
DEFAULT_ATTEMPTS = 5
#: Seconds for which a claim holds without a sign of life. With `REPAIR_SECONDS` 10 s: so long nobody runs
#: what a machine held that was lost.
CLAIM_LEASE_SECONDS = 6.0
#: When the claim of a running message is renewed, and how often from then on: two may be missed.
RENEW_CLAIM_SECONDS = 2.0
#: Seconds after its take that a message must ask before it starts, whether it is still ours.
LATE_CLAIM_SECONDS = 2.0
#: Longest wait of a mover that takes acknowledged channels: what nobody else sees to it finds after so long.
REPAIR_SECONDS = 4.0
#: Seconds for which it is remembered that a message was done, for a send of it that is repeated.
REMEMBERED_SECONDS = 120.0
#: Pauses before a message is tried again: the first, well below a second, as most reasons pass at once; each
#: doubles, up to the longest.
_FIRST_RETRY_SECONDS, _LONGEST_RETRY_SECONDS = 0.25, 60.0
#: More than a message is ever tried. The Redis layer's scripts know it too.
_ROUND = 2**20
#: Why a message was laid aside, where no consumer said so.
LAPSED_REASON = "its worker was lost, or did not say for too long that it still ran"
EXPIRED_REASON = "it expired before anybody took it"


class Claim(NamedTuple):
    """Which message of an acknowledged channel a worker has. Only the newest claim of one can end it."""

    id: str
    #: How often the message was tried, this time included, and a round for each time that it was given back
    #: unstarted or replayed: so the number of a claim never comes back.
    number: int

    @property
    def attempt(self) -> int:
        """The how-manieth try this is, from 1."""
        return tries_of(self.number)


def tries_of(number: int) -> int:
    """How often a message was tried, by the number of its last claim."""
    return number % _ROUND


def without_tries(number: int, tries: int) -> int:
    """The number of a message of which so many tries do not count; no claim had it."""
    return number - tries + _ROUND


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message of an acknowledged channel that was laid aside: nobody tries it any more."""

    id: str
    channel: str
    message: dict[str, Any] = field(repr=False)
    attempts: int
    reason: str


class AcknowledgedChannels:
    """The channels whose messages are acknowledged, by name. False if there are none."""

    def __init__(self, patterns: Sequence[str] | None = None) -> None:
        """Take globs, as in `channel_capacity`.

        Raises ConfigurationError for what is no list of globs, and for one that matches channels of clients:
        their messages are ordered, or have somebody who waits for an answer for a while only.
        """
        if patterns is not None and (isinstance(patterns, str | bytes) or not isinstance(patterns, Sequence)):
            raise ConfigurationError(f'acknowledged must be a list such as ["orders.*"], not {patterns!r}')
        self._patterns = [_compiled(glob) for glob in patterns or ()]
        self._known: dict[str, bool] = {}

    def __bool__(self) -> bool:
        return bool(self._patterns)

    def has(self, channel: str) -> bool:
        """Whether the messages of a channel are acknowledged; only those of shared channels are."""
        if "!" in channel or "?" in channel:
            return False
        known = self._known.get(channel)
        if known is None:
            known = any(pattern.match(channel) for pattern in self._patterns)
            if len(self._known) < 10_000:  # bounds memory: names with random parts are unlimited
                self._known[channel] = known
        return known


def retry_seconds(attempt: int) -> float:
    """How long a message waits that failed at this try, before the next one."""
    return float(min(_FIRST_RETRY_SECONDS * 2 ** (attempt - 1), _LONGEST_RETRY_SECONDS))


def _compiled(glob: Any) -> re.Pattern[str]:
    if not isinstance(glob, str) or not glob:
        raise ConfigurationError(f"acknowledged: {glob!r} is no glob, such as 'orders.*'")
    pattern = re.compile(fnmatch.translate(glob))
    taken = [kind.channel for kind in KINDS if kind.channel] + [DUE_CHANNEL]
    wrong = next((channel for channel in taken if pattern.match(channel)), None)
    if wrong is None and glob.startswith(("http.", "websocket.")):
        wrong = glob
    if wrong is not None:
        raise ConfigurationError(
            f"acknowledged: {glob!r} takes in {wrong}, whose messages cannot be repeated; "
            "name only channels of your own, such as 'orders.*'"
        )
    return pattern

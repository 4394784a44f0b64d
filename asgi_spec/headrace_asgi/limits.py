"""Limits of the channel layer, each with its unit and reason; and the capacity rules of `CONFIG`."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping
from typing import Any

from .errors import ConfigurationError

__all__ = [
    "ANNOUNCED_SECONDS",
    "ANNOUNCE_SECONDS",
    "COUNTS_SECONDS",
    "DEFAULT_CAPACITY",
    "DEFAULT_EXPIRY_SECONDS",
    "DEFAULT_GROUP_EXPIRY_SECONDS",
    "FORGOTTEN_PAUSE_SECONDS",
    "FORGOTTEN_SECONDS",
    "LEASE_MARGIN_SECONDS",
    "MAILBOX_CAPACITY",
    "MAX_MESSAGE_BYTES",
    "MOST_WAITING_COROUTINES",
    "PROCESS_DEATH_SECONDS",
    "PROCESS_QUEUE_CAPACITY",
    "RECEIVE_SECONDS",
    "RESPONSE_CREDIT_BYTES",
    "RESPONSE_WINDOW_BYTES",
    "STOP_LOOK_SECONDS",
    "STOP_SECONDS",
    "TAKERS_REMEMBERED_SECONDS",
    "Capacities",
    "pattern_as_text",
]

#: Seconds an unread message lives: the recommendation of ASGI 0.x.
DEFAULT_EXPIRY_SECONDS = 60
#: Seconds a plain channel stays in a group after its last `group_add`: ASGI 0.x. Sockets of our own
#: interface server are members for as long as they are open.
DEFAULT_GROUP_EXPIRY_SECONDS = 86_400
#: Messages a shared channel holds before senders get `ChannelFull`. 100 (the old default) is 50 ms of traffic
#: of one worker; 1,000 bounds the wait of the last one to about a second of ordinary views.
DEFAULT_CAPACITY = 1_000
#: Entries of one process queue. Its reader never runs user code, so a full one means a stopped process.
PROCESS_QUEUE_CAPACITY = 10_000
#: Encoded bytes of one message: a WebSocket message or body chunk of 1 MiB with its envelope, twice over.
MAX_MESSAGE_BYTES = 2 * 1024 * 1024
#: Entries that wait in the mailbox of one ordered socket; beyond it the socket is closed with 1013.
MAILBOX_CAPACITY = 100
#: Seconds that the lease of an ordered message outlives the message's expiry, so that no message still
#: queued can start after its lease lapsed.
LEASE_MARGIN_SECONDS = 30
#: Seconds that a blocking `receive` waits: short enough for loops that look at a flag, and yet quiet.
RECEIVE_SECONDS = 5.0
#: Coroutines of one process that wait for messages at the same time: each holds a thread and a connection.
MOST_WAITING_COROUTINES = 100
#: Seconds that a process which Redis has forgotten has to make itself known again, and between two tries to
#: reach it: it usually hears of it within milliseconds, at the latest with its next beat.
FORGOTTEN_SECONDS = 5.0
FORGOTTEN_PAUSE_SECONDS = 0.1
#: Seconds between two words of a worker about the channels it takes, and those for which one word counts: two
#: may be lost before a channel seems to have no taker.
ANNOUNCE_SECONDS = 30.0
ANNOUNCED_SECONDS = 90.0
#: Seconds for which it is remembered that a channel was taken: a week, as who sends to one that never was has
#: most likely misspelt it, and one whose workers are stopped for a night has not.
TAKERS_REMEMBERED_SECONDS = 7 * 86_400.0
#: Seconds that an interface server's way to the layer takes to end, at most: answers that are still due, and
#: its withdrawal. Redis that does not answer for so long is away.
STOP_SECONDS = 5.0
#: Between two looks meanwhile whether all answers have come.
STOP_LOOK_SECONDS = 0.02
#: Bytes of a response in parts that its sender may be ahead of its reader: they wait in the interface server.
RESPONSE_WINDOW_BYTES = 1024 * 1024
#: Bytes that a reader has taken before its sender hears of it: a quarter of the window, so that a fast reader
#: never holds its sender up and costs one message for many parts.
RESPONSE_CREDIT_BYTES = RESPONSE_WINDOW_BYTES // 4
#: Seconds of an observer's own monotonic clock after which a heartbeat that stands still means death.
PROCESS_DEATH_SECONDS = 20
#: Between two looks for such processes: as often as hearts beat.
REAP_SECONDS = 5.0
#: How often a process has the layer add up what it has counted of messages, in seconds, if that has changed.
COUNTS_SECONDS = 5.0


class Capacities:
    """How many messages each channel may hold: the first matching rule, else the default."""

    def __init__(self, default: int, rules: Mapping[Any, int] | None = None) -> None:
        """Take `rules` from glob, compiled pattern or its text behind `re:` to a number of messages.

        Raises ConfigurationError for a capacity that is not a positive integer.
        """
        if rules is not None and not isinstance(rules, Mapping):
            raise ConfigurationError(f"channel_capacity must be a dict, not {rules!r}")
        self.default = _positive(default, "capacity")
        self._rules = [
            (_compiled(key), _positive(value, f"channel_capacity[{key!r}]"))
            for key, value in (rules or {}).items()
        ]
        self._known: dict[str, int] = {}
        self._places = 1

    def shared(self, places: int) -> Capacities:
        """What each of several places may hold, so that all together hold this much, or a few more.

        A channel with a single reader lies at one place only.
        """
        part = Capacities(self.default)
        part._rules, part._places = self._rules, places
        return part

    def of(self, channel: str) -> int:
        """Capacity of one channel."""
        known = self._known.get(channel)
        if known is None:
            known = next((n for pattern, n in self._rules if pattern.match(channel)), self.default)
            if self._places > 1 and "?" not in channel and "!" not in channel:
                known = -(-known // self._places)
            if len(self._known) < 10_000:  # bounds memory: names with random parts are unlimited
                self._known[channel] = known
        return known


#: Begins a regular expression that is written as text, as JSON needs it. No name of a channel has a colon.
_PATTERN = "re:"
#: Flags of a pattern, by the letter that stands for each inside of it.
_FLAGS = {re.A: "a", re.I: "i", re.M: "m", re.S: "s", re.X: "x"}


def pattern_as_text(key: Any) -> Any:
    """A key of `channel_capacity` as JSON can have it: a compiled pattern becomes text that means it."""
    if not isinstance(key, re.Pattern) or not isinstance(key.pattern, str):
        return key
    letters = "".join(letter for flag, letter in _FLAGS.items() if key.flags & flag)
    return _PATTERN + (f"(?{letters})" if letters else "") + key.pattern


def _compiled(key: Any) -> re.Pattern[str]:
    if isinstance(key, str) and key.startswith(_PATTERN):
        try:
            return re.compile(key.removeprefix(_PATTERN))
        except re.error as error:
            raise ConfigurationError(f"channel_capacity: {key!r} is no regular expression: {error}") from None
    if isinstance(key, str):
        return re.compile(fnmatch.translate(key))
    if isinstance(key, re.Pattern):
        return key
    raise ConfigurationError(f"channel_capacity: {key!r} is neither a glob nor a compiled pattern")


def _positive(value: Any, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigurationError(f"{name} must be a positive integer, not {value!r}")
    return value

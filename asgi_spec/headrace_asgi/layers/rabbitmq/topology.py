"""Which queues and which exchange a layer has at the broker: their names and arguments. Pure.

    hr1:<prefix>:c:<channel>    a queue for each channel; one for a whole process, up to its `!`
    hr1:<prefix>:b:<channel>    what was given back to it: taken before what lies in the other one
    hr1:<prefix>:groups         the direct exchange of all groups; a binding's key is the name of a group
    hr1:<prefix>:m:<digest>     one membership of a channel that is no process's: it passes on what it gets
    hr1:<prefix>:n:<process>    notes to the reader of a process queue: who joined and left
    hr1:<prefix>:g:<group>      the records of a group: who is in it, for those who ask
    hr1:<prefix>:takers         the records of what workers take

Definitions survive a restart of the broker, and so do notes and records; messages do not.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headrace_asgi.errors import ConfigurationError
from headrace_asgi.limits import TAKERS_REMEMBERED_SECONDS, Capacities
from headrace_asgi.names import non_local_name

__all__ = ["QueueDeclaration", "Topology", "milliseconds"]

#: No colon, which parts the name: so no name of one layer can be one of another's.
_PREFIX = re.compile(r"[a-zA-Z0-9\-_.]{0,40}", re.ASCII)
#: Seconds for which nobody uses a queue until the broker removes it, beside twice the expiry of its messages:
#: longer than a restart of everything that reads it.
_IDLE_SECONDS = 600.0
#: The longest time that the broker can measure, in milliseconds: 49 days.
_LONGEST_MS = 2**32 - 2


@dataclass(frozen=True, slots=True)
class QueueDeclaration:
    """A queue as it is declared."""

    name: str
    arguments: Mapping[str, Any]


def milliseconds(seconds: float) -> int:
    """A time as the broker takes it: at least 1 ms, and not longer than it can measure."""
    return max(1, int(min(seconds * 1000, _LONGEST_MS)))


class Topology:
    """The names and arguments of one layer."""

    def __init__(
        self, prefix: Any, capacities: Capacities, expiry_seconds: float, group_expiry_seconds: float
    ) -> None:
        """Take the limits, and a prefix that sets this layer apart in its virtual host.

        Raises ConfigurationError for a prefix that cannot stand in the name of a queue.
        """
        if not isinstance(prefix, str) or not _PREFIX.fullmatch(prefix):
            raise ConfigurationError(
                f"prefix must consist of up to 40 letters, digits, '-', '_' and '.', not {prefix!r}"
            )
        self._start = f"hr1:{prefix}:"
        self._capacities = capacities
        self._expiry_ms = milliseconds(expiry_seconds)
        self._group_expiry_ms = milliseconds(group_expiry_seconds)
        self._idle_ms = milliseconds(2 * expiry_seconds + _IDLE_SECONDS)
        self.groups = f"{self._start}groups"
        self._channels = f"{self._start}c:"

    def channel(self, channel: str) -> QueueDeclaration:
        """The queue that a message for `channel` lies in: full, it refuses."""
        name = non_local_name(channel)
        return QueueDeclaration(
            self._channels + name,
            {
                "x-max-length": self._capacities.of(name),
                "x-overflow": "reject-publish",
                # A copy that came by way of a membership has no expiry of its own any more.
                "x-message-ttl": self._expiry_ms,
                "x-expires": self._idle_ms,
            },
        )

    def given_back(self, channel: str) -> QueueDeclaration:
        """The queue of what was taken from `channel` and not started: AMQP publishes to no queue's head.

        It has no capacity: its messages had their place before.
        """
        name = non_local_name(channel)
        arguments = {"x-message-ttl": self._expiry_ms, "x-expires": self._idle_ms}
        return QueueDeclaration(f"{self._start}b:{name}", arguments)

    def membership(self, group: str, channel: str) -> QueueDeclaration:
        """What stands between a group and a member: it holds nothing, and ends with the membership."""
        digest = hashlib.sha256(f"{group} {channel}".encode()).hexdigest()
        return QueueDeclaration(
            f"{self._start}m:{digest}",
            {
                "x-message-ttl": 0,
                "x-dead-letter-exchange": "",
                "x-dead-letter-routing-key": self.channel(channel).name,
                "x-expires": self._group_expiry_ms,
            },
        )

    def notes(self, process: str) -> QueueDeclaration:
        """The queue of notes to the reader of a process queue. It has no capacity: a note is owed."""
        return QueueDeclaration(f"{self._start}n:{process}", {"x-expires": self._idle_ms})

    def members(self, group: str) -> QueueDeclaration:
        """The records of a group: those of a membership live as long as it does."""
        lives_ms = milliseconds(self._group_expiry_ms / 1000 + _IDLE_SECONDS)
        return QueueDeclaration(f"{self._start}g:{group}", {"x-expires": lives_ms})

    def takers(self) -> QueueDeclaration:
        """The records of what workers take."""
        return QueueDeclaration(
            f"{self._start}takers", {"x-expires": milliseconds(2 * TAKERS_REMEMBERED_SECONDS)}
        )

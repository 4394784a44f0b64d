"""What the memory layer keeps: acknowledged messages until they are done, others until they are due.

It keeps them as the scripts of the Redis layer do. Pure and not thread-safe: the store's caller holds a lock.
See docs/protocol.md, section 10.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import count as numbers

from headrace_asgi.accounting import DEAD, DONE, EXPIRED
from headrace_asgi.acknowledgement import (
    CLAIM_LEASE_SECONDS,
    EXPIRED_REASON,
    LAPSED_REASON,
    Claim,
    retry_seconds,
    tries_of,
    without_tries,
)
from headrace_asgi.envelope import decode

__all__ = ["Acknowledged", "KeptMessage", "Later"]

_LEASE_MS = int(CLAIM_LEASE_SECONDS * 1000)


@dataclass(slots=True)
class KeptMessage:
    """A message until it is done: it waits on its channel, is due at some time, or is a dead letter."""

    channel: str
    entry: bytes
    #: Of its last claim; None before it was ever claimed: until then it may expire.
    number: int | None = None
    why: str = ""
    due_ms: int | None = None

    @property
    def tries(self) -> int:
        """How often it was tried."""
        return tries_of(self.number or 0)


class Acknowledged:
    """All messages of the acknowledged channels of one memory layer."""

    def __init__(
        self,
        attempts: int,
        ring: Callable[[str, bool], None],
        count: Callable[[str, str, int], None],
    ) -> None:
        """Take how often a message is tried, what puts a bell on a channel, at its head if asked so, and what
        counts so many of something for a channel."""
        self._count = count
        self._attempts = attempts
        self._ring = ring
        self._kept: dict[str, KeptMessage] = {}
        self._waiting: dict[str, deque[str]] = {}
        self._dead: dict[str, deque[str]] = {}
        self._numbers = numbers(1)

    def waiting(self, channel: str) -> int:
        """How many messages wait on a channel."""
        return len(self._waiting.get(channel, ()))

    def send(self, channel: str, entry: bytes) -> None:
        """Put an entry on a channel."""
        message_id = f"0.sent{next(self._numbers)}"
        self._kept[message_id] = KeptMessage(channel, entry)
        self._wait(message_id)

    def keep(self, message_id: str, channel: str, entry: bytes, due_ms: int) -> bool:
        """Keep an entry until it is due; False for an id that is here."""
        if message_id in self._kept:
            return False
        self._kept[message_id] = KeptMessage(channel, entry, due_ms=due_ms)
        return True

    def cancel(self, message_id: str) -> bool:
        """Take a message back that is not due yet, and was never tried."""
        kept = self._kept.get(message_id)
        if kept is None or kept.due_ms is None or kept.number is not None:
            return False
        del self._kept[message_id]
        return True

    def _wait(self, message_id: str, first: bool = False) -> None:
        kept = self._kept[message_id]
        kept.due_ms = None
        queue = self._waiting.setdefault(kept.channel, deque())
        if first:
            queue.appendleft(message_id)
        else:
            queue.append(message_id)
        self._ring(kept.channel, first)

    # What workers say

    def claim(self, channel: str, now_ms: int) -> tuple[Claim, bytes] | None:
        """Claim the next message of a channel. One that expired before its first claim is laid aside."""
        queue = self._waiting.get(channel)
        while queue:
            message_id = queue.popleft()
            kept = self._kept[message_id]
            if kept.number is None and 0 < decode(kept.entry).expiry_ms <= now_ms:
                kept.number = 0
                self._lay_aside(message_id, EXPIRED_REASON, EXPIRED)
                continue
            kept.number = (kept.number or 0) + 1
            kept.due_ms = now_ms + _LEASE_MS
            return Claim(message_id, kept.number), kept.entry
        return None

    def renew(self, claim: Claim, now_ms: int) -> bool:
        """Renew a claim; False if it lapsed."""
        kept = self._claimed(claim)
        if kept is None:
            return False
        kept.due_ms = now_ms + _LEASE_MS
        return True

    def finish(self, claim: Claim) -> bool:
        """A message is done; False if somebody else has it by now."""
        kept = self._claimed(claim)
        if kept is None:
            return False
        del self._kept[claim.id]
        self._count(kept.channel, DONE, 1)
        return True

    def fail(self, channel: str, claim: Claim, reason: str, now_ms: int) -> bool:
        """A try failed: the message is tried again after a pause, or laid aside."""
        kept = self._claimed(claim)
        if kept is None:
            return False
        kept.why = reason
        if claim.attempt >= self._attempts:
            self._lay_aside(claim.id, reason)
        else:
            kept.due_ms = now_ms + int(retry_seconds(claim.attempt) * 1000)
        return True

    def release(self, claim: Claim) -> bool:
        """Put a message that was not started back at the head."""
        kept = self._claimed(claim)
        if kept is None:
            return False
        kept.number = without_tries(claim.number, 1)
        self._wait(claim.id, first=True)
        return True

    def _claimed(self, claim: Claim) -> KeptMessage | None:
        kept = self._kept.get(claim.id)
        if kept is None or kept.number != claim.number or kept.due_ms is None:
            return None
        return kept

    def _lay_aside(self, message_id: str, reason: str, counted: str = DEAD) -> None:
        kept = self._kept[message_id]
        self._count(kept.channel, counted, 1)
        kept.due_ms, kept.why = None, kept.why or reason
        self._dead.setdefault(kept.channel, deque()).append(message_id)

    # Upkeep

    def move_due(self, now_ms: int) -> None:
        """Begin the next try of what is due, and lay aside what had as many as it gets."""
        due = [
            (kept.due_ms, message_id)
            for message_id, kept in self._kept.items()
            if kept.due_ms is not None and kept.due_ms <= now_ms
        ]
        for _, message_id in sorted(due):
            kept = self._kept[message_id]
            if kept.tries >= self._attempts:
                self._lay_aside(message_id, LAPSED_REASON)
                continue
            if kept.number is None:  # it was kept for later, and comes now
                self._count(kept.channel, "sent", 1)
            self._wait(message_id)

    def next_ms(self) -> int | None:
        """When the first is due; None if there is none."""
        return min((kept.due_ms for kept in self._kept.values() if kept.due_ms is not None), default=None)

    # Dead letters

    def dead(self, channel: str) -> list[tuple[str, KeptMessage]]:
        """The dead letters of a channel, oldest first."""
        return [(one, self._kept[one]) for one in self._dead.get(channel, ())]

    def replay(self, channel: str, message_ids: Iterable[str]) -> int:
        """Put dead letters back on their channel as if they were never tried; how many there were."""
        replayed = 0
        for message_id in self._taken_from_the_dead(channel, message_ids):
            kept = self._kept[message_id]
            self._count(kept.channel, DEAD if kept.tries else EXPIRED, -1)
            kept.number, kept.why = without_tries(kept.number or 0, kept.tries), ""
            self._wait(message_id)
            replayed += 1
        return replayed

    def drop(self, channel: str, message_ids: Iterable[str]) -> int:
        """Remove dead letters; how many there were."""
        gone = self._taken_from_the_dead(channel, message_ids)
        for message_id in gone:
            del self._kept[message_id]
        return len(gone)

    def _taken_from_the_dead(self, channel: str, message_ids: Iterable[str]) -> list[str]:
        dead = self._dead.get(channel, deque())
        found = [one for one in message_ids if one in dead]
        for one in found:
            dead.remove(one)
        return found


class Later:
    """What becomes due, but for what is to be acknowledged."""

    def __init__(self) -> None:
        #: By id: when it is due, its channel, its entry.
        self._kept: dict[str, tuple[int, str, bytes]] = {}

    def keep(self, message_id: str, channel: str, entry: bytes, due_ms: int) -> bool:
        """Keep an entry until it is due; False for an id that is here."""
        if message_id in self._kept:
            return False
        self._kept[message_id] = (due_ms, channel, entry)
        return True

    def forget(self, message_id: str) -> bool:
        """Keep it no longer; whether it was here."""
        return self._kept.pop(message_id, None) is not None

    def postpone(self, message_id: str, due_ms: int) -> None:
        """Let it become due at another time."""
        _, channel, entry = self._kept[message_id]
        self._kept[message_id] = (due_ms, channel, entry)

    def due(self, now_ms: int) -> list[tuple[str, str, bytes]]:
        """The id, channel and entry of all that is due, in the order of their times."""
        if not self._kept:
            return []
        due = sorted((at, one) for one, (at, _, _) in self._kept.items() if at <= now_ms)
        return [(one, *self._kept[one][1:]) for _, one in due]

    def next_ms(self) -> int | None:
        """When the first is due; None if there is none."""
        return min((at for at, _, _ in self._kept.values()), default=None)

"""Messages for later: kept until they are due, then moved to their queues. Pure.

What becomes due at a place stands in one sorted set, retries and leases of acknowledged channels with it, so
one script moves everything. See docs/protocol.md, section 11. Keys, behind the tag of their place:

    due    zset   "d" and the id of a message for later, or "a" and the id of one to be acknowledged, by when
    body   hash   id -> the queue it goes to, a blank, its entry
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from headrace_asgi.later import DUE_CHANNEL, Due, place_of_id
from headrace_asgi.limits import LEASE_MARGIN_SECONDS, PROCESS_QUEUE_CAPACITY
from headrace_asgi.names import is_channel_name, is_process_queue, non_local_name

from .acknowledged import AcknowledgedPlan
from .command import Argument, Parts, RedisCommand, Scripted, as_is, text

__all__ = ["MOVED_AT_ONCE", "LaterPlan", "Peeked"]

#: What one script moves at most: some milliseconds of Redis.
MOVED_AT_ONCE = 100
#: Pause before a message is tried again whose channel was full when it was due.
_FULL_PAUSE_MS = 1000


class Peeked(NamedTuple):
    """What a mover found: ms until the next is due that is not yet (None: nothing is known of), and what is
    due, each with its queue; none where something else wrote over it."""

    next_ms: int | None
    due: list[tuple[str, str]]


class LaterPlan:
    """Builds the commands about what becomes due."""

    def __init__(self, plan: Parts, scripted: Scripted, acknowledged: AcknowledgedPlan) -> None:
        """Take the whole plan, and the part for acknowledged channels."""
        self._plan = plan
        self._scripted = scripted
        self._acknowledged = acknowledged

    def place_for(self, channel: str) -> str:
        """The place at which a message for a channel waits: where it will lie."""
        queue = non_local_name(channel)
        if is_process_queue(queue):
            return self._plan.place_of_process(queue)
        shared = "?" not in queue and "!" not in queue
        return self._plan.places.any() if shared else self._plan.places.of(queue)

    def place_of(self, message_id: str) -> str:
        """The place at which a message waits. Raises ValueError for an id of another layer."""
        place = place_of_id(message_id)
        if place not in self._plan.places.names:
            raise ValueError(f"{message_id!r} is no id of a message of this layer")
        return place

    def keep(self, message_id: str, channel: str, entry: bytes, due: Due) -> RedisCommand:
        """Keep an entry until it is due; SENT, or DUPLICATE for an id that is known."""
        key, place, queue = self._plan.key, self.place_of(message_id), non_local_name(channel)
        keys: tuple[str, ...] = (key(place, "body"), key(place, "due"), key(place, "c", DUE_CHANNEL))
        kind = "d"
        if self._acknowledged.waiting_key(place, queue):
            kind = "a"
            keys += (self._acknowledged.fin_key(place, message_id),)
        value = queue.encode() + b" " + entry
        bell = self._acknowledged.bell(DUE_CHANNEL)
        return self._scripted(
            "later", place, keys, (message_id, kind, due.ms, int(due.from_now), value, bell)
        )

    def cancel(self, message_id: str) -> RedisCommand:
        """Take a message back; the answer is whether it was in time."""
        key, place = self._plan.key, self.place_of(message_id)
        keys = (key(place, "due"), key(place, "body"), key(place, "tries"))
        return self._scripted("cancel", place, keys, (message_id,), bool)

    def peek(self, place: str) -> RedisCommand:
        """What is due; the answer is `Peeked`."""
        keys = (self._plan.key(place, "due"), self._plan.key(place, "body"))

        def read(answer: Any) -> Peeked:
            next_ms, due = answer
            pairs = zip(*[iter(map(text, due))] * 2, strict=True)
            named = [(member, queue if is_channel_name(queue) else "") for member, queue in pairs]
            return Peeked(None if next_ms < 0 else next_ms, named)

        return self._scripted("peek", place, keys, (MOVED_AT_ONCE,), read, repeat=True)

    def move(self, place: str, due: Sequence[tuple[str, str]]) -> RedisCommand:
        """Move what is still due; the answer is how many that were."""
        key = self._plan.key
        keys = [key(place, kind) for kind in ("due", "body", "tries", "why", "n")]
        queues = list(dict.fromkeys(queue for _, queue in due if queue))
        args: list[Argument] = [*self._acknowledged.moving(), _FULL_PAUSE_MS, len(queues)]
        for queue in queues:
            where = self._plan.queue_key(place, queue)
            up = key(place, "up", queue) if is_process_queue(queue) else where
            keys += (where, up, key(place, "r", queue), key(place, "x", queue))
            args += self._limits(queue)
        numbers = {queue: number for number, queue in enumerate(queues, 1)}
        for member, queue in due:
            args += (member, numbers.get(queue, 0))
        return self._scripted("move", place, keys, args, as_is, repeat=True)

    def postpone(self, place: str, members: Sequence[str], until_ms: int) -> RedisCommand:
        """Let what cannot be moved become due later, at a time on the clock of its place."""
        times = [part for member in members for part in (until_ms, member)]
        return RedisCommand(place, (b"ZADD", self._plan.key(place, "due"), b"XX", *times), as_is, repeat=True)

    def _limits(self, queue: str) -> tuple[Argument, ...]:
        """Of a queue: its capacity, when it goes if it is abandoned, what to count under, and its bell."""
        if is_process_queue(queue):
            return PROCESS_QUEUE_CAPACITY, 0, "", ""
        capacity = self._plan.capacities.of(queue)
        if "?" in queue or "!" in queue:
            return capacity, int(self._plan.expiry_seconds) + LEASE_MARGIN_SECONDS, "", ""
        return capacity, 0, queue, self._acknowledged.bell(queue)

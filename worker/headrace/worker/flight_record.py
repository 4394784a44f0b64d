"""What a worker process has in its hands, in memory that outlives it.

The parent makes one `FlightRecord` for each child before the fork. The child notes what it took, what it has
started and what is done, without a system call; when it dies, however it dies, the parent reads what it left
(`recovery`). The memory belongs to both and has no name, so nothing of it stays behind.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterable
from typing import NamedTuple

from headrace_asgi.acknowledgement import Claim
from headrace_asgi.contract import Delivery
from headrace_asgi.names import MAX_NAME_LENGTH
from headrace_asgi.tally import Tally

__all__ = ["FlightRecord", "HeldDelivery"]

#: Bytes of one slot: an ordinary request with its headers, or a frame. What is larger is noted without its
#: entry: then its client can be told, but it cannot be given back.
SLOT_BYTES = 2048

#: What is noted of a slot, in its first byte; written last, so that a child that dies while it writes the
#: rest leaves a free slot.
_FREE, _TAKEN, _STARTED, _OVER = 0, 1, 2, 3
#: Behind it: when it was noted, its order number (-1 for none), the lengths of its names and its entry.
_HEAD = struct.Struct("=QqHI")
_NAMES_AT = 1 + _HEAD.size
_NO_ORDER = -1


class HeldDelivery(NamedTuple):
    """What a dead process left: a delivery, of whose message only the reply channel is known."""

    delivery: Delivery
    #: Whether its consumer may have begun.
    started: bool
    #: Whether its entry is known, so that it can be given back.
    whole: bool
    #: Whether its consumer has ended, and that is counted: what it said may not be said.
    over: bool = False


class FlightRecord:
    """The deliveries that one process holds, at most `slots`; what finds no slot is not noted.

    All methods but `left` and `left_tally` are the child's, from any of its threads.
    """

    def __init__(self, slots: int) -> None:
        """Make the memory: `slots` times 2 KiB, of which only what is used is ever real."""
        self._memory = mmap.mmap(-1, slots * SLOT_BYTES)
        self._free = list(range(0, slots * SLOT_BYTES, SLOT_BYTES))
        #: Where each delivery is noted, by its identity.
        self._slots: dict[int, int] = {}
        self._noted = 0
        #: What the process counts of messages.
        self.tally = Tally(shared=True)

    def taken(self, deliveries: Iterable[Delivery]) -> None:
        """Note deliveries that were taken and not started."""
        for delivery in deliveries:
            try:
                at = self._free.pop()
            except IndexError:
                freed = self._freed()
                if freed is None:
                    return
                at = freed
            self._noted += 1
            self._slots[id(delivery)] = at
            self._write(at, self._noted, delivery)

    def _freed(self) -> int | None:
        """The slot of the first one that is over: less is lost with it than with one that is still to run."""
        for key, at in list(self._slots.items()):
            if self._memory[at] == _OVER and self._slots.pop(key, None) is not None:
                self._memory[at] = _FREE
                return at
        return None

    def started(self, delivery: Delivery) -> None:
        """Its consumer is about to begin: it is not given back any more."""
        at = self._slots.get(id(delivery))
        if at is not None:
            self._memory[at] = _STARTED

    def waits(self, delivery: Delivery) -> None:
        """Its consumer has begun, but wants to see it later: it is as good as not started."""
        at = self._slots.get(id(delivery))
        if at is not None:
            self._memory[at] = _TAKEN

    def over(self, delivery: Delivery) -> None:
        """Its consumer has ended, and that is counted; what it said is not said yet."""
        at = self._slots.get(id(delivery))
        if at is not None:
            self._memory[at] = _OVER

    def ended(self, deliveries: Iterable[Delivery]) -> None:
        """They are out of this process's hands: all that they said is said, or they were given back."""
        for delivery in deliveries:
            at = self._slots.pop(id(delivery), None)
            if at is not None:
                self._memory[at] = _FREE
                self._free.append(at)

    def left(self) -> list[HeldDelivery]:
        """For the parent of a dead child: what it held, in the order of its takes. Empties the record."""
        found = []
        for at in range(0, len(self._memory), SLOT_BYTES):
            if self._memory[at] != _FREE:
                found.append(self._read(at))
                self._memory[at] = _FREE
        return [held for _, held in sorted(found, key=lambda one: one[0])]

    def left_tally(self) -> Tally:
        """For the parent too: what the dead child has counted. The next child counts in another one."""
        left, self.tally = self.tally, Tally(shared=True)
        return left

    def _write(self, at: int, number: int, delivery: Delivery) -> None:
        entry, order = delivery.entry, delivery.order
        names = _names(delivery)
        if len(names) + len(entry) > SLOT_BYTES - _NAMES_AT:
            entry = b""
        memory, names_at = self._memory, at + _NAMES_AT
        memory[names_at : names_at + len(names) + len(entry)] = names + entry
        _HEAD.pack_into(memory, at + 1, number, _NO_ORDER if order is None else order, len(names), len(entry))
        memory[at] = _TAKEN

    def _read(self, at: int) -> tuple[int, HeldDelivery]:
        number, order, names_length, entry_length = _HEAD.unpack_from(self._memory, at + 1)
        entry_at = at + _NAMES_AT + names_length
        names = self._memory[at + _NAMES_AT : entry_at].decode("ascii")
        place, reply_channel, channel, *claim = names.split(" ")
        delivery = Delivery(
            channel,
            {"reply_channel": reply_channel} if reply_channel else {},
            self._memory[entry_at : entry_at + entry_length],
            expiry_ms=0,
            place=place,
            taken_at=0.0,
            order=None if order == _NO_ORDER else order,
            claim=Claim(claim[0], int(claim[1])) if claim else None,
        )
        state = self._memory[at]
        return number, HeldDelivery(delivery, state != _TAKEN, bool(entry_length), state == _OVER)


def _names(delivery: Delivery) -> bytes:
    """Place, reply channel, channel, and the claim if there is one. What cannot be a reply channel is
    nobody's."""
    reply_channel = delivery.message.get("reply_channel")
    if not isinstance(reply_channel, str) or len(reply_channel) > MAX_NAME_LENGTH or " " in reply_channel:
        reply_channel = ""
    claim = "" if delivery.claim is None else f" {delivery.claim.id} {delivery.claim.number}"
    return f"{delivery.place} {reply_channel} {delivery.channel}{claim}".encode("ascii", "replace")

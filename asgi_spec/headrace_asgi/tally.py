"""What one process has counted of messages, until the layer knows it.

Counting is an addition in memory; every few seconds somebody has the layer add up what has changed since
(`ChannelLayer.write_counts`). The memory can be shared with a parent, which reads what a killed child had
counted and nobody was told. Each amount is added once, however often it has to be said: it travels in a
`TallyBatch` with a number, and the same batch is said again until the layer has answered.
"""

from __future__ import annotations

import mmap
import os
import secrets
import threading
import weakref
from typing import NamedTuple

from .names import MAX_NAME_LENGTH

__all__ = ["Tally", "TallyBatch"]

#: Counters of one tally: those of some two hundred channels. What finds no room is not counted.
SLOTS = 2048
#: Bytes of a name, its length in front: a channel, a bar, and what is counted of it.
_NAME_BYTES = 2 + MAX_NAME_LENGTH + 19
#: Numbers in front: that of the last batch, whether its answer is due, and how many slots are used.
_BATCH, _DUE, _USED, _SLOTS_AT = 0, 1, 2, 3
#: Numbers of a slot: counted so far, what the last batch brings that to, what the layer knows.
_NUMBERS_OF_A_SLOT = 3


class TallyBatch(NamedTuple):
    """Amounts to be added to counters."""

    #: Of the tally, and the number of this batch: who knows it already adds nothing.
    tally: str
    number: int
    #: By "<channel>|<what>".
    amounts: dict[str, int]


class Tally:
    """Counters by channel and by what is counted. Thread-safe; `add` makes no system call.

    A forked child begins with an empty one, unless it is `shared`.
    """

    def __init__(self, shared: bool = False) -> None:
        """Make the memory, of which only what is used is ever real: shared with children, or not."""
        flags = mmap.MAP_ANONYMOUS | (mmap.MAP_SHARED if shared else mmap.MAP_PRIVATE)
        names_at = 8 * (_SLOTS_AT + (SLOTS + 1) * _NUMBERS_OF_A_SLOT)
        self._memory = mmap.mmap(-1, names_at + SLOTS * _NAME_BYTES, flags=flags)
        self._numbers = memoryview(self._memory)[:names_at].cast("q")
        self._names_at = names_at
        self._begin()
        if not shared:
            _private.add(self)

    def _begin(self) -> None:
        self._id = secrets.token_hex(8)
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._slots: dict[tuple[str, str], int] = {}

    def start_anew(self) -> None:
        """Forget everything: in a child, whose parent counts on."""
        self._begin()
        for at in range(_SLOTS_AT + self._numbers[_USED] * _NUMBERS_OF_A_SLOT):
            self._numbers[at] = 0

    @property
    def id(self) -> str:
        """A name that no other tally has."""
        return self._id

    def add(self, channel: str, what: str, number: int = 1) -> None:
        """Count something of a shared channel; others have random names, and are not counted."""
        at = self._slots.get((channel, what))
        if at is None:
            if "?" in channel or "!" in channel:
                return
            at = self._new_slot(channel, what)
        with self._lock:
            self._numbers[at] += number

    def _new_slot(self, channel: str, what: str) -> int:
        with self._lock:
            at = self._slots.get((channel, what))
            if at is None:
                slot = self._numbers[_USED]
                at = _SLOTS_AT + slot * _NUMBERS_OF_A_SLOT
                if slot == SLOTS:
                    return at  # one beyond those that are told of
                name = f"{channel}|{what}".encode("ascii", "replace")
                name_at = self._names_at + slot * _NAME_BYTES
                self._memory[name_at : name_at + 2 + len(name)] = len(name).to_bytes(2, "little") + name
                self._numbers[_USED] = slot + 1
                self._slots[channel, what] = at
            return at

    @property
    def writing(self) -> threading.Lock:
        """Held by whoever says a batch, until it is answered."""
        return self._writing

    def unwritten(self) -> TallyBatch | None:
        """What the layer does not know; None if there is nothing. Without an answer, the same batch again."""
        numbers = self._numbers
        with self._lock:
            used = range(numbers[_USED])
            if not numbers[_DUE]:
                changed = False
                for at in map(_first_number, used):
                    changed = changed or numbers[at] != numbers[at + 2]
                    numbers[at + 1] = numbers[at]
                if not changed:
                    return None
                numbers[_BATCH] += 1
                numbers[_DUE] = 1
            amounts: dict[str, int] = {}
            for slot in used:
                at = _first_number(slot)
                if amount := numbers[at + 1] - numbers[at + 2]:
                    name = self._name(slot)
                    amounts[name] = amounts.get(name, 0) + amount
            return TallyBatch(self._id, numbers[_BATCH], amounts)

    def written(self) -> None:
        """The layer has answered for the last batch."""
        numbers = self._numbers
        with self._lock:
            for at in map(_first_number, range(numbers[_USED])):
                numbers[at + 2] = numbers[at + 1]
            numbers[_DUE] = 0

    @property
    def is_known(self) -> bool:
        """Whether the layer knows everything."""
        numbers = self._numbers
        starts = map(_first_number, range(numbers[_USED]))
        return not numbers[_DUE] and all(numbers[at] == numbers[at + 2] for at in starts)

    @property
    def has_said(self) -> bool:
        """Whether the layer was ever told anything."""
        return self._numbers[_BATCH] > 0

    def _name(self, slot: int) -> str:
        at = self._names_at + slot * _NAME_BYTES
        length = int.from_bytes(self._memory[at : at + 2], "little")
        return self._memory[at + 2 : at + 2 + length].decode("ascii")


def _first_number(slot: int) -> int:
    return _SLOTS_AT + slot * _NUMBERS_OF_A_SLOT


#: Tallies that a forked child has a copy of, whose counts belong to its parent.
_private: weakref.WeakSet[Tally] = weakref.WeakSet()


def _in_a_child() -> None:
    for tally in list(_private):
        tally.start_anew()


os.register_at_fork(after_in_child=_in_a_child)

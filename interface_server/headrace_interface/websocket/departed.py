"""Clients that are gone and left something unsaid: of one address they leave one after the other, as if one
client had said it all. So who reconnects without end has no more of the channel than who stays. Pure.
"""

from __future__ import annotations

from typing import Protocol

from .waiting_room import Waiter

__all__ = ["Departed", "Departing"]


class Departing(Waiter, Protocol):
    """The sender of a socket whose client is gone."""

    address: str

    def give_up_alone(self) -> None:
        """Drop what could not be sent."""


class Departed:
    """Those that are gone, by address, oldest first; whoever is first may send."""

    def __init__(self) -> None:
        self._queues: dict[str, dict[Departing, None]] = {}

    def join(self, sender: Departing) -> None:
        """One more is gone."""
        self._queues.setdefault(sender.address, {})[sender] = None

    def count(self, address: str) -> int:
        """How many of an address are gone and left something unsaid."""
        return len(self._queues.get(address, ()))

    @property
    def total(self) -> int:
        """The same, of all addresses."""
        return sum(len(queue) for queue in self._queues.values())

    def is_first(self, sender: Departing) -> bool:
        """Whether it is its turn."""
        return next(iter(self._queues[sender.address])) is sender

    def leave(self, sender: Departing) -> Departing | None:
        """Nothing of one is left; whose turn it is now, if somebody waited for this one."""
        was_first = self.is_first(sender)
        queue = self._queues[sender.address]
        del queue[sender]
        if not queue:
            del self._queues[sender.address]
            return None
        return next(iter(queue)) if was_first else None

    def with_the_same_address(self, sender: Departing) -> list[Departing]:
        """All of one's address, itself included."""
        return list(self._queues[sender.address])

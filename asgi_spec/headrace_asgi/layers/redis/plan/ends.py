"""Ends of what a worker took, gathered so that those at one place travel in one command. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from headrace_asgi.contract import Acknowledge, Finish

from .command import RedisCommand
from .plan import ENTRIES_PER_COMMAND, Plan

__all__ = ["End", "Ends"]

End = Finish | Acknowledge
T = TypeVar("T")


class Ends:
    """Finishes by place, acknowledgements by place and channel."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._finishes: dict[str, list[Finish]] = {}
        self._done: dict[tuple[str, str], list[Acknowledge]] = {}
        self._failed: list[Acknowledge] = []

    def add(self, end: End) -> None:
        """Say that something has ended, or a try of it."""
        if isinstance(end, Finish):
            self._finishes.setdefault(end.place, []).append(end)
        elif end.failure is None:
            self._done.setdefault((end.place, end.channel), []).append(end)
        else:
            self._failed.append(end)

    def commands(self) -> Iterator[tuple[RedisCommand, Sequence[End]]]:
        """Each command, and what it is for, in the order of its answers."""
        plan = self._plan
        for place, listed in self._finishes.items():
            for finishes in _parts(listed):
                several = [(one.reply_channel, one.order, one.drain) for one in finishes]
                yield plan.finish_several(place, several), finishes
        for (place, channel), done in self._done.items():
            for ends in _parts(done):
                yield plan.acknowledged.finish_several(place, channel, [one.claim for one in ends]), ends
        for end in self._failed:
            reason = str(end.failure)
            yield plan.acknowledged.fail(end.place, end.channel, end.claim, reason), [end]


def _parts(listed: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(listed), ENTRIES_PER_COMMAND):
        yield listed[start : start + ENTRIES_PER_COMMAND]

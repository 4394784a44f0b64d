"""How ends of what a worker took are said: those at one place in one command. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from headrace_asgi.contract import Acknowledge, Finish

from .command import RedisCommand
from .plan import ENTRIES_PER_COMMAND, Plan

__all__ = ["End", "end_commands"]

End = Finish | Acknowledge
T = TypeVar("T")


def end_commands(plan: Plan, ends: Iterable[End]) -> Iterator[tuple[RedisCommand, Sequence[End]]]:
    """Each command, and what it is for, in the order of its answers."""
    finishes: dict[str, list[Finish]] = {}
    done: dict[tuple[str, str], list[Acknowledge]] = {}
    for end in ends:
        if isinstance(end, Finish):
            finishes.setdefault(end.place, []).append(end)
        elif end.failure is None:
            done.setdefault((end.place, end.channel), []).append(end)
        else:
            yield plan.acknowledged.fail(end.place, end.channel, end.claim, end.failure), [end]
    for place, at_place in finishes.items():
        for part in _parts(at_place):
            several = [(one.reply_channel, one.order, one.drain) for one in part]
            yield plan.finish_several(place, several), part
    for (place, channel), of_channel in done.items():
        for some in _parts(of_channel):
            claims = [one.claim for one in some]
            yield plan.acknowledged.finish_several(place, channel, claims), some


def _parts(listed: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(listed), ENTRIES_PER_COMMAND):
        yield listed[start : start + ENTRIES_PER_COMMAND]

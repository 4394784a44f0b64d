"""What is promised of one case beside another, and of us beside others. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import sub, truediv

from benchmarks.peers import PEERS
from benchmarks.table import Row

from .cases import (
    ACKNOWLEDGED,
    BATCH,
    BATCHES,
    FRAMES,
    GROUP,
    GROUP_IN_A_ROW,
    ORDERED,
    PAIR,
    TAKEN,
)
from .subjects import OURS

__all__ = ["promised"]

#: Microseconds of Redis that a message costs more.
MOST_FOR_ORDER_US, MOST_FOR_ACKNOWLEDGEMENT_US = 10.0, 30.0
#: How many times as much of the same another library asks.
LEAST_TIMES_PAIR, LEAST_TIMES_GROUP = 4.0, 50.0
#: A shorter run of a case says nothing about a promise.
LEAST_SECONDS = 1.0
#: The values of each round, by library, case, what they are and their unit.
Measured = Mapping[tuple[str, str, str, str], Sequence[float]]


def promised(found: Measured, seconds: float) -> list[Row]:
    """The promises, judged if a run took long enough."""
    remark = "" if seconds >= LEAST_SECONDS else f"not judged in {seconds:g} s"
    return [*_more_of_redis(found, remark), *_times_as_much(found, remark)]


def _more_of_redis(found: Measured, remark: str) -> list[Row]:
    """What one case asks more of Redis than another."""

    def row(what: str, case: str, plain: str, most: float) -> Row:
        more = _pairwise(sub, found, (OURS.library, case, "Redis"), (OURS.library, plain, "Redis"))
        return Row(f"layers: headrace: {what}, Redis", more, "µs CPU more", most, remark)

    return [
        row(f"order, {ORDERED}", ORDERED, FRAMES, MOST_FOR_ORDER_US),
        row(f"acknowledgement, {BATCH} at once", ACKNOWLEDGED, TAKEN, MOST_FOR_ACKNOWLEDGEMENT_US),
    ]


def _times_as_much(found: Measured, remark: str) -> list[Row]:
    """How much more another library asks than ours does, for the same and for what either does best.

    Only ours sends and takes batches. One message at a time is two round trips to Redis with any library, and
    a group that is quiet for long costs the waking of all.
    """

    def row(library: str, its_case: str, our_case: str, what: str, least: float) -> Row:
        times = _pairwise(truediv, found, (library, its_case, what), (OURS.library, our_case, what))
        cases = our_case if its_case == our_case else f"{its_case} beside {our_case}"
        return Row(f"layers: {library} beside ours: {cases}, {what}", times, "times", None, remark, least)

    measured = [peer.library for peer in PEERS if any(library == peer.library for library, *_ in found)]
    return [
        row(library, *about)
        for library in measured
        for about in (
            (PAIR, PAIR, "time", LEAST_TIMES_PAIR),
            (PAIR, BATCHES, "time", LEAST_TIMES_PAIR),
            (GROUP, GROUP, "CPU of all", LEAST_TIMES_GROUP),
            (GROUP_IN_A_ROW, GROUP_IN_A_ROW, "CPU of all", LEAST_TIMES_GROUP),
        )
    ]


def _pairwise(
    of: Callable[[float, float], float],
    found: Measured,
    one: tuple[str, str, str],
    other: tuple[str, str, str],
) -> list[float]:
    """Of two figures, what they come to in each round."""
    values = {about: values for (*about_, _), values in found.items() for about in [tuple(about_)]}
    return [of(mine, its) for mine, its in zip(values[one], values[other], strict=True)]

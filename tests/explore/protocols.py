"""What is explored: each protocol with its bounds, and the broken variants that must be caught."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .explorer import Model, Report, Server, explore
from .groups import Groups
from .ordering import Bounds, Ordering
from .verdict import Verdict

__all__ = ["Task", "tasks"]


@dataclass(frozen=True)
class Task:
    """One exploration; with `must_fail` it is a broken variant. `broken` changes shipped scripts for it."""

    model: Model
    must_fail: bool = False
    broken: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def run(self, server: Server) -> Report:
        return explore(self.model, server, self.broken)

    def is_fine(self, report: Report) -> bool:
        """Whether it ended as it must."""
        return bool(report.violation) is self.must_fail


def tasks(small: bool) -> list[Task]:
    """Everything to explore; `small` bounds take a few seconds in all."""
    return _protocols(small) + _variants()


def _protocols(small: bool) -> list[Task]:
    if small:
        return [
            Task(Ordering(Bounds(frames=2, expiries=0, requeues=0, full=0))),
            Task(Verdict(frames=2, name="verdict false")),
            Task(Groups((("a", "c"), ("b",)), name="groups, 2 workers")),
            Task(Groups((("a",), ("b",), ("c",)), name="groups, 3 workers")),
            Task(Groups((("a",), ("b",)), kills=1, name="groups, 2 workers, 1 killed")),
            Task(Groups((("a", "c"), ("b",)), breaks=1, name="groups, 2 workers, 1 broken connection")),
        ]
    return [
        Task(Ordering(Bounds())),
        Task(Ordering(Bounds(lapses=2, requeues=0, full=0), name="ordering mailbox, 2 lapsed leases")),
        Task(
            Ordering(Bounds(workers=3, kills=2, expiries=0, full=0), name="ordering mailbox, 2 of 3 killed")
        ),
        Task(Verdict(frames=4, name="verdict false")),
        Task(Groups((("a", "c"), ("b", "d")), name="groups, 2 workers")),
        Task(Groups((("a", "d"), ("b",), ("c",)), name="groups, 3 workers")),
        Task(Groups((("a", "c"), ("b", "d")), kills=1, name="groups, 2 workers, 1 killed")),
        Task(Groups((("a", "c"), ("b", "d")), breaks=2, name="groups, 2 workers, 2 broken connections")),
    ]


def _variants() -> list[Task]:
    few = Bounds(frames=2)
    pair = (("a", "c"), ("b",))

    def mutant(model: Model, script: str, text: str, instead: str) -> Task:
        return Task(model, True, {script: (text, instead)})

    return [
        Task(Ordering(Bounds(), late_check=False, name="ordering, late holders start unasked"), True),
        mutant(
            Ordering(few, name="ordering, finish without fence"),
            "finish", "redis.call('GET', o) ~= order", "false",
        ),
        mutant(
            Ordering(few, name="ordering, give-back without fence"),
            "back", "redis.call('GET', KEYS[1]) ~= ARGV[1]", "false",
        ),
        mutant(
            Ordering(few, name="ordering, a lapsed slot lets frames overtake the mailbox"),
            "frame_ordered", "in_flight or waiting > 0", "in_flight",
        ),
        mutant(
            Ordering(few, name="ordering, kick without a look at the lease"),
            "kick", "redis.call('EXISTS', o) == 1", "false",
        ),
        Task(Verdict(early=True, name="verdict, written before the consumer returned"), True),
        mutant(Verdict(name="verdict, drained but not emptied"), "finish", "redis.call('DEL', m)", ""),
        mutant(
            Verdict(name="verdict, drained with their tokens"),
            "finish", "plain(boxed, lease_ms))\nend", "fresh(boxed, lease_ms))\nend",
        ),
        mutant(
            Groups(pair, name="groups, a plain set"),
            "group_leave", "redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[3]", "false",
        ),
        Task(Groups(pair, way="largest", name="groups, the largest number instead of counting"), True),
        Task(Groups(pair, way="late", name="groups, registered after the entry"), True),
        Task(Groups(pair, way="again", breaks=1, name="groups, one add more after an outage"), True),
        Task(Groups(pair, way="hopeful", breaks=1, name="groups, an unanswered leave is not done"), True),
        mutant(
            Groups(pair, breaks=1, name="groups, registered anew whatever Redis knows"),
            "group_reassert", "if adds then", "if false then",
        ),
    ]  # fmt: skip

"""What is explored: each protocol with its bounds, and the broken variants that must be caught."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from . import acknowledged
from .acknowledged import Acknowledged
from .deaths import Deaths
from .delays import Delays
from .explorer import Model, Report, Server, explore
from .groups import Groups
from .ordering import Bounds, Ordering
from .repeats import Repeats
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
            *_repeats(frames=3, breaks=2),
            Task(Groups((("a", "c"), ("b",)), name="groups, 2 workers")),
            Task(Groups((("a",), ("b",), ("c",)), name="groups, 3 workers")),
            Task(Groups((("a",), ("b",)), kills=1, name="groups, 2 workers, 1 killed")),
            Task(Groups((("a", "c"), ("b",)), breaks=1, name="groups, 2 workers, 1 broken connection")),
            Task(Deaths(1, breaks=0, name="deaths, 1 socket, 2 observers")),
            Task(Acknowledged(acknowledged.Bounds(messages=1, movers=2), name="acknowledged, 1 message")),
            Task(Delays(name="later, 2 messages, 2 movers")),
        ]
    return [
        Task(Ordering(Bounds())),
        Task(
            Ordering(
                Bounds(lapses=2, give_backs=0, requeues=0, full=0), name="ordering mailbox, 2 lapsed leases"
            )
        ),
        Task(
            Ordering(
                Bounds(workers=3, kills=2, lapses=0, expiries=0, full=0),
                name="ordering mailbox, 2 of 3 killed",
            )
        ),
        Task(Verdict(frames=4, name="verdict false")),
        *_repeats(frames=5, breaks=3),
        Task(Groups((("a", "c"), ("b", "d")), name="groups, 2 workers")),
        Task(Groups((("a", "d"), ("b",), ("c",)), name="groups, 3 workers")),
        Task(Groups((("a", "c"), ("b", "d")), kills=1, name="groups, 2 workers, 1 killed")),
        Task(Groups((("a", "c"), ("b", "d")), breaks=2, name="groups, 2 workers, 2 broken connections")),
        Task(Deaths(1, name="deaths, 1 socket, 2 observers, 1 breaks off")),
        Task(Deaths(2, observers=1, name="deaths, 2 sockets, 1 observer that breaks off")),
        Task(
            Acknowledged(
                acknowledged.Bounds(messages=1, movers=2, releases=1, repeats=1),
                name="acknowledged, 1 message, 2 movers",
            )
        ),
        Task(Acknowledged(acknowledged.Bounds(lapses=0), name="acknowledged, 2 messages, deaths")),
        Task(Acknowledged(acknowledged.Bounds(kills=0, losses=0), name="acknowledged, 2 messages, a lapse")),
        Task(Delays(name="later, 2 messages, 2 movers")),
        Task(Delays(movers=3, kills=2, name="later, 2 messages, 3 movers")),
    ]


def _repeats(frames: int, breaks: int) -> list[Task]:
    return [
        Task(Repeats(ordered, frames, breaks, flushes, f"repeated frames, {kind}, {lost}"))
        for ordered, kind in ((False, "plain"), (True, "ordered"))
        for flushes, lost in ((0, "data kept"), (1, "data lost once"))
    ]


def _variants() -> list[Task]:
    few = Bounds(frames=2)
    pair = (("a", "c"), ("b",))
    one = acknowledged.Bounds(messages=1, movers=2)

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
            Ordering(few, name="ordering, frames do not wait for the one in flight"),
            "frames_ordered", "flying == 'done'", "true",
        ),
        mutant(
            Ordering(few, name="ordering, a lapsed slot lets the disconnect overtake the mailbox"),
            "disconnect", "if not in_flight and redis.call('LLEN', m) == 0 then", "if not in_flight then",
        ),
        mutant(
            Ordering(few, name="ordering, kick without a look at the lease"),
            "kick", "flying and flying ~= 'done'", "false",
        ),
        Task(Ordering(few, tells=False, name="ordering, a mailbox moves on before anybody is told"), True),
        Task(Ordering(few, asks=False, name="ordering, a parent tells of what had finished"), True),
        mutant(
            Ordering(few, name="ordering, a finish leaves no mark, and none is asked for"),
            "frames_ordered", "redis.call('GET', o)", "redis.call('GET', o) or 'done'",
        ),
        mutant(
            Ordering(few, name="ordering, a finish leaves no mark"),
            "finish", "  redis.call('SET', o, 'done')\n  end", "  redis.call('DEL', o)\n  end",
        ),
        Task(Ordering(few, drops_connects=False, name="ordering, an expired connect is only finished"), True),
        mutant(
            Ordering(few, name="ordering, an expired connect leaves its mailbox behind"),
            "drop_connect", "redis.call('DEL', o, m)", "redis.call('DEL', o)",
        ),
        mutant(
            Repeats(ordered=False, name="repeated frames, plain, numbers not looked at"),
            "frames", "tonumber(ARGV[4]) > before", "true",
        ),
        mutant(
            Repeats(ordered=False, name="repeated frames, several, numbers not looked at"),
            "frames", "tonumber(ARGV[i + 1]) <= last", "false",
        ),
        mutant(
            Repeats(ordered=True, name="repeated frames, ordered, numbers not looked at"),
            "frames_ordered", "tonumber(order) <= before", "false",
        ),
        mutant(
            Repeats(ordered=False, name="repeated frames, registered again over what Redis knows"),
            "reassert", "redis.call('HSETNX', s, id, ARGV[i + 1]) == 1", "true",
        ),
        Task(Verdict(early=True, name="verdict, written before the consumer returned"), True),
        mutant(Verdict(name="verdict, drained but not emptied"), "finish", "redis.call('DEL', m)", ""),
        mutant(
            Verdict(name="verdict, drained with their tokens"),
            "finish", "list, plain(boxed))", "list, fresh(boxed, lease_ms))",
        ),
        mutant(
            Verdict(name="verdict, drained without a mark"),
            "finish", "redis.call('SET', o, 'done', 'PX', lease_ms)", "redis.call('DEL', o)",
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
        mutant(
            Deaths(1, name="deaths, a disconnect that leaves the registry alone"),
            "disconnect", "redis.call('HDEL', s, id) == 0", "redis.call('HEXISTS', s, id) == 0",
        ),
        mutant(
            Deaths(1, observers=1, name="deaths, a connect that does not look whether the process lives"),
            "connect", "redis.call('EXISTS', up) == 0", "false",
        ),
        mutant(
            Deaths(1, observers=1, name="deaths, a name that can be registered again"),
            "register", "redis.call('EXISTS', KEYS[5]) == 1", "false",
        ),
        mutant(
            Deaths(1, observers=1, name="deaths, a process that is missed only after its first beat"),
            "register", "redis.call('HSETNX', KEYS[4], process, 0)", "",
        ),
        mutant(
            Deaths(1, name="deaths, nobody knows of a cleaning that was broken off"),
            "fence", "redis.call('HSET', KEYS[3], ARGV[1], redis.call('HGET', KEYS[1], ARGV[1]) or '')", "",
        ),
        Task(Deaths(1, 1, 0, unmarks_first=False, name="deaths, the marks go after the disconnects"), True),
        Task(
            Acknowledged(one, repairs=False, name="acknowledged, nobody looks whether bells are missing"),
            True,
        ),
        mutant(
            Acknowledged(one, name="acknowledged, finish without fence"),
            "ack_finish", "if is_stale(due, tries, id, attempt) then", "if false then",
        ),
        mutant(
            Acknowledged(one, name="acknowledged, a failure without fence"),
            "ack_fail", "if is_stale(due, tries, id, attempt) then", "if false then",
        ),
        mutant(
            Acknowledged(one._replace(releases=1), name="acknowledged, given back without fence"),
            "ack_release", "if is_stale(due, tries, id, attempt) then", "if false then",
        ),
        mutant(
            Acknowledged(one, name="acknowledged, a claim without a lease"),
            "ack_claim", "redis.call('ZADD', due, unpack(leases))", "",
        ),
        mutant(
            Acknowledged(one, name="acknowledged, moved without a look whether it is due"),
            "move", "if score and tonumber(score) <= now then", "if true then",
        ),
        mutant(
            Acknowledged(
                one._replace(kills=0, losses=0, repeats=1),
                name="acknowledged, what was done is forgotten at once",
            ),
            "ack_finish", "redis.call('SET', KEYS[7 + k], 1, 'PX', remembered_ms)", "",
        ),
        mutant(
            Delays(1, name="later, moved and still due"),
            "move", "redis.call('ZREM', due, member)\n  redis.call('HDEL'", "redis.call('HDEL'",
        ),
        mutant(
            Delays(1, name="later, taken back when it was moved"),
            "cancel", "if redis.call('ZREM', KEYS[1], 'd' .. id) == 0 then", "if false then",
        ),
        mutant(
            Delays(1, kills=0, cancels=0, name="later, nobody hears of what is due first"),
            "later", "redis.call('RPUSH', movers, bell)", "",
        ),
        mutant(
            Delays(cancels=0, name="later, full channels are not looked at"),
            "move", "redis.call('LLEN', list) >= capacity", "false",
        ),
    ]  # fmt: skip

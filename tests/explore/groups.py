"""Groups: one process with the shipped `Membership`, workers that add clients, which leave.

A worker registers the process, then puts the add entry on its queue. The process reads entries, clients
close, and it withdraws when it believes that nobody is left; question and answer of a withdrawal are steps of
their own. With a kill, a worker dies between its two steps, and the ghost it leaves is laid. With a break,
the process loses its connection, and with it the answer to a withdrawal, and then registers anew.

What must hold, and why, is in docs/protocol.md, section 8.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

from headrace_asgi import control
from headrace_asgi.contract import Outcome
from headrace_asgi.envelope import decode, encode, pack_message, unpack_message
from headrace_asgi.layers.redis.plan.membership import Membership

from .explorer import PLACE, Data, Move, Violation, plan

__all__ = ["Groups"]

PROCESS = "hr1.0.f!"
GROUP = "g"
LONG_AGO, LATER = 0.0, 1e9


class Actors(NamedTuple):
    #: Per worker the steps it made: two per add.
    workers: tuple[int, ...] = ()
    #: The number that Redis counted at the add that a worker is about to tell.
    adds: tuple[int, ...] = ()
    dead: frozenset[int] = frozenset()
    #: Local parts of clients that are open.
    open: frozenset[str] = frozenset()
    membership: Any = None
    #: A withdrawal: nothing, ("asked", number), ("answered", whether it was done).
    leave: tuple[Any, ...] = ()
    kills: int = 0
    #: How often the connection may still break, and whether it is broken.
    breaks: int = 0
    broken: bool = False


class Groups:
    """`way` is how the process knows that no add is on its way: "count" as shipped; "largest", the largest
    number of an add it has read; or "late", which counts, but registers after the entry instead of before.
    Two more concern a broken connection: "again" adds once more, though Redis knows the process, and takes
    over the number that it counts; "hopeful" believes that an unanswered withdrawal was not done."""

    def __init__(
        self,
        adds: tuple[tuple[str, ...], ...],
        kills: int = 0,
        way: str = "count",
        breaks: int = 0,
        name: str = "groups",
    ) -> None:
        """`adds` says for each worker which clients it adds, one after the other."""
        self.name = name
        self.adds = adds
        self.kills = kills
        self.breaks = breaks
        self.way = way
        self.plan = plan()
        self.keys = [self.plan.key(PLACE, kind, GROUP) for kind in ("g",)]
        self.keys += [self.plan.key(PLACE, kind, PROCESS) for kind in ("gq", "q", "up")]
        self.given: Data = (*((b"none",),) * 3, (b"hash", (b"version", b"1")))

    def first(self) -> Actors:
        clients = frozenset(local for adds in self.adds for local in adds)
        nothing = (0,) * len(self.adds)
        return Actors(
            nothing,
            nothing,
            open=clients,
            membership=_frozen(Membership()),
            kills=self.kills,
            breaks=self.breaks,
        )

    def canonical(self, at: int, kind: bytes, content: Any) -> Any:
        """Nothing depends on the clock; the counter of pushes is of no interest."""
        return (b"version", b"1") if at == 3 else tuple(content)

    # What may happen

    def moves(self, actors: Actors, data: Data) -> Iterator[Move]:
        for at in range(len(self.adds)):
            yield from self._worker_moves(actors, at)
        for local in sorted(actors.open):
            yield Move(f"{local} closes", partial(self._closed, actors, local))
        if data[2][0] != b"none":
            call = self.plan.take(PLACE, [PROCESS], 1, None)
            yield Move("the process reads an entry", partial(self._read, actors), call)
        if actors.broken:
            yield self._registers_anew(actors)
            return
        yield from self._leave_moves(actors)
        if actors.breaks:
            yield Move("the connection breaks", partial(self._broken, actors))
        if actors.dead or actors.breaks < self.breaks:
            yield from self._ghost_moves(actors, data)

    def _worker_moves(self, actors: Actors, at: int) -> Iterator[Move]:
        steps = actors.workers[at]
        if at in actors.dead or steps == 2 * len(self.adds[at]):
            return
        local = self.adds[at][steps // 2]
        register = self.plan.group_add(GROUP, PROCESS)
        body = control.note(control.ADD, group=GROUP, local=local)
        if self.way == "largest":
            body["number"] = actors.adds[at]
        tell = self.plan.push(PROCESS, [encode(pack_message(body), control=True)], [True])
        if (steps % 2 == 0) is (self.way != "late"):
            yield Move(f"worker {at} registers for {local}", partial(self._registered, actors, at), register)
        else:
            yield Move(f"worker {at} tells of {local}", partial(self._told, actors, at), tell)
        if actors.kills and steps % 2:
            killed = actors._replace(dead=actors.dead | {at}, kills=actors.kills - 1)
            yield Move(f"worker {at} is killed", lambda _: killed)

    def _registered(self, actors: Actors, at: int, adds: int) -> Actors:
        numbers = tuple(adds if other == at else known for other, known in enumerate(actors.adds))
        return _step(actors, at)._replace(adds=numbers)

    def _told(self, actors: Actors, at: int, outcomes: list[Outcome]) -> Actors:
        if outcomes != [Outcome.SENT]:
            raise Violation(f"G4: the entry was answered {outcomes}")
        return _step(actors, at)

    def _closed(self, actors: Actors, local: str, _: Any) -> Actors:
        membership = _thawed(actors.membership)
        membership.close(local, LONG_AGO)
        return actors._replace(open=actors.open - {local}, membership=_frozen(membership))

    def _read(self, actors: Actors, answer: Any) -> Actors:
        body = unpack_message(decode(answer[1][0]).payload)
        membership = _thawed(actors.membership)
        membership.add(GROUP, body["local"], body["local"] in actors.open, LONG_AGO)
        if self.way == "largest":
            entry = membership._groups[GROUP]
            entry.processed = max(entry.processed - 1, body["number"])
        return actors._replace(membership=_frozen(membership))

    def _leave_moves(self, actors: Actors) -> Iterator[Move]:
        """The withdrawal is asked for, carried out, and answered."""
        if not actors.leave:
            membership = _thawed(actors.membership)
            for _, processed in membership.leaves(LATER):
                asked = actors._replace(membership=_frozen(membership), leave=("asked", processed))
                yield Move(f"the process asks to leave after {processed}", lambda _, asked=asked: asked)
        elif actors.leave[0] == "asked":
            call = self.plan.group_leave(GROUP, PROCESS, actors.leave[1])
            yield Move("Redis decides", lambda left: actors._replace(leave=("answered", left)), call)
        else:
            yield Move("the process reads the answer", partial(self._left, actors))

    def _broken(self, actors: Actors, _: Any) -> Actors:
        membership = _thawed(actors.membership)
        membership.left(GROUP, None, LONG_AGO)
        return actors._replace(
            membership=_frozen(membership), leave=(), breaks=actors.breaks - 1, broken=True
        )

    def _registers_anew(self, actors: Actors) -> Move:
        if not _thawed(actors.membership).groups():
            return Move("the connection is back", lambda _: actors._replace(broken=False))
        call = self.plan.group_reassert(GROUP, PROCESS)
        if self.way == "again":
            call = self.plan.group_add(GROUP, PROCESS)
        return Move("the process registers anew", partial(self._reasserted, actors), call)

    def _reasserted(self, actors: Actors, answer: Any) -> Actors:
        membership = _thawed(actors.membership)
        if self.way == "hopeful":
            membership._groups[GROUP].leaving = None
        anew, adds = (1, answer) if self.way == "again" else answer
        membership.reasserted(GROUP, adds, bool(anew), True, LONG_AGO)
        return actors._replace(membership=_frozen(membership), broken=False)

    def _left(self, actors: Actors, _: Any) -> Actors:
        membership = _thawed(actors.membership)
        membership.left(GROUP, actors.leave[1], LONG_AGO)
        return actors._replace(membership=_frozen(membership), leave=())

    def _ghost_moves(self, actors: Actors, data: Data) -> Iterator[Move]:
        """A group message comes although nobody is a member, or an outage raised doubts about the number; the
        count is read twice, a minute apart."""
        membership = _thawed(actors.membership)
        call = self.plan.group_adds(GROUP, PROCESS)
        counted = partial(self._counted, actors, membership)
        if data[0][0] != b"none" and not actors.leave and membership.suspect(GROUP):
            yield Move("an unexpected message: the count is read", counted, call)
        # Within the minute every living worker tells what it registered, and the queue is read.
        busy = data[2][0] != b"none" or any(
            steps % 2 and at not in actors.dead for at, steps in enumerate(actors.workers)
        )
        if not busy and not actors.leave and membership.suspects_due(LATER):
            yield Move("a minute later it is read again", counted, call)

    def _counted(self, actors: Actors, membership: Membership, count: int | None) -> Actors:
        changed = _thawed(_frozen(membership))
        number = changed.counted(GROUP, count, LONG_AGO)
        leave = () if number is None else ("asked", number)
        return actors._replace(membership=_frozen(changed), leave=leave)

    # What must hold

    def check(self, actors: Actors, data: Data) -> None:
        for at, steps in enumerate(actors.workers):
            for local in self.adds[at][: steps // 2]:
                if local in actors.open and data[0][0] == b"none":
                    raise Violation(f"G1: {local} was added and is open, but no message would reach it")

    def check_end(self, actors: Actors, data: Data) -> None:
        if data[0][0] != b"none" or data[1][0] != b"none":
            raise Violation("G3: nobody is a member, but the process stays registered")
        if actors.membership[0] and self.way == "count":
            raise Violation("the process remembers a group that it has left")


def _step(actors: Actors, at: int) -> Actors:
    return actors._replace(workers=tuple(steps + (other == at) for other, steps in enumerate(actors.workers)))


def _frozen(membership: Membership) -> tuple[Any, ...]:
    """What a Membership knows, as a value."""
    group = membership._groups.get(GROUP)
    suspect = membership._suspects.get(GROUP)
    return (
        None
        if group is None
        else (tuple(group.members), group.processed, group.leave_at is not None, group.leaving),
        None if suspect is None else (suspect.count, suspect.read_again_at is not None),
    )


def _thawed(known: tuple[Any, ...]) -> Membership:
    """The Membership that knows just this, made by the same steps as a real one."""
    membership = Membership()
    group, suspect = known
    if group is not None:
        members, processed, leaves, leaving = group
        for local in members or ("nobody",):
            membership.add(GROUP, local, bool(members), LONG_AGO)
        entry = membership._groups[GROUP]
        entry.processed, entry.leaving = processed, leaving
        if not leaves:
            entry.leave_at = None
    if suspect is not None:
        membership._suspects[GROUP] = _suspect(*suspect)
    return membership


def _suspect(count: int | None, read_again: bool) -> Any:
    suspected = Membership()
    suspected.suspect(GROUP)
    made = suspected._suspects[GROUP]
    made.count, made.read_again_at = count, LONG_AGO if read_again else None
    return made

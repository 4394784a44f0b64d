"""The ordering mailbox: one socket whose messages start in order, whatever happens to workers.

Actors: the interface (connect, frames, disconnect, one send outstanding), two workers, the parent of workers
that were killed, which knows what they held but not what their last finish did, and whoever kicks mailboxes.
Each fault happens as often as the bounds allow, at any step.

What must hold, and why, is in docs/protocol.md, section 7.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from headrace_asgi.contract import Outcome
from headrace_asgi.layers.redis.plan.command import Accepted, RedisCommand, no_answer
from headrace_asgi.layers.redis.plan.plan import ORDERED_CHANNELS

from . import sockets
from .explorer import PLACE, Data, Move, Violation, plan
from .sockets import SOCKET, entry, in_flight, number, queued

__all__ = ["Bounds", "Ordering"]


@dataclass(frozen=True)
class Bounds:
    """How much may happen."""

    frames: int = 3
    workers: int = 2
    kills: int = 1
    lapses: int = 1
    expiries: int = 1
    give_backs: int = 1
    requeues: int = 1
    full: int = 1


class Worker(NamedTuple):
    """`stage`: idle, held (taken, not started), running, dead."""

    stage: str = "idle"
    order: int = -1


class Actors(NamedTuple):
    """What everybody knows."""

    sent: int = 0
    workers: tuple[Worker, ...] = ()
    #: What killed workers left to their parent, and how far it is: "held" (not started), "running" (perhaps
    #: finished too), "told" (the interface knows).
    orphans: tuple[tuple[int, str], ...] = ()
    #: Faults that may still happen: kills, lapses, expiries, give-backs, requeues, full.
    left: tuple[int, ...] = ()
    #: What became of each message that was accepted.
    fates: tuple[str, ...] = ()
    started: int = -1
    #: Order numbers whose lease lapsed before they were started: whoever takes them notices their age.
    old: frozenset[int] = frozenset()
    requeued: frozenset[int] = frozenset()
    lapsed: bool = False
    #: A lapse: nothing, "found" by a kicker that has not told yet, "told" to the interface.
    kicker: str = ""
    #: Whether the interface knows that a message is lost: it closes the socket.
    closed: bool = False
    #: An expired connect took the socket along.
    dropped: bool = False


KILLS, LAPSES, EXPIRIES, GIVE_BACKS, REQUEUES, FULL = range(6)


class Ordering:
    """See the module. Broken variants: without `late_check` a late holder starts without asking; without
    `drops_connects` an expired connect is finished as any other message; without `tells` a kicker moves a
    mailbox on before anybody knows of the lapse; without `asks` a parent takes for lost whatever was started.
    """

    keys = sockets.KEYS
    given = sockets.GIVEN
    canonical = staticmethod(sockets.canonical)

    def __init__(
        self,
        bounds: Bounds,
        late_check: bool = True,
        drops_connects: bool = True,
        tells: bool = True,
        asks: bool = True,
        name: str = "ordering mailbox",
    ) -> None:
        self.name = name
        self.bounds = bounds
        self.late_check = late_check
        self.drops_connects = drops_connects
        self.tells = tells
        self.asks = asks
        self.last = bounds.frames + 1
        self.plan = sockets.PLAN
        self.full_plan = plan()
        self.full_plan.capacities.default = self.full_plan.frame_capacity = 0

    def first(self) -> Actors:
        b = self.bounds
        return Actors(
            workers=(Worker(),) * b.workers,
            left=(b.kills, b.lapses, b.expiries, b.give_backs, b.requeues, b.full),
            fates=("",) * (self.last + 1),
        )

    # What may happen

    def moves(self, actors: Actors, data: Data) -> Iterator[Move]:
        yield from self._interface_moves(actors)
        for at, worker in enumerate(actors.workers):
            if worker in actors.workers[:at]:
                continue  # two workers in the same state do the same
            if worker.stage == "idle":
                yield from self._takes(actors, data, at)
            elif worker.stage == "held":
                yield from self._held_moves(actors, at, worker.order)
            elif worker.stage == "running":
                yield from self._running_moves(actors, at, worker.order)
            if worker.stage in ("held", "running") and actors.left[KILLS]:
                yield from self._kills(actors, at, worker)
        for at in range(len(actors.orphans)):
            yield from self._parent_moves(actors, at)
        yield from self._clock_moves(actors, data)

    def _interface_moves(self, actors: Actors) -> Iterator[Move]:
        k = actors.sent
        if k > self.last:
            return
        if k == self.last:
            call = self.plan.disconnect(SOCKET, k, entry(k, expires=False))
            yield Move("disconnect", partial(self._sent, actors, k), call)
            return
        plans = [self.plan, self.full_plan] if actors.left[FULL] else [self.plan]
        for chosen in plans:
            call = chosen.frame_ordered(SOCKET, k, entry(k)) if k else chosen.connect(SOCKET, "/", entry(0))
            yield Move(f"send {k}", partial(self._sent, actors, k), call)

    def _sent(self, actors: Actors, k: int, answer: Any) -> Actors:
        outcome = answer.outcomes[0] if isinstance(answer, Accepted) else answer
        if outcome in (Outcome.SENT, Outcome.BOXED):
            return actors._replace(sent=k + 1)
        if outcome is Outcome.FULL and k < self.last:
            # The socket is closed (1013); a connect that was refused is owed no disconnect.
            return self._closed(_less(actors, FULL), self.last if k else self.last + 1)
        if outcome is Outcome.LAPSED and actors.lapsed:
            return self._closed(actors._replace(closed=True), self.last)
        if outcome is (Outcome.TOLD if k == self.last else Outcome.GONE) and actors.dropped:
            return self._closed(actors, self.last + 1)
        raise Violation(f"send {k} was answered {outcome!r}")

    def _closed(self, actors: Actors, end: int) -> Actors:
        """The interface closes the socket: what comes before message `end` is not sent any more."""
        refused = actors
        for at in range(actors.sent, end):
            refused = _fate(refused, at, "refused")
        return refused._replace(sent=max(end, actors.sent))

    def _takes(self, actors: Actors, data: Data, at: int) -> Iterator[Move]:
        for channel, entries in zip(ORDERED_CHANNELS, queued(data), strict=True):
            if entries:
                call = self.plan.take(PLACE, [channel], 1, None)
                yield Move(f"worker {at} takes from {channel}", partial(self._taken, actors, at), call)

    def _taken(self, actors: Actors, at: int, answer: Any) -> Actors:
        k, _ = number(answer[1][0])
        return _with(actors, at, Worker("held", k))

    def _held_moves(self, actors: Actors, at: int, k: int) -> Iterator[Move]:
        old = k in actors.old
        if old and self.late_check:
            call = self.plan.renew(SOCKET, k, PLACE)
            yield Move(f"worker {at} asks whether {k} may start", partial(self._asked, actors, at, k), call)
        # The disconnect has no expiry: nobody sees its age.
        if not old or not self.late_check or k == self.last:
            yield Move(f"worker {at} starts {k}", lambda _: self._start(actors, at, k))
        if k != self.last and (old or actors.left[EXPIRIES]):
            yield self._drop_move(actors if old else _less(actors, EXPIRIES), at, k)
        if actors.left[GIVE_BACKS]:
            call = self._back(k, head=True)
            used = _less(actors, GIVE_BACKS)
            yield Move(f"worker {at} gives {k} back", partial(self._put_back, used, at, k), call)

    def _drop_move(self, actors: Actors, at: int, k: int) -> Move:
        """An expired message is dropped; the interface is told of a frame (first, in the same write)."""
        label = f"worker {at} drops {k}, expired"
        if k == 0 and actors.started < 0 and self.drops_connects:
            call = self.plan.drop_connect(SOCKET, PLACE)
            return Move(label, partial(self._dropped, actors, at), call)
        used = actors._replace(closed=actors.closed or k > 0)
        call = self.plan.finish(SOCKET, k, PLACE)
        return Move(label, partial(self._finished, used, at, k, "expired"), call)

    def _dropped(self, actors: Actors, at: int, outcome: Outcome) -> Actors:
        dropped = self._finished(actors, at, 0, "expired", outcome)
        if outcome is Outcome.STALE:
            return dropped
        for k in range(1, actors.sent):
            dropped = _fate(dropped, k, "dropped")
        return dropped._replace(dropped=True)

    def _running_moves(self, actors: Actors, at: int, k: int) -> Iterator[Move]:
        call = self.plan.finish(SOCKET, k, PLACE)
        yield Move(f"worker {at} finishes {k}", partial(self._finished, actors, at, k, "done"), call)
        if actors.left[REQUEUES]:
            used = _less(actors, REQUEUES)._replace(requeued=actors.requeued | {k})
            put_back = partial(self._put_back, used, at, k)
            yield Move(f"worker {at} requeues {k}", put_back, self._back(k, head=False))

    def _kills(self, actors: Actors, at: int, worker: Worker) -> Iterator[Move]:
        """A worker is killed; its parent notices, or dies with it."""
        dead = _with(_less(actors, KILLS), at, Worker("dead"))
        k = worker.order
        left = dead._replace(orphans=(*actors.orphans, (k, worker.stage)))
        yield Move(f"worker {at} is killed", lambda _: left)
        if worker.stage == "running":
            finished = _fate(left, k, "done")
            call = self.plan.finish(SOCKET, k, PLACE)
            yield Move(f"worker {at} finishes {k}, and is killed", lambda _: finished, call)
        lost = _fate(dead, k, "lost")
        yield Move(f"the machine of worker {at} is lost", lambda _: lost)

    def _parent_moves(self, actors: Actors, at: int) -> Iterator[Move]:
        k, stage = actors.orphans[at]
        rest = actors._replace(orphans=actors.orphans[:at] + actors.orphans[at + 1 :])
        if stage == "held":
            yield Move(
                f"the parent gives {k} back",
                lambda outcome: rest if outcome is Outcome.SENT else _fate(rest, k, "stale"),
                self._back(k, head=True),
            )
        elif stage == "running":
            ask = self.plan.renew(SOCKET, k, PLACE) if self.asks else None
            yield Move(f"the parent asks for {k}, and tells", partial(self._parent_tells, rest, k), ask)
        else:
            finish = self.plan.finish(SOCKET, k, PLACE)
            yield Move(f"the parent finishes {k}", lambda _: rest, finish)
            yield Move("the parent is killed", lambda _: rest)

    def _parent_tells(self, rest: Actors, k: int, outcome: Outcome | None) -> Actors:
        """The interface is told that a message is lost, unless somebody has moved on: then it was none."""
        if outcome is Outcome.STALE:
            return rest if rest.fates[k] else _fate(rest, k, "stale")
        if rest.fates[k]:
            raise Violation(f"the interface is told that {k} is lost, which is {rest.fates[k]}")
        told = _fate(self._closed(rest._replace(closed=True), self.last), k, "failed")
        return told._replace(orphans=(*rest.orphans, (k, "told")))

    def _clock_moves(self, actors: Actors, data: Data) -> Iterator[Move]:
        k = in_flight(data)
        yield from self._kicks(actors, data)
        if k is None:
            return
        orphaned = not self._is_alive(actors, data, k)
        if orphaned or actors.left[LAPSES]:
            call = RedisCommand(PLACE, (b"DEL", self.keys[sockets.ORDER]), no_answer)
            used = actors if orphaned else _less(actors, LAPSES)
            running = any(worker == ("running", k) for worker in actors.workers)
            old = used.old if running else used.old | {k}
            yield Move(f"the lease of {k} lapses", lambda _: used._replace(old=old, lapsed=True), call)

    def _kicks(self, actors: Actors, data: Data) -> Iterator[Move]:
        """Also when it is not overdue any more: who kicks has read the list of overdue ones before."""
        if actors.kicker == "found" and self.tells:
            told = self._closed(actors._replace(kicker="told", closed=True), self.last)
            yield Move("the kicker tells the interface", lambda _: told)
        elif actors.kicker:
            call = self.plan.kick(SOCKET, PLACE, told=True)
            yield Move("the kicker moves the mailbox on", lambda _: actors._replace(kicker=""), call)
        if actors.kicker:
            yield Move("the kicker is killed", lambda _: actors._replace(kicker=""))
        elif data[sockets.WATCHED][0] != b"none":
            call = self.plan.kick(SOCKET, PLACE, told=False)
            yield Move("somebody kicks the mailbox", partial(self._kicked, actors), call)

    def _kicked(self, actors: Actors, answer: int) -> Actors:
        return actors._replace(kicker="found") if answer == Outcome.LAPSED else actors

    def _is_alive(self, actors: Actors, data: Data, k: int) -> bool:
        """Whether somebody has the message in flight, or will find it."""
        held = any(worker.order == k and worker.stage in ("held", "running") for worker in actors.workers)
        waits = any(number(raw)[0] == k for entries in queued(data) for raw in entries)
        return held or waits or any(order == k for order, _ in actors.orphans)

    # What is known then

    def _start(self, actors: Actors, at: int, k: int) -> Actors:
        if k < actors.started or (k == actors.started and k not in actors.requeued):
            raise Violation(f"{k} starts after {actors.started}")
        if k == self.last and actors.started < 0 and actors.fates[0] == "expired" and not actors.lapsed:
            raise Violation("a disconnect starts, and no consumer saw the connect, which expired")
        if k < self.last and actors.sent <= self.last and not actors.closed:
            # Nobody has ended the socket, so nothing may be missing in front of this frame.
            before = range(max(actors.started, 0), k)
            lost = [
                j for j in before if actors.fates[j] == "lost" or (j > actors.started and not actors.fates[j])
            ]
            if lost:
                raise Violation(f"I5: {k} starts, and the interface was not told that {lost[0]} is lost")
        return _with(actors, at, Worker("running", k))._replace(started=k, requeued=actors.requeued - {k})

    def _asked(self, actors: Actors, at: int, k: int, outcome: Outcome) -> Actors:
        if outcome is Outcome.STALE:
            return _fate(_with(actors, at, Worker()), k, "stale")
        return self._start(actors._replace(old=actors.old - {k}), at, k)

    def _finished(self, actors: Actors, at: int, k: int, fate: str, outcome: Outcome) -> Actors:
        return _fate(_with(actors, at, Worker()), k, fate)

    def _put_back(self, actors: Actors, at: int, k: int, outcome: Outcome) -> Actors:
        idle = _with(actors, at, Worker())
        return idle if outcome is Outcome.SENT else _fate(idle, k, "stale")

    def _back(self, k: int, head: bool) -> RedisCommand:
        channel = ORDERED_CHANNELS[0 if k == 0 else 2 if k == self.last else 1]
        return self.plan.back(SOCKET, k, PLACE, channel, entry(k, expires=k != self.last), head)

    # What must hold

    def check(self, actors: Actors, data: Data) -> None:
        if actors.lapsed:
            return
        out = sum(len(entries) for entries in queued(data))
        out += sum(worker.stage in ("held", "running") for worker in actors.workers)
        out += sum(actors.fates[k] != "done" for k, _ in actors.orphans)
        if out > 1:
            raise Violation("I1: two messages of the socket are out of its mailbox, and no lease lapsed")

    def check_end(self, actors: Actors, data: Data) -> None:
        if data[sockets.MAILBOX][0] != b"none":
            raise Violation("I4: messages stay in the mailbox for ever")
        if data[sockets.ORDER][0] != b"none" or data[sockets.WATCHED][0] != b"none":
            raise Violation("the slot or the watch stays behind")
        missing = [at for at, fate in enumerate(actors.fates) if not fate]
        if missing:
            raise Violation(f"accepted, and nothing became of them: {missing}")
        if not actors.lapsed and "stale" in actors.fates:
            raise Violation("a message was dropped as stale although no lease lapsed")


def _with(actors: Actors, at: int, worker: Worker) -> Actors:
    """One worker changed; workers are alike, so their order is of no interest."""
    workers = list(actors.workers)
    workers[at] = worker
    return actors._replace(workers=tuple(sorted(workers)))


def _less(actors: Actors, fault: int) -> Actors:
    left = tuple(count - (at == fault) for at, count in enumerate(actors.left))
    return actors._replace(left=left)


def _fate(actors: Actors, k: int, fate: str) -> Actors:
    fates = tuple(fate if at == k else known for at, known in enumerate(actors.fates))
    return actors._replace(fates=fates, old=actors.old - {k}, requeued=actors.requeued - {k})

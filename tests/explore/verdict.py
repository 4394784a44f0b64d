"""The verdict: a socket is not ordered after all; its mailbox is drained, plain sends follow.

The interface sends through the mailbox until it reads the verdict, which the worker of the connect writes
when its consumer has returned, before it finishes. A worker may be killed or its machine lost, at any step.

What must hold, and why, is in docs/protocol.md, section 7.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

from headrace_asgi.contract import Outcome
from headrace_asgi.layers.redis.plan.command import Accepted, RedisCommand, no_answer
from headrace_asgi.layers.redis.plan.plan import ORDERED_CHANNELS

from . import sockets
from .explorer import PLACE, Data, Move, Violation
from .sockets import LOCAL, PROCESS, SOCKET, entry, in_flight, number, queued

__all__ = ["Verdict"]


class Worker(NamedTuple):
    """`stage`: idle, held, running, returned (the connect's consumer), said (the verdict is written), dead.

    What a killed one left is held or started.
    """

    stage: str = "idle"
    number: int = -1
    ordered: bool = False


class Actors(NamedTuple):
    sent: int = 0
    #: none, written (on its way), read.
    verdict: str = "none"
    workers: tuple[Worker, ...] = ()
    #: What killed workers left to their parent.
    orphans: tuple[Worker, ...] = ()
    kills: int = 0
    fates: tuple[str, ...] = ()
    connected: bool = False
    lapsed: bool = False


class Verdict:
    """See the module. With `early` the verdict is written before the consumer returned: a broken variant."""

    keys = sockets.KEYS
    given = sockets.GIVEN
    canonical = staticmethod(sockets.canonical)

    def __init__(
        self, frames: int = 3, workers: int = 2, kills: int = 1, early: bool = False, name: str = "verdict"
    ) -> None:
        self.name = name
        self.last = frames + 1
        self.workers = workers
        self.kills = kills
        self.early = early
        self.plan = sockets.PLAN

    def first(self) -> Actors:
        return Actors(workers=(Worker(),) * self.workers, kills=self.kills, fates=("",) * (self.last + 1))

    # What may happen

    def moves(self, actors: Actors, data: Data) -> Iterator[Move]:
        yield from self._interface_moves(actors)
        for at, worker in enumerate(actors.workers):
            if worker in actors.workers[:at]:
                continue
            yield from self._worker_moves(actors, data, at, worker)
        for at in range(len(actors.orphans)):
            yield self._parent_move(actors, at)
        k = in_flight(data)
        if data[sockets.WATCHED][0] != b"none":
            call = self.plan.kick(SOCKET, PLACE, told=True)
            yield Move("somebody kicks the mailbox", lambda _: actors, call)
        if k is not None and not self._is_alive(actors, data, k):
            call = RedisCommand(PLACE, (b"DEL", self.keys[sockets.ORDER]), no_answer)
            yield Move(f"the lease of {k} lapses", lambda _: actors._replace(lapsed=True), call)

    def _interface_moves(self, actors: Actors) -> Iterator[Move]:
        if actors.verdict == "written":
            yield Move("the interface reads the verdict", lambda _: actors._replace(verdict="read"))
        k = actors.sent
        if k > self.last:
            return
        if k == 0:
            call = self.plan.connect(SOCKET, "/", entry(0))
        elif k == self.last:
            call = self.plan.disconnect(SOCKET, k, entry(k, expires=False))
        elif actors.verdict == "read":
            call = self.plan.frames(PLACE, PROCESS, (LOCAL, k, entry(k, ordered=False)))
        else:
            call = self.plan.frame_ordered(SOCKET, k, entry(k))
        yield Move(f"send {k}", partial(self._sent, actors, k), call)

    def _sent(self, actors: Actors, k: int, answer: Any) -> Actors:
        outcome = answer.outcomes[0] if isinstance(answer, Accepted) else answer
        if outcome in (Outcome.SENT, Outcome.BOXED):
            return actors._replace(sent=k + 1)
        if outcome is Outcome.LAPSED and actors.lapsed:
            # The socket is closed: what it would have said is not sent.
            refused = actors
            for at in range(k, self.last):
                refused = _fate(refused, at, "refused")
            return refused._replace(sent=self.last)
        raise Violation(f"send {k} was answered {outcome!r}")

    def _worker_moves(self, actors: Actors, data: Data, at: int, worker: Worker) -> Iterator[Move]:
        k = worker.number
        if worker.stage == "idle":
            for channel, entries in zip(ORDERED_CHANNELS, queued(data), strict=True):
                if entries:
                    call = self.plan.take(PLACE, [channel], 1, None)
                    yield Move(f"worker {at} takes from {channel}", partial(self._taken, actors, at), call)
            return
        if worker.stage == "held":
            yield Move(f"worker {at} starts {k}", lambda _: self._start(actors, at, worker))
        elif worker.stage == "running" and k == 0:
            connected = _with(actors, at, Worker("returned", 0, True))._replace(connected=True)
            yield Move("the connect's consumer returns", lambda _: connected)
        elif worker.stage == "returned":
            said = _with(actors, at, Worker("said", 0, True))
            verdict = "read" if actors.verdict == "read" else "written"
            yield Move("the verdict is written", lambda _: said._replace(verdict=verdict))
        elif worker.stage in ("running", "said"):
            yield self._finish_move(actors, at, worker)
        if worker.stage != "dead" and actors.kills:
            yield from self._kills(actors, at, worker)

    def _start(self, actors: Actors, at: int, worker: Worker) -> Actors:
        k = worker.number
        if k > 0 and not actors.connected and not actors.fates[0]:
            raise Violation(f"{k} starts before the connect's consumer returned")
        started = _with(actors, at, worker._replace(stage="running"))
        return started._replace(verdict="written") if self.early and k == 0 else started

    def _finish_move(self, actors: Actors, at: int, worker: Worker) -> Move:
        k = worker.number
        idle = _with(actors, at, Worker())
        call = self.plan.finish(SOCKET, k, PLACE, drain=k == 0) if worker.ordered else None
        return Move(f"worker {at} finishes {k}", lambda _: _fate(idle, k, "done"), call)

    def _taken(self, actors: Actors, at: int, answer: Any) -> Actors:
        k, ordered = number(answer[1][0])
        return _with(actors, at, Worker("held", k, ordered))

    def _kills(self, actors: Actors, at: int, worker: Worker) -> Iterator[Move]:
        dead = _with(actors, at, Worker("dead"))._replace(kills=actors.kills - 1)
        yield Move(f"the machine of worker {at} is lost", lambda _: _fate(dead, worker.number, "lost"))
        orphans = (*actors.orphans, worker._replace(stage="held" if worker.stage == "held" else "started"))
        yield Move(f"worker {at} is killed", lambda _: dead._replace(orphans=orphans))

    def _parent_move(self, actors: Actors, at: int) -> Move:
        stage, k, ordered = actors.orphans[at]
        rest = actors._replace(orphans=actors.orphans[:at] + actors.orphans[at + 1 :])
        if stage == "started":
            call = self.plan.finish(SOCKET, k, PLACE) if ordered else None
            return Move(f"the parent finishes {k}", lambda _: _fate(rest, k, "lost"), call)
        channel = ORDERED_CHANNELS[0 if k == 0 else 2 if k == self.last else 1]
        raw = entry(k, ordered, expires=k != self.last)
        if ordered:
            call = self.plan.back(SOCKET, k, PLACE, channel, raw, True)
        else:
            call = self.plan.back_plain(channel, PLACE, [raw], True)
        return Move(
            f"the parent gives {k} back",
            lambda outcome: _fate(rest, k, "stale") if outcome is Outcome.STALE else rest,
            call,
        )

    def _is_alive(self, actors: Actors, data: Data, k: int) -> bool:
        held = any(worker.number == k and worker.ordered for worker in actors.workers)
        waits = any(number(raw) == (k, True) for entries in queued(data) for raw in entries)
        return held or waits or any(orphan.number == k and orphan.ordered for orphan in actors.orphans)

    # What must hold

    def check(self, actors: Actors, data: Data) -> None:
        """Everything is checked where it happens."""

    def check_end(self, actors: Actors, data: Data) -> None:
        for at, what in ((sockets.MAILBOX, "mailbox"), (sockets.ORDER, "slot"), (sockets.WATCHED, "watch")):
            if data[at][0] != b"none":
                raise Violation(f"the {what} stays behind")
        missing = [at for at, fate in enumerate(actors.fates) if not fate]
        if missing:
            raise Violation(f"accepted, and nothing became of them: {missing}")
        if "stale" in actors.fates:
            raise Violation("a message was dropped as stale although its lease did not lapse")


def _with(actors: Actors, at: int, worker: Worker) -> Actors:
    workers = list(actors.workers)
    workers[at] = worker
    return actors._replace(workers=tuple(sorted(workers)))


def _fate(actors: Actors, k: int, fate: str) -> Actors:
    if actors.fates[k]:
        raise Violation(f"{k} is {actors.fates[k]}, and now {fate}")
    return actors._replace(fates=tuple(fate if at == k else known for at, known in enumerate(actors.fates)))

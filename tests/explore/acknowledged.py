"""An acknowledged channel: workers that are killed, with their parent or alone, and late ones; and who moves.

A sender sends, and repeats what it has no answer to. Workers take a bell, claim, start, and say that it is
done, that it failed, or that it goes back; they are killed between any two steps. A parent says what the dead
one held. Movers look what is due, and move it later. That time passes is a step: a pause ends, or a lease.

What must hold, and why, is in docs/protocol.md, section 10.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

from headrace_asgi.acknowledgement import AcknowledgedChannels, Claim
from headrace_asgi.contract import Outcome
from headrace_asgi.envelope import encode
from headrace_asgi.later import DUE_CHANNEL
from headrace_asgi.layers.redis.plan.command import RedisCommand, no_answer
from headrace_asgi.layers.redis.plan.later import Peeked
from headrace_asgi.layers.redis.plan.places import Places
from headrace_asgi.layers.redis.plan.plan import Plan
from headrace_asgi.limits import Capacities

from .explorer import PLACE, Data, Move, Violation

__all__ = ["Acknowledged"]

CHANNEL = "work"
#: How often a message is tried: few, so that dead letters are reached.
ATTEMPTS = 2
PLAN = Plan(
    Places(["redis://"], "explore"),
    Capacities(100),
    60,
    86_400,
    acknowledged=AcknowledgedChannels([CHANNEL]),
    attempts=ATTEMPTS,
)
IDS = ("0.a", "0.b")
_ENTRY = encode(b"message")
WAITING, BELLS, DEAD, BODY, DUE, TRIES, MOVERS = range(7)
KEYS = (
    PLAN.key(PLACE, "r", CHANNEL),
    PLAN.key(PLACE, "c", CHANNEL),
    PLAN.key(PLACE, "x", CHANNEL),
    PLAN.key(PLACE, "body"),
    PLAN.key(PLACE, "due"),
    PLAN.key(PLACE, "tries"),
    PLAN.key(PLACE, "c", DUE_CHANNEL),
    *(PLAN.acknowledged.fin_key(PLACE, one) for one in IDS),
)
#: A time that has not come; what is due has 0.
_LATER = 2**52


class Worker(NamedTuple):
    """`stage`: idle, bell (it took one), claimed, running, done (its consumer returned), and then dead with
    what the parent has yet to say: release or fail."""

    stage: str = "idle"
    claim: Claim | None = None
    #: Its lease lapsed: so much time went by that it asks before it starts.
    late: bool = False


class Actors(NamedTuple):
    #: Ids that are yet to be sent, and those whose sender has no answer.
    left: tuple[str, ...] = ()
    doubtful: tuple[str, ...] = ()
    sent: tuple[str, ...] = ()
    workers: tuple[Worker, ...] = ()
    #: What each mover has seen to be due, and not moved.
    movers: tuple[tuple[tuple[str, str], ...], ...] = ()
    #: Ids whose consumer returned, and that were said to be done.
    returned: tuple[str, ...] = ()
    finished: tuple[str, ...] = ()
    kills: int = 0
    losses: int = 0
    lapses: int = 0
    failures: int = 0
    releases: int = 0
    repeats: int = 0
    #: Whether a lease lapsed under a worker that lives: then two may run a message.
    lapsed: bool = False


class Bounds(NamedTuple):
    """How many there are, and how often each thing may happen. A loss is a kill with the parent."""

    messages: int = 2
    workers: int = 2
    movers: int = 1
    kills: int = 1
    losses: int = 1
    lapses: int = 1
    failures: int = 1
    releases: int = 0
    repeats: int = 0


class Acknowledged:
    """See the module. Without `repairs` nobody looks whether bells are missing."""

    keys = KEYS
    given: Data = ((b"none",),) * len(KEYS)

    def __init__(self, bounds: Bounds, repairs: bool = True, name: str = "acknowledged") -> None:
        self.name = name
        self.bounds = bounds
        self.repairs = repairs

    def first(self) -> Actors:
        b = self.bounds
        return Actors(
            left=IDS[: b.messages],
            workers=(Worker(),) * b.workers,
            movers=((),) * b.movers,
            kills=b.kills,
            losses=b.losses,
            lapses=b.lapses,
            failures=b.failures,
            releases=b.releases,
            repeats=b.repeats,
        )

    @staticmethod
    def canonical(at: int, kind: bytes, content: Any) -> Any:
        if kind == b"zset":
            pairs = sorted(zip(content[1::2], content[::2], strict=True), key=lambda pair: pair[1])
            return tuple(part for score, one in pairs for part in (0 if score == b"0" else _LATER, one))
        if kind == b"hash":
            pairs = sorted(zip(content[::2], content[1::2], strict=True))
            return tuple(part for pair in pairs for part in pair)
        return content if kind == b"string" else tuple(content)

    # What may happen

    def moves(self, actors: Actors, data: Data) -> Iterator[Move]:
        yield from self._sender_moves(actors)
        for at, worker in enumerate(actors.workers):
            yield from self._worker_moves(actors, data, at, worker)
            yield from self._deaths(actors, at, worker)
        yield from self._time(actors, data)
        for at, seen in enumerate(actors.movers):
            yield from self._mover_moves(actors, at, seen)
        if self.repairs:
            yield Move("bells are repaired", lambda _: actors, PLAN.acknowledged.ring(PLACE, [CHANNEL]))

    def _sender_moves(self, actors: Actors) -> Iterator[Move]:
        if actors.left:
            one, left = actors.left[0], actors.left[1:]
            sent = actors._replace(left=left, sent=(*actors.sent, one))
            call = PLAN.acknowledged.send(PLACE, CHANNEL, [_ENTRY], [one])
            yield Move(f"{one} is sent", lambda _: sent, call)
            if actors.repeats:
                doubtful = sent._replace(doubtful=(*actors.doubtful, one), repeats=actors.repeats - 1)
                yield Move(f"{one} is sent, its answer is lost", lambda _: doubtful, call)
        for one in actors.doubtful:
            known = actors._replace(doubtful=tuple(other for other in actors.doubtful if other != one))
            call = PLAN.acknowledged.send(PLACE, CHANNEL, [_ENTRY], [one])
            yield Move(f"{one} is sent again", lambda _, known=known: known, call)

    def _worker_moves(self, actors: Actors, data: Data, at: int, worker: Worker) -> Iterator[Move]:
        who, acknowledged = f"worker {at}", PLAN.acknowledged

        def now(stage: str, **changes: Any) -> Actors:
            return _with(actors, at, worker._replace(stage=stage, **changes))

        if worker.stage == "idle":
            if data[BELLS][0] == b"list":
                call = PLAN.take(PLACE, [CHANNEL], 1, None)
                yield Move(f"{who} takes a bell", lambda _: now("bell"), call)
        elif worker.stage == "bell":
            call = acknowledged.claim(PLACE, CHANNEL, 1)
            yield Move(f"{who} claims", partial(self._claimed, actors, at), call)
        elif worker.claim is not None:
            yield from self._holder_moves(actors, at, worker, worker.claim)

    def _holder_moves(self, actors: Actors, at: int, worker: Worker, claim: Claim) -> Iterator[Move]:
        who, acknowledged = f"worker {at}", PLAN.acknowledged
        idle = _with(actors, at, Worker())
        release = acknowledged.release(PLACE, CHANNEL, claim)
        fail = acknowledged.fail(PLACE, CHANNEL, claim, "why")
        if worker.stage == "claimed":
            started = partial(self._started, actors, at, worker)
            if worker.late:
                call = acknowledged.renew(PLACE, claim)
                yield Move(f"{who} asks whether it may start {claim}", started, call)
            else:
                yield Move(f"{who} starts {claim}", lambda _: started(Outcome.SENT))
            if actors.releases:
                fewer = idle._replace(releases=actors.releases - 1)
                yield Move(f"{who} gives {claim} back", lambda _: fewer, release)
        elif worker.stage == "running":
            returned = tuple(sorted({*actors.returned, claim.id}))
            done = _with(actors, at, worker._replace(stage="done"))._replace(returned=returned)
            yield Move(f"the consumer of {claim} returns", lambda _: done)
            if actors.failures:
                fewer = idle._replace(failures=actors.failures - 1)
                yield Move(f"the consumer of {claim} fails", lambda _: fewer, fail)
        elif worker.stage == "done":
            call = acknowledged.finish(PLACE, CHANNEL, claim)
            yield Move(f"{who} says that {claim} is done", partial(self._finished, idle, claim), call)
        elif worker.stage == "release":
            yield Move(f"the parent of {who} gives {claim} back", lambda _: idle, release)
        elif worker.stage == "fail":
            yield Move(f"the parent of {who} says that {claim} failed", lambda _: idle, fail)

    @staticmethod
    def _claimed(actors: Actors, at: int, claimed: list[tuple[Claim, bytes]]) -> Actors:
        if not claimed:
            return _with(actors, at, Worker())
        [(claim, entry)] = claimed
        if entry != _ENTRY:
            raise Violation(f"{claim} has the entry {entry!r}")
        return _with(actors, at, Worker("claimed", claim))

    def _started(self, actors: Actors, at: int, worker: Worker, outcome: Outcome) -> Actors:
        claim = worker.claim
        if outcome is not Outcome.SENT or claim is None:
            return _with(actors, at, Worker())
        others = [one.claim.id for one in actors.workers if one.stage == "running" and one.claim]
        if claim.id in others and not actors.lapsed:
            raise Violation(f"two workers run {claim.id}, and no lease has lapsed")
        return _with(actors, at, worker._replace(stage="running", late=False))

    @staticmethod
    def _finished(idle: Actors, claim: Claim, outcome: Outcome) -> Actors:
        if outcome is not Outcome.SENT:
            return idle
        newer = [one.claim for one in idle.workers if one.claim and one.claim.id == claim.id]
        if any(one.number > claim.number for one in newer):
            raise Violation(f"{claim} is done by who has it no longer")
        return idle._replace(finished=tuple(sorted({*idle.finished, claim.id})))

    @staticmethod
    def _deaths(actors: Actors, at: int, worker: Worker) -> Iterator[Move]:
        if worker.stage in ("idle", "release", "fail"):
            return
        if actors.losses:
            gone = _with(actors, at, Worker())._replace(losses=actors.losses - 1)
            yield Move(f"the machine of worker {at} is lost", lambda _: gone)
        if actors.kills:
            owed = {"bell": "idle", "claimed": "release"}.get(worker.stage, "fail")
            dead = Worker() if owed == "idle" else Worker(owed, worker.claim)
            killed = _with(actors, at, dead)._replace(kills=actors.kills - 1)
            yield Move(f"worker {at} is killed", lambda _: killed)

    def _time(self, actors: Actors, data: Data) -> Iterator[Move]:
        """A pause ends, or a lease: of a worker that lives only so often."""
        for member, at in _due(data).items():
            if at == 0:
                continue
            after = actors
            holders = self._holders(actors, data, member)
            if holders:
                if not actors.lapses:
                    continue
                after = actors._replace(lapses=actors.lapses - 1, lapsed=True)
                for holder in holders:
                    after = _with(after, holder, after.workers[holder]._replace(late=True))
            call = RedisCommand(PLACE, (b"ZADD", KEYS[DUE], b"XX", 0, member), no_answer)
            yield Move(f"the time of {member} comes", lambda _, after=after: after, call)

    @staticmethod
    def _holders(actors: Actors, data: Data, member: str) -> list[int]:
        """The workers that have the newest claim of a message."""
        tries = _hash(data, TRIES).get(member[1:].encode(), b"0")
        return [
            at
            for at, worker in enumerate(actors.workers)
            if worker.claim is not None
            and worker.stage in ("claimed", "running", "done")
            and worker.claim == Claim(member[1:], int(tries))
        ]

    def _mover_moves(self, actors: Actors, at: int, seen: tuple[tuple[str, str], ...]) -> Iterator[Move]:
        if seen:
            call = PLAN.later.move(PLACE, seen)
            yield Move(f"mover {at} moves", lambda _: _mover(actors, at, ()), call)
        else:
            yield Move(f"mover {at} looks", partial(self._peeked, actors, at), PLAN.later.peek(PLACE))

    @staticmethod
    def _peeked(actors: Actors, at: int, peeked: Peeked) -> Actors:
        return _mover(actors, at, tuple(peeked.due))

    # What must hold

    def check(self, actors: Actors, data: Data) -> None:
        waiting, dead, due = _list(data, WAITING), _list(data, DEAD), _due(data)
        bodies = _hash(data, BODY)
        for one in IDS:
            where = waiting.count(one.encode()) + dead.count(one.encode()) + (f"a{one}" in due)
            here = one.encode() in bodies
            if where != here:
                raise Violation(f"{one} is in {where} places, and its body is {'here' if here else 'gone'}")
            if here and one in actors.finished:
                raise Violation(f"{one} is back, though it was done")
            if one in actors.sent and not here and one not in actors.finished:
                raise Violation(f"{one} is lost")
            if one in actors.finished and one not in actors.returned:
                raise Violation(f"{one} is done, and no consumer has returned")

    def check_end(self, actors: Actors, data: Data) -> None:
        dead = [one.decode() for one in _list(data, DEAD)]
        missing = set(IDS[: self.bounds.messages]) - {*actors.finished, *dead}
        if missing:
            raise Violation(f"neither done nor laid aside: {sorted(missing)}")


def _with(actors: Actors, at: int, worker: Worker) -> Actors:
    return actors._replace(workers=(*actors.workers[:at], worker, *actors.workers[at + 1 :]))


def _mover(actors: Actors, at: int, seen: tuple[tuple[str, str], ...]) -> Actors:
    return actors._replace(movers=(*actors.movers[:at], seen, *actors.movers[at + 1 :]))


def _list(data: Data, at: int) -> list[bytes]:
    return list(data[at][1]) if data[at][0] == b"list" else []


def _hash(data: Data, at: int) -> dict[bytes, bytes]:
    found = data[at]
    return dict(zip(found[1][::2], found[1][1::2], strict=True)) if found[0] == b"hash" else {}


def _due(data: Data) -> dict[str, int]:
    found = data[DUE]
    if found[0] != b"zset":
        return {}
    return {one.decode(): at for at, one in zip(found[1][::2], found[1][1::2], strict=True)}

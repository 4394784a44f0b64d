"""Messages for later, and those who move them: movers that sleep, look, move late, and are killed.

Messages are kept, a nearer one behind a farther one, and may be taken back. Their channel may be full when
they are due. A mover sleeps until a time that it knows of, or until a bell; one that is killed takes with it
what it alone knew, and then others look when they have slept for their longest. That a time comes is a step.

What must hold, and why, is in docs/protocol.md, section 11.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

from headrace_asgi.envelope import encode
from headrace_asgi.later import DUE_CHANNEL, Due
from headrace_asgi.layers.redis.plan.command import RedisCommand, no_answer
from headrace_asgi.layers.redis.plan.later import Peeked

from .explorer import PLACE, Data, Move, Violation, plan

__all__ = ["Delays"]

CHANNEL = "work"
#: A channel that holds one message, so that the second one finds it full.
PLAN = plan(capacity=1)
#: By id: when it is due, as far away as no clock goes. The one that is sent last is the first to be due.
FAR = 2**45
TIMES = {"0.a": FAR + 1, "0.b": FAR}
BODY, DUE, LIST, BELLS = range(4)
KEYS = (
    PLAN.key(PLACE, "body"),
    PLAN.key(PLACE, "due"),
    PLAN.key(PLACE, "c", CHANNEL),
    PLAN.key(PLACE, "c", DUE_CHANNEL),
)


class Mover(NamedTuple):
    """`stage`: awake, moving (it has looked), asleep; `knows` of a time until which it sleeps."""

    stage: str = "awake"
    seen: tuple[tuple[str, str], ...] = ()
    knows: bool = False


class Actors(NamedTuple):
    left: tuple[str, ...] = ()
    cancels: int = 0
    kills: int = 0
    killed: bool = False
    cancelled: tuple[str, ...] = ()
    delivered: tuple[str, ...] = ()
    movers: tuple[Mover, ...] = ()


class Delays:
    """See the module."""

    keys = KEYS
    given: Data = ((b"none",),) * len(KEYS)

    def __init__(
        self, messages: int = 2, movers: int = 2, kills: int = 1, cancels: int = 1, name: str = "later"
    ) -> None:
        self.name = name
        self.ids = tuple(TIMES)[:messages]
        self.movers = movers
        self.kills = kills
        self.cancels = cancels

    def first(self) -> Actors:
        return Actors(self.ids, self.cancels, self.kills, movers=(Mover(),) * self.movers)

    @staticmethod
    def canonical(at: int, kind: bytes, content: Any) -> Any:
        if kind == b"zset":
            # The pause of one that found no room ends at some time that is nobody's own.
            pairs = [(one, int(score)) for one, score in zip(content[::2], content[1::2], strict=True)]
            known = (0, *TIMES.values())
            return tuple(
                part for one, score in sorted(pairs) for part in (score if score in known else FAR - 1, one)
            )
        if kind == b"hash":
            pairs = sorted(zip(content[::2], content[1::2], strict=True))
            return tuple(part for pair in pairs for part in pair)
        return tuple(content)

    # What may happen

    def moves(self, actors: Actors, data: Data) -> Iterator[Move]:
        if actors.left:
            one, sent = actors.left[0], actors._replace(left=actors.left[1:])
            call = PLAN.later.keep(one, CHANNEL, encode(one.encode()), Due(TIMES[one], from_now=False))
            yield Move(f"{one} is kept", lambda _: sent, call)
        if actors.cancels:
            for one in set(self.ids) - set(actors.left):
                cancelled = partial(self._cancelled, actors, one)
                yield Move(f"{one} is taken back", cancelled, PLAN.later.cancel(one))
        yield from self._time(actors, data)
        if data[LIST][0] == b"list":
            call = PLAN.take(PLACE, [CHANNEL], 1, None)
            yield Move("a worker takes", partial(self._taken, actors), call)
        for at, mover in enumerate(actors.movers):
            yield from self._mover_moves(actors, data, at, mover)
            if actors.kills:
                gone = actors.movers[:at] + actors.movers[at + 1 :]
                killed = actors._replace(movers=gone, kills=actors.kills - 1, killed=True)
                if gone:
                    yield Move(f"mover {at} is killed", lambda _, killed=killed: killed)

    @staticmethod
    def _cancelled(actors: Actors, one: str, in_time: bool) -> Actors:
        actors = actors._replace(cancels=actors.cancels - 1)
        return actors._replace(cancelled=(*actors.cancelled, one)) if in_time else actors

    @staticmethod
    def _taken(actors: Actors, taken: tuple[str, list[bytes]] | None) -> Actors:
        if taken is None:
            return actors
        one = taken[1][0][10:].decode()  # behind the header of its envelope
        if one in actors.delivered:
            raise Violation(f"{one} is delivered twice")
        return actors._replace(delivered=tuple(sorted((*actors.delivered, one))))

    @staticmethod
    def _time(actors: Actors, data: Data) -> Iterator[Move]:
        """The next time comes."""
        waiting = [(at, one) for one, at in _due(data).items() if at]
        for _, one in sorted(waiting)[:1]:
            call = RedisCommand(PLACE, (b"ZADD", KEYS[DUE], b"XX", 0, one), no_answer)
            yield Move(f"the time of {one} comes", lambda _: actors, call)

    def _mover_moves(self, actors: Actors, data: Data, at: int, mover: Mover) -> Iterator[Move]:
        def now(after: Mover) -> Actors:
            return actors._replace(movers=(*actors.movers[:at], after, *actors.movers[at + 1 :]))

        def looked(peeked: Peeked) -> Actors:
            if peeked.due:
                return now(Mover("moving", tuple(peeked.due)))
            return now(Mover("asleep", knows=peeked.next_ms is not None))

        if mover.stage == "awake":
            yield Move(f"mover {at} looks", looked, PLAN.later.peek(PLACE))
        elif mover.stage == "moving":
            call = PLAN.later.move(PLACE, mover.seen)
            yield Move(f"mover {at} moves", lambda _: now(Mover()), call)
        else:
            if data[BELLS][0] == b"list":
                call = PLAN.take(PLACE, [DUE_CHANNEL], 1, None)
                yield Move(f"mover {at} hears the bell", lambda _: now(Mover()), call)
            if 0 in _due(data).values() and (mover.knows or actors.killed):
                yield Move(f"mover {at} has slept", lambda _: now(Mover()))

    # What must hold

    def check(self, actors: Actors, data: Data) -> None:
        if data[LIST][0] == b"list" and len(data[LIST][1]) > 1:
            raise Violation("the channel holds more than it may")
        both = set(actors.cancelled) & set(actors.delivered)
        if both:
            raise Violation(f"taken back in time, and delivered: {both}")

    def check_end(self, actors: Actors, data: Data) -> None:
        owed = set(self.ids) - set(actors.cancelled)
        if set(actors.delivered) != owed:
            raise Violation(f"owed {sorted(owed)}, delivered {actors.delivered}")
        left = [KEYS[at] for at in (BODY, DUE) if data[at][0] != b"none"]
        if left:
            raise Violation(f"left behind: {left}")


def _due(data: Data) -> dict[bytes, int]:
    found = data[DUE]
    if found[0] != b"zset":
        return {}
    return {one: at for at, one in zip(found[1][::2], found[1][1::2], strict=True)}

"""Frames that are repeated: answers get lost, connections break, Redis may come back empty.

An interface sends the frames of one socket and holds what it has no answer to; after a reconnect it registers
its socket again and repeats, with the same numbers. A worker takes and runs.

What must hold, and why, is in docs/protocol.md, section 6.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

from headrace_asgi.contract import OpenSocket, Outcome
from headrace_asgi.layers.redis.plan.command import Accepted, RedisCommand, no_answer
from headrace_asgi.layers.redis.plan.plan import ORDERED_CHANNELS

from . import sockets
from .explorer import PLACE, Data, Move, Violation, plan
from .sockets import LOCAL, PROCESS, SOCKET, entry, in_flight, number, queued

__all__ = ["Repeats"]

RECEIVE = ORDERED_CHANNELS[1]


class Actors(NamedTuple):
    #: The last frame that the interface knows to be accepted, and the last one it has sent.
    known: int = 0
    sent: int = 0
    #: here, lost (the connection broke), empty (found out that Redis is).
    line: str = "here"
    #: What the worker runs, if it must be finished; and the frames that started, in their order.
    running: int = 0
    started: tuple[int, ...] = ()
    breaks: int = 0
    flushes: int = 0
    #: The last frame that was sent without an answer when Redis was emptied: up to it nothing is promised.
    doubtful: int = 0
    closed: bool = False


class Repeats:
    """See the module. `ordered` sends through the mailbox, one frame at a time; else in batches."""

    keys = sockets.KEYS
    canonical = staticmethod(sockets.canonical)

    def __init__(
        self, ordered: bool, frames: int = 4, breaks: int = 3, flushes: int = 0, name: str = "repeated frames"
    ) -> None:
        self.name = name
        self.ordered = ordered
        self.frames = frames
        self.breaks = breaks
        self.flushes = flushes
        self.plan = plan(capacity=2)
        registered = ((b"hash", (LOCAL.encode(), b"/")), (b"hash", (LOCAL.encode(), b"0")))
        given = list(sockets.GIVEN)
        given[sockets.REGISTRY], given[sockets.NUMBERS] = registered
        if ordered:
            given[sockets.ORDER] = (b"string", b"done")
        self.given: Data = tuple(given)

    def first(self) -> Actors:
        return Actors(breaks=self.breaks, flushes=self.flushes)

    # What may happen

    def moves(self, actors: Actors, data: Data) -> Iterator[Move]:
        if not actors.closed:
            yield from self._interface_moves(actors)
        if actors.running:
            call = self.plan.finish(SOCKET, actors.running, PLACE)
            yield Move(f"{actors.running} is finished", lambda _: actors._replace(running=0), call)
        elif queued(data)[1]:
            yield Move(
                "the worker takes", partial(self._taken, actors), self.plan.take(PLACE, [RECEIVE], 1, None)
            )
        if actors.flushes:
            call = RedisCommand(PLACE, (b"DEL", *self.keys), no_answer)
            emptied = actors._replace(flushes=actors.flushes - 1, running=0, doubtful=actors.sent)
            yield Move("Redis is emptied", lambda _: emptied, call)

    def _interface_moves(self, actors: Actors) -> Iterator[Move]:
        if actors.line != "here":
            mine = OpenSocket(LOCAL, "/", actors.known, self.ordered)
            call = self.plan.register_sockets(PLACE, PROCESS, [mine])
            back = actors._replace(line="here")
            yield Move(f"the socket is registered again at {actors.known}", lambda _: back, call)
            return
        first = actors.known + 1
        if first > self.frames:
            return
        for last in {first} if self.ordered else {first, min(first + 2, self.frames)}:
            call = self._send(first, last)
            answered = partial(self._answered, actors, first, last)
            yield Move(f"frames {first} to {last}, answered", answered, call)
            if actors.breaks:
                lost = actors._replace(line="lost", sent=max(actors.sent, last), breaks=actors.breaks - 1)
                yield Move(f"frames {first} to {last}, the answer is lost", lambda _, lost=lost: lost, call)
                yield Move(f"frames {first} to {last} are lost on their way", lambda _, lost=lost: lost)

    def _send(self, first: int, last: int) -> RedisCommand:
        if self.ordered:
            return self.plan.frame_ordered(SOCKET, first, entry(first))
        frames = [part for k in range(first, last + 1) for part in (LOCAL, k, entry(k, ordered=False))]
        return self.plan.frames(PLACE, PROCESS, frames)

    def _answered(self, actors: Actors, first: int, last: int, answer: Accepted) -> Actors:
        actors = actors._replace(sent=max(actors.sent, last))
        known = actors.known
        for k, outcome in zip(range(first, last + 1), answer.outcomes, strict=True):
            if outcome.accepted:
                if known != k - 1:
                    raise Violation(f"{k} is accepted behind {known + 1}, which was not")
                known = k
            elif outcome is Outcome.GONE:
                return actors._replace(line="empty")
            elif outcome is Outcome.LAPSED:
                return actors._replace(closed=True)
            elif outcome is not Outcome.FULL:
                raise Violation(f"{k} was answered {outcome!r}")
        return actors._replace(known=known)

    def _taken(self, actors: Actors, answer: Any) -> Actors:
        k, ordered = number(answer[1][0])
        last = actors.started[-1] if actors.started else 0
        if k <= last and k > actors.doubtful:
            raise Violation(f"{k} is doubled")
        if k > last + 1 and k > actors.doubtful + 1:
            raise Violation(f"{k} starts, and {last + 1} never did")
        return actors._replace(running=k if ordered else 0, started=(*actors.started, k))

    # What must hold

    def check(self, actors: Actors, data: Data) -> None:
        """Everything is checked where it happens."""

    def check_end(self, actors: Actors, data: Data) -> None:
        if actors.closed:
            if in_flight(data) is None and not self.flushes:
                raise Violation("the socket was closed, though nothing was lost")
            return
        if actors.known < self.frames:
            raise Violation(f"the interface is stuck behind {actors.known}")
        if not self.flushes and actors.started != tuple(range(1, self.frames + 1)):
            raise Violation(f"started: {actors.started}")

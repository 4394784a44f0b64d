"""An interface process that is killed, or paused for any time, and those who find it dead.

The process registers itself, opens sockets and ends them, and does each of that late: behind its death, its
fence, any step of the cleaning. Workers put it into a group. Two observers look, fence and clean up, at once
or one where the other broke off.

What must hold, and why, is in docs/protocol.md, section 9.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

from headrace_asgi.contract import Outcome
from headrace_asgi.envelope import decode, encode, unpack_message
from headrace_asgi.layers.redis.plan.plan import ORDERED_CHANNELS

from .explorer import PLACE, Data, Move, Violation, plan
from .sockets import PROCESS, canonical

__all__ = ["Deaths"]

PLAN = plan()
GROUP = "g"
LOCALS = ("a", "b")
_HOME = tuple(PLAN.key(PLACE, kind) for kind in ("procs", "beat", "dead", "reaper"))
_OWN = tuple(PLAN.key(PLACE, kind, PROCESS) for kind in ("up", "s", "f", "q", "gq"))
_SOCKETS = tuple(PLAN.key(PLACE, kind, PROCESS + local) for local in LOCALS for kind in ("o", "m"))
_REST = (
    PLAN.key(PLACE, "fenced", PROCESS),
    PLAN.key(PLACE, "g", GROUP),
    PLAN.key(PLACE, "w"),
    *(PLAN.key(PLACE, "c", channel) for channel in (ORDERED_CHANNELS[0], ORDERED_CHANNELS[2])),
)
KEYS = (*_HOME, *_OWN, *_SOCKETS, *_REST)
_AT = {key: at for at, key in enumerate(KEYS)}
#: What must be gone at the end.
_CLEANED = (*_OWN, PLAN.key(PLACE, "g", GROUP), *_HOME[:3])


class Observer(NamedTuple):
    """`stage`: idle, looked, and what it does next: unmark, scan, tell, groups, leave, rest, bury."""

    stage: str = "idle"
    #: The counter that it saw.
    counter: str = ""
    #: Sockets whose disconnect it has yet to tell.
    left: tuple[str, ...] = ()


class Actors(NamedTuple):
    #: new, here, killed, fenced (it knows that it is dead).
    process: str = "new"
    #: Sockets that it has asked for, was told of, and has yet to end.
    asked: tuple[str, ...] = ()
    opened: tuple[str, ...] = ()
    open: tuple[str, ...] = ()
    #: How often it may register again, beat, and be put into the group.
    again: int = 1
    beats: int = 1
    adds: int = 1
    breaks: int = 0
    observers: tuple[Observer, ...] = ()


class Deaths:
    """See the module. Without `unmarks_first` the marks of the dead go behind the disconnects."""

    keys = KEYS
    given: Data = ((b"none",),) * len(KEYS)

    def __init__(
        self,
        sockets: int,
        observers: int = 2,
        breaks: int = 1,
        unmarks_first: bool = True,
        name: str = "deaths",
    ) -> None:
        self.name = name
        self.locals = LOCALS[:sockets]
        self.observers = observers
        self.breaks = breaks
        self.unmarks_first = unmarks_first

    def first(self) -> Actors:
        return Actors(asked=self.locals, breaks=self.breaks, observers=(Observer(),) * self.observers)

    @staticmethod
    def canonical(at: int, kind: bytes, content: Any) -> Any:
        if kind == b"hash":
            pairs = sorted(zip(content[::2], content[1::2], strict=True))
            return tuple(part for pair in pairs for part in pair)
        if kind == b"list":
            return tuple(content)  # nothing here expires
        return canonical(at, kind, content)

    # What may happen

    def moves(self, actors: Actors, data: Data) -> Iterator[Move]:
        if actors.process in ("new", "here"):
            yield Move("the process is killed", lambda _: actors._replace(process="killed"))
            yield from self._process_moves(actors)
        if actors.process in ("here", "fenced"):
            yield from self._ends(actors)
        yield from self._worker_moves(actors, data)
        for at, observer in enumerate(actors.observers):
            yield from self._observer_moves(actors, at, observer)

    def _process_moves(self, actors: Actors) -> Iterator[Move]:
        if actors.process == "new" or actors.again:
            [register] = PLAN.register(PROCESS, "{}")
            yield Move("the process registers", partial(self._registered, actors), register)
        if actors.process == "here" and actors.asked:
            local, *others = actors.asked
            call = PLAN.connect(PROCESS + local, "/", encode(b"0", order=0))
            yield Move(f"{local} connects", partial(self._connected, actors, local, tuple(others)), call)
        if actors.process == "here" and actors.beats:
            yield Move("the process beats", partial(self._beaten, actors), PLAN.beat(PROCESS))

    def _registered(self, actors: Actors, known: bool) -> Actors:
        if not known:
            return actors._replace(process="fenced")
        return actors._replace(process="here", again=actors.again - (actors.process == "here"))

    def _connected(self, actors: Actors, local: str, others: tuple[str, ...], outcome: Outcome) -> Actors:
        if outcome is Outcome.GONE:
            return actors._replace(process="fenced")
        if outcome is not Outcome.SENT:
            raise Violation(f"a connect is answered {outcome.name}")
        return actors._replace(asked=others, opened=(*actors.opened, local), open=(*actors.open, local))

    def _beaten(self, actors: Actors, beat: Any) -> Actors:
        return actors._replace(beats=actors.beats - 1, process="here" if beat.status == 1 else "fenced")

    def _ends(self, actors: Actors) -> Iterator[Move]:
        """The process tells the disconnect of a socket that it has, knowing or not that it is dead."""
        for local in actors.open:
            entry = encode(local.encode(), order=1)
            left = tuple(other for other in actors.open if other != local)
            yield Move(
                f"the process tells that {local} ended",
                lambda _, left=left: actors._replace(open=left),  # type: ignore[misc]
                PLAN.disconnect(PROCESS + local, 1, entry),
            )

    def _worker_moves(self, actors: Actors, data: Data) -> Iterator[Move]:
        if actors.adds:
            call = PLAN.group_add(GROUP, PROCESS)
            yield Move("a worker adds to the group", lambda _: actors._replace(adds=actors.adds - 1), call)
        for local in actors.opened:
            if data[_AT[PLAN.key(PLACE, "o", PROCESS + local)]] == (b"string", b"0"):
                call = PLAN.finish(PROCESS + local, 0, PLACE)
                yield Move(f"the connect of {local} is finished", lambda _: actors, call)

    # Those who look

    def _observer_moves(self, actors: Actors, at: int, observer: Observer) -> Iterator[Move]:
        def now(stage: str, **known: Any) -> Actors:
            changed = Observer(stage, **known)
            return actors._replace(observers=(*actors.observers[:at], changed, *actors.observers[at + 1 :]))

        who = f"observer {at}"
        if observer.stage != "idle" and actors.breaks:
            yield Move(f"{who} breaks off", lambda _: now("idle")._replace(breaks=actors.breaks - 1))
        yield from self._steps(who, observer, now)

    def _steps(self, who: str, observer: Observer, now: Any) -> Iterator[Move]:
        begin, behind_telling = ("unmark", "groups") if self.unmarks_first else ("scan", "unmark")

        def looked(found: Any) -> Actors:
            counters, dead = found
            if PROCESS in dead:
                return now(begin)  # type: ignore[no-any-return]
            if PROCESS in counters:
                return now("looked", counter=counters[PROCESS])  # type: ignore[no-any-return]
            return now("idle")  # type: ignore[no-any-return]

        if observer.stage == "idle":
            # All look under one name: that one looks at a time is no part of what must hold.
            yield Move(f"{who} looks", looked, PLAN.look_after("observer"))
        elif observer.stage == "looked":
            fence = PLAN.fence(PROCESS, observer.counter)
            yield Move(f"{who} fences", lambda dead: now(begin if dead else "idle"), fence)
        elif observer.stage == "unmark":
            [unmark] = PLAN.unmark(PROCESS)
            following = "scan" if self.unmarks_first else "groups"
            yield Move(f"{who} removes the marks", lambda _: now(following), unmark)
        elif observer.stage == "scan":
            scan = PLAN.some_sockets(PLACE, PROCESS, 0)
            yield Move(
                f"{who} scans the registry",
                lambda found: now("tell", left=tuple(sorted(found[1]))) if found[1] else now(behind_telling),
                scan,
            )
        elif observer.stage == "tell":
            local, *others = observer.left
            tell = PLAN.lost_disconnect(PROCESS + local, "/")
            following_stage = now("tell", left=tuple(others)) if others else now(behind_telling)
            yield Move(f"{who} tells that {local} ended", lambda _: following_stage, tell)
        else:
            yield from self._last_steps(who, observer, now)

    def _last_steps(self, who: str, observer: Observer, now: Any) -> Iterator[Move]:
        if observer.stage == "groups":
            yield Move(
                f"{who} reads the groups",
                lambda found: now("leave" if found else "rest"),
                PLAN.groups_of(PLACE, PROCESS),
            )
        elif observer.stage == "leave":
            yield Move(f"{who} leaves the group", lambda _: now("rest"), PLAN.group_forget(GROUP, PROCESS))
        elif observer.stage == "rest":
            yield Move(f"{who} removes the rest", lambda _: now("bury"), PLAN.remove_rest(PLACE, PROCESS)[1])
        elif observer.stage == "bury":
            yield Move(f"{who} is done", lambda _: now("idle"), PLAN.buried(PROCESS))

    # What must hold

    def check(self, actors: Actors, data: Data) -> None:
        told = self._told(data)
        if len(set(told)) < len(told):
            raise Violation(f"disconnects told twice: {told}")

    def check_end(self, actors: Actors, data: Data) -> None:
        if sorted(self._told(data)) != sorted(actors.opened):
            raise Violation(f"opened {actors.opened}, told {self._told(data)}")
        left = [key for key in _CLEANED if data[_AT[key]][0] != b"none"]
        if left:
            raise Violation(f"left behind: {left}")

    def _told(self, data: Data) -> list[str]:
        """The sockets whose disconnect is on its list, or in their mailbox."""
        raw = list(self._list(data, PLAN.key(PLACE, "c", ORDERED_CHANNELS[2])))
        for local in self.locals:
            raw += [boxed[1:] for boxed in self._list(data, PLAN.key(PLACE, "m", PROCESS + local))]
        return [_local(decode(one).payload) for one in raw]

    @staticmethod
    def _list(data: Data, key: str) -> tuple[bytes, ...]:
        found = data[_AT[key]]
        return found[1] if found[0] == b"list" else ()


def _local(payload: Any) -> str:
    """Of an entry that the process wrote, or an observer."""
    if len(payload) == 1:
        return bytes(payload).decode()
    return str(unpack_message(payload)["reply_channel"])[-1]

"""One command for Redis, and how its answer is read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from headrace_asgi.contract import Outcome
from headrace_asgi.envelope import Codec
from headrace_asgi.limits import Capacities

from .places import KEY_START, Places
from .scripts import Script

__all__ = [
    "ALIVE",
    "FENCED",
    "FOREIGN_BYTES",
    "LOST",
    "UNMARKED",
    "Accepted",
    "Argument",
    "BeatAnswer",
    "Level",
    "OrderedFrame",
    "Parts",
    "RedisCommand",
    "Scripted",
    "as_is",
    "first_outcome",
    "names",
    "no_answer",
    "number",
    "outcome",
    "outcomes_or_none",
    "text",
]

Argument = bytes | str | int
#: A frame of an ordered socket: local part, order number, entry.
OrderedFrame = tuple[str, int, bytes]

#: How bytes that are no text are kept in a str, and found again when it is packed.
FOREIGN_BYTES = "surrogateescape"
#: What `beat.lua` answers: all is in place; others declared the process dead; Redis lost its data; Redis lost
#: nothing but the mark of the process.
ALIVE, FENCED, LOST, UNMARKED = 1, -5, -6, -7


@dataclass(slots=True)
class RedisCommand:
    """One command for one place.

    `repeat` says that it may be sent again when its answer was lost. A `script` is asked for by digest and
    sent whole if Redis does not know it: `EVAL source`, then the same arguments from `numkeys` on. `lean` is
    asked instead when Redis is out of memory: what must not wait for memory, without what can.
    """

    place: str
    args: tuple[Argument, ...]
    read: Callable[[Any], Any]
    script: Script | None = None
    repeat: bool = False
    lean: RedisCommand | None = None

    @property
    def needs_memory(self) -> bool:
        """Whether this is a script that Redis refuses when its memory is full."""
        return self.script is not None and self.script.needs_memory

    @property
    def name(self) -> str:
        """What people are told of it: the script's name, or the first word."""
        return self.script.name if self.script is not None else text(self.args[0])

    @property
    def keys(self) -> list[str]:
        """The keys it touches."""
        return [arg for arg in self.args if isinstance(arg, str) and arg.startswith(KEY_START)]

    def whole(self) -> RedisCommand:
        """The command with the script's source in place of its digest (after NOSCRIPT)."""
        if self.script is None:
            return self
        args = (b"EVAL", self.script.source, *self.args[2:])
        return RedisCommand(self.place, args, self.read, None, self.repeat, self.lean)


@dataclass(frozen=True, slots=True)
class BeatAnswer:
    """The answer to a heartbeat: a status, and what Redis says besides."""

    status: int
    now_ms: int
    flushes: int
    #: Channels that some worker takes, by its word of the last `ANNOUNCED_SECONDS`.
    taken: frozenset[str]


class Level(NamedTuple):
    """How full the list of a shared channel is: messages ever put on it, and those that are there."""

    sent: int
    waiting: int


class Accepted(NamedTuple):
    """The answer to frames: one outcome each, and the level of their list if Redis looked at it.

    No outcome for one whose keys something else wrote over, if there were others.
    """

    outcomes: Sequence[Outcome | None]
    level: Level | None


class Parts(Protocol):
    """What a part of the plan in a module of its own needs of the whole."""

    places: Places
    codec: Codec
    capacities: Capacities
    expiry_seconds: float

    def key(self, place: str, kind: str, name: str = "") -> str: ...
    def queue_key(self, place: str, channel: str) -> str: ...
    def place_of_process(self, process: str) -> str: ...


class Scripted(Protocol):
    """Makes the command that runs a script by its name."""

    def __call__(
        self,
        name: str,
        place: str,
        keys: Sequence[str],
        args: Sequence[Argument],
        read: Callable[[Any], Any] = ...,
        repeat: bool = ...,
    ) -> RedisCommand: ...


def as_is(answer: Any) -> Any:
    return answer


def outcome(answer: Any) -> Outcome:
    return Outcome(answer)


def first_outcome(answers: Sequence[Any]) -> Outcome:
    """The outcome of the only one."""
    return Outcome(answers[0])


def outcomes_or_none(answers: Sequence[Any]) -> list[Outcome | None]:
    """Of each an outcome, or nothing, where something went wrong with that one."""
    return [None if one is None else Outcome(one) for one in answers]


def no_answer(answer: Any) -> None:
    return None


def number(answer: Any) -> int:
    """A counter; 0 for none, and for what is no number: a counter is not worth an error."""
    try:
        return int(answer or 0)
    except ValueError:
        return 0


def names(answer: Any) -> list[str]:
    return [text(name) for name in answer]


def text(value: Any) -> str:
    """A name as Redis has it. What is no UTF-8 is none of ours, and is packed as the same bytes again."""
    return value.decode(errors=FOREIGN_BYTES) if isinstance(value, bytes) else str(value)

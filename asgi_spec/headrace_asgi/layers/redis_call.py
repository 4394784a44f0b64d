"""One command for Redis, and how its answer is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..contract import Outcome
from .redis_scripts import Script

__all__ = [
    "FENCED",
    "Accepted",
    "Argument",
    "Beat",
    "Call",
    "Level",
    "as_is",
    "names",
    "no_answer",
    "outcome",
    "text",
]

Argument = bytes | str | int

#: What `beat.lua` answers a process that others declared dead.
FENCED = -5


@dataclass(slots=True)
class Call:
    """One command for one place.

    `repeat` says that it may be sent again when its answer was lost. A `script` is asked for by digest and
    sent whole if Redis does not know it: `EVAL source`, then the same arguments from `numkeys` on.
    """

    place: str
    args: tuple[Argument, ...]
    read: Callable[[Any], Any]
    script: Script | None = None
    repeat: bool = False

    def whole(self) -> tuple[Argument, ...]:
        """The command with the script's source in place of its digest (after NOSCRIPT)."""
        if self.script is None:
            return self.args
        return (b"EVAL", self.script.source, *self.args[2:])


@dataclass(frozen=True, slots=True)
class Beat:
    """The answer to a heartbeat."""

    alive: bool
    fenced: bool
    now_ms: int
    flushes: int


class Level(NamedTuple):
    """How full the list of a shared channel is: messages ever put on it, and those that are there."""

    sent: int
    waiting: int


class Accepted(NamedTuple):
    """The answer to frames: one outcome each, and the level of their list if Redis looked at it."""

    outcomes: list[Outcome]
    level: Level | None


def as_is(answer: Any) -> Any:
    return answer


def outcome(answer: Any) -> Outcome:
    return Outcome(answer)


def no_answer(answer: Any) -> None:
    return None


def names(answer: Any) -> list[str]:
    return [text(name) for name in answer]


def text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)

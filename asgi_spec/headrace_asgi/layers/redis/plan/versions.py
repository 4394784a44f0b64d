"""Which version of entries is written, and whether others are here who cannot be lived with. Pure.

Within a major version everybody who takes messages says from time to time up to which version it reads, and
hears which one is written: docs/protocol.md, section 9. Processes of another major version have keys of their
own; that they are there is seen in their heartbeats, which every major keeps where this one does.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from headrace_asgi import envelope
from headrace_asgi.limits import ANNOUNCED_SECONDS

from .command import Parts, RedisCommand, Scripted, names
from .places import KEY_START

__all__ = ["SETTLED_SECONDS", "Agreed", "Versions"]

#: Seconds for which everybody must have read a higher version before it is written: twice as long as the
#: longest pause between two words, so that nobody is overlooked whose word a jump of a clock made old.
SETTLED_SECONDS = 60.0
_COUNTS_MS = int(ANNOUNCED_SECONDS * 1000)
#: The major versions that are looked for.
_MAJORS = range(1, 10)
_MAJOR = int(KEY_START[2 : KEY_START.index(":")])


class Agreed(NamedTuple):
    """The version that may be written, and the lowest one up to which some process reads."""

    written: int
    lowest: int


class Versions:
    """What one process says and knows of versions at one place."""

    def __init__(
        self, plan: Parts, scripted: Scripted, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """Take the whole plan, whose codec learns what to write."""
        self._plan = plan
        self._scripted = scripted
        self._monotonic = monotonic
        #: The lowest version that somebody reads, and since when it has been that.
        self._lowest = envelope.OLDEST_VERSION
        self._since = monotonic()

    def say(self) -> RedisCommand:
        """Say what this process reads; the answer is what is `Agreed`."""
        home = self._plan.places.home
        args = (envelope.VERSION, self._wanted(), _COUNTS_MS)
        return self._scripted(
            "versions",
            home,
            (self._plan.key(home, "versions"),),
            args,
            lambda answer: Agreed(*answer),
            repeat=True,
        )

    def _wanted(self) -> int:
        settled = self._monotonic() - self._since >= SETTLED_SECONDS
        return self._lowest if settled else envelope.OLDEST_VERSION

    def heard(self, agreed: Agreed) -> None:
        """Write what was agreed on, from now on."""
        if agreed.lowest != self._lowest:
            self._lowest, self._since = agreed.lowest, self._monotonic()
        self._plan.codec.write(agreed.written)

    def refusal(self, agreed: Agreed) -> str:
        """Why this process cannot work with what others write; empty if it can."""
        if agreed.written <= envelope.VERSION:
            return ""
        return (
            f"a newer Headrace has written entries of version {agreed.written} here, and this one reads up "
            f"to {envelope.VERSION}. Start that one again; or let it work off what waits, stop every process "
            "of it, and call flush() of the layer, which removes all messages, before this one starts"
        )

    # Other majors

    def foreign_beats(self) -> list[RedisCommand]:
        """The heartbeat counters of the processes of each other major version, by process."""
        return [self._read_hash("beat", major) for major in _MAJORS if major != _MAJOR]

    def foreign_process(self, beats: int, process: str) -> RedisCommand:
        """What a process says of itself; `beats` is which of `foreign_beats` has it."""
        major = [major for major in _MAJORS if major != _MAJOR][beats]
        home = self._plan.places.home
        args = (b"HGET", self._foreign_key("procs", major), process)
        return RedisCommand(home, args, lambda answer: names([answer or b""])[0], repeat=True)

    def _read_hash(self, kind: str, major: int) -> RedisCommand:
        def read(answer: Any) -> dict[str, str]:
            return dict(zip(names(answer[::2]), names(answer[1::2]), strict=True))

        args = (b"HGETALL", self._foreign_key(kind, major))
        return RedisCommand(self._plan.places.home, args, read, repeat=True)

    def _foreign_key(self, kind: str, major: int) -> str:
        return f"hr{major}:" + self._plan.key(self._plan.places.home, kind).partition(":")[2]

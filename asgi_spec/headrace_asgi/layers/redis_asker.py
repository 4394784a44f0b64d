"""Carries out calls over the links of a layer's places: sorts errors, repeats where that is allowed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from hiredis import ReplyError

from ..errors import ChannelFull, LayerUnavailable
from .redis_call import Call
from .redis_facts import NOT_NOW, error_code
from .redis_link import RedisLink
from .redis_memory import MemoryWatch

__all__ = ["Asker"]

log = logging.getLogger("headrace.layer")


class Asker:
    """Gets the answer to a call, or an exception in its place:

    ChannelFull       Redis is out of memory; nothing was executed
    OutcomeUnknown    the connection broke before the answer
    LayerUnavailable  nothing was executed
    """

    def __init__(self, links: Mapping[str, RedisLink], memory: MemoryWatch) -> None:
        """Take the links by place, and who tells people of a Redis that is out of memory."""
        self._links = links
        self._memory = memory
        self._held: list[tuple[Call, Callable[[Any], None]]] = []
        #: Whether `insist` may ask; false until this process is registered (again).
        self.open = False
        self._complained: set[str] = set()

    @property
    def busy(self) -> bool:
        """Whether anything awaits its answer or its chance."""
        return bool(self._held) or any(link.unanswered for link in self._links.values())

    @property
    def holds(self) -> int:
        """How many calls wait for their chance."""
        return len(self._held)

    def ask(self, call: Call, answered: Callable[[Any], None]) -> None:
        """Ask once. `answered` is called once, later, or at once if there is no connection."""

        def got(answer: Any) -> None:
            if isinstance(answer, Exception):
                self._refused(call, answered, answer)
            else:
                if self._memory.is_full and call.needs_memory:
                    self._memory.accepted()
                answered(call.read(answer))

        self._links[call.place].send(call.args, got)

    def insist(self, call: Call, answered: Callable[[Any], None]) -> None:
        """Ask until Redis answers, through outages. Only for calls that may be repeated.

        The only exception that `answered` may get is ChannelFull.
        """
        if not self.open:
            self._held.append((call, answered))
            return

        def got(answer: Any) -> None:
            if isinstance(answer, LayerUnavailable):
                self._held.append((call, answered))
            else:
                answered(answer)

        self.ask(call, got)

    def resume(self) -> None:
        """Ask for everything that waits, in the order it was asked first."""
        held, self._held = self._held, []
        for call, answered in held:
            self.insist(call, answered)

    def _refused(self, call: Call, answered: Callable[[Any], None], error: Exception) -> None:
        if not isinstance(error, ReplyError):
            answered(error)
            return
        said, code = str(error), error_code(error)
        if code == "NOSCRIPT" and call.script is not None:
            whole = Call(call.place, call.whole(), call.read, None, call.repeat)
            self.ask(whole, answered)
        elif code == "OOM":
            self._memory.refused()
            answered(ChannelFull(f"Redis is out of memory: {said}"))
        elif code in NOT_NOW:
            self._links[call.place].drop(f"Redis answers {said!r}")
            answered(LayerUnavailable(said))
        else:
            self._complain(said)
            answered(LayerUnavailable(said))

    def _complain(self, said: str) -> None:
        """Log what is a defect or a wrong permission, once per kind."""
        kind = said[:40]
        if kind not in self._complained and len(self._complained) < 100:
            self._complained.add(kind)
            log.error("Redis refuses a command of ours, which is treated as an outage: %s", said)

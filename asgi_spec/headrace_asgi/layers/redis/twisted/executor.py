"""Carries out commands over the links of a layer's places: sorts errors, repeats where that is allowed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from headrace_asgi.errors import ChannelFull, HeadraceError, LayerUnavailable

from ..memory_watch import MemoryWatch
from ..plan.command import RedisCommand
from ..plan.outcomes import Reaction, not_understood, refusal_of
from ..plan.resp import ReplyError
from .link import RedisLink

__all__ = ["TwistedExecutor"]

log = logging.getLogger("headrace.layer")


class TwistedExecutor:
    """Gets the answer to a command, or an exception in its place:

    ChannelFull       Redis is out of memory; nothing was executed
    OutcomeUnknown    the connection broke before the answer
    LayerUnavailable  nothing was executed; LayerRefused, if somebody has to put a setting right
    """

    def __init__(self, links: Mapping[str, RedisLink], memory: MemoryWatch) -> None:
        """Take the links by place, and who tells people of a Redis that is out of memory."""
        self._links = links
        self._memory = memory
        self._held: list[tuple[RedisCommand, Callable[[Any], None]]] = []
        #: Whether `insist` may ask; false until this process is registered (again).
        self.open = False
        self._complained: set[str] = set()

    @property
    def busy(self) -> bool:
        """Whether anything awaits its answer or its chance."""
        return bool(self._held) or any(link.unanswered for link in self._links.values())

    @property
    def holds(self) -> int:
        """How many commands wait for their chance."""
        return len(self._held)

    def ask(self, command: RedisCommand, answered: Callable[[Any], None]) -> None:
        """Ask once. `answered` is called once, later, or at once if there is no connection."""

        def got(answer: Any) -> None:
            if isinstance(answer, Exception):
                self._refused(command, answered, answer)
                return
            if self._memory.is_full and command.needs_memory:
                self._memory.accepted()
            try:
                read = command.read(answer)
            except (ValueError, TypeError, LookupError) as error:
                read = not_understood(answer, command, self._links[command.place].address.label, error)
                self._complain(f"{command.name} not understood", read)
            answered(read)

        self._links[command.place].send(command.args, got)

    def insist(self, command: RedisCommand, answered: Callable[[Any], None]) -> None:
        """Ask until Redis answers, through outages. Only for commands that may be repeated.

        The only exception that `answered` may get is ChannelFull.
        """
        if not self.open:
            self._held.append((command, answered))
            return

        def got(answer: Any) -> None:
            if isinstance(answer, LayerUnavailable):
                self._held.append((command, answered))
            else:
                answered(answer)

        self.ask(command, got)

    def resume(self) -> None:
        """Ask for everything that waits, in the order it was asked first."""
        held, self._held = self._held, []
        for command, answered in held:
            self.insist(command, answered)

    def _refused(self, command: RedisCommand, answered: Callable[[Any], None], error: Exception) -> None:
        if not isinstance(error, ReplyError):
            answered(error)
            return
        link = self._links[command.place]
        refusal = refusal_of(error, command, link.address.label)
        if isinstance(refusal.error, ChannelFull):
            self._memory.refused()
        elif refusal.reaction is Reaction.FAIL:
            self._complain(f"{command.name} {error}", refusal.error)
        if refusal.command is not None:
            self.ask(refusal.command, answered)
            return
        if refusal.reaction is not Reaction.FAIL and isinstance(refusal.error, LayerUnavailable):
            # Everybody is told that Redis is away, and what is held is asked when it is back.
            link.leave(refusal.error)
        answered(refusal.error)

    def _complain(self, said: str, error: HeadraceError) -> None:
        """Log what is a defect or a wrong permission, once per kind."""
        kind = said[:40]
        if kind not in self._complained and len(self._complained) < 100:
            self._complained.add(kind)
            log.error("Redis refuses a command of ours, which is treated as an outage: %s", error)

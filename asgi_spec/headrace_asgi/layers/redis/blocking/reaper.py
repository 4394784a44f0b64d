"""Ends what interface servers left behind that died without a word: one disconnect for each of their sockets.

Any number of processes may do this at once, and each step any number of times: the script that tells a
disconnect takes the socket out of the register in the same act, so only one of them tells it.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from headrace_asgi.contract import Outcome
from headrace_asgi.errors import HeadraceError, KeySpoilt

from ..plan.command import RedisCommand
from ..plan.death_watch import DeathWatch
from ..plan.plan import Plan

__all__ = ["Reaper"]

log = logging.getLogger("headrace.layer")


class Asker(Protocol):
    """What carries out commands: a layer."""

    def ask(self, command: RedisCommand) -> Any: ...

    def run(self, commands: Sequence[RedisCommand]) -> list[Any]: ...


class Reaper:
    """Looks for dead processes and cleans up after them."""

    def __init__(self, plan: Plan, asker: Asker, monotonic: Callable[[], float]) -> None:
        self._plan = plan
        self._asker = asker
        self._monotonic = monotonic
        self._token = secrets.token_hex(8)
        self._watch = DeathWatch()

    @property
    def name(self) -> str:
        """Which observer this is; one that was made before a fork is another one in each child."""
        return f"{self._token}.{os.getpid()}"

    def look(self) -> None:
        """Look once. One round trip, and more where somebody died. Raises LayerUnavailable."""
        found = self._asker.ask(self._plan.look_after(self.name))
        if found is None:
            return
        counters, dead = found
        for process, counter in self._watch.look(counters, self._monotonic()):
            if self._asker.ask(self._plan.fence(process, counter)):
                log.warning("The interface server %s is dead; its sockets get their disconnects", process)
                dead.append(process)
        for process in dead:
            self._clean(process)

    def _clean(self, process: str) -> None:
        """End all that is known of a dead process. From its first step on nothing can be added to that."""
        plan = self._plan
        self._answers(plan.unmark(process))
        told = unread = 0
        for place in plan.places.names:
            told += self._tell_disconnects(place, process)
            for group in self._answer(plan.groups_of(place, process)) or ():
                self._answer(plan.group_forget(group, process))
            unread += sum(count or 0 for count in self._answers(plan.remove_rest(place, process)))
        self._answer(plan.buried(process))
        log.warning(
            "Cleaned up after %s: %d disconnects told, %d entries of its queue dropped", process, told, unread
        )

    def _tell_disconnects(self, place: str, process: str) -> int:
        plan, told, cursor = self._plan, 0, 0
        while True:
            cursor, sockets = self._answer(plan.some_sockets(place, process, cursor)) or (0, {})
            tell = [plan.lost_disconnect(process + local, path) for local, path in sockets.items()]
            told += sum(outcome in (Outcome.SENT, Outcome.BOXED) for outcome in self._answers(tell))
            if not cursor:
                return told

    def _answer(self, command: RedisCommand) -> Any:
        return self._answers([command])[0]

    def _answers(self, commands: Sequence[RedisCommand]) -> list[Any]:
        """The answers; None for what cannot be known any more, because something else wrote over it."""
        answers = self._asker.run(commands)
        for index, answer in enumerate(answers):
            if isinstance(answer, KeySpoilt):
                log.error("Some of a dead interface server cannot be ended: %s", answer)
                answers[index] = None
            elif isinstance(answer, HeadraceError):
                raise answer  # the next look goes on with what is left
        return answers

"""Tells Redis of the groups of a process: withdraws it, registers it anew, removes stale members."""

from __future__ import annotations

from collections.abc import Callable, Container
from functools import partial
from typing import Any

from ..plan.membership import Membership
from ..plan.plan import Plan
from .executor import TwistedExecutor

__all__ = ["Groups"]


class Groups:
    """The shell around `Membership`. `changed` must be called after every change of it."""

    def __init__(
        self,
        plan: Plan,
        executor: TwistedExecutor,
        call_later: Callable[[float, Callable[[], None]], Any],
        monotonic: Callable[[], float],
    ) -> None:
        self.membership = Membership()
        #: The clients that are in any group.
        self.joined: Container[str] = self.membership.of_local
        #: Name of this process, set whenever it changes.
        self.process = ""
        self._plan = plan
        self._executor = executor
        self._call_later = call_later
        self._monotonic = monotonic
        self._timer: Any = None

    def add(self, group: str, local: str, is_open: bool) -> None:
        """A worker made a client a member."""
        self.membership.add(group, local, is_open, self._monotonic())
        self.changed()

    def discard(self, group: str, local: str) -> None:
        """A worker ended a membership."""
        self.membership.discard(group, local, self._monotonic())
        self.changed()

    def close(self, local: str) -> None:
        """A client is gone."""
        self.membership.close(local, self._monotonic())
        self.changed()

    def changed(self) -> None:
        """See to it that a planned withdrawal happens in time."""
        if self._timer is not None or not self._executor.open:
            return
        at = self.membership.next_leave_at()
        if at is not None:
            self._timer = self._call_later(max(at - self._monotonic(), 0.0), self._leave)

    def stop(self) -> None:
        """Withdraw nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _leave(self) -> None:
        self._timer = None
        if self._executor.open:
            for group, processed in self.membership.leaves(self._monotonic()):
                self._withdraw(group, processed)
        self.changed()

    def _withdraw(self, group: str, processed: int) -> None:
        def answered(answer: Any) -> None:
            known = None if isinstance(answer, Exception) else bool(answer)
            self.membership.left(group, known, self._monotonic())
            self.changed()

        self._executor.ask(self._plan.group_leave(group, self.process, processed), answered)

    def reassert(self, kept: bool, done: Callable[[bool], None]) -> None:
        """Register this process for its groups where it is not any more; `done` says whether that worked.

        `kept` says that Redis kept its data, as far as anybody knows.
        """
        groups = self.membership.groups()
        missing = len(groups)
        worked = True
        if not groups:
            done(True)
            return

        def answered(group: str, answer: Any) -> None:
            nonlocal missing, worked
            missing -= 1
            if isinstance(answer, Exception) or answer[0] < 0:
                worked = False
            else:
                anew, adds = answer
                self.membership.reasserted(group, adds, bool(anew), kept, self._monotonic())
            if not missing:
                done(worked)

        for group in groups:
            command = self._plan.group_reassert(group, self.process)
            self._executor.ask(command, partial(answered, group))

    # Ghosts

    def unexpected(self, group: str) -> None:
        """A group message came although nobody here is a member."""
        if self.membership.suspect(group):
            self._count(group)

    def remove_stale_members(self) -> None:
        """Read the suspicious counts whose time has come; called with each beat."""
        for group in self.membership.suspects_due(self._monotonic()):
            self._count(group)

    def _count(self, group: str) -> None:
        def answered(answer: Any) -> None:
            if isinstance(answer, Exception):
                self.membership.not_counted(group, self._monotonic())
                return
            number = self.membership.counted(group, answer, self._monotonic())
            if number is not None:
                self._withdraw(group, number)

        self._executor.ask(self._plan.group_adds(group, self.process), answered)

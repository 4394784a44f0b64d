"""Takes a process that ends out of Redis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..plan.plan import Plan
from .executor import TwistedExecutor

__all__ = ["withdraw"]


def withdraw(plan: Plan, executor: TwistedExecutor, process: str, done: Callable[[], None]) -> None:
    """Remove the marks, queue and registry of `process`, then its name from every group.

    In this order: once its marks are gone, nobody can register it anywhere. `done` is called when Redis has
    answered everything; if the connection breaks before, the rest is left to the reaper.
    """
    commands = plan.withdraw(process)
    groups: list[str] = []
    missing = len(plan.places.names) + len(commands)

    def found(answer: Any) -> None:
        if not isinstance(answer, Exception):
            groups.extend(answer)
        answered(None)

    def answered(answer: Any) -> None:
        nonlocal missing
        missing -= 1
        if missing:
            return
        if not groups:
            done()
            return
        missing = len(groups)
        for group in groups[:]:
            executor.ask(plan.group_forget(group, process), left)

    def left(answer: Any) -> None:
        nonlocal missing
        missing -= 1
        if not missing:
            done()

    for place in plan.places.names:
        executor.ask(plan.groups_of(place, process), found)
    for command in commands:
        executor.ask(command, answered)

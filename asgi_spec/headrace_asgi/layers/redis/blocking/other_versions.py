"""Asks at a start whether processes of another version are there with whom this one cannot share a layer."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Protocol

from headrace_asgi.errors import ConfigurationError, HeadraceError

from ..agreed_version import heard_versions
from ..plan.command import RedisCommand
from ..plan.places import Places
from ..plan.plan import Plan

__all__ = ["refuse_other_versions"]

#: Who has not beaten for so long is none that lives: two heartbeats, and a second for a slow machine.
BEATS_WATCHED_SECONDS = 11.0
LOOK_SECONDS = 0.5


class _StartingLayer(Protocol):
    """What is needed of a layer."""

    plan: Plan
    places: Places
    label: str

    def ask(self, command: RedisCommand) -> Any: ...
    def run(self, commands: Sequence[RedisCommand]) -> list[Any]: ...


def refuse_other_versions(layer: _StartingLayer) -> None:
    """Raise ConfigurationError where another version makes it impossible to start.

    Two round trips. Where processes of another major version are registered, up to 11 s until one of them
    has shown that it lives. Raises HeadraceError if Redis cannot be asked.
    """
    versions = layer.plan.versions
    agreed = layer.ask(versions.say())
    refusal = versions.refusal(agreed)
    if refusal:
        raise ConfigurationError(f"At {layer.label} {refusal}")
    heard_versions(layer.plan, agreed, layer.label)
    living = _living_foreigner(layer)
    if living:
        raise ConfigurationError(
            f"{living} is of another major version of Headrace and uses {layer.label} too. Neither sees what "
            "the other one sends: stop every process of that version first, or give one of the two a prefix "
            "of its own"
        )


def _living_foreigner(layer: _StartingLayer) -> str:
    """A process of another major version whose heart beats; "" if there is none."""
    before = _beats(layer)
    give_up = time.monotonic() + BEATS_WATCHED_SECONDS
    while any(before) and time.monotonic() < give_up:
        time.sleep(LOOK_SECONDS)
        for number, (was, now) in enumerate(zip(before, _beats(layer), strict=True)):
            for process, counter in now.items():
                if counter != was.get(process):
                    return f"{process} ({layer.ask(layer.plan.versions.foreign_process(number, process))})"
    return ""


def _beats(layer: _StartingLayer) -> list[dict[str, str]]:
    """Heartbeat counters; none where somebody who may see only our own keys cannot look."""
    answers = layer.run(layer.plan.versions.foreign_beats())
    return [{} if isinstance(answer, HeadraceError) else answer for answer in answers]

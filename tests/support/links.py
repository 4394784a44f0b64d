"""A place that answers what the test wants: for what decides on answers, not for what Redis does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from headrace_asgi.errors import LayerUnavailable
from headrace_asgi.layers.redis.address import ServerAddress

__all__ = ["ScriptedLink"]


class ScriptedLink:
    """Stands for a RedisLink; each command waits until the test answers it."""

    address = ServerAddress("scripted")

    def __init__(self) -> None:
        self.sent: list[tuple[tuple[Any, ...], Callable[[Any], None]]] = []
        self.dropped: list[LayerUnavailable] = []
        self.left: list[LayerUnavailable] = []

    @property
    def unanswered(self) -> int:
        return len(self.sent)

    def send(self, args: Sequence[Any], answered: Callable[[Any], None]) -> None:
        self.sent.append((tuple(args), answered))

    def drop(self, error: LayerUnavailable) -> None:
        self.dropped.append(error)

    def leave(self, error: LayerUnavailable) -> None:
        self.left.append(error)

    @property
    def commands(self) -> list[tuple[Any, ...]]:
        """What waits for an answer."""
        return [args for args, _ in self.sent]

    def answer(self, answer: Any) -> tuple[Any, ...]:
        """Answer the oldest command, which is returned."""
        args, answered = self.sent.pop(0)
        answered(answer)
        return args

"""A search for the server of a place: which of several is asked, and what became of that. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from headrace_asgi.errors import LayerRefused, LayerUnavailable

from ..address import ServerAddress
from .command import Argument

__all__ = ["Question", "ServerSearch"]


class Question(Protocol):
    """Asks one server for another: `commands` in one write, each answer to `heard`, until it `is_over`."""

    asked: ServerAddress
    commands: list[tuple[Argument, ...]]

    @property
    def is_over(self) -> bool: ...
    def heard(self, answer: Any) -> tuple[Argument, ...] | None:
        """Take the next answer; the command to send now, if there is one. Raises LayerUnavailable."""


class ServerSearch:
    """Which servers to ask, one after the other, until one has named the server of a place."""

    #: What is told when none has.
    nobody = ""
    #: Seconds after which who uses a server asks whether it still is the one, and after no answer.
    look_seconds = 1.0
    failed_look_seconds = 10.0

    def __init__(self, askable: Sequence[ServerAddress], first: int) -> None:
        """Take who may be asked, and the number of the one to ask first."""
        self.askable = askable
        count = len(askable)
        self._order = [(first + step) % count for step in range(count)]
        self._asked = 0
        self._errors: list[LayerUnavailable] = []

    def question(self, asked: ServerAddress) -> Question:
        """What to ask a server, which comes with its login."""
        raise NotImplementedError

    def found(self, question: Any) -> ServerAddress:
        """The server that the answers to a question have named."""
        raise NotImplementedError

    def next(self) -> int | None:
        """The number of the one to ask now; None if all have been asked, see `error`."""
        if self._asked == len(self._order):
            return None
        self._asked += 1
        return self._order[self._asked - 1]

    def failed(self, error: LayerUnavailable) -> None:
        """The one asked last did not say where the server is."""
        self._errors.append(error)

    @property
    def error(self) -> LayerUnavailable:
        """Why nobody has named it: LayerRefused, if each of them wants something to be put right."""
        refused = [error for error in self._errors if isinstance(error, LayerRefused)]
        told = str((refused or self._errors)[0])
        others = len(self._errors) - 1
        if others:
            told += f" (and {others} {'others say' if others > 1 else 'other says'} no more)"
        kind = LayerRefused if len(refused) == len(self._errors) else LayerUnavailable
        return kind(f"{self.nobody}: {told}")

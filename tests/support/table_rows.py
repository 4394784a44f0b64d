"""Which rows of a transition table really happen: one that no shell can bring about is a wish, not a rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

__all__ = ["Row", "record_moves", "unreached"]

#: A state and what happens in it.
Row = tuple[Any, Any]


def record_moves(monkeypatch: pytest.MonkeyPatch, machine: type[Any], through: str = "_move") -> set[Row]:
    """The set of all rows asked for from now on, of every machine of this class; `through` takes events."""
    moves: set[Row] = set()
    move = getattr(machine, through)

    def recording(self: Any, event: Any, *more: Any) -> Any:
        moves.add((self.state, event))
        return move(self, event, *more)

    monkeypatch.setattr(machine, through, recording)
    return moves


def unreached(
    table: Mapping[Any, Mapping[Any, Any]],
    ways: Mapping[Row, Callable[[], object]],
    moves: set[Row],
) -> set[Row]:
    """The rows of `table` that have no way, or whose way does not lead there; `moves` is from above."""
    missing = set()
    for row in ((state, event) for state, events in table.items() for event in events):
        moves.clear()
        if row in ways:
            ways[row]()
        if row not in moves:
            missing.add(row)
    return missing

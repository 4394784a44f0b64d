"""What was measured, as rows of one Markdown table, and which promises hold. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Row", "broken", "left_out", "recorded", "rendered"]

HEADER = ("what", "median", "lowest to highest", "unit", "promise")


@dataclass(frozen=True, slots=True)
class Row:
    """One figure: a value for each round, in `unit`.

    `limit` is the most that the median may be, if there is a promise, or `least` the least. `remark` says why
    the promise is not judged, or what else a reader should know.
    """

    what: str
    values: Sequence[float]
    unit: str = ""
    limit: float | None = None
    remark: str = ""
    least: float | None = None

    @property
    def median(self) -> float:
        """The figure."""
        return statistics.median(self.values)

    @property
    def holds(self) -> bool:
        """False only for a promise that was judged and is broken."""
        too_much = self.limit is not None and self.median > self.limit
        too_little = self.least is not None and self.median < self.least
        return bool(self.remark) or not (too_much or too_little)

    @property
    def verdict(self) -> str:
        """The last cell."""
        said = self.remark or ("holds" if self.holds else "DOES NOT HOLD")
        if self.limit is not None:
            return f"≤ {_number(self.limit)}: {said}"
        if self.least is not None:
            return f"≥ {_number(self.least)}: {said}"
        return self.remark


def left_out(what: str, why: str) -> Row:
    """A row without a figure."""
    return Row(what, (), remark=f"left out: {why}")


def broken(rows: Sequence[Row]) -> list[Row]:
    """The rows whose promise does not hold."""
    return [row for row in rows if row.values and not row.holds]


def recorded(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows with the value of every round, for JSON."""
    return [
        {
            "what": row.what,
            "unit": row.unit,
            "median": row.median if row.values else None,
            "values": list(row.values),
            "limit": row.limit,
            "least": row.least,
            "holds": row.holds,
            "remark": row.remark,
        }
        for row in rows
    ]


def rendered(rows: Sequence[Row]) -> str:
    """The Markdown table, without a newline at its end."""
    cells = [HEADER, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADER))]
    rule = ["-" * width for width in widths]
    rule[1] = "-" * (widths[1] - 1) + ":"
    return "\n".join("| " + " | ".join(_padded(line, widths)) + " |" for line in (cells[0], rule, *cells[1:]))


def _padded(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [
        cell.rjust(width) if column == 1 else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(line, widths, strict=True))
    ]


def _cells(row: Row) -> tuple[str, ...]:
    if not row.values:
        return (row.what, "-", "", row.unit, row.remark)
    spread = f"{_number(min(row.values))} to {_number(max(row.values))}" if len(row.values) > 1 else ""
    return (row.what, _number(row.median), spread, row.unit, row.verdict)


def _number(value: float) -> str:
    """Three digits that mean something."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text

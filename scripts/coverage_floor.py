"""Fail if the tests of single modules reach less of a package than its floor, and say how much they reach.

python scripts/coverage_floor.py coverage.json     # what `coverage json` wrote
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

#: Per cent of the lines and of the branches: what is reached, rounded down. It may only become more.
FLOORS = {
    "headrace_asgi": {"lines": 97, "branches": 92},
    "headrace_interface": {"lines": 96, "branches": 93},
    # Its commands and the supervisor run in processes of their own, which are not measured.
    "headrace": {"lines": 86, "branches": 82},
}
#: In the summary of a file: how many there are, and how many were reached.
COUNTS = {"lines": ("num_statements", "covered_lines"), "branches": ("num_branches", "covered_branches")}


def reached(files: Mapping[str, Any], package: str, kind: str) -> float:
    """Per cent of the package's lines or branches that ran."""
    total, covered = COUNTS[kind]
    summaries = [file["summary"] for name, file in files.items() if package in Path(name).parts]
    count = sum(summary[total] for summary in summaries)
    return 100 * sum(summary[covered] for summary in summaries) / count if count else 0.0


def rows(files: Mapping[str, Any]) -> Iterable[tuple[str, str, float, int]]:
    """Package, kind, what is reached and the floor, in per cent."""
    for package, floors in FLOORS.items():
        for kind, floor in floors.items():
            yield package, kind, reached(files, package, kind), floor


def main(path: str) -> int:
    """Print the table; 1 if anything is below its floor."""
    files = json.loads(Path(path).read_text(encoding="utf-8"))["files"]
    below = 0
    for package, kind, per_cent, floor in rows(files):
        word = "below its floor" if per_cent < floor else "raise the floor" if per_cent >= floor + 1 else ""
        below += per_cent < floor
        sys.stdout.write(f"{package:20} {kind:10} {per_cent:6.2f} %   floor {floor} %   {word}\n")
    return 1 if below else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: coverage_floor.py coverage.json")
    sys.exit(main(sys.argv[1]))

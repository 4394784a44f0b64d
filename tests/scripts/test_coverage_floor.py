"""The floor under what tests reach: passed from above, failed from below, per package."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from tests.support.source import PACKAGES, ROOT

SCRIPT = runpy.run_path(str(ROOT / "scripts" / "coverage_floor.py"))


def written(folder: Path, reached: dict[str, int]) -> str:
    """A report on two files of each package, of whose lines and branches so many per cent were reached."""
    files: dict[str, Any] = {}
    for package, root in PACKAGES.items():
        for name in ("a.py", "deep/b.py"):
            covered = reached[package] // 2
            files[f"{root}/{package}/{name}"] = {
                "summary": {
                    "num_statements": 50,
                    "covered_lines": covered,
                    "num_branches": 50,
                    "covered_branches": covered,
                }
            }
    path = folder / "coverage.json"
    path.write_text(json.dumps({"files": files}))
    return str(path)


def test_every_package_has_a_floor() -> None:
    assert SCRIPT["FLOORS"].keys() == PACKAGES.keys()


def test_full_coverage_is_over_every_floor(tmp_path: Path) -> None:
    assert SCRIPT["main"](written(tmp_path, dict.fromkeys(PACKAGES, 100))) == 0


@pytest.mark.parametrize("package", PACKAGES)
def test_one_package_below_its_floor_fails_and_is_named(
    package: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert SCRIPT["main"](written(tmp_path, dict.fromkeys(PACKAGES, 100) | {package: 50})) == 1
    below = [line for line in capsys.readouterr().out.splitlines() if "below its floor" in line]
    assert [line.split()[:2] for line in below] == [[package, "lines"], [package, "branches"]]

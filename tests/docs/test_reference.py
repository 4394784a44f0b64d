"""docs/reference says what the code says."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def make_reference(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "make_reference.py"), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_no_page_is_stale() -> None:
    done = make_reference("--check")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_stale_page_and_a_missing_one_are_named_and_then_written(tmp_path: Path) -> None:
    folder = tmp_path / "reference"
    shutil.copytree(ROOT / "docs" / "reference", folder)
    options = folder / "options.md"
    options.write_text(
        options.read_text(encoding="utf-8").replace("--layer URL", "--layers URL"), encoding="utf-8"
    )
    (folder / "states.md").unlink()
    done = make_reference("--check", "--folder", str(folder))
    assert done.returncode == 1
    assert [line.partition(" ")[0] for line in done.stdout.splitlines()] == ["options.md", "states.md"]
    assert not (folder / "states.md").exists()
    assert make_reference("--folder", str(folder)).returncode == 0
    for page in (ROOT / "docs" / "reference").iterdir():
        assert (folder / page.name).read_text(encoding="utf-8") == page.read_text(encoding="utf-8")

"""`python -m benchmarks` runs to its end and prints its table. No figure is checked."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.table import Row, broken, left_out, rendered

ROOT = Path(__file__).resolve().parents[2]
SOURCES = os.pathsep.join(str(ROOT / name) for name in ("asgi_spec", "interface_server", "worker"))


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the benchmarks; nothing they started may be left behind."""
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": SOURCES},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, errors = process.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            process.terminate()
            output, errors = process.communicate(timeout=30)
            pytest.fail(f"the benchmarks do not end:\n{output}\n{errors}")
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def cells(output: str) -> list[list[str]]:
    """The rows of the one table, without its head."""
    lines = [line for line in output.splitlines() if line.startswith("|")]
    assert len(lines) > 2
    assert re.fullmatch(r"\|( -+:? \|)+", lines[1])
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert rows[0] == ["what", "median", "lowest to highest", "unit", "promise"]
    assert {len(row) for row in rows} == {5}
    return rows[2:]


def test_everything_is_measured_in_one_table() -> None:
    done = run("--seconds", "0.2", "--rounds", "1", "--sockets", "20")
    assert done.returncode == 0, done.stderr
    rows = cells(done.stdout)
    assert {row[0].partition(":")[0] for row in rows} == {"parts", "idle", "load"}
    for what, median, spread, unit, promise in rows:
        if median == "-":
            assert promise.startswith("left out: "), what
        else:
            assert re.fullmatch(r"[\d,]+(\.\d+)?", median), what
            assert unit
        assert not spread, "one round has no spread"
    names = " / ".join(row[0] for row in rows)
    for part in ("envelope", "AsgiHandler", "WSGIHandler", "port.send", "port.frame", "port turn on Redis"):
        assert part in names
    judged = [row for row in rows if row[4].startswith("≤")]
    assert len(judged) == 5 or "no /proc" in done.stdout
    assert all("not judged" in row[4] for row in judged), "so short a look says nothing"


def test_only_one_section_is_measured_when_asked_for() -> None:
    done = run("--only", "parts", "--seconds", "0.1", "--rounds", "2")
    assert done.returncode == 0, done.stderr
    rows = cells(done.stdout)
    assert {row[0].partition(":")[0] for row in rows} == {"parts"}
    assert all(" to " in row[2] for row in rows)


def test_every_option_has_its_help() -> None:
    done = run("--help")
    for option in ("--seconds", "--rounds", "--only", "--sockets"):
        assert re.search(rf"^  {option} .*\n? +\S", done.stdout, re.MULTILINE)


def test_a_wrong_option_says_what_is_right() -> None:
    done = run("--seconds", "0")
    assert done.returncode == 2
    assert "above 0" in done.stderr


def test_a_broken_promise_is_told_by_its_row() -> None:
    fine = Row("idle: CPU", [0.1, 0.9, 0.4], "%", limit=0.5)
    wrong = Row("idle: memory", [14.5], "KiB", limit=14)
    unjudged = Row("idle: commands", [9], "per s", limit=1, remark="not judged in 1 s")
    rows = [fine, wrong, unjudged, Row("load: echo", [12345.6], "per s"), left_out("load: HTTP", "no wrk")]
    assert broken(rows) == [wrong]
    promises = [row[4] for row in cells(rendered(rows))]
    assert promises == [
        "≤ 0.5: holds",
        "≤ 14: DOES NOT HOLD",
        "≤ 1: not judged in 1 s",
        "",
        "left out: no wrk",
    ]
    assert cells(rendered(rows))[3][1] == "12,346"
    assert cells(rendered(rows))[0][1:3] == ["0.4", "0.1 to 0.9"]

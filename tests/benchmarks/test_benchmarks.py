"""`python -m benchmarks` runs to its end and prints its table. No figure is checked."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import peers
from benchmarks.actor import Actor, acting
from benchmarks.table import Row, broken, left_out, recorded, rendered

ROOT = Path(__file__).resolve().parents[2]
SOURCES = os.pathsep.join(str(ROOT / name) for name in ("asgi_spec", "interface_server", "worker"))


def run(*arguments: str, module: str = "benchmarks") -> subprocess.CompletedProcess[str]:
    """Run the benchmarks; nothing they started may be left behind."""
    with subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": SOURCES},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, errors = process.communicate(timeout=240)
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
    assert {row[0].partition(":")[0] for row in rows} == {"parts", "layers", "idle", "load"}
    for what, median, spread, unit, promise in rows:
        if median == "-":
            assert promise.startswith("left out: "), what
            assert "peers" in promise or "it cannot" in promise or "layers" not in what
        else:
            assert re.fullmatch(r"[\d,]+(\.\d+)?", median), what
            assert unit
        assert not spread, "one round has no spread"
    names = " / ".join(row[0] for row in rows)
    for part in (
        "envelope",
        "AsgiHandler",
        "WSGIHandler",
        "port.send",
        "port.frame",
        "port turn on Redis",
        "one at a time, Python",
        "one at a time, Redis",
        "encrypted",
        "batches",
        "acknowledged by a worker, 20 at once, Redis",
        "for later, 20 due at once",
        "order, frames of 32 ordered sockets, Redis",
        "a take that waits, p99",
        "a group of 1,000 in 4 processes, to the last member, p50",
        "ordered sockets, worker port",
        "longest wait behind a slow one",
        "from send to start on 3 Redis, p99",
        "idle interface port, Redis commands",
        "idle worker port, Redis commands",
    ):
        assert part in names
    judged = [row for row in rows if row[4].startswith("≤")]
    assert len(judged) == 9 or "no /proc" in done.stdout
    assert all("not judged" in row[4] for row in judged), "so short a look says nothing"


def test_only_one_section_is_measured_when_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    done = run("--only", "parts", "--seconds", "0.1", "--rounds", "2", "--json", str(file))
    assert done.returncode == 0, done.stderr
    rows = cells(done.stdout)
    assert {row[0].partition(":")[0] for row in rows} == {"parts"}
    assert all(" to " in row[2] for row in rows)
    written = json.loads(file.read_text())
    assert [row["what"] for row in written["rows"]] == [row[0] for row in rows]
    assert {len(row["values"]) for row in written["rows"]} == {2}
    assert written["about"] in done.stdout


def test_every_option_has_its_help() -> None:
    done = run("--help")
    for option in ("--seconds", "--rounds", "--only", "--sockets", "--peers", "--json"):
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
    assert [row["holds"] for row in recorded(rows)] == [True, False, True, True, True]
    assert recorded(rows)[4] == {**recorded(rows)[3], "what": "load: HTTP", "unit": ""} | {
        "values": [],
        "median": None,
        "remark": "left out: no wrk",
    }


def test_a_library_without_a_python_that_it_runs_on_is_left_out_with_the_reason(tmp_path: Path) -> None:
    old = replace(peers.PEERS[0], oldest_minor=0, newest_minor=1)
    with pytest.raises(peers.PeerMissing, match=r"asgi_redis needs a Python 3\.0 to 3\.1"):
        peers.python_of(old, tmp_path)


def test_a_library_that_pip_cannot_install_is_left_out_with_what_pip_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    minor = sys.version_info.minor
    missing = replace(peers.PEERS[1], oldest_minor=minor, newest_minor=minor)
    with pytest.raises(peers.PeerMissing, match=r"channels_redis could not be installed: .*No matching"):
        peers.python_of(missing, tmp_path)
    assert not (tmp_path / "channels_redis" / "made-of").exists()


def test_an_environment_that_is_there_is_not_made_again(tmp_path: Path) -> None:
    peer = peers.PEERS[0]
    (tmp_path / peer.library).mkdir()
    (tmp_path / peer.library / "made-of").write_text("\n".join(peer.requirements))
    assert peers.python_of(peer, tmp_path) == str(tmp_path / peer.library / "bin" / "python")


def test_an_actor_that_fails_is_told_with_its_last_words() -> None:
    wrong = Actor("layer_actor.py", "no_such_library", "redis://127.0.0.1:1/0", "{}")
    with pytest.raises(RuntimeError, match="there is no library 'no_such_library'"), acting(wrong):
        pass


def test_redis_is_back_where_it_began_after_many_messages_and_sockets_p19() -> None:
    done = run("--messages", "20000", "--sockets", "500", module="benchmarks.balance")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "keys before and after" in done.stdout

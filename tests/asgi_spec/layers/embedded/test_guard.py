"""What the guard of an embedded server decides by; test_embedded.py has it at work."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

from headrace_asgi.layers.embedded import guard as embedded_guard
from headrace_asgi.layers.embedded.guard import FILES, GUARD, USERS, clear, end_server, is_guarded
from tests.support.stack import eventually


def test_a_directory_without_a_server_is_cleared(tmp_path: Path) -> None:
    directory = tmp_path / "one"
    directory.mkdir()
    for name in FILES:
        (directory / name).touch()
    assert FILES[-1] == USERS
    assert end_server(directory)
    assert clear(directory)
    assert not directory.exists()
    assert clear(directory)


def test_what_somebody_else_put_there_stays(tmp_path: Path) -> None:
    (tmp_path / "dump.rdb").touch()
    (tmp_path / USERS).touch()
    assert clear(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["dump.rdb"]


def test_to_look_whether_there_is_a_guard_is_in_nobodys_way(tmp_path: Path) -> None:
    assert not is_guarded(tmp_path)
    with (tmp_path / GUARD).open("a") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        assert not is_guarded(tmp_path)
    with (tmp_path / GUARD).open("a") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        assert is_guarded(tmp_path)


def test_a_directory_that_could_not_be_cleared_is_cleared_later(tmp_path: Path) -> None:
    directory = tmp_path / "one"
    # In the way as the last line of a log is that a server writes on its way out.
    (directory / "log").mkdir(parents=True)
    (directory / USERS).touch()
    command = [sys.executable, "-I", "-S", embedded_guard.__file__, str(directory)]
    assert subprocess.run(command, timeout=20, check=False).returncode == 0
    eventually(lambda: not (directory / USERS).exists())
    assert directory.exists()
    (directory / "log").rmdir()
    eventually(lambda: not directory.exists())


def somebody_waits_for(file: IO[str]) -> bool:
    """Whether a process is held up by a lock on this file (`man 5 proc_locks`)."""
    number = f":{os.fstat(file.fileno()).st_ino} "
    return any("->" in line and number in line for line in Path("/proc/locks").read_text().splitlines())


def test_a_guard_leaves_those_alone_who_came_in_after_its_file_was_removed(tmp_path: Path) -> None:
    directory = tmp_path / "one"
    directory.mkdir()
    with (directory / USERS).open("a") as gone:
        fcntl.flock(gone, fcntl.LOCK_SH)
        command = [sys.executable, "-I", "-S", embedded_guard.__file__, str(directory)]
        subprocess.run(command, timeout=20, check=True)
        eventually(lambda: somebody_waits_for(gone))
        (directory / USERS).unlink()
        with (directory / USERS).open("a") as users:
            fcntl.flock(users, fcntl.LOCK_SH)
            fcntl.flock(gone, fcntl.LOCK_UN)
            eventually(lambda: somebody_waits_for(users))
            assert (directory / USERS).exists()
    eventually(lambda: not directory.exists())


def test_a_second_guard_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / GUARD).open("a") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        command = [sys.executable, "-I", "-S", embedded_guard.__file__, str(tmp_path)]
        assert subprocess.run(command, timeout=20, check=False).returncode == 0
    assert not is_guarded(tmp_path)

"""The parent of several worker processes, as real processes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.worker.supervisor import HEALTHY_SECONDS

ROOT = Path(__file__).parents[2]

SCRIPT = """
import os, select, sys, time
from django.conf import settings
settings.configure()
import logging
logging.basicConfig(format="%(message)s", level=logging.INFO)
from headrace.worker.recovery import Recovery
from headrace.worker.supervisor import Supervisor, prepare_fork, stop_in_child
from headrace_asgi import InMemoryChannelLayer

def say(word):
    os.write(1, f"{word} {os.getpid()}\\n".encode())

def child(lifeline, record):
    stopping = []
    stop_in_child(lambda: stopping.append(1))
    say("child")
    while not stopping:
        if select.select([lifeline], [], [], 0.02)[0]:
            say("orphan")
            return 0
    CHILD_STOPS
    say("left")
    return 0

prepare_fork()
status = Supervisor(2, child, DEADLINE, Recovery(InMemoryChannelLayer()), 8).run()
print("status", status, flush=True)
sys.exit(status)
"""


class Parent:
    """The script as a process, and the words it printed."""

    def __init__(self, script: str) -> None:
        path = os.pathsep.join(str(ROOT / name) for name in ("asgi_spec", "worker"))
        self.popen = subprocess.Popen(
            [sys.executable, "-c", script],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.popen.stdout is not None
        for line in self.popen.stdout:
            self.lines.append(line.strip())

    def pids(self, word: str = "child") -> list[int]:
        return [int(line.split()[1]) for line in self.lines if line.startswith(word + " ")]

    def until(self, check: Callable[[], Any], seconds: float = 10) -> None:
        give_up = time.monotonic() + seconds
        while not check():
            assert time.monotonic() < give_up, self.lines
            time.sleep(0.01)

    def wait(self) -> int:
        status = self.popen.wait(10)
        self._reader.join(5)
        return status

    def end(self) -> None:
        # The whole group: a child that has said nothing yet would keep the pipe open.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait(10)
        self._reader.join(5)
        assert self.popen.stdout is not None
        self.popen.stdout.close()


@pytest.fixture
def start() -> Iterator[Callable[..., Parent]]:
    parents = []

    def begin(child_stops: str = "pass", deadline: float = 5) -> Parent:
        script = SCRIPT.replace("CHILD_STOPS", child_stops).replace("DEADLINE", str(deadline))
        parents.append(Parent(script))
        parent = parents[-1]
        parent.until(lambda: len(parent.pids()) == 2)
        return parent

    yield begin
    for parent in parents:
        parent.end()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_children_and_ends_with_0(start: Any, number: int) -> None:
    parent = start()
    parent.popen.send_signal(number)
    assert parent.wait() == 0
    assert sorted(parent.pids("left")) == sorted(parent.pids())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_whole_group_is_one_stop_not_force(start: Any, number: int) -> None:
    parent = start("time.sleep(0.2)")
    os.killpg(parent.popen.pid, number)
    assert parent.wait() == 0
    assert sorted(parent.pids("left")) == sorted(parent.pids())


def test_a_child_that_dies_is_replaced(start: Any) -> None:
    parent = start()
    victim = parent.pids()[0]
    os.kill(victim, signal.SIGKILL)
    parent.until(lambda: len(parent.pids()) == 3)
    parent.popen.send_signal(signal.SIGTERM)
    assert parent.wait() == 0
    assert any(f"[{victim}] was killed by SIGKILL; starting another" in line for line in parent.lines)


def test_the_parent_says_what_a_killed_child_held(start: Any) -> None:
    holding = """
from headrace_asgi.contract import Delivery

def child(lifeline, record):
    taken = [Delivery("work", {"n": n}, b"entry", 0, "0", 0.0) for n in range(3)]
    record.taken(taken)
    record.started(taken[0])
    say("child")
    time.sleep(60)

prepare_fork()
status ="""
    parent = Parent(SCRIPT.replace("prepare_fork()\nstatus =", holding).replace("DEADLINE", "-1.9"))
    try:
        parent.until(lambda: len(parent.pids()) == 2)
        os.kill(parent.pids()[0], signal.SIGKILL)
        words = "was killed by SIGKILL, lost 1: A message on work, giving back 2 that it had not started"
        parent.until(lambda: any(words in line for line in parent.lines))
    finally:
        parent.end()


def test_children_that_die_at_once_are_replaced_after_growing_pauses(start: Any) -> None:
    parent = Parent(SCRIPT.replace('say("child")', "os._exit(7)").replace("DEADLINE", "5"))
    try:
        parent.until(lambda: sum("failed with status 7" in line for line in parent.lines) >= 6)
        pauses = [
            line.rpartition(" in ")[2] for line in parent.lines if "Worker 1 " in line and "failed" in line
        ]
        assert pauses[:3] == ["0.1 s", "0.2 s", "0.4 s"]
        parent.popen.send_signal(signal.SIGTERM)
        assert parent.wait() == 0
    finally:
        parent.end()


def test_children_that_are_killed_every_few_seconds_are_replaced_at_once(start: Any) -> None:
    parent = start()
    for killed in range(1, 4):
        victim = parent.pids()[-1]
        time.sleep(HEALTHY_SECONDS + 0.2)
        os.kill(victim, signal.SIGKILL)
        parent.until(lambda killed=killed: len(parent.pids()) == 2 + killed)
        assert any(
            f"[{victim}] was killed by SIGKILL; starting another in 0.0 s" in line for line in parent.lines
        )


def test_children_that_do_not_stop_in_time_are_killed(start: Any) -> None:
    parent = start("time.sleep(60)", deadline=-1.9)
    parent.popen.send_signal(signal.SIGTERM)
    assert parent.wait() == 1
    assert any("while stopping" in line for line in parent.lines)


def test_a_second_signal_kills(start: Any) -> None:
    parent = start('say("stopping"); time.sleep(60)', deadline=60)
    parent.popen.send_signal(signal.SIGTERM)
    # Two signals at once might count as one.
    parent.until(lambda: len(parent.pids("stopping")) == 2)
    parent.popen.send_signal(signal.SIGTERM)
    assert parent.wait() == 1


def test_a_stop_while_children_are_started_starts_no_more() -> None:
    early = """
class Early(logging.Handler):
    def emit(self, record):
        if "Worker 1 " in record.getMessage() and "started" in record.getMessage():
            os.kill(os.getpid(), 15)

logging.getLogger().addHandler(Early())
prepare_fork()
status ="""
    script = SCRIPT.replace("prepare_fork()\nstatus =", early)
    parent = Parent(script.replace("CHILD_STOPS", "pass").replace("DEADLINE", "5"))
    try:
        assert parent.wait() == 0
        assert not any(line.startswith("Worker 2 ") for line in parent.lines)
    finally:
        parent.end()


def test_a_fork_that_fails_is_tried_again() -> None:
    scarce = """
fork, failures = os.fork, [OSError("no memory for a process")]

def scarce():
    if failures:
        raise failures.pop()
    return fork()

os.fork = scarce
prepare_fork()
status ="""
    script = SCRIPT.replace("prepare_fork()\nstatus =", scarce)
    parent = Parent(script.replace("CHILD_STOPS", "pass").replace("DEADLINE", "5"))
    try:
        parent.until(lambda: len(parent.pids()) == 2)
        assert any("no memory for a process" in line for line in parent.lines)
        parent.popen.send_signal(signal.SIGTERM)
        assert parent.wait() == 0
    finally:
        parent.end()


def test_children_leave_when_the_parent_is_killed(start: Any) -> None:
    parent = start()
    parent.popen.kill()
    parent.until(lambda: len(parent.pids("orphan")) == 2)


def test_w14_what_cannot_live_through_a_fork_is_named_and_closed(tmp_path: Path) -> None:
    script = f"""
import threading
from django.conf import settings
settings.configure(DATABASES={{"default": {{
    "ENGINE": "django.db.backends.sqlite3", "NAME": {str(tmp_path / "db.sqlite3")!r}
}}}})
from django.db import connection
from headrace.worker.supervisor import prepare_fork
threading.Thread(target=threading.Event().wait, name="an-agent", daemon=True).start()
connection.ensure_connection()
prepare_fork()
print("closed" if connection.connection is None else "open")
"""
    parent = Parent(script)
    assert parent.wait() == 0
    parent.end()
    said = " ".join(parent.lines)
    assert "Database connection 'default' was opened while Django was loading; it is closed" in said
    assert "an-agent" in said
    assert parent.lines[-1] == "closed"

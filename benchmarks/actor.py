"""A process that does what it is told, line by line, and the figures of the Redis server that it uses."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

from .processes import ROOT, SOURCES

__all__ = ["Actor", "ServerFigures", "acting"]

ACTORS = ROOT / "benchmarks" / "actors"
#: Seconds for what an actor does, beyond those that it was told to take.
PATIENCE_SECONDS = 90.0
#: Seconds to end in order: one that waits for messages does not notice that its input ended.
END_SECONDS = 1.0


class Actor:
    """A program of `actors`, run by an interpreter of any environment."""

    def __init__(self, script: str, *arguments: str, python: str = sys.executable) -> None:
        """Start it; `answer` is then its word that it is ready."""
        self._name = f"{script} {arguments[0]}"
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed by `end`)
        env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        if python == sys.executable:
            env["PYTHONPATH"] = SOURCES
        self._popen = subprocess.Popen(
            [python, str(ACTORS / script), *arguments],
            cwd=ACTORS,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )
        self._unread = b""
        self._patience_seconds = PATIENCE_SECONDS
        #: CPU seconds that it had used when it answered last.
        self.cpu = 0.0

    def tell(self, do: str, **given: Any) -> None:
        """Let it do something; its `answer` comes when that is done."""
        if self._popen.stdin is None:
            raise RuntimeError(f"{self._name} has no input")
        self._patience_seconds = PATIENCE_SECONDS + float(given.get("seconds", 0))
        self._popen.stdin.write(json.dumps({"do": do, **given}).encode() + b"\n")
        self._popen.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """What it says next. Waits for it; raises RuntimeError with the reason if it cannot come."""
        deadline = time.monotonic() + self._patience_seconds
        while b"\n" not in self._unread:
            self._read(deadline)
        line, _, self._unread = self._unread.partition(b"\n")
        said: dict[str, Any] = json.loads(line)
        if "error" in said:
            raise RuntimeError(f"{self._name}: {said['error']}")
        self.cpu = said["cpu"]
        return said

    def ask(self, do: str, **given: Any) -> dict[str, Any]:
        """Let it do something, and wait for its answer."""
        self.tell(do, **given)
        return self.answer()

    def end(self) -> None:
        """End it: its input ends, and after a while it is killed."""
        for pipe in (self._popen.stdin, self._popen.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        try:
            self._popen.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        self._errors.close()

    def _read(self, deadline: float) -> None:
        if self._popen.stdout is None:
            raise RuntimeError(f"{self._name} has no output")
        out = self._popen.stdout.fileno()
        can_read, _, _ = select.select([out], [], [], max(0.0, deadline - time.monotonic()))
        data = os.read(out, 1 << 20) if can_read else b""
        if not data:
            self._errors.seek(0)
            why = "ended" if can_read else "does not answer"
            raise RuntimeError(f"{self._name} {why}:\n{self._errors.read()[-2000:]}")
        self._unread += data


@contextlib.contextmanager
def acting(*actors: Actor) -> Iterator[list[dict[str, Any]]]:
    """Wait until actors are ready, and end them with the block; what each said first."""
    with contextlib.ExitStack() as ending:
        for actor in actors:
            ending.callback(actor.end)
        yield [actor.answer() for actor in actors]


class ServerFigures:
    """What a Redis server says of itself (INFO), over one connection that stays."""

    def __init__(self, port: int) -> None:
        self._link = socket.create_connection(("127.0.0.1", port), 5)

    def close(self) -> None:
        """Close the connection."""
        self._link.close()

    def cpu_seconds(self) -> float:
        """CPU time of the server so far, user and system."""
        info = self._info("cpu")
        return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])

    def commands(self) -> int:
        """Commands so far, with those inside of scripts. This question itself counts afterwards."""
        return int(self._info("stats")["total_commands_processed"])

    def _info(self, section: str) -> dict[str, str]:
        self._link.sendall(b"INFO %b\r\n" % section.encode())
        head, _, body = self._received(b"").partition(b"\r\n")
        while len(body) < int(head[1:]) + 2:
            body = self._received(body)
        lines = body.decode().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def _received(self, before: bytes) -> bytes:
        data = self._link.recv(1 << 16)
        if not data:
            raise RuntimeError("the Redis server ended in the middle of a measurement")
        return before + data

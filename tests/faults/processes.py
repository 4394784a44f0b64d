"""How much memory real processes hold."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.stack import Stack

__all__ = ["Growth", "memory_of", "pids_of"]

MIB = 1 << 20


def pids_of(stack: Stack, redis_pid: int) -> dict[str, int]:
    """Process ids by name: Redis, the interface server, each worker with its children."""
    found = {"redis": redis_pid}
    for number, process in enumerate(stack.processes):
        found[f"{process.name} {number}"] = process.pid
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        found.update({f"{process.name} {number}.{index}": int(pid) for index, pid in enumerate(children)})
    return found


def memory_of(pid: int) -> int:
    """Bytes of memory that a process holds."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024
    return 0


class Growth:
    """The most that each process grew while it was watched."""

    def __init__(self, pids: dict[str, int]) -> None:
        self._pids = pids
        self._before = {name: memory_of(pid) for name, pid in pids.items()}
        self.most = dict.fromkeys(pids, 0)

    def look(self) -> None:
        """Look once."""
        for name, pid in self._pids.items():
            self.most[name] = max(self.most[name], memory_of(pid) - self._before[name])

    def table(self) -> str:
        """Name and MiB, on one line."""
        return "grew by MiB: " + "  ".join(f"{name} {most / MIB:.1f}" for name, most in self.most.items())

    @classmethod
    @contextmanager
    def watched(cls, pids: dict[str, int]) -> Iterator[Growth]:
        """Look ten times a second while the block runs."""
        growth, ended = cls(pids), threading.Event()
        thread = threading.Thread(target=_watch, args=(growth.look, ended))
        thread.start()
        try:
            yield growth
        finally:
            ended.set()
            thread.join()


def _watch(look: Callable[[], None], ended: threading.Event) -> None:
    while not ended.wait(0.1):
        look()

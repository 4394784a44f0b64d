"""What all users of one memory layer share: its lock, its clock, and waiting for messages."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from threading import RLock
from types import TracebackType

from headrace_asgi.control import BELL
from headrace_asgi.envelope import Message, require_place_on, unpack_message
from headrace_asgi.errors import ConfigurationError, UnreadableEntry
from headrace_asgi.later import DUE_CHANNEL

from .store import Store, TakenMessage

__all__ = ["Bell", "Hub"]

#: What a waiting taker listens to. SimpleQueue.put may be called from a signal handler; Condition may not.
Bell = SimpleQueue[None]


def _never() -> bool:
    return False


class Hub:
    """`with hub as store:` is the only way to the store; leaving it wakes who waits for what is there."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        """Take the store, and the clock in seconds that messages expire on."""
        self._clock = clock
        self._store = store
        self._lock = RLock()
        self._waiting: dict[Bell, Sequence[str]] = {}
        self._listening: dict[str, Callable[[], None]] = {}
        self._pid = os.getpid()

    def __enter__(self) -> Store:
        if os.getpid() != self._pid:
            raise ConfigurationError(
                "InMemoryChannelLayer lives in the process that made it and was used in a forked child: "
                "take IPCChannelLayer or RedisChannelLayer for several processes"
            )
        self._lock.acquire()
        return self._store

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        for bell, names in self._waiting.items():
            if any(self._store.pending(name) for name in names):
                bell.put(None)
        for process, ring in self._listening.items():
            if process not in self._store.processes or self._store.pending(process):
                ring()
        self._lock.release()

    def listen(self, process: str, ring: Callable[[], None]) -> None:
        """From now on call `ring` when something waits for a process, or it is not known any more.

        It is called in any thread, again and again until that is not so any more, and holds everybody up.
        """
        with self:
            self._listening[process] = ring

    def stop_listening(self, process: str) -> None:
        """End that; nothing happens for a process nobody listens for."""
        with self:
            self._listening.pop(process, None)

    def seconds(self) -> float:
        """The layer's clock."""
        return self._clock()

    def now_ms(self) -> int:
        """The clock of the envelopes."""
        return int(self._clock() * 1000)

    def take(
        self,
        names: Sequence[str],
        limit: int,
        timeout_seconds: float,
        bell: Bell | None = None,
        woken: Callable[[], bool] = _never,
    ) -> list[tuple[TakenMessage, Message]]:
        """Take up to `limit` entries, waiting up to `timeout_seconds` of real time for a first one.

        Who sets what `woken` answers and then rings `bell` ends the wait.
        """
        with self as store:
            taken = store.take(names, limit, self.now_ms())
            readable = self._readable(taken)
            if readable or timeout_seconds <= 0:
                return readable
            bell = bell or SimpleQueue()
            self._waiting[bell] = names
        try:
            return self._wait(names, limit, timeout_seconds, bell, woken)
        finally:
            with self:
                del self._waiting[bell]

    def _wait(
        self, names: Sequence[str], limit: int, timeout_seconds: float, bell: Bell, woken: Callable[[], bool]
    ) -> list[tuple[TakenMessage, Message]]:
        give_up = time.monotonic() + timeout_seconds
        while not woken():
            remaining = give_up - time.monotonic()
            if remaining <= 0:
                break
            try:
                bell.get(timeout=remaining)
            except Empty:
                break
            with self as store:
                taken = store.take(names, limit, self.now_ms())
            readable = self._readable(taken)
            if readable:
                return readable
        return []

    def _readable(self, taken: list[TakenMessage]) -> list[tuple[TakenMessage, Message]]:
        readable = []
        for one in taken:
            try:
                message = unpack_message(one.entry.payload)
                if one.entry.control and one.queue != DUE_CHANNEL:
                    if message.get("control") != BELL:
                        raise UnreadableEntry("a note between processes lies where messages are")
                    claimed = self._claimed(one.queue)
                    if claimed is not None:
                        readable.append(claimed)
                    continue
                if one.entry.channel is not None or one.entry.order is not None:
                    require_place_on(one.queue, one.entry, message)
                readable.append((one, message))
            except UnreadableEntry:
                with self as store:
                    store.count_unreadable(one.queue)
        return readable

    def _claimed(self, channel: str) -> tuple[TakenMessage, Message] | None:
        """The next message of an acknowledged channel; one that cannot be read is not done."""
        with self as store:
            while (one := store.claim(channel, self.now_ms())) is not None:
                try:
                    return one, unpack_message(one.entry.payload)
                except UnreadableEntry as error:
                    if one.claim is not None:
                        store.fail(channel, one.claim, str(error), self.now_ms())
        return None

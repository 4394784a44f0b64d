"""Receiving for coroutines: each waits on a worker's port, in a thread, and may be cancelled at any time.

What a port takes belongs to the coroutine that awaits it. If that was cancelled meanwhile, even in the moment
in which the answer was ready for it, it goes back to the head of its channel, as when a worker stops.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, Protocol

from .envelope import Message
from .errors import HeadraceError, LayerUnavailable
from .limits import MOST_WAITING_COROUTINES
from .names import require_channel_names

__all__ = ["AsyncReceiver"]

log = logging.getLogger("headrace.layer")

#: Ports kept open for the next coroutine; each is a connection.
_MOST_IDLE = 10
#: Seconds that a cancelled coroutine waits until what was taken for it is put back: usually a round trip.
_SETTLE_SECONDS = 1.0


class _Port(Protocol):
    """What is needed of a `contract.WorkerPort`."""

    def turn(
        self, out: Sequence[Any], channels: Sequence[str], limit: int, block_seconds: float
    ) -> list[Any]: ...
    def give_back(self, deliveries: Sequence[Any]) -> None: ...
    def wake(self) -> None: ...
    def close(self) -> None: ...


class AsyncReceiver:
    """Takes messages of one layer for coroutines, in any event loop. A forked child begins anew."""

    def __init__(
        self, open_port: Callable[[], _Port], finishes: Callable[[Sequence[Any]], Sequence[Any]]
    ) -> None:
        """Take what opens a port, and what finishes the ordered deliveries among some that were taken."""
        self._open_port = open_port
        self._finishes = finishes
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._idle: list[_Port] = []
        self._threads = ThreadPoolExecutor(MOST_WAITING_COROUTINES, "headrace-receive")
        #: Takes that nobody awaits any more, until what they took is put back or finished.
        self._ending: set[Future[Any]] = set()

    async def receive(
        self, channels: Iterable[str], limit: int, timeout_seconds: float
    ) -> list[tuple[str, Message]]:
        """See `ChannelLayer.areceive_many`."""
        listed = require_channel_names(channels)
        if self._pid != os.getpid():
            self._begin()
        take = _Take(self)
        job = self._threads.submit(take.run, listed, limit, timeout_seconds)
        try:
            taken = await asyncio.wrap_future(job)
        except asyncio.CancelledError:
            # So that who is cancelled and asks again finds everything in its order.
            await _settled(self._give_up(take, job))
            raise
        except GeneratorExit:  # nobody goes on with this coroutine
            self._give_up(take, job)
            raise
        finishes = self._finishes(taken)
        if finishes:
            self._let_end(_in_a_thread(lambda: take.finish(finishes)))
        else:
            take.end()
        return [(one.channel, one.message) for one in taken]

    def _give_up(self, take: _Take, job: Future[Any]) -> Future[Any]:
        """Nobody awaits this any more; the answer is what ends when all of it is put back."""
        return self._let_end(_in_a_thread(take.put_back) if take.give_up() else job)

    def _let_end(self, ending: Future[Any]) -> Future[Any]:
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)
        return ending

    def borrow(self) -> tuple[_Port, bool]:
        """A port, and whether it was used before. Blocks while it connects; raises LayerUnavailable."""
        with self._lock:
            if self._idle:
                return self._idle.pop(), True
        return self._open_port(), False

    def put_away(self, port: _Port, kept: list[_Port]) -> None:
        """Keep a port for the next one; `kept` is where it would have been kept when it was borrowed."""
        with self._lock:
            if kept is self._idle and len(kept) < _MOST_IDLE:
                kept.append(port)
                return
        port.close()

    @property
    def idle(self) -> list[_Port]:
        """The ports that are kept; another list after each `close`."""
        return self._idle

    def close(self) -> None:
        """Close the ports that nobody uses; the others are closed by their users.

        Blocks for up to a second, usually a round trip, for what is just being put back.
        """
        if self._pid != os.getpid():
            return
        wait(list(self._ending), _SETTLE_SECONDS)
        with self._lock:
            idle, self._idle = self._idle, []
            threads, self._threads = (
                self._threads,
                ThreadPoolExecutor(MOST_WAITING_COROUTINES, "headrace-receive"),
            )
        threads.shutdown(wait=False)
        for port in idle:
            port.close()


def _in_a_thread(act: Callable[[], None]) -> Future[Any]:
    """Do what is rare and must not queue behind those that wait."""
    job: Future[Any] = Future()

    def run() -> None:
        try:
            act()
        finally:
            job.set_result(None)

    threading.Thread(target=run, name="headrace-receive-end").start()
    return job


async def _settled(job: Future[Any]) -> None:
    """Wait for the end of a job, but not for a layer that does not answer."""
    future = asyncio.wrap_future(job)
    await asyncio.wait([future], timeout=_SETTLE_SECONDS)
    if not future.cancel() and not future.cancelled():
        future.exception()  # who would have been told was cancelled


class _Take:
    """One wait. `run`, `put_back` and `finish` happen in a thread, the rest in that of the event loop."""

    def __init__(self, receiver: AsyncReceiver) -> None:
        self._receiver = receiver
        self._kept = receiver.idle
        self._lock = threading.Lock()
        self._given_up = False
        self._port: _Port | None = None
        #: What was taken, once that belongs to the coroutine.
        self._taken: list[Any] = []

    def run(self, channels: Sequence[str], limit: int, timeout_seconds: float) -> list[Any]:
        """Wait for messages. What comes after `give_up` is put back. Raises LayerUnavailable."""
        port, is_used = self._receiver.borrow()
        with self._lock:
            self._port = port
        try:
            taken = self._wait(port, is_used, channels, limit, timeout_seconds)
        except BaseException:
            port.close()
            raise
        with self._lock:
            self._taken = taken
            given_up = self._given_up
        if given_up:
            self.put_back()
        elif not taken:
            self.end()
        return taken

    def _wait(
        self, port: _Port, is_used: bool, channels: Sequence[str], limit: int, timeout_seconds: float
    ) -> list[Any]:
        deadline = time.monotonic() + timeout_seconds
        taken: list[Any] = []
        while not self._given_up:
            left = max(deadline - time.monotonic(), 0.0)
            try:
                taken = port.turn([], channels, limit, left)
            except LayerUnavailable:
                if not is_used:
                    raise
                is_used = False  # its connection may have ended long ago: now it makes another one
                continue
            if taken or not left:
                break
        with contextlib.suppress(HeadraceError):
            port.turn([], (), 0, 0.0)  # what is owed for messages that were dropped
        return taken

    def give_up(self) -> bool:
        """The coroutine awaits this no more. Whether something was taken for it, to be put back."""
        with self._lock:
            self._given_up = True
            if self._port is not None and not self._taken:
                self._port.wake()
            return bool(self._taken)

    def put_back(self) -> None:
        """Nobody wants what was taken."""
        assert self._port is not None
        try:
            if self._taken:
                self._port.give_back(self._taken)
        except HeadraceError as error:
            log.error(
                "%d messages that were taken for a cancelled coroutine could not be put back: %s",
                len(self._taken),
                error,
            )
        self.end()

    def finish(self, finishes: Sequence[Any]) -> None:
        """Let the next message of each ordered socket go."""
        assert self._port is not None
        with contextlib.suppress(HeadraceError):  # their leases end them
            self._port.turn(finishes, (), 0, 0.0)
        self.end()

    def end(self) -> None:
        """Done with the port."""
        with self._lock:
            port, self._port = self._port, None
        if port is not None:
            self._receiver.put_away(port, self._kept)

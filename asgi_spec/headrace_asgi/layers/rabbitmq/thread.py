"""The thread in which a process talks to RabbitMQ: an event loop, asked by blocking calls.

pika's connections belong to one thread and want to be served all the time: a heartbeat that nobody sends ends
them. A consumer may run for minutes; so another thread serves them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from .session import BrokerSession

__all__ = ["BrokerThread"]

T = TypeVar("T")

#: Seconds that the end of a session may take.
_END_SECONDS = 3.0
#: What a forked child has of its parent: sockets that nobody may close in order, as the parent goes on.
_inherited: list[object] = []


class BrokerThread:
    """One session in a thread of its own, both made when they are first needed. Thread-safe.

    A forked child gets its own.
    """

    def __init__(self, open_session: Callable[[], BrokerSession]) -> None:
        self._open_session = open_session
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._running: tuple[asyncio.AbstractEventLoop, BrokerSession, threading.Thread] | None = None

    def ask(self, act: Callable[[BrokerSession], Coroutine[Any, Any, T]]) -> T:
        """Do something in the session and wait for it; raises what that raises."""
        if self._pid != os.getpid():
            _inherited.append(self._running)
            self._begin()
        with self._lock:
            loop, session, _ = self._running = self._running or self._started()
            answer = asyncio.run_coroutine_threadsafe(act(session), loop)
        try:
            return answer.result()
        except BaseException:
            answer.cancel()  # such as Ctrl-C while we wait
            raise

    def has(self, session: BrokerSession) -> bool:
        """Whether this session is still the one of this process."""
        running = self._running
        return self._pid == os.getpid() and running is not None and running[1] is session

    def _started(self) -> tuple[asyncio.AbstractEventLoop, BrokerSession, threading.Thread]:
        session = self._open_session()
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, name="headrace-rabbitmq", daemon=True)
        thread.start()
        return loop, session, thread

    def close(self) -> None:
        """End session and thread; the next call begins anew."""
        if self._pid != os.getpid():
            return
        with self._lock:
            running, self._running = self._running, None
        if running is None:
            return
        loop, session, thread = running
        with contextlib.suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(_end(session), loop).result(_END_SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_END_SECONDS)
        if not thread.is_alive():
            loop.close()


async def _end(session: BrokerSession) -> None:
    """Close the connections, then what still waits for something."""
    await session.close()
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    # The threads in which names of hosts were looked up.
    await asyncio.get_running_loop().shutdown_default_executor()

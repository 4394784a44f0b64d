"""A Twisted reactor of one test's own, turned by hand: nothing is installed, nothing outlives the test."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

__all__ = ["HandReactor", "hand_reactor"]


class HandReactor(EPollReactor):
    """A reactor that runs only while somebody waits for something."""

    def __init__(self) -> None:
        #: A thread may still be waking the reactor when what it said has been heard, and the test is over.
        self.waking = threading.Lock()
        super().__init__()

    def wakeUp(self) -> None:  # noqa: N802
        with self.waking:
            super().wakeUp()

    def until(self, what: Callable[[], Any], seconds: float = 10.0) -> Any:
        """Turn until `what()` is true, and return that; fails the test after `seconds`."""
        deadline = time.monotonic() + seconds
        while not (found := what()):
            if time.monotonic() > deadline:
                raise AssertionError(f"it did not happen within {seconds:g} s")
            self.iterate(0.01)
        return found

    def turn(self, seconds: float) -> None:
        """Turn for a while."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.iterate(0.005)


@contextmanager
def hand_reactor() -> Iterator[HandReactor]:
    """A running reactor; afterwards its timers, sockets and descriptors are gone."""
    reactor = HandReactor()
    reactor.startRunning(installSignalHandlers=False)
    try:
        yield reactor
    finally:
        for call in reactor.getDelayedCalls():
            call.cancel()
        for selectable in reactor.removeAll():
            with suppress(Exception):
                selectable.connectionLost(Failure(ConnectionDone()))
        if reactor.threadpool is not None:  # names of hosts were looked up
            reactor.threadpool.stop()
        with reactor.waking:
            waker, reactor.waker = reactor.waker, None
        reactor._internalReaders.discard(waker)
        with suppress(Exception):
            waker.connectionLost(Failure(ConnectionDone()))
        reactor._poller.close()

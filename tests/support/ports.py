"""Ports that the servers of tests listen on."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import socket
from collections.abc import Iterator

__all__ = ["free_port"]

#: Below those that Linux, macOS and the BSDs give to outgoing connections.
LISTENING_PORTS = range(20_000, 32_000)


def _own_ports() -> Iterator[int]:
    """The ports of this process, without end: a share of its own among those that test side by side.

    A second may pass between the moment when a port is found free and the one when a server listens on it.
    """
    beside = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    share = list(LISTENING_PORTS[number::beside])
    # Not the common generator: tests seed it, and another run of the tests may go on at the same time.
    random.SystemRandom().shuffle(share)
    return itertools.cycle(share)


_ports = _own_ports()


def free_port() -> int:
    """A free port of the loopback interface, none of those that outgoing connections are given."""
    for port in _ports:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("the ports never end")

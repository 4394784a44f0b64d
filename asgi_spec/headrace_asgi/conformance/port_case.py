"""What the cases about a worker's port share: the port, and an interface process held by the test."""

# Shipped to be run by unittest as well, and under -O, where an assert statement is not there.
# ruff: noqa: PT009

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Protocol

from ..contract import Delivery, Out, Outcome, WorkerPort
from ..envelope import Message
from .case import ConformanceCase

__all__ = ["HeardUnderTest", "PortCase", "ProcessUnderTest", "numbers"]


class HeardUnderTest(Protocol):
    """What came for one client."""

    @property
    def local(self) -> str:
        """The client's local part; empty for an entry that concerns no single client."""

    @property
    def message(self) -> Message:
        """The message, or the body of the note."""

    @property
    def control(self) -> str:
        """The kind of note; empty for a message."""


class ProcessUnderTest(Protocol):
    """An interface process whose queue and sockets the test itself holds."""

    @property
    def process(self) -> str:
        """Name of its queue."""

    @property
    def taken_channels(self) -> frozenset[str]:
        """Channels that workers take."""

    def connect(self, local: str, path: str, message: Message) -> Outcome:
        """Register a socket and send its connect."""

    def frame(self, local: str, message: Message, order: int, ordered: bool = True) -> Outcome:
        """Send a frame, through the mailbox if `ordered`."""

    def disconnect(self, local: str, message: Message, order: int) -> Outcome:
        """Unregister a socket and send its disconnect."""

    def heard(self) -> Sequence[HeardUnderTest]:
        """Everything that came to the queue since the last call."""

    def close(self) -> None:
        """Withdraw the process."""


class PortCase(ConformanceCase):
    """A port, and helpers around it."""

    port: WorkerPort
    refused: list[tuple[Out, Outcome]]

    def setUp(self) -> None:
        super().setUp()
        self.refused = []
        self.port = self.new_port()

    def new_port(self) -> WorkerPort:
        """One more port, closed with the test; what it refuses is noted in `refused`."""
        port = self.channel_layer.open_worker_port(lambda out, outcome: self.refused.append((out, outcome)))
        self.addCleanup(port.close)
        return port

    def open_process(self) -> ProcessUnderTest:
        """A process with a queue of our own kind. Override it where the layer has such processes."""
        return self.skipTest("open_process is not given")

    def put_raw(self, channel: str, entry: bytes) -> None:
        """Put bytes on a channel as they are. Override it where that can be done."""
        self.skipTest("put_raw is not given")

    def let_leases_lapse(self) -> None:
        """Let the lease of every ordered message in flight lapse. Override it where that can be done."""
        self.skipTest("let_leases_lapse is not given")

    def turns(self, channels: Sequence[str], count: int, *out: Out) -> list[Delivery]:
        """Exactly `count` deliveries, in as many turns as that takes."""
        taken = self.port.turn(out, channels, count, 0.5)
        give_up = time.monotonic() + self.patience_seconds
        while len(taken) < count and time.monotonic() < give_up:
            taken += self.port.turn([], channels, count - len(taken), 0.5)
        self.assertEqual(len(taken), count, f"taken from {channels}: {taken}")
        return taken

    def send_all(self, channel: str, count: int) -> None:
        """Send 0 … count - 1 on a channel."""
        self.channel_layer.send_many([(channel, {"number": number}) for number in range(count)])


def numbers(deliveries: Sequence[Delivery]) -> list[Any]:
    """What the messages carry as `number`."""
    return [delivery.message["number"] for delivery in deliveries]

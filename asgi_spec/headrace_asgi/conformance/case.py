"""What all conformance cases share: the attributes an author sets, and helpers."""

# Shipped to be run by unittest as well, and under -O, where an assert statement is not there.
# ruff: noqa: PT009

from __future__ import annotations

import time
import unittest
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..contract import ChannelLayer
from ..envelope import Message
from ..limits import MAX_MESSAGE_BYTES

__all__ = ["ConformanceCase"]

if TYPE_CHECKING:
    _Base = unittest.TestCase
else:
    # A mix-in: were it a test case itself, every module that imports it would run it.
    _Base = object


class ConformanceCase(_Base):
    """Attributes that describe the layer under test, and helpers for the cases.

    `channel_layer` must be set before `setUp` of this class runs. Leave an attribute None to skip its cases.
    """

    channel_layer: ChannelLayer
    #: Seconds after which a message of `channel_layer` has certainly expired.
    expiry_delay: float | None = None
    #: Messages that every channel of `channel_layer` holds, exactly; at least 3.
    capacity_limit: int | None = None
    #: `max_message_bytes` of `channel_layer`.
    message_limit_bytes = MAX_MESSAGE_BYTES
    #: How often a non-blocking receive may find nothing on a shared channel that is not empty.
    receive_tries = 1
    #: Whether a shared channel keeps the order of one sender, as it cannot where it lies at several places.
    keeps_order = True
    #: Seconds that a case waits before it fails.
    patience_seconds = 10.0
    #: Whether the cases of an extension that the layer does not declare are skipped; else one of them fails,
    #: as its mix-in claims it.
    skip_undeclared = False
    #: Whether processes that open a layer with the same configuration share its channels.
    several_processes = False

    def setUp(self) -> None:
        super().setUp()
        if "flush" in self.channel_layer.extensions:
            self.channel_layer.flush()

    def wait_for_expiry(self) -> None:
        """Let every message sent so far expire. Override it for a layer with a clock of its own."""
        if self.expiry_delay is None:
            self.skipTest("expiry_delay is not set")
        time.sleep(self.expiry_delay)

    def wait_for_group_expiry(self) -> None:
        """Let every membership made so far expire. Override it for a layer with a clock of its own."""
        if self.channel_layer.group_expiry > 20:
            self.skipTest("group_expiry of the layer is over 20 s")
        time.sleep(self.channel_layer.group_expiry + 0.1)

    def need(self, *extensions: str) -> None:
        """Skip the case unless the layer declares these extensions."""
        for name in extensions:
            if name not in self.channel_layer.extensions:
                self.skipTest(f"the layer does not declare the extension {name!r}")

    def assert_declared(self, extension: str) -> None:
        """The layer declares the extension whose mix-in this is; see `skip_undeclared`."""
        if self.skip_undeclared:
            self.need(extension)
        self.assertIn(
            extension,
            self.channel_layer.extensions,
            f"the layer does not declare the extension {extension!r}: declare it, or leave out its mix-in",
        )

    def capacity(self) -> int:
        """`capacity_limit`; skips the case without one."""
        if self.capacity_limit is None:
            self.skipTest("capacity_limit is not set")
        return self.capacity_limit

    def take(self, channels: Iterable[str]) -> tuple[str, Message]:
        """The next message, without waiting; fails if there is none."""
        listed = list(channels)
        for _ in range(self.receive_tries):
            channel, message = self.channel_layer.receive(listed)
            if channel is not None and message is not None:
                return channel, message
        return self.fail(f"Nothing was received from {listed}")

    def take_all(self, channels: list[str], count: int) -> list[tuple[str, Message]]:
        """Exactly `count` messages, in the order in which they came; waits for them."""
        received: list[tuple[str, Message]] = []
        give_up = time.monotonic() + self.patience_seconds
        while len(received) < count and time.monotonic() < give_up:
            received += self.channel_layer.receive_many(channels, count - len(received), 0.5)
        self.assertEqual(len(received), count, f"received from {channels}: {received}")
        return received

    def assert_next(self, channels: list[str], channel: str, message: Message) -> None:
        """The next message is this one."""
        self.assertEqual(self.take(channels), (channel, message))

    def assert_in_order(self, numbers: Iterable[int], expected: Iterable[int]) -> None:
        """These came from a shared channel: in this order, if the layer keeps it."""
        came = list(numbers)
        self.assertEqual(came if self.keeps_order else sorted(came), list(expected))

    def assert_nothing(self, channels: list[str]) -> None:
        """There is no message."""
        for _ in range(self.receive_tries):
            self.assertEqual(self.channel_layer.receive(channels), (None, None))
        self.assertEqual(self.channel_layer.receive_many(channels, 10), [])

    def send_patiently(self, channel: str, message: Message) -> None:
        """Send, and try again while the channel is full."""
        give_up = time.monotonic() + self.patience_seconds
        while True:
            try:
                return self.channel_layer.send(channel, message)
            except self.channel_layer.ChannelFull:
                if time.monotonic() > give_up:
                    raise
                time.sleep(0.002)

    def send_numbers(self, channel: str, count: int, **more: Any) -> None:
        """Send 0 … count - 1, patiently."""
        for number in range(count):
            self.send_patiently(channel, {"number": number, **more})

    def send_numbers_and_stops(self, channel: str, count: int, receivers: int) -> None:
        """Send numbers, then what ends each receiver in `take_until_stop`."""
        self.send_numbers(channel, count)
        for _ in range(receivers):
            self.send_patiently(channel, {"stop": True})

    def take_until_stop(self, channel: str) -> list[int]:
        """Take batches until there was a stop among them; the numbers that came before.

        Where the order is not kept, until there was a stop and nothing is left.
        """
        numbers: list[int] = []
        stops = 0
        give_up = time.monotonic() + self.patience_seconds
        while not (stops and self.keeps_order) and time.monotonic() < give_up:
            batch = self.channel_layer.receive_many([channel], 3, 0.5)
            stops += sum("stop" in message for _, message in batch)
            numbers += [message["number"] for _, message in batch if "number" in message]
            if stops and not batch:
                break
        for _ in range(stops - 1):
            self.send_patiently(channel, {"stop": True})
        return numbers

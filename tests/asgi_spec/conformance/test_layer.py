"""The shipped suite catches layers that break the contract. A good layer passes it in `test_memory`."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

from headrace_asgi.conformance.layer import ChannelLayerConformance
from headrace_asgi.contract import Outcome
from headrace_asgi.envelope import Message
from headrace_asgi.layers.memory.layer import InMemoryChannelLayer
from tests.support.conformance import failed_cases, only


def test_a_good_layer_fails_nothing() -> None:
    assert failed_cases(ChannelLayerConformance, patience_seconds=10) == set()


class HidesQuietChannels(InMemoryChannelLayer):
    def receive_many(
        self, channels: Iterable[str], limit: int = 1, timeout_seconds: float = 0
    ) -> list[tuple[str, Message]]:
        for channel in channels:
            received = super().receive_many([channel], limit)
            if received:
                return received
        return super().receive_many(channels, limit, timeout_seconds)


def test_a_layer_in_which_a_busy_channel_hides_a_quiet_one_is_caught() -> None:
    assert "test_a_busy_channel_never_hides_a_quiet_one" in failed_cases(
        ChannelLayerConformance, HidesQuietChannels
    )


class DeliversTwice(InMemoryChannelLayer):
    lock = threading.Lock()
    sent = 0

    def send(self, channel: str, message: Message) -> None:
        super().send(channel, message)
        with self.lock:
            DeliversTwice.sent += 1
        if self.sent % 20 == 0:
            give_up = time.monotonic() + 0.05
            while super().send_many([(channel, message)]) == [Outcome.FULL] and time.monotonic() < give_up:
                time.sleep(0.001)


def test_a_layer_that_delivers_some_messages_twice_is_caught() -> None:
    failed = failed_cases(ChannelLayerConformance, DeliversTwice)
    assert "test_no_message_is_delivered_twice_or_lost_among_several_receiving_threads" in failed


class NeverBlocks(InMemoryChannelLayer):
    def receive_many(
        self, channels: Iterable[str], limit: int = 1, timeout_seconds: float = 0
    ) -> list[tuple[str, Message]]:
        return super().receive_many(channels, limit)


def test_a_layer_that_never_blocks_is_caught_i2() -> None:
    for case in (
        "test_an_empty_channel_is_waited_for_as_long_as_asked",
        "test_a_waiting_receiver_wakes_when_a_message_comes",
    ):
        assert case in failed_cases(only(ChannelLayerConformance, case), NeverBlocks)

"""The suite's oldest cases catch layers that break ASGI 0.x."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from headrace_asgi.conformance.specification import SpecificationConformance
from headrace_asgi.contract import Outcome
from headrace_asgi.envelope import Message
from headrace_asgi.layers.memory.layer import InMemoryChannelLayer
from tests.support.conformance import failed_cases, only


def test_there_are_eleven_cases_and_a_good_layer_passes_them() -> None:
    cases = [name for name in dir(SpecificationConformance) if name.startswith("test_")]
    assert len(cases) == 11
    assert failed_cases(SpecificationConformance, patience_seconds=10) == set()


class NothingExpires(InMemoryChannelLayer):
    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "expiry": 1000, "group_expiry": 1000})


class NothingIsEverFull(InMemoryChannelLayer):
    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "capacity": 1000})


class TextIsBytes(InMemoryChannelLayer):
    def send_many(self, messages: Sequence[tuple[str, Message]]) -> list[Outcome]:
        return super().send_many(
            [
                (channel, {k: v.encode() if isinstance(v, str) else v for k, v in message.items()})
                for channel, message in messages
            ]
        )


class ForgetsLocalParts(InMemoryChannelLayer):
    def receive_many(
        self, channels: Iterable[str], limit: int = 1, timeout_seconds: float = 0
    ) -> list[tuple[str, Message]]:
        received = super().receive_many(channels, limit, timeout_seconds)
        return [(channel.partition("!")[0], message) for channel, message in received]


class ChangesTheMessage(InMemoryChannelLayer):
    def send(self, channel: str, message: Message) -> None:
        super().send(channel, message)
        message["__asgi_channel__"] = channel


@pytest.mark.parametrize(
    ("layer", "case"),
    [
        (NothingExpires, "test_a_message_that_nobody_read_expires"),
        (NothingIsEverFull, "test_a_full_channel_refuses_and_accepts_again_when_it_was_read"),
        (NothingIsEverFull, "test_capacity_is_that_of_all_channels_of_one_process"),
        (TextIsBytes, "test_every_kind_of_value_arrives_as_it_was_sent"),
        (ForgetsLocalParts, "test_a_process_channel_is_received_by_the_part_up_to_the_exclamation_mark"),
        (ChangesTheMessage, "test_changing_a_message_after_it_was_sent_changes_nothing_at_the_receiver"),
    ],
)
def test_a_layer_that_breaks_it_is_caught(layer: type[InMemoryChannelLayer], case: str) -> None:
    assert case in failed_cases(only(SpecificationConformance, case), layer)

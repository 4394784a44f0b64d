"""The cases about sending for later catch layers that break the contract."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from headrace_asgi.conformance.later import LaterConformance
from headrace_asgi.envelope import Message
from headrace_asgi.later import Delay, Moment
from headrace_asgi.layers.memory.layer import InMemoryChannelLayer
from tests.support.conformance import failed_cases


class LivesLonger(InMemoryChannelLayer):
    """A message outlives the pause before a full channel is tried again."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "expiry": 10})


class GivesUpWhereThereIsNoRoom(LivesLonger):
    def move_due(self, channels: Iterable[str] = ()) -> float:
        with self._hub as store:
            for message_id, channel, _ in store.later.due(self._hub.now_ms()):
                if store.pending(channel) >= self.capacities.of(channel):
                    store.later.forget(message_id)
        return super().move_due(channels)


class SendsAtOnce(InMemoryChannelLayer):
    def send_later(
        self,
        channel: str,
        message: Message,
        delay: Delay | None = None,
        at: Moment | None = None,
        message_id: str | None = None,
    ) -> str:
        kept = super().send_later(channel, message, delay, at, message_id)
        self.send(channel, message)
        return kept


class TakesNothingBack(InMemoryChannelLayer):
    def cancel(self, message_id: str) -> bool:
        return True


class MovesNothing(InMemoryChannelLayer):
    def move_due(self, channels: Iterable[str] = ()) -> float:
        return 20.0


class LooksAllTheTime(InMemoryChannelLayer):
    def move_due(self, channels: Iterable[str] = ()) -> float:
        super().move_due(channels)
        return 0.0


def test_a_good_layer_fails_nothing() -> None:
    assert failed_cases(LaterConformance, LivesLonger, patience_seconds=5) == set()


@pytest.mark.parametrize(
    ("layer", "case"),
    [
        (SendsAtOnce, "test_a_message_comes_when_its_delay_is_over_and_not_before"),
        (TakesNothingBack, "test_what_was_taken_back_in_time_never_comes"),
        (MovesNothing, "test_a_client_of_a_process_gets_what_is_sent_to_it_for_later"),
        (GivesUpWhereThereIsNoRoom, "test_a_full_channel_gets_what_is_due_when_it_has_room"),
        (LooksAllTheTime, "test_the_layer_says_how_long_nobody_need_look"),
    ],
)
def test_a_layer_that_breaks_it_is_caught(layer: type[InMemoryChannelLayer], case: str) -> None:
    assert case in failed_cases(LaterConformance, layer)

"""The cases about batches catch layers that turn them round, or lose a part."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest

from headrace_asgi.conformance.batch import BatchConformance
from headrace_asgi.contract import Outcome
from headrace_asgi.envelope import Message
from headrace_asgi.layers.memory.layer import InMemoryChannelLayer
from tests.support.conformance import failed_cases, only


def test_a_good_layer_fails_nothing() -> None:
    assert failed_cases(BatchConformance, patience_seconds=10) == set()


class ReversesBatches(InMemoryChannelLayer):
    def send_many(self, messages: Sequence[tuple[str, Message]]) -> list[Outcome]:
        return super().send_many(messages[::-1])[::-1]


class TakesOneMore(InMemoryChannelLayer):
    def receive_many(
        self, channels: Iterable[str], limit: int = 1, timeout_seconds: float = 0
    ) -> list[tuple[str, Message]]:
        return super().receive_many(channels, limit + 1, timeout_seconds)


class NeverBlocks(InMemoryChannelLayer):
    def receive_many(
        self, channels: Iterable[str], limit: int = 1, timeout_seconds: float = 0
    ) -> list[tuple[str, Message]]:
        return super().receive_many(channels, limit)


class Undeclared(InMemoryChannelLayer):
    extensions = ("groups", "flush", "statistics", "ordering")


@pytest.mark.parametrize(
    ("layer", "case"),
    [
        (ReversesBatches, "test_a_batch_is_sent_in_order_with_one_outcome_each"),
        (ReversesBatches, "test_what_does_not_fit_of_a_batch_is_full_and_the_rest_is_sent"),
        (TakesOneMore, "test_no_more_than_the_limit_is_taken_and_the_rest_stays"),
        (NeverBlocks, "test_an_empty_channel_is_waited_for_as_long_as_asked"),
        (Undeclared, "test_batches_are_declared"),
    ],
)
def test_a_layer_that_breaks_it_is_caught(layer: type[InMemoryChannelLayer], case: str) -> None:
    assert failed_cases(only(BatchConformance, case), layer) == {case}

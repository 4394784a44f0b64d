"""The cases about upkeep catch layers that flush, count or announce nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from headrace_asgi.conformance.upkeep import FlushConformance, StatisticsConformance, UpkeepConformance
from headrace_asgi.layers.memory.layer import InMemoryChannelLayer
from tests.support.conformance import failed_cases, only


@pytest.mark.parametrize("mixin", [FlushConformance, StatisticsConformance, UpkeepConformance])
def test_a_good_layer_fails_nothing(mixin: type) -> None:
    assert failed_cases(mixin, patience_seconds=10) == set()


class FlushesNothing(InMemoryChannelLayer):
    def flush(self) -> None:
        pass


class CountsEverythingAsSent(InMemoryChannelLayer):
    def statistics(self, channel: str) -> dict[str, int]:
        counted = super().statistics(channel)
        return {**counted, "sent": counted["sent"] + counted["shed"], "shed": 0}


class CountsNoEnds(InMemoryChannelLayer):
    def statistics(self, channel: str) -> dict[str, int]:
        return {**super().statistics(channel), "done": 0}


class CountsWhatIsBackAsTaken(InMemoryChannelLayer):
    def statistics(self, channel: str) -> dict[str, int]:
        counted = super().statistics(channel)
        return {**counted, "taken": counted["sent"]}


class CountsNothingAsExpired(InMemoryChannelLayer):
    def statistics(self, channel: str) -> dict[str, int]:
        counted = super().statistics(channel)
        return {**counted, "taken": counted["taken"] - counted["expired"], "expired": 0}


class ForgetsWhoTakes(InMemoryChannelLayer):
    def takers(self) -> dict[str, float]:
        return {}


class AnnouncesAnything(InMemoryChannelLayer):
    def announce(self, channels: Iterable[str]) -> None:
        pass


class FindsTheLivingDead(InMemoryChannelLayer):
    def reap(self) -> None:
        self.send("websocket.disconnect", {})


class SaysNotWhereItIs(InMemoryChannelLayer):
    label = ""


class Undeclared(InMemoryChannelLayer):
    extensions = ("groups", "batch", "ordering")


@pytest.mark.parametrize(
    ("mixin", "layer", "case"),
    [
        (FlushConformance, FlushesNothing, "test_flush_removes_messages"),
        (FlushConformance, FlushesNothing, "test_flush_removes_groups"),
        (FlushConformance, Undeclared, "test_flush_is_declared"),
        (
            StatisticsConformance,
            CountsEverythingAsSent,
            "test_statistics_count_what_was_sent_refused_and_waits",
        ),
        (StatisticsConformance, Undeclared, "test_statistics_are_declared"),
        (StatisticsConformance, CountsNoEnds, "test_what_is_received_is_taken_and_done"),
        (
            StatisticsConformance,
            CountsWhatIsBackAsTaken,
            "test_what_was_taken_and_has_not_ended_is_running_and_what_is_back_is_not_taken",
        ),
        (StatisticsConformance, CountsNothingAsExpired, "test_what_expired_is_accounted_for"),
        (UpkeepConformance, ForgetsWhoTakes, "test_what_was_announced_is_known_with_the_time_since_then"),
        (UpkeepConformance, AnnouncesAnything, "test_only_names_of_channels_can_be_announced"),
        (UpkeepConformance, FindsTheLivingDead, "test_looking_for_the_dead_is_quiet_where_nobody_died"),
        (UpkeepConformance, SaysNotWhereItIs, "test_a_layer_says_where_it_is_and_that_it_can_be_used"),
    ],
)
def test_a_layer_that_breaks_it_is_caught(mixin: type, layer: Any, case: str) -> None:
    assert failed_cases(only(mixin, case), layer) == {case}

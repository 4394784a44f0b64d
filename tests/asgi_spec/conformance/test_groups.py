"""The cases about groups catch layers whose groups are none."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from headrace_asgi.conformance.groups import GroupsConformance
from headrace_asgi.conformance.layer import ChannelLayerConformance
from headrace_asgi.envelope import Message
from headrace_asgi.layers.memory.layer import InMemoryChannelLayer
from tests.support.conformance import failed_cases, only


def test_a_good_layer_fails_nothing() -> None:
    assert failed_cases(GroupsConformance, patience_seconds=10) == set()


class NoMemberExpires(InMemoryChannelLayer):
    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "group_expiry": 1000})


class NeverLeavesAGroup(InMemoryChannelLayer):
    def group_discard(self, group: str, channel: str) -> None:
        pass


class RaisesForAFullMember(InMemoryChannelLayer):
    def send_group(self, group: str, message: Message) -> None:
        for channel in self.group_channels(group):
            self.send(channel, message)


class SaysItBackwards(InMemoryChannelLayer):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.held: list[Message] = []

    def send_group(self, group: str, message: Message) -> None:
        self.held.insert(0, message)
        if len(self.held) == 5:
            for one in self.held:
                super().send_group(group, one)


class ChangesTheMessage(InMemoryChannelLayer):
    def send_group(self, group: str, message: Message) -> None:
        super().send_group(group, message)
        message["group"] = group


class SaysItOnceForEachGroup(InMemoryChannelLayer):
    def send_groups(self, groups: Iterable[str], message: Message) -> None:
        for group in groups:
            super().send_groups([group], message)


@pytest.mark.parametrize(
    ("layer", "case"),
    [
        (SaysItOnceForEachGroup, "test_one_call_to_several_groups_reaches_whoever_is_in_one_of_them"),
        (SaysItOnceForEachGroup, "test_several_groups_are_a_list_of_names"),
        (NoMemberExpires, "test_a_member_that_is_not_added_again_leaves_after_group_expiry"),
        (NeverLeavesAGroup, "test_a_group_message_reaches_every_member"),
        (NeverLeavesAGroup, "test_group_channels_names_the_members"),
        (RaisesForAFullMember, "test_a_group_message_to_a_full_channel_is_dropped_for_that_member_only"),
        (SaysItBackwards, "test_group_messages_arrive_at_each_member_in_the_order_they_were_sent"),
        (
            ChangesTheMessage,
            "test_changing_a_message_after_it_was_sent_to_a_group_changes_nothing_at_its_members",
        ),
    ],
)
def test_a_layer_that_breaks_it_is_caught(layer: type[InMemoryChannelLayer], case: str) -> None:
    assert case in failed_cases(only(GroupsConformance, case), layer)


class Undeclared(InMemoryChannelLayer):
    extensions = ("flush", "statistics", "batch", "ordering")


def test_who_claims_groups_and_does_not_declare_them_is_caught() -> None:
    assert failed_cases(GroupsConformance, Undeclared) == {"test_groups_are_declared"}


def test_the_whole_suite_leaves_out_what_is_not_declared() -> None:
    class Silent(InMemoryChannelLayer):
        extensions = ()

    assert failed_cases(only(ChannelLayerConformance, "test_groups_are_declared"), Undeclared) == set()
    assert failed_cases(ChannelLayerConformance, Silent, patience_seconds=10) == set()

"""The conformance cases of the extension `groups`."""

# Shipped to be run by unittest as well, and under -O, where an assert statement is not there.
# ruff: noqa: PT009, PT027

from __future__ import annotations

from ..contract import ChannelLayer
from .case import ConformanceCase

__all__ = ["GroupsConformance"]


class GroupsConformance(ConformanceCase):
    """Members, and what is sent to them."""

    def test_groups_are_declared(self) -> None:
        self.assert_declared("groups")

    def test_a_group_message_reaches_every_member(self) -> None:
        self.need("groups")
        for channel in ("test.one", "test.two", "test.three"):
            self.channel_layer.group_add("test-group", channel)
        self.channel_layer.group_add("test-group", "test.one")
        self.channel_layer.group_discard("test-group", "test.three")
        self.channel_layer.group_discard("test-group", "test.never-there")
        self.channel_layer.send_group("test-group", {"value": "orange"})
        self.channel_layer.send_group("test-nobody", {"value": "grey"})
        received = self.take_all(["test.one", "test.two", "test.three"], 2)
        self.assertEqual(
            sorted(received, key=str),
            [("test.one", {"value": "orange"}), ("test.two", {"value": "orange"})],
        )
        self.assert_nothing(["test.one", "test.two", "test.three"])

    def test_one_call_to_several_groups_reaches_whoever_is_in_one_of_them(self) -> None:
        self.need("groups")
        members = ("test.one", "test.single?one", "test.process!one")
        for group, channels in (("test-group", members), ("test-other", ("test.two", *members))):
            for channel in channels:
                self.channel_layer.group_add(group, channel)
        groups = ["test-group", "test-other", "test-nobody", "test-group"]
        self.channel_layer.send_groups(groups, {"value": "orange"})
        self.channel_layer.send_groups([], {"value": "grey"})
        # A layer that calls `send_group` for each of them is as good, but for the copies.
        once = type(self.channel_layer).send_groups is not ChannelLayer.send_groups
        for channel in ("test.two", *members):
            queue = channel.partition("!")[0] + ("!" if "!" in channel else "")
            copies = 1 if once or channel == "test.two" else 2
            self.assertEqual(self.take_all([queue], copies), [(channel, {"value": "orange"})] * copies)
            self.assert_nothing([queue])

    def test_several_groups_are_a_list_of_names(self) -> None:
        self.need("groups")
        for groups in ("test-group", ["test-group", "te st"], [None]):
            with self.assertRaises(TypeError):
                self.channel_layer.send_groups(groups, {"value": "grey"})  # type: ignore[arg-type]

    def test_process_channels_of_a_foreign_server_are_members_like_others(self) -> None:
        self.need("groups")
        for channel in ("test.process!one", "test.process!two", "test.other!one"):
            self.channel_layer.group_add("test-group", channel)
        self.channel_layer.send_group("test-group", {"value": "orange"})
        received = self.take_all(["test.process!"], 2)
        self.assertEqual(sorted(channel for channel, _ in received), ["test.process!one", "test.process!two"])
        self.assert_next(["test.other!"], "test.other!one", {"value": "orange"})
        self.assert_nothing(["test.process!", "test.other!"])

    def test_group_channels_names_the_members(self) -> None:
        self.need("groups")
        members = ["test.one", "test.process!one", "test.single?one"]
        for channel in members:
            self.channel_layer.group_add("test-group", channel)
        self.channel_layer.group_add("test-group", "test.gone")
        self.channel_layer.group_discard("test-group", "test.gone")
        self.assertEqual(sorted(self.channel_layer.group_channels("test-group")), members)
        self.assertEqual(self.channel_layer.group_count("test-group"), len(members))
        self.assertEqual(self.channel_layer.group_channels("test-nobody"), [])
        self.assertEqual(self.channel_layer.group_count("test-nobody"), 0)

    def test_group_messages_arrive_at_each_member_in_the_order_they_were_sent(self) -> None:
        self.need("groups")
        members = ["test.one", "test.two", "test.process!one"]
        for channel in members:
            self.channel_layer.group_add("test-group", channel)
        count = min(self.capacity_limit or 5, 5)
        for number in range(count):
            self.channel_layer.send_group("test-group", {"number": number})
        for queue in ("test.one", "test.two", "test.process!"):
            received = [message["number"] for _, message in self.take_all([queue], count)]
            self.assertEqual(received, list(range(count)), queue)

    def test_a_member_that_is_not_added_again_leaves_after_group_expiry(self) -> None:
        self.need("groups")
        self.channel_layer.group_add("test-group", "test.one")
        self.wait_for_group_expiry()
        self.channel_layer.group_add("test-group", "test.two")
        self.channel_layer.send_group("test-group", {"value": "orange"})
        self.assert_next(["test.one", "test.two"], "test.two", {"value": "orange"})
        self.assert_nothing(["test.one"])

    def test_a_group_message_to_a_full_channel_is_dropped_for_that_member_only(self) -> None:
        self.need("groups")
        capacity = self.capacity()
        self.channel_layer.group_add("test-group", "test.full")
        self.channel_layer.group_add("test-group", "test.quiet")
        for number in range(capacity):
            self.channel_layer.send("test.full", {"number": number})
        self.channel_layer.send_group("test-group", {"number": "group"})
        self.assert_next(["test.quiet"], "test.quiet", {"number": "group"})
        received = self.take_all(["test.full"], capacity)
        self.assert_in_order((message["number"] for _, message in received), range(capacity))
        self.assert_nothing(["test.full"])

    def test_changing_a_message_after_it_was_sent_to_a_group_changes_nothing_at_its_members(self) -> None:
        self.need("groups")
        message = {"value": [1, {"deep": 1}]}
        for channel in ("test.one", "test.two"):
            self.channel_layer.group_add("test-group", channel)
        self.channel_layer.send_group("test-group", message)
        self.assertEqual(message, {"value": [1, {"deep": 1}]})
        message["value"].append("changed")
        for channel in ("test.one", "test.two"):
            _, received = self.take([channel])
            self.assertEqual(received, {"value": [1, {"deep": 1}]})
            received["value"].append("changed by a receiver")

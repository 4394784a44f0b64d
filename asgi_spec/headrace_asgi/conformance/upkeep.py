"""The conformance cases of what keeps a site going: `flush`, `statistics`, who takes what, who died."""

# Shipped to be run by unittest as well, and under -O, where an assert statement is not there.
# ruff: noqa: PT009, PT027

from __future__ import annotations

import time

from ..contract import Delivery
from ..envelope import Message
from .case import ConformanceCase

__all__ = ["FlushConformance", "StatisticsConformance", "UpkeepConformance"]


class FlushConformance(ConformanceCase):
    """The extension `flush`."""

    def test_flush_is_declared(self) -> None:
        self.assert_declared("flush")

    def test_flush_removes_messages(self) -> None:
        self.need("flush")
        for channel in ("test.one", "test.process!one", "test.single?one"):
            self.channel_layer.send(channel, {"value": "blue"})
        self.channel_layer.flush()
        self.assert_nothing(["test.one", "test.process!", "test.single?one"])

    def test_flush_removes_groups(self) -> None:
        self.need("flush", "groups")
        self.channel_layer.group_add("test-group", "test.one")
        self.channel_layer.flush()
        self.channel_layer.send_group("test-group", {"value": "orange"})
        self.assert_nothing(["test.one"])
        self.assertEqual(self.channel_layer.group_channels("test-group"), [])


class StatisticsConformance(ConformanceCase):
    """The extension `statistics`."""

    def test_statistics_are_declared(self) -> None:
        self.assert_declared("statistics")

    def test_statistics_count_what_was_sent_refused_and_waits(self) -> None:
        self.need("statistics")
        capacity = self.capacity()
        messages: list[tuple[str, Message]] = [("test.counted", {})] * (capacity + 2)
        before = self.channel_layer.statistics("test.counted")
        self.channel_layer.send_many(messages)
        after = self.channel_layer.statistics("test.counted")
        gained = {key: after[key] - before.get(key, 0) for key in ("sent", "shed", "pending")}
        self.assertEqual(gained, {"sent": capacity, "shed": 2, "pending": capacity})
        self.take_all(["test.counted"], capacity)
        self.assertEqual(self.channel_layer.statistics("test.counted")["pending"], before["pending"])

    def account(self, channel: str) -> dict[str, int]:
        """The statistics of a channel; skips the case where the layer does not account for messages."""
        self.need("statistics")
        counted = self.channel_layer.statistics(channel)
        if "unknown" not in counted:
            self.skipTest("the layer does not account for messages")
        return counted

    def gained(self, channel: str, before: dict[str, int]) -> dict[str, int]:
        """What has changed in the statistics of a channel."""
        after = self.channel_layer.statistics(channel)
        return {what: number - before[what] for what, number in after.items() if number != before[what]}

    def test_what_is_received_is_taken_and_done(self) -> None:
        before = self.account("test.counted")
        self.channel_layer.send_many([("test.counted", {})] * 3)
        self.take_all(["test.counted"], 2)
        gained = {"sent": 3, "offered": 3, "pending": 1, "taken": 2, "done": 2}
        self.assertEqual(self.gained("test.counted", before), gained)

    def test_what_was_taken_and_has_not_ended_is_running_and_what_is_back_is_not_taken(self) -> None:
        before = self.account("test.counted")
        self.channel_layer.send_many([("test.counted", {"n": n}) for n in range(3)])
        port = self.channel_layer.open_worker_port(lambda item, outcome: None)
        try:
            held: list[Delivery] = []
            give_up = time.monotonic() + self.patience_seconds
            while len(held) < 3 and time.monotonic() < give_up:
                held += port.turn([], ["test.counted"], 3, 0.5)
            self.channel_layer.count("test.counted", "done")
            gained = {"sent": 3, "offered": 3, "taken": 3, "done": 1, "running": 2}
            self.assertEqual(self.gained("test.counted", before), gained)
            port.give_back(held[1:2])
            self.assertTrue(port.requeue(held[2]))
            gained = {"sent": 3, "offered": 3, "pending": 2, "taken": 1, "done": 1}
            self.assertEqual(self.gained("test.counted", before), gained)
        finally:
            port.close()

    def test_what_expired_is_accounted_for(self) -> None:
        before = self.account("test.counted")
        self.channel_layer.send("test.counted", {})
        self.wait_for_expiry()
        self.channel_layer.send("test.counted", {"late": False})
        self.take_all(["test.counted"], 1)
        self.assertEqual(self.channel_layer.receive(["test.counted"]), (None, None))
        gained = {"sent": 2, "offered": 2, "taken": 2, "expired": 1, "done": 1}
        self.assertEqual(self.gained("test.counted", before), gained)


class UpkeepConformance(ConformanceCase):
    """What workers and interface servers say of themselves, and what a layer says of itself. No extension."""

    def test_a_layer_says_where_it_is_and_that_it_can_be_used(self) -> None:
        self.assertTrue(self.channel_layer.label)
        self.channel_layer.ensure_usable()

    def test_looking_for_the_dead_is_quiet_where_nobody_died(self) -> None:
        for _ in range(3):
            self.channel_layer.reap()
        self.assertEqual(self.channel_layer.receive(["websocket.disconnect"]), (None, None))

    def test_only_names_of_channels_can_be_announced(self) -> None:
        self.channel_layer.announce(["test.one", "test.two"])
        self.channel_layer.announce([])
        with self.assertRaises(TypeError):
            self.channel_layer.announce(["te st"])

    def test_what_was_announced_is_known_with_the_time_since_then(self) -> None:
        self.channel_layer.announce(["test.one", "test.two"])
        time.sleep(0.3)
        self.channel_layer.announce(["test.two"])
        takers = self.channel_layer.takers()
        self.assertNotIn("test.never", takers)
        self.assertGreaterEqual(takers["test.two"], 0)
        self.assertLess(takers["test.two"], 5)
        self.assertLess(takers["test.one"], self.patience_seconds)
        self.assertLessEqual(takers["test.two"], takers["test.one"])

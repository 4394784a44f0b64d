"""The contract of a channel layer as tests, for the author of any layer.

    class TestMyLayer(ChannelLayerConformance, unittest.TestCase):
        expiry_delay = 1.1
        capacity_limit = 5

        def setUp(self) -> None:
            self.channel_layer = MyLayer(expiry=1, group_expiry=2, capacity=5)
            self.addCleanup(self.channel_layer.close)
            super().setUp()

It runs under unittest and pytest. Cases for an extension are skipped for a layer that does not declare it.
`specification` holds the cases that layers of the ASGI 0.x family had to pass; here are ours
beyond them; `processes` has those that take several processes, and `coroutines` those in an event loop. A
worker's port is tested by `worker_port`.
"""

# Shipped to be run by unittest as well, and under -O, where an assert statement is not there.
# ruff: noqa: PT009, PT027

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ..contract import Outcome
from ..envelope import Message
from .case import ConformanceCase
from .coroutines import CoroutineConformance
from .processes import ProcessConformance
from .specification import SpecificationConformance

__all__ = ["ChannelLayerConformance"]


class BeyondConformance(ConformanceCase):
    """What that suite left open."""

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

    def test_names_follow_the_grammar_to_the_letter_b1_b2(self) -> None:
        good = ["a", "A-z_0.9", "a" * 100, "test.single?" + "x" * 88, "hr.x!" + "y" * 95]
        bad: list[Any] = [
            "",
            "test\n",
            "t\u00e4st",
            "test\u0663",
            "te st",
            "a?b?c",
            "a!b!c",
            "a?b!c",
            "a?",
            "a/b",
            "hr1.bad!x",
        ]
        for name in good:
            with self.subTest(name):
                self.channel_layer.send(name, {"name": name})
                queue = name[: name.find("!") + 1] or name
                self.assert_next([queue], name, {"name": name})
        for name in [*bad, b"bytes", None, 1]:
            with self.subTest(name):
                with self.assertRaises(TypeError):
                    self.channel_layer.send(name, {})
                with self.assertRaises(TypeError):
                    self.channel_layer.receive([name])
        if "groups" in self.channel_layer.extensions:
            for name in [*bad, "a?b", "a!b", None]:
                with self.subTest(group=name), self.assertRaises(TypeError):
                    self.channel_layer.group_add(name, "test.one")

    def test_receiving_from_no_channel_or_from_a_string_is_refused_b4(self) -> None:
        nothings: tuple[Iterable[str], ...] = ([], (), "test.one")
        for channels in nothings:
            with self.subTest(channels), self.assertRaises(TypeError):
                self.channel_layer.receive(channels)

    def test_channels_are_received_from_any_iterable(self) -> None:
        self.channel_layer.send("test.one", {"value": "blue"})
        self.assertEqual(self.take(iter(("test.two", "test.one")))[0], "test.one")

    def test_a_value_that_no_message_can_hold_is_refused_and_nothing_is_sent(self) -> None:
        for value in (object(), {1, 2}, 2**64, 1j):
            with self.subTest(str(value)):
                with self.assertRaises(TypeError):
                    self.channel_layer.send("test.one", {"value": value})
                with self.assertRaises(TypeError):
                    self.channel_layer.send_many([("test.one", {}), ("test.one", {"value": value})])
        self.assert_nothing(["test.one"])

    def test_messages_of_one_channel_arrive_in_the_order_they_were_sent(self) -> None:
        step = min(self.capacity_limit or 50, 50)
        for queue, channel in (
            ("test.plain", "test.plain"),
            ("test.single?one", "test.single?one"),
            ("test.process!", "test.process!one"),
        ):
            received: list[int] = []
            for start in range(0, 4 * step, step):
                for number in range(start, start + step):
                    self.channel_layer.send(channel, {"number": number})
                received += [message["number"] for _, message in self.take_all([queue], step)]
            self.assertEqual(received, list(range(4 * step)), channel)

    def test_group_messages_arrive_at_each_member_in_the_order_they_were_sent(self) -> None:
        self.need("groups")
        members = ["test.one", "test.two", "test.process!one"]
        for channel in members:
            self.channel_layer.group_add("test-group", channel)
        count = min(self.capacity_limit or 20, 20)
        for number in range(count):
            self.channel_layer.send_group("test-group", {"number": number})
        for queue in ("test.one", "test.two", "test.process!"):
            received = [message["number"] for _, message in self.take_all([queue], count)]
            self.assertEqual(received, list(range(count)), queue)

    def test_a_message_of_a_megabyte_arrives(self) -> None:
        message = {"bytes": bytes(range(256)) * 4096, "text": "\u00e4" * 10_000}
        self.channel_layer.send("test.large", message)
        self.assert_next(["test.large"], "test.large", message)

    def test_a_message_over_the_limit_is_refused_and_nothing_is_sent(self) -> None:
        large = {"bytes": bytes(self.message_limit_bytes + 1)}
        too_large = self.channel_layer.MessageTooLarge
        with self.assertRaises(too_large):
            self.channel_layer.send("test.large", large)
        with self.assertRaises(too_large):
            self.channel_layer.send_many([("test.large", {"value": "small"}), ("test.large", large)])
        if "groups" in self.channel_layer.extensions:
            self.channel_layer.group_add("test-group", "test.large")
            with self.assertRaises(too_large):
                self.channel_layer.send_group("test-group", large)
        self.assert_nothing(["test.large"])

    def test_a_busy_channel_never_hides_a_quiet_one(self) -> None:
        for number, order in enumerate((1, -1)):
            quiet, busy = f"test.quiet{number}", f"test.busy{number}"
            self.channel_layer.send(quiet, {"value": "quiet"})
            with self.subTest(order):
                self.assertIn(quiet, self._channels_while_busy(busy, [quiet, busy][::order]))

    def _channels_while_busy(self, busy: str, channels: list[str]) -> set[str]:
        seen = set()
        for _ in range(20):
            self.channel_layer.send_many([(busy, {"value": "busy"})] * 3)
            seen |= {channel for channel, _ in self.channel_layer.receive_many(channels, 2)}
        return seen

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


class BatchConformance(ConformanceCase):
    """`send_many` and `receive_many`."""

    def test_a_batch_is_sent_in_order_with_one_outcome_each(self) -> None:
        outcomes = self.channel_layer.send_many(
            [
                ("test.one", {"number": 0}),
                ("test.two", {"number": 1}),
                ("test.process!one", {"number": 2}),
                ("test.one", {"number": 3}),
                ("test.process!two", {"number": 4}),
            ]
        )
        self.assertEqual(outcomes, [Outcome.SENT] * 5)
        for queue, numbers in (("test.one", [0, 3]), ("test.two", [1]), ("test.process!", [2, 4])):
            received = self.take_all([queue], len(numbers))
            self.assertEqual([message["number"] for _, message in received], numbers, queue)
        self.assertEqual(self.channel_layer.send_many([]), [])

    def test_what_becomes_of_a_dict_after_it_was_sent_changes_nothing(self) -> None:
        self.need("groups")
        self.channel_layer.group_add("test-group", "test.group")
        message = {"inner": {"number": 1}}
        self.channel_layer.send("test.one", message)
        self.channel_layer.send_many([("test.two", message)])
        self.channel_layer.send_group("test-group", message)
        message["inner"]["number"] = 2
        for channel in ("test.one", "test.two", "test.group"):
            self.assert_next([channel], channel, {"inner": {"number": 1}})

    def test_what_does_not_fit_of_a_batch_is_full_and_the_rest_is_sent(self) -> None:
        capacity = self.capacity()
        batch: list[tuple[str, Message]] = [("test.full", {"n": number}) for number in range(capacity + 2)]
        outcomes = self.channel_layer.send_many([*batch, ("test.other", {"n": -1})])
        self.assertEqual(outcomes, [Outcome.SENT] * capacity + [Outcome.FULL] * 2 + [Outcome.SENT])
        received = [message["n"] for _, message in self.take_all(["test.full"], capacity)]
        self.assertEqual(received, list(range(capacity)))
        self.assert_nothing(["test.full"])
        self.assert_next(["test.other"], "test.other", {"n": -1})

    def test_no_more_than_the_limit_is_taken_and_the_rest_stays(self) -> None:
        count = min(self.capacity_limit or 5, 5)
        self.channel_layer.send_many([("test.one", {"number": number}) for number in range(count)])
        first = self.channel_layer.receive_many(["test.one"], limit=count - 1)
        self.assertLessEqual(1, len(first))
        self.assertLessEqual(len(first), count - 1)
        rest = self.take_all(["test.one"], count - len(first))
        self.assertEqual([message["number"] for _, message in first + rest], list(range(count)))

    def test_expired_messages_of_a_batch_are_dropped_and_fresh_ones_behind_them_are_not(self) -> None:
        self.channel_layer.send_many([("test.expiry", {"value": "old"})] * 2)
        self.wait_for_expiry()
        self.channel_layer.send_many([("test.expiry", {"value": "fresh"})] * 2)
        received = self.take_all(["test.expiry"], 2)
        self.assertEqual([message["value"] for _, message in received], ["fresh", "fresh"])
        self.assert_nothing(["test.expiry"])

    def test_an_empty_channel_is_waited_for_as_long_as_asked(self) -> None:
        started = time.monotonic()
        self.assertEqual(self.channel_layer.receive_many(["test.empty"], 5, timeout_seconds=0.2), [])
        waited = time.monotonic() - started
        self.assertGreater(waited, 0.15)
        self.assertLess(waited, 4)


class ThreadConformance(ConformanceCase):
    """One layer, several threads."""

    def test_a_waiting_receiver_wakes_when_a_message_comes(self) -> None:
        with ThreadPoolExecutor(2) as pool:
            started = time.monotonic()
            blocked = pool.submit(self.channel_layer.receive, ["test.one", "test.two"], True)
            batch = pool.submit(self.channel_layer.receive_many, ["test.process!"], 5, 4.0)
            time.sleep(0.1)
            self.channel_layer.send("test.two", {"value": "blue"})
            self.channel_layer.send("test.process!one", {"value": "red"})
            self.assertEqual(blocked.result(), ("test.two", {"value": "blue"}))
            self.assertEqual(batch.result(), [("test.process!one", {"value": "red"})])
            self.assertLess(time.monotonic() - started, 2.5)

    def test_no_message_is_delivered_twice_or_lost_among_several_receiving_threads(self) -> None:
        receivers, count = 4, 200
        with ThreadPoolExecutor(receivers) as pool:
            results = [pool.submit(self.take_until_stop, "test.shared") for _ in range(receivers)]
            self.send_numbers_and_stops("test.shared", count, receivers)
            received = [number for result in results for number in result.result()]
        self.assertEqual(sorted(received), list(range(count)))

    def test_several_threads_may_send_at_once_and_each_keeps_its_order(self) -> None:
        senders, count = 4, 25
        received: dict[str, list[int]] = {}
        with ThreadPoolExecutor(senders) as pool:
            channels = [f"test.process!{sender}" for sender in range(senders)]
            results = [pool.submit(self.send_numbers, channel, count) for channel in channels]
            for channel, message in self.take_all(["test.process!"], senders * count):
                received.setdefault(channel, []).append(message["number"])
            for result in results:
                result.result()
        self.assertEqual(received, {channel: list(range(count)) for channel in channels})


class ChannelLayerConformance(
    SpecificationConformance,
    BeyondConformance,
    BatchConformance,
    ThreadConformance,
    CoroutineConformance,
    ProcessConformance,
):
    """Everything a channel layer must show. Mix it into a `unittest.TestCase`."""

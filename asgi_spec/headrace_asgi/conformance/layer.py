"""The contract of a channel layer as tests, for the author of any layer.

    class TestMyLayer(ChannelLayerConformance, unittest.TestCase):
        expiry_delay = 1.1
        capacity_limit = 5

        def setUp(self) -> None:
            self.channel_layer = MyLayer(expiry=1, group_expiry=2, capacity=5)
            self.addCleanup(self.channel_layer.close)
            super().setUp()

It runs under unittest and pytest. Cases for an extension are skipped for a layer that does not declare it. A
layer that does less mixes in what it claims instead: docs/layers.md says what there is. `specification` holds
the cases that layers of the ASGI 0.x family had to pass; here are ours beyond them.
"""

# Shipped to be run by unittest as well, and under -O, where an assert statement is not there.
# ruff: noqa: PT009, PT027

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from .batch import BatchConformance
from .case import ConformanceCase
from .coroutines import CoroutineConformance
from .groups import GroupsConformance
from .processes import ProcessConformance
from .specification import SpecificationConformance
from .upkeep import FlushConformance, StatisticsConformance, UpkeepConformance

__all__ = ["ChannelLayerConformance", "ContractConformance", "ThreadConformance"]


class ContractConformance(ConformanceCase):
    """What the family's own suite left open. No extension."""

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

    def test_every_method_that_takes_a_name_refuses_what_is_none_st11(self) -> None:
        layer, extensions = self.channel_layer, self.channel_layer.extensions
        methods: list[Callable[[Any], Any]] = [
            lambda name: layer.send_many([(name, {})]),
            lambda name: layer.receive_many([name]),
            lambda name: layer.announce([name]),
            lambda name: layer.new_channel(f"{name}?" if isinstance(name, str) else name),
        ]
        if "groups" in extensions:
            methods += [
                lambda name: layer.group_add("group", name),
                lambda name: layer.group_discard("group", name),
                lambda name: layer.group_discard(name, "test.one"),
                lambda name: layer.send_group(name, {}),
                layer.group_channels,
                layer.group_count,
            ]
        if "delay" in extensions:
            methods += [lambda name: layer.send_later(name, {}, delay=0), layer.new_message_id]
        if "acknowledge" in extensions:
            methods += [layer.dead_letters, layer.replay, layer.drop_dead_letters]
        if "statistics" in extensions:
            methods.append(layer.statistics)
        for name in ("", "test\n", "te st", "test\u0663", "t\u00e4st", "\ud800", "x" * 300, b"test", 7, None):
            for number, method in enumerate(methods):
                with self.subTest(name=name, method=number), self.assertRaises(TypeError):
                    method(name)

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
            if channel == queue == "test.plain":
                self.assert_in_order(received, range(4 * step))
            else:
                self.assertEqual(received, list(range(4 * step)), channel)

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
    ContractConformance,
    GroupsConformance,
    BatchConformance,
    FlushConformance,
    StatisticsConformance,
    UpkeepConformance,
    ThreadConformance,
    CoroutineConformance,
    ProcessConformance,
):
    """Everything a channel layer must show. Mix it into a `unittest.TestCase`."""

    skip_undeclared = True

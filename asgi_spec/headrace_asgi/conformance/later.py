"""The contract of the extension "delay" as tests; part of `worker_port`."""

# Shipped to be run by unittest as well, and under -O, where an assert statement is not there.
# ruff: noqa: PT009, PT027

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from ..contract import Delivery, SendLater
from ..envelope import pack_message
from ..later import DUE_CHANNEL, Due
from .port_case import PortCase, numbers

__all__ = ["LaterConformance"]


class LaterConformance(PortCase):
    """Sending for later. A layer with a clock of its own overrides `pass_time`."""

    def pass_time(self, seconds: float) -> None:
        """Let time pass on the clock of the layer."""
        time.sleep(seconds)

    def setUp(self) -> None:
        super().setUp()
        if "delay" in self.channel_layer.extensions:
            self.channel_layer.move_due()

    def arrived(self, channels: Sequence[str], seconds: float, count: int) -> list[Delivery]:
        """What is there after some seconds, of which `count` messages must have come."""
        self.pass_time(seconds)
        self.channel_layer.move_due()
        found = self.turns(channels, count) if count else []
        self.assertEqual(self.port.turn([], channels, 5, 0), [])
        return found

    def test_a_message_comes_when_its_delay_is_over_and_not_before(self) -> None:
        self.need("delay")
        began = time.monotonic()
        self.channel_layer.send_later("test.later", {"number": 1}, delay=0.4)
        self.assertEqual(self.arrived(["test.later"], 0.0, 0), [])
        (delivery,) = self.arrived(["test.later"], max(0.0, 0.45 - (time.monotonic() - began)), 1)
        self.assertEqual((delivery.channel, delivery.message), ("test.later", {"number": 1}))

    def test_messages_come_in_the_order_of_their_times(self) -> None:
        self.need("delay")
        for number, delay in ((2, timedelta(milliseconds=200)), (3, 0.25), (1, 0.1)):
            self.channel_layer.send_later("test.later", {"number": number}, delay=delay)
        self.assert_in_order(numbers(self.arrived(["test.later"], 0.3, 3)), [1, 2, 3])

    def test_a_message_comes_at_a_time_and_at_once_if_that_is_past(self) -> None:
        self.need("delay")
        self.channel_layer.send_later("test.later", {"number": 1}, at=time.time() - 3600)
        soon = datetime.now(UTC) + timedelta(seconds=0.3)
        self.channel_layer.send_later("test.later", {"number": 2}, at=soon)
        self.assertEqual(numbers(self.arrived(["test.later"], 0.0, 1)), [1])
        self.assertEqual(numbers(self.arrived(["test.later"], 0.4, 1)), [2])

    def test_what_was_taken_back_in_time_never_comes(self) -> None:
        self.need("delay")
        kept = self.channel_layer.send_later("test.later", {"number": 1}, delay=0.1)
        other = self.channel_layer.send_later("test.later", {"number": 2}, delay=0.1)
        self.assertTrue(self.channel_layer.cancel(other))
        self.assertFalse(self.channel_layer.cancel(other))
        self.assertEqual(numbers(self.arrived(["test.later"], 0.2, 1)), [1])
        self.assertFalse(self.channel_layer.cancel(kept))

    def test_the_layer_says_how_long_nobody_need_look(self) -> None:
        self.need("delay")
        idle = self.channel_layer.move_due()
        self.channel_layer.send_later("test.later", {}, delay=3)
        seconds = self.channel_layer.move_due()
        self.assertLessEqual(seconds, 3)
        self.assertGreater(seconds, 1)
        self.assertGreater(idle, 3)

    def test_who_waits_to_move_is_woken_by_what_is_due_first(self) -> None:
        self.need("delay")
        self.channel_layer.send_later("test.later", {}, delay=30)
        self.assertEqual(len(self.turns([DUE_CHANNEL], 1)), 1)
        self.channel_layer.move_due()
        self.channel_layer.send_later("test.later", {}, delay=20)
        self.assertEqual(len(self.turns([DUE_CHANNEL], 1)), 1)

    def test_a_full_channel_gets_what_is_due_when_it_has_room(self) -> None:
        self.need("delay")
        capacity = self.capacity()
        if self.channel_layer.expiry < 2:
            self.skipTest(
                "the message would expire before it is tried again: expiry of the layer is under 2 s"
            )
        self.send_all("test.full", capacity)
        self.channel_layer.send_later("test.full", {"number": "later"}, delay=0)
        self.assertLessEqual(self.channel_layer.move_due(), 1.01)
        self.assertEqual(len(self.turns(["test.full"], capacity)), capacity)
        self.assertEqual(numbers(self.arrived(["test.full"], 1.1, 1)), ["later"])

    def test_a_client_of_a_process_gets_what_is_sent_to_it_for_later(self) -> None:
        self.need("delay")
        process = self.open_process()
        self.channel_layer.send_later(process.process + "client", {"number": 1}, delay=0.1)
        self.pass_time(0.2)
        self.channel_layer.move_due()
        self.assertEqual([(one.local, one.message) for one in process.heard()], [("client", {"number": 1})])
        process.close()
        self.channel_layer.send_later(process.process + "client", {"number": 2}, delay=0)
        self.channel_layer.move_due()
        self.assertGreater(self.channel_layer.move_due(), 1.01)

    def test_a_turn_sends_for_later_and_its_id_takes_it_back(self) -> None:
        self.need("delay")
        packed = pack_message({"number": 1})
        ids = [self.channel_layer.new_message_id("test.later") for _ in range(2)]
        due = Due(200, from_now=True)
        self.port.turn([SendLater("test.later", packed, one, due) for one in ids], [], 1, 0)
        self.assertTrue(self.channel_layer.cancel(ids[0]))
        self.assertEqual(numbers(self.arrived(["test.later"], 0.3, 1)), [1])
        self.assertEqual(self.refused, [])

    def test_a_time_that_cannot_be_meant_is_refused(self) -> None:
        self.need("delay")
        wrong: tuple[dict[str, Any], ...] = (
            {},
            {"delay": 1, "at": 1.0},
            {"delay": -1},
            {"delay": float("inf")},
            {"delay": "1"},
            {"delay": 10**12},
            {"at": datetime(2030, 1, 1)},
        )
        for times in wrong:
            with self.subTest(times), self.assertRaises((TypeError, ValueError)):
                self.channel_layer.send_later("test.later", {}, **times)
        with self.assertRaises(TypeError):
            self.channel_layer.send_later("te st", {}, delay=1)
        with self.assertRaises(TypeError):
            self.channel_layer.send_later("test.later", {"value": object()}, delay=1)

    def test_a_flush_removes_what_is_kept_for_later(self) -> None:
        self.need("delay", "flush")
        kept = self.channel_layer.send_later("test.later", {}, delay=0.1)
        self.channel_layer.flush()
        self.assertFalse(self.channel_layer.cancel(kept))
        self.assertEqual(self.arrived(["test.later"], 0.2, 0), [])

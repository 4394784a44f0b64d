"""The contract of a worker's port as tests, for the author of any layer.

    class TestMyWorkerPort(WorkerPortConformance, unittest.TestCase):
        expiry_delay = 1.1
        capacity_limit = 5

        def setUp(self) -> None:
            self.channel_layer = MyLayer(expiry=1, capacity=5)
            self.addCleanup(self.channel_layer.close)
            super().setUp()

        def open_process(self) -> ProcessUnderTest:
            ...

Without `open_process` the cases about sockets are skipped, without `put_raw` the one about rubbish, and
without `let_leases_lapse` those about lost messages of ordered sockets. Those about acknowledged channels
want `acknowledged_channel`; they wait for some seconds, unless `pass_time` turns a clock.
"""

# Shipped to be run by unittest as well, and under -O, where an assert statement is not there.
# ruff: noqa: PT009, PT027

from __future__ import annotations

import contextlib
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ..contract import Control, Outcome, Send, SendGroup
from ..envelope import Message, encode, pack_message
from ..errors import ChannelFull
from .acknowledged import AcknowledgedConformance
from .later import LaterConformance
from .ordering import OrderConformance
from .port_case import HeardUnderTest, PortCase, ProcessUnderTest, numbers

__all__ = [
    "HeardUnderTest",
    "ProcessUnderTest",
    "TakeConformance",
    "WakeConformance",
    "WorkerPortConformance",
]


class TakeConformance(PortCase):
    """Taking, answering, giving back."""

    def test_a_turn_takes_a_message_with_all_that_a_worker_needs_of_it(self) -> None:
        self.channel_layer.send("test.one", {"number": 1})
        (delivery,) = self.turns(["test.one"], 1)
        self.assertEqual((delivery.channel, delivery.message), ("test.one", {"number": 1}))
        self.assertEqual((delivery.order, delivery.retries), (None, 0))
        self.assertGreater(delivery.expiry_ms, 0)
        self.assertTrue(self.port.may_start(delivery, delivery.taken_at))
        self.assertEqual(self.port.turn([], ["test.one"], 1, 0), [])

    def test_a_turn_takes_a_batch_in_order_and_never_more_than_the_limit(self) -> None:
        self.send_all("test.one", 3)
        first = self.port.turn([], ["test.one"], 2, 0)
        self.assertLessEqual(len(first), 2)
        rest = self.turns(["test.one"], 3 - len(first))
        self.assert_in_order(numbers(first + rest), range(3))

    def test_a_busy_channel_never_hides_a_quiet_one_from_a_port(self) -> None:
        for number, order in enumerate((1, -1)):
            quiet, busy = f"test.quiet{number}", f"test.busy{number}"
            self.channel_layer.send(quiet, {})
            seen: set[str] = set()
            for _ in range(20):
                self.channel_layer.send_many([(busy, {})] * 3)
                seen |= {one.channel for one in self.port.turn([], [busy, quiet][::order], 2, 0)}
            self.assertIn(quiet, seen)

    def test_what_a_turn_writes_arrives_in_order_also_without_a_take(self) -> None:
        out = [Send("test.process!one", pack_message({"number": number})) for number in range(3)]
        self.assertEqual(self.port.turn(out, [], 1, 0), [])
        received = self.take_all(["test.process!"], 3)
        self.assertEqual([message["number"] for _, message in received], [0, 1, 2])
        self.assertEqual(self.refused, [])

    def test_a_turn_takes_what_it_has_just_written(self) -> None:
        (delivery,) = self.turns(["test.one"], 1, Send("test.one", pack_message({"number": 1})))
        self.assertEqual(delivery.message, {"number": 1})

    def test_a_message_for_a_group_reaches_its_members(self) -> None:
        self.need("groups")
        for channel in ("test.one", "test.process!one"):
            self.channel_layer.group_add("test-group", channel)
        self.port.turn([SendGroup("test-group", pack_message({"number": 1}))], [], 1, 0)
        self.assertEqual(self.take_all(["test.one"], 1), [("test.one", {"number": 1})])
        self.assertEqual(self.take_all(["test.process!"], 1), [("test.process!one", {"number": 1})])

    def test_a_message_for_several_groups_reaches_the_members_of_each(self) -> None:
        self.need("groups")
        self.channel_layer.group_add("test-group", "test.one")
        self.channel_layer.group_add("test-other", "test.process!one")
        said = SendGroup("test-group", pack_message({"number": 1}), more=("test-other", "test-nobody"))
        self.port.turn([said], [], 1, 0)
        self.assertEqual(self.take_all(["test.one"], 1), [("test.one", {"number": 1})])
        self.assertEqual(self.take_all(["test.process!"], 1), [("test.process!one", {"number": 1})])
        with self.assertRaises(TypeError):
            self.port.turn([SendGroup("test-group", pack_message({}), more=("te st",))], [], 1, 0)

    def test_what_was_refused_is_told_once_with_its_outcome_and_the_rest_arrives(self) -> None:
        capacity = self.capacity()
        self.send_all("test.full", capacity)
        refused = Send("test.full", pack_message({"number": "too many"}), origin="test")
        self.port.turn([refused, Send("test.other", pack_message({"number": 1}))], [], 1, 0)
        self.assertEqual(self.refused, [(refused, Outcome.FULL)])
        self.assert_next(["test.other"], "test.other", {"number": 1})
        self.assertEqual(len(self.turns(["test.full"], capacity)), capacity)

    def test_it_is_known_that_a_turn_has_said_everything_before_it_waits_for_messages(self) -> None:
        said = threading.Event()
        self.port.on_said = said.set
        waiting = threading.Thread(
            target=self.port.turn, args=([Send("test.other", pack_message({}))], ["test.one"], 1, 5)
        )
        waiting.start()
        try:
            self.assertTrue(said.wait(4), "a turn that waits has not said that it wrote")
            self.assertTrue(waiting.is_alive())
        finally:
            self.port.wake()
            waiting.join(self.patience_seconds)
        self.assert_next(["test.other"], "test.other", {})

    def test_two_busy_channels_share_the_takes_however_many_idle_ones_stand_between(self) -> None:
        channels = ["test.busy", *(f"test.idle.{number}" for number in range(20)), "test.other"]
        served: list[str] = []
        for number in range(30):
            for busy in ("test.busy", "test.other"):
                with contextlib.suppress(ChannelFull):
                    self.channel_layer.send(busy, {"number": number})
            served += [one.channel for one in self.turns(channels, 1)]
        self.assertLessEqual(abs(served.count("test.busy") - 15), 1, served)

    def test_a_message_for_a_process_that_is_gone_is_refused_as_gone(self) -> None:
        process = self.open_process()
        process.close()
        lost = Send(process.process + "client", pack_message({"number": 1}))
        self.port.turn([lost], [], 1, 0)
        self.assertEqual(self.refused, [(lost, Outcome.GONE)])

    def test_a_group_message_is_what_it_was_when_it_was_said(self) -> None:
        self.need("groups")
        self.channel_layer.group_add("test-group", "test.one")
        message = {"number": 1}
        first = SendGroup("test-group", pack_message(message))
        message["number"] = 2
        second = SendGroup("test-group", pack_message(message))
        self.assertEqual(numbers(self.turns(["test.one"], 2, first, second)), [1, 2])

    def test_a_note_is_what_it_was_when_it_was_said(self) -> None:
        process = self.open_process()
        body: Message = {"control": "close", "local": "client", "code": 1000}
        self.port.turn([Control(process.process + "client", body)], [], 1, 0)
        body["code"] = 1001
        self.assertEqual([one.message["code"] for one in process.heard()], [1000])

    def test_the_channels_that_workers_announce_are_known_to_the_processes(self) -> None:
        process = self.open_process()
        self.channel_layer.announce(["test.one", "test.two"])
        self.channel_layer.announce(["test.two"])
        self.assertLessEqual({"test.one", "test.two"}, process.taken_channels)
        self.assertNotIn("test.three", process.taken_channels)

    def test_an_expired_message_is_dropped_and_the_one_behind_it_is_taken(self) -> None:
        self.channel_layer.send("test.expiry", {"number": "old"})
        self.wait_for_expiry()
        self.channel_layer.send("test.expiry", {"number": "fresh"})
        self.assertEqual(numbers(self.turns(["test.expiry"], 1)), ["fresh"])
        self.assertEqual(self.port.turn([], ["test.expiry"], 1, 0), [])

    def test_a_message_that_expired_after_its_take_may_not_start(self) -> None:
        self.channel_layer.send("test.expiry", {"number": "old"})
        (delivery,) = self.turns(["test.expiry"], 1)
        self.assertTrue(self.port.may_start(delivery, time.monotonic()))
        self.wait_for_expiry()
        self.assertFalse(self.port.may_start(delivery, time.monotonic()))
        self.assertEqual(self.port.turn([], ["test.expiry"], 1, 0), [])

    def test_bytes_that_are_no_entry_are_dropped_and_the_message_behind_them_is_taken(self) -> None:
        misplaced = encode(pack_message({}), channel="test.other")
        of_no_socket = encode(pack_message({}), order=3)
        no_message = b"\x01\x00" + bytes(8) + b"\xc1"
        for rubbish in (b"", b"rubbish", b"\xff" * 20, no_message, misplaced, of_no_socket):
            self.put_raw("test.rubbish", rubbish)
            self.channel_layer.send("test.rubbish", {"number": 1})
            self.assertEqual(numbers(self.turns(["test.rubbish"], 1)), [1], rubbish)

    def test_what_is_given_back_is_at_the_head_again_in_its_order(self) -> None:
        self.send_all("test.one", 3)
        taken = self.turns(["test.one"], 2)
        self.port.give_back(taken)
        again = self.turns(["test.one"], 3)
        self.assertEqual(numbers(again), [0, 1, 2])
        self.assertEqual([one.retries for one in again], [0, 0, 0])
        self.port.give_back([])

    def test_what_is_requeued_is_at_the_tail_with_one_retry_more(self) -> None:
        self.send_all("test.one", 2)
        first, second = self.turns(["test.one"], 2)
        self.assertTrue(self.port.requeue(first))
        self.channel_layer.send("test.one", {"number": 2})
        again, last = self.turns(["test.one"], 2)
        self.assertEqual((again.message, again.retries), (first.message, 1))
        self.assertEqual((last.message, last.retries), ({"number": 2}, 0))
        self.assertTrue(self.port.requeue(again))
        self.assertEqual([one.retries for one in self.turns(["test.one"], 1)], [2])
        self.assertEqual(second.retries, 0)


class WakeConformance(PortCase):
    """Waiting, and ending the wait."""

    def test_a_waiting_turn_returns_when_a_message_comes(self) -> None:
        with ThreadPoolExecutor(1) as pool:
            started = time.monotonic()
            turn = pool.submit(self.port.turn, [], ["test.one", "test.two"], 5, self.patience_seconds)
            time.sleep(0.1)
            self.channel_layer.send("test.two", {"number": 1})
            self.assertEqual(numbers(turn.result()), [1])
            self.assertLess(time.monotonic() - started, self.patience_seconds / 2)

    def test_wake_from_another_thread_ends_a_waiting_turn_and_later_turns_wait_again(self) -> None:
        with ThreadPoolExecutor(1) as pool:
            started = time.monotonic()
            turn = pool.submit(self.port.turn, [], ["test.one"], 5, self.patience_seconds)
            time.sleep(0.1)
            self.port.wake()
            self.assertEqual(turn.result(), [])
            self.assertLess(time.monotonic() - started, self.patience_seconds / 2)
        started = time.monotonic()
        self.assertEqual(self.port.turn([], ["test.one"], 1, 0.2), [])
        self.assertGreater(time.monotonic() - started, 0.15)

    def test_wake_before_a_turn_ends_its_wait_but_not_its_take(self) -> None:
        self.channel_layer.send("test.one", {"number": 1})
        self.port.wake()
        started = time.monotonic()
        taken = self.port.turn([], ["test.one"], 1, self.patience_seconds)
        if not taken:
            taken = self.port.turn([], ["test.one"], 1, 0)
        self.assertEqual(numbers(taken), [1])
        self.port.wake()
        self.assertEqual(self.port.turn([], ["test.one"], 1, self.patience_seconds), [])
        self.assertLess(time.monotonic() - started, self.patience_seconds / 2)

    def test_wake_from_a_signal_handler_ends_a_waiting_turn(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            self.skipTest("signal handlers run in the main thread only")
        previous = signal.signal(signal.SIGALRM, lambda number, frame: self.port.wake())
        self.addCleanup(signal.signal, signal.SIGALRM, previous)
        started = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        self.assertEqual(self.port.turn([], ["test.one"], 1, self.patience_seconds), [])
        self.assertLess(time.monotonic() - started, self.patience_seconds / 2)

    def test_nothing_is_lost_when_messages_and_wakes_race(self) -> None:
        count = 50
        taken: list[Any] = []
        with ThreadPoolExecutor(1) as pool:
            sending = pool.submit(self._send_and_wake, count)
            give_up = time.monotonic() + self.patience_seconds
            while len(taken) < count and time.monotonic() < give_up:
                taken += numbers(self.port.turn([], ["test.race"], 2, 0.5))
            sending.result()
        self.assert_in_order(taken, range(count))

    def _send_and_wake(self, count: int) -> None:
        for number in range(count):
            self.send_patiently("test.race", {"number": number})
            self.port.wake()


class WorkerPortConformance(
    TakeConformance, WakeConformance, OrderConformance, LaterConformance, AcknowledgedConformance
):
    """Everything a worker's port must show. Mix it into a `unittest.TestCase`."""

    skip_undeclared = True

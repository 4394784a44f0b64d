"""The conformance cases of the extension `batch`."""

# Shipped to be run by unittest as well, and under -O, where an assert statement is not there.
# ruff: noqa: PT009

from __future__ import annotations

import time

from ..contract import Outcome
from ..envelope import Message
from .case import ConformanceCase

__all__ = ["BatchConformance"]


class BatchConformance(ConformanceCase):
    """`send_many` and `receive_many`."""

    def test_batches_are_declared(self) -> None:
        self.assert_declared("batch")

    def test_a_batch_is_sent_in_order_with_one_outcome_each(self) -> None:
        self.need("batch")
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
        self.need("batch")
        message = {"inner": {"number": 1}}
        self.channel_layer.send_many([("test.one", message), ("test.two", message)])
        message["inner"]["number"] = 2
        for channel in ("test.one", "test.two"):
            self.assert_next([channel], channel, {"inner": {"number": 1}})

    def test_what_does_not_fit_of_a_batch_is_full_and_the_rest_is_sent(self) -> None:
        self.need("batch")
        capacity = self.capacity()
        batch: list[tuple[str, Message]] = [("test.full", {"n": number}) for number in range(capacity + 2)]
        outcomes = self.channel_layer.send_many([*batch, ("test.other", {"n": -1})])
        self.assertEqual(outcomes, [Outcome.SENT] * capacity + [Outcome.FULL] * 2 + [Outcome.SENT])
        received = self.take_all(["test.full"], capacity)
        self.assert_in_order((message["n"] for _, message in received), range(capacity))
        self.assert_nothing(["test.full"])
        self.assert_next(["test.other"], "test.other", {"n": -1})

    def test_no_more_than_the_limit_is_taken_and_the_rest_stays(self) -> None:
        self.need("batch")
        count = min(self.capacity_limit or 5, 5)
        self.channel_layer.send_many([("test.one", {"number": number}) for number in range(count)])
        first = self.channel_layer.receive_many(["test.one"], limit=count - 1)
        self.assertLessEqual(1, len(first))
        self.assertLessEqual(len(first), count - 1)
        rest = self.take_all(["test.one"], count - len(first))
        self.assert_in_order((message["number"] for _, message in first + rest), range(count))

    def test_expired_messages_of_a_batch_are_dropped_and_fresh_ones_behind_them_are_not(self) -> None:
        self.need("batch")
        self.channel_layer.send_many([("test.expiry", {"value": "old"})] * 2)
        self.wait_for_expiry()
        self.channel_layer.send_many([("test.expiry", {"value": "fresh"})] * 2)
        received = self.take_all(["test.expiry"], 2)
        self.assertEqual([message["value"] for _, message in received], ["fresh", "fresh"])
        self.assert_nothing(["test.expiry"])

    def test_an_empty_channel_is_waited_for_as_long_as_asked(self) -> None:
        self.need("batch")
        started = time.monotonic()
        self.assertEqual(self.channel_layer.receive_many(["test.empty"], 5, timeout_seconds=0.2), [])
        waited = time.monotonic() - started
        self.assertGreater(waited, 0.15)
        self.assertLess(waited, 4)

"""The contract of the extension "acknowledge" as tests; part of `worker_port`."""

# Shipped to be run by unittest as well, and under -O, where an assert statement is not there.
# ruff: noqa: PT009

from __future__ import annotations

import time
from collections.abc import Callable

from ..acknowledgement import CLAIM_LEASE_SECONDS, REPAIR_SECONDS, retry_seconds
from ..contract import Acknowledge, Delivery
from .port_case import PortCase, numbers

__all__ = ["AcknowledgedConformance"]


class AcknowledgedConformance(PortCase):
    """Claiming, finishing, failing. A layer with a clock of its own overrides `pass_time`.

    Set `acknowledged_channel` to the name of a channel that is acknowledged, with 3 attempts.
    """

    acknowledged_channel: str | None = None
    attempts = 3

    def pass_time(self, seconds: float) -> None:
        """Let time pass on the clock of the layer."""
        time.sleep(seconds)

    def channel(self) -> str:
        """The acknowledged channel; skips the case without one."""
        self.need("acknowledge")
        if self.acknowledged_channel is None:
            self.skipTest("acknowledged_channel is not set")
        return self.acknowledged_channel

    def taken(self, count: int = 1) -> list[Delivery]:
        """So many messages of the channel, claimed."""
        found = self.turns([self.channel()], count)
        self.assertTrue(all(one.claim is not None for one in found))
        return found

    def say(self, delivery: Delivery, failure: str | None = None) -> None:
        """A try has ended."""
        if delivery.claim is None:
            self.fail(f"{delivery} has no claim")
        self.port.turn([Acknowledge(delivery.channel, delivery.claim, delivery.place, failure)], [], 1, 0)

    def assert_nothing_waits(self) -> None:
        """Nobody can take anything, now."""
        self.channel_layer.move_due([self.channel()])
        self.assertEqual(self.port.turn([], [self.channel()], 5, 0), [])

    def tried_again(self, ends: Callable[[Delivery], None]) -> Delivery:
        """Take the message; when `ends` has ended that try, and its pause is over, take it again."""
        (first,) = self.taken()
        if first.claim is None:
            self.fail("the message has no claim")
        ends(first)
        self.assert_nothing_waits()
        self.pass_time(retry_seconds(first.claim.attempt) + 0.1)
        self.channel_layer.move_due([self.channel()])
        (second,) = self.taken()
        self.assertEqual(second.message, first.message)
        return second

    def test_only_the_named_shared_channels_are_acknowledged(self) -> None:
        layer = self.channel_layer
        self.assertTrue(layer.is_acknowledged(self.channel()))
        for other in ("test.other", "http.request", "websocket.receive", "test.single?x", "test.process!"):
            self.assertFalse(layer.is_acknowledged(other), other)

    def test_a_message_that_was_acknowledged_is_gone(self) -> None:
        self.channel_layer.send(self.channel(), {"number": 1})
        (delivery,) = self.taken()
        self.assertEqual((delivery.channel, delivery.message), (self.channel(), {"number": 1}))
        self.assertTrue(self.port.may_start(delivery, delivery.taken_at))
        self.say(delivery)
        self.assertFalse(self.port.renew(delivery))
        self.assert_nothing_waits()
        self.assertEqual(self.channel_layer.statistics(self.channel())["pending"], 0)

    def test_a_message_is_outstanding_until_it_is_done(self) -> None:
        def account() -> tuple[int, ...]:
            counted = self.channel_layer.statistics(self.channel())
            if "outstanding" not in counted:
                self.skipTest("the layer does not account for messages")
            return tuple(counted[what] for what in ("sent", "done", "dead", "outstanding", "pending"))

        before = account()
        self.send_all(self.channel(), 3)
        (first,) = self.taken()
        self.assertEqual(self.gained(before, account()), (3, 0, 0, 3, 2))
        self.say(first)
        self.say(first)
        self.assertEqual(self.gained(before, account()), (3, 1, 0, 2, 2))

    @staticmethod
    def gained(before: tuple[int, ...], after: tuple[int, ...]) -> tuple[int, ...]:
        """What the counters have gained."""
        return tuple(now - then for then, now in zip(before, after, strict=True))

    def test_messages_come_in_their_order_in_batches_among_other_channels(self) -> None:
        self.send_all(self.channel(), 3)
        self.channel_layer.send("test.other", {"number": "other"})
        found: list[Delivery] = []
        give_up = time.monotonic() + self.patience_seconds
        while len(found) < 4 and time.monotonic() < give_up:
            found += self.port.turn([], [self.channel(), "test.other"], 2, 0.5)
        acknowledged = [one for one in found if one.claim is not None]
        self.assert_in_order(numbers(acknowledged), [0, 1, 2])
        self.assertEqual(len(found), 4)

    def test_a_message_that_failed_comes_again_after_a_pause(self) -> None:
        self.channel_layer.send(self.channel(), {"number": 1})
        again = self.tried_again(lambda first: self.say(first, "ValueError: no"))
        self.assertEqual(again.claim and again.claim.attempt, 2)

    def test_a_message_whose_worker_says_nothing_any_more_comes_again(self) -> None:
        self.channel_layer.send(self.channel(), {"number": 1})
        (first,) = self.taken()
        self.pass_time(CLAIM_LEASE_SECONDS / 2)
        self.assertTrue(self.port.renew(first))
        self.pass_time(CLAIM_LEASE_SECONDS * 0.75)
        self.assert_nothing_waits()
        self.pass_time(CLAIM_LEASE_SECONDS * 0.5)
        self.channel_layer.move_due([self.channel()])
        (second,) = self.taken()
        self.assertFalse(self.port.renew(first))
        self.assertFalse(self.port.may_start(first, first.taken_at + CLAIM_LEASE_SECONDS))
        self.say(first)
        self.assertTrue(self.port.renew(second), "who came late ended the try of another")

    def test_who_gave_a_message_back_has_it_no_longer(self) -> None:
        self.channel_layer.send(self.channel(), {"number": 1})
        (first,) = self.taken()
        self.port.give_back([first])
        (second,) = self.taken()
        self.assertEqual(second.claim and second.claim.attempt, 1)
        self.assertFalse(self.port.renew(first), "the claim of another was renewed")
        self.assertTrue(self.port.renew(second))

    def test_what_failed_as_often_as_it_is_tried_is_laid_aside_and_can_be_replayed(self) -> None:
        layer = self.channel_layer
        layer.send(self.channel(), {"number": 1})
        for _ in range(self.attempts - 1):
            delivery = self.tried_again(lambda one: self.say(one, "ValueError: no"))
            if delivery.claim is None or delivery.claim.attempt == self.attempts:
                break
            self.port.give_back([delivery])
        self.say(delivery, "ValueError: never")
        self.assert_nothing_waits()
        (letter,) = layer.dead_letters(self.channel())
        self.assertEqual((letter.message, letter.attempts), ({"number": 1}, self.attempts))
        self.assertEqual((letter.channel, letter.reason), (self.channel(), "ValueError: never"))
        self.assertEqual(layer.replay(self.channel(), ["no such id"]), 0)
        self.assertEqual(layer.replay(self.channel(), [letter.id]), 1)
        self.assertEqual(layer.dead_letters(self.channel()), [])
        (again,) = self.taken()
        self.assertEqual(again.claim and again.claim.attempt, 1)
        self.say(again)

    def test_dead_letters_can_be_dropped(self) -> None:
        layer = self.channel_layer
        self.send_all(self.channel(), 2)
        for _ in range(self.attempts):
            for delivery in self.taken(2):
                self.say(delivery, "no")
            self.pass_time(retry_seconds(self.attempts) + 0.1)
            layer.move_due([self.channel()])
        first, second = layer.dead_letters(self.channel())
        self.assertEqual(len(layer.dead_letters(self.channel(), limit=1)), 1)
        self.assertEqual(layer.drop_dead_letters(self.channel(), [first.id]), 1)
        self.assertEqual([one.id for one in layer.dead_letters(self.channel())], [second.id])
        self.assertEqual(layer.drop_dead_letters(self.channel()), 1)
        self.assertEqual(layer.replay(self.channel()), 0)
        self.assert_nothing_waits()

    def test_what_was_not_started_goes_back_to_the_head_and_that_was_no_try(self) -> None:
        self.send_all(self.channel(), 3)
        taken = self.taken(2)
        self.port.give_back(taken)
        again = self.taken(3)
        self.assert_in_order(numbers(again), [0, 1, 2])
        self.assertEqual({one.claim and one.claim.attempt for one in again}, {1})

    def test_what_expired_before_anybody_took_it_is_laid_aside(self) -> None:
        self.channel_layer.send(self.channel(), {"number": "old"})
        self.wait_for_expiry()
        self.channel_layer.send(self.channel(), {"number": "fresh"})
        self.assertEqual(numbers(self.taken()), ["fresh"])
        self.assert_nothing_waits()
        (letter,) = self.channel_layer.dead_letters(self.channel())
        self.assertEqual((letter.message, letter.attempts), ({"number": "old"}, 0))
        self.channel_layer.replay(self.channel())
        self.assertEqual(numbers(self.taken()), ["old"])

    def test_a_message_that_runs_never_expires(self) -> None:
        self.channel_layer.send(self.channel(), {"number": 1})
        (delivery,) = self.taken()
        self.wait_for_expiry()
        self.assertTrue(self.port.may_start(delivery, delivery.taken_at))
        self.port.give_back([delivery])
        self.assertEqual(numbers(self.taken()), [1])

    def test_a_message_for_later_waits_and_is_then_kept_until_it_is_done(self) -> None:
        self.need("delay")
        self.channel_layer.send_later(self.channel(), {"number": 1}, delay=0.2)
        dropped = self.channel_layer.send_later(self.channel(), {"number": 2}, delay=0.2)
        self.assertTrue(self.channel_layer.cancel(dropped))
        self.assert_nothing_waits()
        self.pass_time(0.3)
        self.channel_layer.move_due([self.channel()])
        again = self.tried_again(lambda one: self.say(one, "no"))
        self.assertFalse(self.channel_layer.cancel(again.claim.id if again.claim else ""))
        self.say(again)

    def test_bells_that_a_killed_worker_took_along_are_rung_again(self) -> None:
        self.send_all(self.channel(), 2)
        for _ in range(2):
            (delivery,) = self.taken()
            self.port.give_back([delivery])
        self.lose_bells(self.channel())
        self.assertEqual(self.port.turn([], [self.channel()], 1, 0), [])
        self.assertLessEqual(self.channel_layer.move_due([self.channel()]), REPAIR_SECONDS)
        self.assertEqual(numbers(self.taken(2)), [0, 1])

    def lose_bells(self, channel: str) -> None:
        """Take all bells of a channel, and claim nothing. Override it where that can be done."""
        self.skipTest("lose_bells is not given")

    def test_a_full_channel_refuses_and_what_runs_takes_no_room(self) -> None:
        capacity = self.capacity()
        self.send_all(self.channel(), capacity)
        with self.assertRaises(self.channel_layer.ChannelFull):  # noqa: PT027
            self.channel_layer.send(self.channel(), {})
        self.taken(1)
        self.channel_layer.send(self.channel(), {})
        self.assertEqual(self.channel_layer.statistics(self.channel())["pending"], capacity)

    def test_who_receives_without_a_port_acknowledges_at_once(self) -> None:
        self.channel_layer.send(self.channel(), {"number": 1})
        self.assert_next([self.channel()], self.channel(), {"number": 1})
        self.pass_time(CLAIM_LEASE_SECONDS + 0.1)
        self.assert_nothing_waits()

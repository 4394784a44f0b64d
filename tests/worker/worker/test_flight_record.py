"""What the parent reads of a process that is dead."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from headrace.worker.flight_record import SLOT_BYTES, FlightRecord, HeldDelivery
from headrace_asgi.acknowledgement import Claim
from headrace_asgi.contract import Delivery
from headrace_asgi.envelope import encode, pack_message

SOCKET = "hr1.0.process!a"


def delivery(number: int, **values: Any) -> Delivery:
    """A delivery as a worker takes it."""
    message = values.pop("message", {"reply_channel": SOCKET, "number": number})
    order = values.pop("order", None)
    entry = values.pop("entry", None) or encode(pack_message(message), order=order)
    return Delivery("work", message, entry, 0, "0", 1.0, order, **values)


def summary(left: list[HeldDelivery]) -> list[tuple[bytes, bool, bool]]:
    return [(one.delivery.entry, one.started, one.whole) for one in left]


def test_a_killed_process_leaves_what_it_took_and_whether_it_was_started() -> None:
    record = FlightRecord(8)
    taken = [delivery(0), delivery(1, order=7), delivery(2)]
    child = os.fork()
    if child == 0:
        record.taken(taken)
        record.started(taken[0])
        record.ended(taken[:1])
        record.started(taken[1])
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    left = record.left()
    assert summary(left) == [(taken[1].entry, True, True), (taken[2].entry, False, True)]
    first = left[0].delivery
    assert (first.channel, first.place, first.order) == ("work", "0", 7)
    assert first.message == {"reply_channel": SOCKET}
    assert left[1].delivery.order is None
    assert record.left() == []


def test_the_next_process_begins_with_an_empty_record() -> None:
    record = FlightRecord(1)
    for number in range(3):
        child = os.fork()
        if child == 0:
            record.taken([delivery(number)])
            os._exit(0)
        os.waitpid(child, 0)
        assert summary(record.left()) == [(delivery(number).entry, False, True)]


def test_what_is_larger_than_a_slot_is_known_but_cannot_be_given_back() -> None:
    record = FlightRecord(1)
    record.taken([delivery(0, entry=b"x" * SLOT_BYTES)])
    (left,) = record.left()
    assert (left.whole, left.delivery.entry) == (False, b"")
    assert left.delivery.message == {"reply_channel": SOCKET}


def test_the_largest_entry_that_fits_is_whole() -> None:
    record = FlightRecord(2)
    names = len(f"0 {SOCKET} work")
    entry = b"x" * (SLOT_BYTES - 23 - names)
    record.taken([delivery(0, entry=entry), delivery(1, entry=entry + b"x")])
    assert [one.whole for one in record.left()] == [True, False]


def test_what_finds_no_slot_is_not_noted_and_does_no_harm() -> None:
    record = FlightRecord(2)
    taken = [delivery(number) for number in range(4)]
    record.taken(taken)
    record.started(taken[3])
    record.ended(taken[3:])
    assert [one.delivery.entry for one in record.left()] == [taken[0].entry, taken[1].entry]


@pytest.mark.parametrize("reply_channel", [None, 7, "", "two words!a", "x" * 500, "caf\u00e9!a"])
def test_what_is_no_reply_channel_is_nobodys(reply_channel: Any) -> None:
    record = FlightRecord(1)
    record.taken([delivery(0, message={"reply_channel": reply_channel})])
    (left,) = record.left()
    assert left.delivery.channel == "work"
    assert left.delivery.message in ({}, {"reply_channel": "caf?!a"})


class OneProcess(RuleBasedStateMachine):
    """Takes, starts, waits and ends in any order; the record against a list."""

    SLOTS = 5

    def __init__(self) -> None:
        super().__init__()
        self.record = FlightRecord(self.SLOTS)
        #: Noted deliveries with whether they are started, in the order of their takes.
        self.held: list[list[Any]] = []
        self.number = 0

    @rule(count=st.integers(1, 3), size=st.integers(0, 3000))
    def take(self, count: int, size: int) -> None:
        taken = []
        for _ in range(count):
            self.number += 1
            taken.append(delivery(self.number, entry=b"%d " % self.number + b"x" * size))
        self.record.taken(taken)
        room = self.SLOTS - len(self.held)
        self.held += [[one, False] for one in taken[:room]]

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def start(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self.held))
        self.record.started(one[0])
        one[1] = True

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def wait(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self.held))
        self.record.waits(one[0])
        one[1] = False

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        at = data.draw(st.integers(0, len(self.held) - 1))
        self.record.ended([self.held.pop(at)[0]])

    @invariant()
    def a_process_that_died_now_would_leave_what_it_holds(self) -> None:
        child_memory = bytes(self.record._memory)
        left = self.record.left()
        self.record._memory[:] = child_memory
        assert [one.started for one in left] == [started for _, started in self.held]
        for one, (held, _) in zip(left, self.held, strict=True):
            assert one.delivery.entry == (held.entry if one.whole else b"")
            assert one.whole == (len(held.entry) <= SLOT_BYTES - 23 - len(f"0 {SOCKET} work"))


TestOneProcess = OneProcess.TestCase
TestOneProcess.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)


def test_the_claim_of_an_acknowledged_message_is_left_also_if_the_message_is_large() -> None:
    record = FlightRecord(2)
    large = {"text": "x" * SLOT_BYTES}
    claims = [Claim("0.feed", 3), Claim("0.cafe", 1)]
    taken = [delivery(0, claim=claims[0], message={}), delivery(1, claim=claims[1], message=large)]
    record.taken(taken)
    record.started(taken[0])
    left = record.left()
    assert [one.delivery.claim for one in left] == claims
    assert [one.delivery.channel for one in left] == ["work", "work"]
    assert [(one.started, one.whole) for one in left] == [(True, True), (False, False)]


def test_what_waits_only_to_be_said_gives_its_slot_to_what_is_taken() -> None:
    record = FlightRecord(3)
    deliveries = [Delivery("work", {}, b"%d" % number, 0, "0", 0.0) for number in range(5)]
    record.taken(deliveries[:3])
    for over in deliveries[:2]:
        record.started(over)
        record.over(over)
    record.taken(deliveries[3:4])
    record.ended(deliveries[:1])
    record.taken(deliveries[4:])
    assert [one.delivery.entry for one in record.left()] == [b"2", b"3", b"4"]

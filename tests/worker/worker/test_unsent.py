"""Sends that the layer refused."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from headrace.outbox import Outbox
from headrace.worker.unsent import FINISH_SECONDS, Unsent
from headrace_asgi.acknowledgement import Claim
from headrace_asgi.contract import Acknowledge, Control, Finish, Out, Outcome, Send, SendGroup, SendLater
from headrace_asgi.envelope import pack_message
from headrace_asgi.errors import LayerUnavailable, OutcomeUnknown
from headrace_asgi.later import Due
from tests.support.workers import Clock, layer_with

REPLY = "hr1.0.feed!abc"
FINISH = Finish(REPLY, 3, "0")
NOTE = Control(REPLY, {"control": "verdict"})


def said(number: int, channel: str = "work") -> Send:
    return Send(channel, pack_message({"n": number}), "app.consumer")


def answered(message: dict[str, Any]) -> Out:
    """What a view said, as its outbox holds it."""
    layer = layer_with([])
    outbox = Outbox(layer, "app.view")
    outbox.send(layer, REPLY, message)
    return outbox.items[0]


class Kept:
    """An Unsent with a clock of its own."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.counters: Counter[str] = Counter()
        self.unsent = Unsent(1.0, self.counters, self.clock)

    def refuse(self, items: list[Any], outcome: Outcome = Outcome.FULL) -> None:
        for item in items:
            self.unsent.refused(item, outcome)


def test_a_refused_send_is_tried_again_for_a_second_then_dropped_and_counted_w3(
    caplog: pytest.LogCaptureFixture,
) -> None:
    kept = Kept()
    kept.refuse([said(1)])
    tries = 0
    while kept.unsent:
        kept.clock.sleep(0.05)
        out = kept.unsent.with_held([])
        tries += bool(out)
        kept.refuse(out)
    assert 15 <= tries <= 25
    assert kept.counters == {"shed": 1}
    assert "app.consumer said something to work: the channel stayed full for 1 s; dropped" in caplog.text


def test_w3_a_client_whose_reply_was_refused_is_told_to_reconnect() -> None:
    kept = Kept()
    kept.refuse([said(1, REPLY)])
    kept.clock.sleep(1.1)
    kept.refuse(kept.unsent.with_held([]))
    assert kept.unsent.with_held([]) == [Control(REPLY, {"control": "close", "local": "abc", "code": 1013})]
    assert not kept.unsent


@pytest.mark.parametrize(
    "message",
    [{"status": 200, "content": b""}, {"content": b"part", "more_content": True}],
    ids=["a response", "a part of one"],
)
def test_w3_an_http_client_whose_answer_was_refused_is_answered_503_not_told_to_reconnect(
    message: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    kept = Kept()
    kept.refuse([answered(message)])
    kept.clock.sleep(1.1)
    kept.refuse(kept.unsent.with_held([]))
    (told,) = kept.unsent.with_held([])
    assert isinstance(told, Control)
    assert (told.body["control"], told.body["local"], told.body["status"]) == ("failed", "abc", 503)
    assert "its client is answered 503" in caplog.text
    assert "1013" not in caplog.text


def test_what_is_for_a_process_that_redis_forgot_is_said_again_in_order_for_five_seconds() -> None:
    kept = Kept()
    first, second, other = said(1, REPLY), said(2, REPLY), said(3, "other")
    kept.refuse([first, NOTE], Outcome.FORGOTTEN)
    assert kept.unsent.wait_seconds(5) == pytest.approx(0.1)
    assert kept.unsent.with_held([second, other]) == [other]
    kept.clock.sleep(0.1)
    assert kept.unsent.with_held([]) == [first, NOTE, second]
    kept.refuse([first, NOTE, second], Outcome.FORGOTTEN)
    kept.clock.sleep(4)
    assert kept.unsent.with_held([]) == [first, NOTE, second]
    assert not kept.unsent
    assert not kept.counters


def test_what_is_for_a_process_that_stays_forgotten_is_dropped_as_for_one_that_is_gone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    kept = Kept()
    kept.refuse([said(1, REPLY), NOTE], Outcome.FORGOTTEN)
    tries = 0
    began = kept.clock.now
    while kept.unsent:
        kept.clock.sleep(kept.unsent.wait_seconds(5))
        out = kept.unsent.with_held([])
        tries += 1
        kept.refuse(out, Outcome.FORGOTTEN)
    assert 5.0 <= kept.clock.now - began < 5.2
    assert 40 <= tries <= 52
    assert kept.counters == {"gone": 1}
    assert not caplog.records


@pytest.mark.parametrize("outcome", [Outcome.FULL, Outcome.UNAVAILABLE])
def test_a_group_message_that_the_layer_refuses_is_tried_for_a_second_then_dropped_and_counted(
    outcome: Outcome, caplog: pytest.LogCaptureFixture
) -> None:
    kept = Kept()
    first, second = (SendGroup("room", pack_message({"n": n}), "app.consumer") for n in (1, 2))
    kept.refuse([first], outcome)
    assert kept.unsent.with_held([second, FINISH]) == [FINISH]
    tries = 0
    while kept.unsent:
        kept.clock.sleep(0.05)
        out = kept.unsent.with_held([])
        tries += 1
        kept.refuse(out, outcome)
    assert 15 <= tries <= 25
    assert kept.counters == {"shed": 2}
    assert caplog.text.count("app.consumer said something to room") == 1


def test_a_finish_that_the_layer_refuses_is_said_until_it_works_with_pauses() -> None:
    kept = Kept()
    kept.refuse([FINISH], Outcome.UNAVAILABLE)
    for _ in range(60):
        assert kept.unsent.wait_seconds(5) > 0
        kept.clock.sleep(0.06)
        assert kept.unsent.with_held([said(1, REPLY)]) == [FINISH, said(1, REPLY)]
        kept.refuse([FINISH], Outcome.UNAVAILABLE)
    assert not kept.counters


def test_a_finish_is_given_up_when_its_lease_has_ended_anyway() -> None:
    kept = Kept()
    kept.refuse([FINISH], Outcome.UNAVAILABLE)
    for _ in range(int(FINISH_SECONDS) + 1):
        kept.clock.sleep(1)
        kept.refuse(kept.unsent.with_held([]), Outcome.UNAVAILABLE)
    assert not kept.unsent
    assert not kept.counters


def test_a_later_refusal_does_not_count_from_an_earlier_one() -> None:
    kept = Kept()
    item = said(1)
    kept.refuse([item])
    kept.clock.sleep(0.9)
    assert kept.unsent.with_held([]) == [item]
    kept.unsent.with_held([])  # it was accepted
    kept.clock.sleep(0.9)
    kept.refuse([item])
    assert kept.unsent


def test_a_refused_send_keeps_its_place_in_front_of_later_ones() -> None:
    kept = Kept()
    first, second, third, other = said(1), said(2), said(3), said(4, "other")
    kept.refuse([first])
    assert kept.unsent.with_held([second, other, FINISH]) == [other, FINISH]
    kept.clock.sleep(0.06)
    assert kept.unsent.with_held([third]) == [first, second, third]
    kept.refuse([first, second, third])
    kept.clock.sleep(0.06)
    assert kept.unsent.with_held([]) == [first, second, third]
    assert not kept.unsent


def test_a_turn_waits_no_longer_than_until_the_next_try() -> None:
    kept = Kept()
    assert kept.unsent.wait_seconds(5) == 5
    kept.refuse([said(1)])
    assert kept.unsent.wait_seconds(5) == pytest.approx(0.05)
    kept.unsent.broken([FINISH], LayerUnavailable("no connection"))
    assert kept.unsent.wait_seconds(5) == 0


def test_what_was_surely_not_executed_is_said_again() -> None:
    kept = Kept()
    items = [said(1), SendGroup("g", pack_message({})), NOTE, FINISH]
    kept.unsent.broken(items, LayerUnavailable("no connection"))
    assert kept.unsent.with_held([]) == items


def test_of_what_nobody_knows_only_harmless_repetitions_are_said_again() -> None:
    kept = Kept()
    response = answered({"status": 200, "content": b"x"})
    part = answered({"status": 200, "content": b"x", "more_content": True})
    group = SendGroup("g", pack_message({}))
    kept.unsent.broken([said(1), part, group, NOTE, response, FINISH], OutcomeUnknown("broken pipe"))
    assert kept.unsent.with_held([]) == [NOTE, response, FINISH]
    assert kept.counters == {"unknown": 3}


def test_what_is_for_an_acknowledged_channel_is_said_again_and_nothing_else_of_its_consumer() -> None:
    layer = layer_with([], acknowledged=["kept", "kept.*"])
    outbox = Outbox(layer, "app.consumer")
    for channel in ("kept", "work", REPLY, "kept.answers!abc"):
        outbox.send(layer, channel, {"n": 1})
    for channel in ("kept", "work"):
        outbox.send_later(layer, channel, {"n": 2}, delay=1, at=None)
    outbox.send_groups(layer, ["room"], {"n": 3})
    done = Acknowledge("kept", Claim("0.feed", 1), "0")
    kept = Kept()
    kept.unsent.broken([*outbox.items, done], OutcomeUnknown("broken pipe"))
    assert kept.unsent.with_held([]) == [outbox.items[0], outbox.items[4], done]
    assert kept.counters == {"unknown": 5}


def test_what_is_for_a_client_that_left_is_not_missed(caplog: pytest.LogCaptureFixture) -> None:
    kept = Kept()
    kept.refuse([said(1, REPLY), NOTE, FINISH], Outcome.GONE)
    kept.refuse([FINISH], Outcome.STALE)
    assert not kept.unsent
    assert kept.counters == {"gone": 1}
    assert not caplog.records


def test_at_the_end_what_is_left_is_counted() -> None:
    kept = Kept()
    kept.refuse([said(1), said(2), said(3, REPLY)])
    kept.unsent.give_up()
    assert not kept.unsent
    assert kept.counters == {"shed": 3}


def test_w3_at_the_end_what_an_outage_kept_back_is_counted_too(caplog: pytest.LogCaptureFixture) -> None:
    kept = Kept()
    items = [said(1), SendGroup("g", pack_message({}), "app.consumer"), NOTE, FINISH]
    kept.unsent.broken(items, LayerUnavailable("no connection"))
    kept.unsent.give_up()
    assert not kept.unsent
    assert kept.counters == {"shed": 2}
    assert "app.consumer said something to work: the layer did not take it; dropped" in caplog.text


def test_an_acknowledgement_is_said_again_until_it_works_or_its_lease_ends_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    done = Acknowledge("kept", Claim("0.feed", 1), "0")
    kept = Kept()
    kept.refuse([done], Outcome.UNKNOWN)
    assert kept.unsent.with_held([]) == [done]
    kept.refuse([done], Outcome.STALE)
    assert not kept.unsent
    kept.refuse([done], Outcome.UNAVAILABLE)
    kept.clock.sleep(FINISH_SECONDS - 1)
    kept.refuse(kept.unsent.with_held([]), Outcome.UNAVAILABLE)
    assert kept.unsent
    kept.clock.sleep(2)
    kept.refuse(kept.unsent.with_held([]), Outcome.UNAVAILABLE)
    assert not kept.unsent
    assert kept.counters == {}
    assert caplog.text == ""


def test_a_message_for_later_whose_outcome_is_unknown_is_counted_and_not_said_again() -> None:
    kept = Kept()
    later = SendLater("work", pack_message({}), "0.feed", Due(1000, from_now=True), "app.consumer")
    kept.refuse([later], Outcome.FULL)
    kept.clock.sleep(0.1)
    assert kept.unsent.with_held([]) == [later]
    kept.refuse([later], Outcome.UNKNOWN)
    assert not kept.unsent
    assert kept.counters == {"unknown": 1}

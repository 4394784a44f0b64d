"""What the worker of a response in parts hears of its reader."""

from __future__ import annotations

from typing import Any

from headrace_asgi.contract import Outcome
from headrace_asgi.limits import RESPONSE_CREDIT_BYTES
from headrace_interface.http.credit import ResponseCredit, tell_closed
from tests.support.http_lab import Lab

CHANNEL = "http.response.credit?x"


class Case:
    """The credit of one response."""

    def __init__(self) -> None:
        self.lab = Lab()
        self.credit = ResponseCredit(self.lab.context, CHANNEL)

    @property
    def told(self) -> list[dict[str, Any]]:
        """What was sent."""
        return [asked.message for asked in self.lab.port.of(CHANNEL)]


def test_what_was_taken_is_told_when_it_is_worth_a_message() -> None:
    case = Case()
    step = RESPONSE_CREDIT_BYTES
    for total in (1, step - 1, step, step + 1, 2 * step - 1, 2 * step, 5 * step):
        case.credit.taken(total)
        case.lab.settle()
    assert case.told == [{"bytes": step}, {"bytes": 2 * step}, {"bytes": 5 * step}]


def test_who_asks_is_told_at_once() -> None:
    case = Case()
    for _ in range(2):
        case.credit.asked(7)
        case.lab.settle()
    assert case.told == [{"bytes": 7}, {"bytes": 7}]


def test_one_message_is_on_its_way_at_a_time_and_the_next_is_the_newest() -> None:
    case = Case()
    case.lab.port.auto = None
    for total in (1, 2, 3):
        case.credit.asked(total)
    assert case.told == [{"bytes": 1}]
    case.lab.port.asked[0].answer()
    case.lab.port.asked[1].answer()
    assert case.told == [{"bytes": 1}, {"bytes": 3}]


def test_what_the_layer_did_not_take_is_told_again_with_what_is_true_then() -> None:
    case = Case()
    case.lab.port.outcomes = [Outcome.UNAVAILABLE, Outcome.UNKNOWN, Outcome.FULL]
    case.credit.asked(1)
    case.lab.settle()
    case.credit.close()
    case.lab.wait(10)
    assert case.told == [{"bytes": 1}, {"closed": True}, {"closed": True}, {"closed": True}]


def test_a_layer_that_stays_away_is_not_asked_for_ever() -> None:
    case = Case()
    case.lab.port.auto = Outcome.UNAVAILABLE
    case.credit.close()
    case.lab.wait(300)
    assert 50 < len(case.told) < 100
    assert not case.lab.clock.getDelayedCalls()


def test_a_response_that_ended_is_told_no_more() -> None:
    case = Case()
    case.lab.port.outcomes = [Outcome.UNAVAILABLE]
    case.credit.asked(1)
    case.lab.settle()
    case.credit.end()
    case.lab.wait(5)
    assert case.told == [{"bytes": 1}]


def test_a_channel_of_another_kind_is_told_nothing() -> None:
    lab = Lab()
    for channel in (None, 7, "http.request", "http.request.body?x"):
        tell_closed(lab.context, channel)
    assert lab.port.asked == []
    tell_closed(lab.context, CHANNEL)
    assert lab.port.asked[0].message == {"closed": True}

"""Pauses that grow, differ, begin anew and go on."""

from __future__ import annotations

from headrace_asgi.backoff import Backoff, pause_seconds


def test_pauses_double_up_to_the_longest() -> None:
    backoff = Backoff(0.05, 1.0)
    assert [round(backoff.next_seconds(), 3) for _ in range(7)] == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


def test_pauses_differ_so_that_a_crowd_does_not_come_back_at_once() -> None:
    high, low = Backoff(0.05, 1.0, lambda: 1.0), Backoff(0.05, 1.0, lambda: 0.0)
    assert [round(high.next_seconds(), 3) for _ in range(3)] == [0.05, 0.1, 0.2]
    assert [round(low.next_seconds(), 3) for _ in range(3)] == [0.025, 0.05, 0.1]


def test_success_begins_anew_and_a_false_success_goes_on() -> None:
    backoff = Backoff(1.0, 100.0)
    assert [backoff.next_seconds() for _ in range(3)] == [1, 2, 4]
    backoff.reset()
    backoff.resume()
    assert backoff.next_seconds() == 8
    backoff.reset()
    assert backoff.next_seconds() == 1


def test_however_often_it_failed_a_pause_can_be_computed() -> None:
    assert pause_seconds(10**9, 0.005, 8.0) == 8.0

"""Trouble is said when it begins and when it is over."""

from __future__ import annotations

import pytest
from twisted.internet import task

from headrace_interface.episodes import QUIET_SECONDS, Episode


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [record.getMessage() for record in caplog.records]
    caplog.clear()
    return found


def test_each_end_is_said_once_with_how_often_it_happened(caplog: pytest.LogCaptureFixture) -> None:
    clock = task.Clock()
    this = Episode(clock, "It begins.", "It ends: {count} in {seconds} s.")
    for _ in range(2):
        for _ in range(100):
            this.happened(2)
            clock.advance(0.3)
        assert said(caplog) == ["It begins."]
        clock.advance(QUIET_SECONDS)
        assert said(caplog) == ["It ends: 200 in 30 s."]
        assert clock.getDelayedCalls() == []


def test_the_first_event_may_be_named(caplog: pytest.LogCaptureFixture) -> None:
    clock = task.Clock()
    this = Episode(clock, "{peer} begins.", "It ends: {count}.")
    for peer in ("a", "b"):
        this.happened(peer=peer)
    clock.advance(QUIET_SECONDS)
    this.happened(peer="{c}")
    assert said(caplog) == ["a begins.", "It ends: 2.", "{c} begins."]


def test_what_stops_for_a_moment_has_not_ended(caplog: pytest.LogCaptureFixture) -> None:
    clock = task.Clock()
    this = Episode(clock, "It begins.", "It ends: {count}.")
    for _ in range(10):
        this.happened()
        clock.advance(QUIET_SECONDS - 1)
    assert said(caplog) == ["It begins."]
    clock.advance(1)
    assert said(caplog) == ["It ends: 10."]


def test_success_ends_it_at_once_and_only_once(caplog: pytest.LogCaptureFixture) -> None:
    clock = task.Clock()
    this = Episode(clock, "It begins.", "It ends: {count}.", ends_by_itself=False)
    this.over()
    this.happened()
    clock.advance(1000)
    assert said(caplog) == ["It begins."]
    this.over()
    this.over()
    assert said(caplog) == ["It ends: 1."]

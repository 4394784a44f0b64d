"""Pings, age and pace, on times that are given."""

from __future__ import annotations

import math

import pytest

from headrace_interface.deadlines import OFF, Deadlines
from headrace_interface.websocket.heartbeat import Heartbeat, HeartbeatAction, InputRate, inflation_charge


def opened(at: float = 0, **seconds: float) -> Heartbeat:
    return Heartbeat(Deadlines(**{"ping_interval": 20, "ping": 30, "socket_age": 1000, **seconds}), at)


def test_a_silent_client_is_pinged_and_then_given_up() -> None:
    heart = opened()
    assert heart.look(10, True) == (HeartbeatAction.WAIT, 20)
    assert heart.look(20, True) == (HeartbeatAction.PING, 50)
    assert heart.look(30, True) == (HeartbeatAction.WAIT, 50)
    assert heart.look(50, True)[0] is HeartbeatAction.SILENT


def test_whatever_the_client_sends_is_a_sign_of_life_and_nothing_else_is_s9() -> None:
    heart = opened()
    heart.heard_at = 19
    assert heart.look(20, True) == (HeartbeatAction.WAIT, 39)
    assert heart.look(39, True) == (HeartbeatAction.PING, 69)
    heart.heard_at = 40
    assert heart.look(69, True)[0] is HeartbeatAction.PING


def test_a_client_that_vanishes_is_noticed_within_interval_and_timeout_rt6() -> None:
    """Whenever the last byte came, whatever was sent meanwhile."""
    for last_byte in range(0, 60, 7):
        heart, now = opened(), 0.0
        while True:
            if now <= last_byte:
                heart.heard_at = now
            beat, due = heart.look(now, True)
            if beat is HeartbeatAction.SILENT:
                break
            now = min(due, now + 1)
        assert now <= last_byte + 20 + 30


def test_a_client_that_is_not_read_from_cannot_be_silent() -> None:
    heart = opened()
    assert heart.look(20, True)[0] is HeartbeatAction.PING
    assert heart.look(50, False) == (HeartbeatAction.WAIT, 70)


def test_an_old_socket_ends() -> None:
    heart = opened(socket_age=25)
    assert heart.look(20, True) == (HeartbeatAction.PING, 25)
    assert heart.look(25, True)[0] is HeartbeatAction.AGED


def test_everything_can_be_off() -> None:
    heart = opened(ping_interval=OFF, ping=OFF, socket_age=OFF)
    assert heart.first_look == math.inf
    assert heart.look(1e9, True) == (HeartbeatAction.WAIT, math.inf)


def test_a_second_of_messages_may_come_at_once_and_then_the_rate_counts_s12() -> None:
    heart = opened()
    heart.heard_at = 100
    assert not heart.meter(10, rate=10)
    assert heart.meter(5, rate=10)
    assert heart.held_until == 100.5
    assert heart.look(100.1, False)[1] == 100.5
    heart.heard_at = 100.6
    assert not heart.meter(1, rate=10)
    heart.heard_at = 200
    assert not heart.meter(10, rate=10)


def test_a_second_of_control_frames_may_come_at_once_and_ten_are_a_flood() -> None:
    heart = Heartbeat(Deadlines(), 0)
    assert heart.meter_controls(100, 100, 1000) is InputRate.FINE
    assert heart.meter_controls(1, 100, 1000) is InputRate.FAST
    assert heart.held_until == pytest.approx(1000.01)
    assert heart.meter_controls(1, 100, 1000.1) is InputRate.FINE
    assert heart.meter_controls(1100, 100, 1000.1) is InputRate.FLOOD


def test_who_is_held_up_again_and_again_for_ten_seconds_is_a_flood_too() -> None:
    heart = Heartbeat(Deadlines(), 0)
    now, paces = 1000.0, []
    while InputRate.FLOOD not in paces:
        paces.append(heart.meter_controls(300, 100, now))
        now = max(now, heart.held_until)
    assert 10 <= now - 1000 < 16
    assert len(paces) <= 6


def test_control_frames_within_their_rate_are_fine_for_ever_and_cost_no_messages() -> None:
    heart = Heartbeat(Deadlines(), 0)
    assert {heart.meter_controls(1, 100, 1000 + number / 90) for number in range(9_000)} == {InputRate.FINE}
    assert heart.held_until == -math.inf


def test_large_messages_have_a_pace_in_bytes_and_one_may_always_come_first() -> None:
    heartbeat = Heartbeat(Deadlines(), 100.0)
    assert not heartbeat.meter_bytes(1_000_000, 4_000_000, 100.0)
    assert heartbeat.meter_bytes(1_000_000, 4_000_000, 100.0)
    assert heartbeat.held_until == 100.25
    assert not heartbeat.meter_bytes(1_000_000, 4_000_000, 101.0)


def test_what_was_inflated_far_counts_for_more_and_a_usual_text_for_what_it_is() -> None:
    assert inflation_charge(100_000, 100_000) == 0
    assert inflation_charge(100_000, 25_000) == 0
    assert inflation_charge(100_000, 12_500) == 100_000
    assert inflation_charge(1_000_000, 1_000) == 15_000_000
    assert inflation_charge(1_000_000, 0) == 15_000_000

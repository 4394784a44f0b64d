"""The actions are plain values."""

from __future__ import annotations

import dataclasses

import pytest

from headrace_interface.websocket.actions import AGED, BUSY, SLOW, Close, SendFrame, Tell


def test_a_busy_server_says_when_to_come_again() -> None:
    assert BUSY.status == 503
    assert (b"retry-after", b"1") in BUSY.headers


def test_the_servers_own_closes_name_their_reason() -> None:
    assert (AGED.code, SLOW.code) == (1000, 1008)
    assert AGED.reason
    assert SLOW.reason


def test_actions_are_equal_by_value_and_cannot_change() -> None:
    assert Close(1000, "x") == Close(1000, "x")
    assert SendFrame("a", 1) != SendFrame("a", 2)
    with pytest.raises(dataclasses.FrozenInstanceError):
        Tell(1000, 1).code = 1001  # type: ignore[misc]

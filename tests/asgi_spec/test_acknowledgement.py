"""Which channels are acknowledged, and when their messages are tried again."""

from __future__ import annotations

from typing import Any

import pytest

from headrace_asgi.acknowledgement import (
    CLAIM_LEASE_SECONDS,
    REPAIR_SECONDS,
    AcknowledgedChannels,
    retry_seconds,
)
from headrace_asgi.errors import ConfigurationError


def test_globs_say_which_shared_channels_are_acknowledged() -> None:
    channels = AcknowledgedChannels(["orders.*", "mail"])
    assert channels
    assert all(map(channels.has, ("orders.new", "orders.", "mail")))
    assert not any(map(channels.has, ("mail.x", "order", "orders.new?x", "orders.new!", "orders.new!x")))


def test_without_globs_nothing_is() -> None:
    for nothing in (None, [], ()):
        channels = AcknowledgedChannels(nothing)
        assert not channels
        assert not channels.has("orders")


@pytest.mark.parametrize(
    "glob", ["*", "websocket.*", "websocket.receive", "http.*", "h*", "http.own", "headrace.*", "*connect"]
)
def test_channels_of_clients_cannot_be_acknowledged(glob: str) -> None:
    with pytest.raises(ConfigurationError, match="of your own"):
        AcknowledgedChannels(["orders", glob])


@pytest.mark.parametrize("wrong", ["orders.*", b"orders", {"orders": 1}, 5, [5], [""], [None]])
def test_what_is_no_list_of_globs_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="acknowledged"):
        AcknowledgedChannels(wrong)


def test_pauses_begin_below_a_second_and_end_at_a_minute() -> None:
    pauses = [retry_seconds(attempt) for attempt in range(1, 20)]
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[1], pauses[-1]) == (0.25, 0.5, 60.0)


def test_what_a_lost_machine_held_is_tried_again_within_ten_seconds() -> None:
    assert CLAIM_LEASE_SECONDS + REPAIR_SECONDS <= 10

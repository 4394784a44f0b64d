"""When a message is due that is sent for later."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from headrace_asgi.later import Due, due, new_message_id, place_of_id


@pytest.mark.parametrize(("delay", "ms"), [(0, 0), (1.5, 1500), (60, 60_000), (timedelta(minutes=1), 60_000)])
def test_a_delay_is_seconds_from_now_on(delay: Any, ms: int) -> None:
    assert due(delay, None) == Due(ms, from_now=True)


@pytest.mark.parametrize("at", [86_400.5, datetime(1970, 1, 2, 0, 0, 0, 500_000, UTC)])
def test_a_time_is_seconds_since_1970_or_a_datetime(at: Any) -> None:
    assert due(None, at) == Due(86_400_500, from_now=False)


@pytest.mark.parametrize(
    ("delay", "at", "error"),
    [
        (None, None, TypeError),
        (1, 1, TypeError),
        (True, None, TypeError),
        ("1", None, TypeError),
        (float("nan"), None, TypeError),
        (-0.1, None, ValueError),
        (10**12, None, ValueError),
        (timedelta(days=-1), None, ValueError),
        (None, -1, ValueError),
        (None, datetime(2030, 1, 1), ValueError),
        (None, "tomorrow", TypeError),
    ],
)
def test_what_is_no_time_is_refused_by_name(delay: Any, at: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"delay|at"):
        due(delay, at)


def test_an_id_says_at_which_place_its_message_waits() -> None:
    first, second = new_message_id("0"), new_message_id("0")
    assert first != second
    assert place_of_id(first) == "0"
    for wrong in ("", "abc", None, 5):
        with pytest.raises(ValueError, match="no id"):
            place_of_id(wrong)  # type: ignore[arg-type]

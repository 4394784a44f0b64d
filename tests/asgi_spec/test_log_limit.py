"""How often a line may be said, and trouble that is said at its two ends."""

from __future__ import annotations

from headrace_asgi.log_limit import LogLimit, Trouble, left_out_note


def test_each_key_has_a_burst_in_each_window_and_what_was_left_out_is_counted() -> None:
    now = [0.0]
    limit = LogLimit(window_seconds=60, burst=2, clock=lambda: now[0])
    assert [limit.ask("a") for _ in range(5)] == [0, 0, None, None, None]
    assert limit.ask("b") == 0
    now[0] = 60
    assert [limit.ask("a") for _ in range(3)] == [3, 0, None]
    now[0] = 200
    assert limit.ask("a") == 1
    assert limit.ask("b") == 0


def test_what_is_remembered_of_keys_is_bounded() -> None:
    limit = LogLimit()
    assert all(limit.ask(number) == 0 for number in range(5000))
    assert len(limit._keys) <= 1000


def test_a_line_says_only_what_was_left_out() -> None:
    assert left_out_note(0) == ""
    assert left_out_note(4) == " (4 more like this were left out)"


def test_trouble_begins_once_and_ends_once_with_its_count_and_times() -> None:
    trouble = Trouble()
    assert trouble.over() is None
    assert [trouble.happened(10.0), trouble.happened(11.0, 5), trouble.happened(13.0)] == [True, False, False]
    assert trouble.over() == (7, 10.0, 13.0)
    assert trouble.over() is None
    assert trouble.happened(20.0)
    assert trouble.over() == (1, 20.0, 20.0)

from __future__ import annotations

from headrace_asgi.accounting import account


def test_what_was_taken_and_has_not_ended_is_running() -> None:
    counted = {"sent": 20, "shed": 3, "taken": 15, "done": 6, "failed": 1, "expired": 2, "stale": 1}
    answer = account({**counted, "dead": 1, "lost": 1, "unreadable": 1}, pending=5)
    assert (answer["offered"], answer["running"], answer["unknown"]) == (23, 2, 0)


def test_what_left_the_channel_and_nobody_took_is_unknown() -> None:
    assert account({"sent": 10, "taken": 4, "done": 4}, pending=3)["unknown"] == 3


def test_of_an_acknowledged_channel_nothing_is_unknown() -> None:
    answer = account({"sent": 10, "done": 4, "dead": 1, "expired": 2}, pending=2, is_acknowledged=True)
    assert answer["outstanding"] == 3
    assert "unknown" not in answer

"""Who is dead, by counters that stand still."""

from __future__ import annotations

from headrace_asgi.layers.redis.plan.death_watch import DeathWatch


def test_a_heart_that_stood_still_for_20_seconds_of_looking_is_dead() -> None:
    watch = DeathWatch()
    dead = [watch.look({"a": str(now // 5), "b": "7"}, now) for now in range(100, 126, 5)]
    assert dead == [[], [], [], [], [("b", "7")], [("b", "7")]]


def test_a_beat_begins_the_time_anew() -> None:
    watch = DeathWatch()
    for now in range(0, 20, 5):
        assert watch.look({"a": "1"}, now) == []
    assert watch.look({"a": "2"}, 20) == []
    assert [bool(watch.look({"a": "2"}, now)) for now in range(25, 45, 5)] == [False, False, False, True]


def test_time_in_which_nobody_looked_kills_nobody() -> None:
    """Redis was away, or the observer was paused: the hearts may have had no chance to beat."""
    watch = DeathWatch()
    watch.look({"a": "1"}, 0)
    assert watch.look({"a": "1"}, 10_000) == []
    assert watch.look({"a": "1"}, 20_000) == []
    assert watch.look({"a": "2"}, 20_005) == []


def test_a_clock_that_stands_or_goes_back_kills_nobody() -> None:
    watch = DeathWatch()
    for now in (100, 100, 50, 0, 0):
        assert watch.look({"a": "1"}, now) == []


def test_who_has_left_is_forgotten() -> None:
    watch = DeathWatch()
    for now in range(0, 20, 5):
        watch.look({"a": "1"}, now)
    watch.look({}, 20)
    assert watch.look({"a": "1"}, 25) == []

"""RedisClock: what a jump of somebody's clock may do, which is nothing."""

from __future__ import annotations

import pytest

from headrace_asgi.layers.redis.plan.clock import RedisClock


class Monotonic:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def monotonic() -> Monotonic:
    return Monotonic()


@pytest.fixture
def clock(monotonic: Monotonic) -> RedisClock:
    made = RedisClock(60, monotonic)
    made.sample(5_000_000)
    return made


def test_it_runs_on_between_samples(clock: RedisClock, monotonic: Monotonic) -> None:
    monotonic.now += 2.5
    assert clock.now_ms() == 5_002_500


def test_without_a_sample_it_tells_no_time() -> None:
    with pytest.raises(RuntimeError):
        RedisClock(60).now_ms()
    assert RedisClock(60).stale


def test_a_sample_is_fresh_for_a_second_and_stale_after_a_minute(
    clock: RedisClock, monotonic: Monotonic
) -> None:
    assert clock.fresh
    assert not clock.stale
    monotonic.now += 1.1
    assert not clock.fresh
    monotonic.now += 60
    assert clock.stale


def test_what_never_expires_never_does(clock: RedisClock) -> None:
    assert not clock.expired(0)
    assert clock.expired(4_999_999)
    assert not clock.expired(5_000_001)


@pytest.mark.parametrize("jump_ms", [10_000_000, -4_000_000])
def test_after_a_jump_nothing_expires_for_one_expiry_period_rt24(
    clock: RedisClock, monotonic: Monotonic, jump_ms: int
) -> None:
    clock.sample(5_000_000 + jump_ms)
    assert not clock.expired(1)
    monotonic.now += 59
    assert not clock.expired(1)
    monotonic.now += 2
    assert clock.expired(1)


def test_drift_is_no_jump(clock: RedisClock, monotonic: Monotonic) -> None:
    monotonic.now += 60
    clock.sample(5_060_500)
    assert clock.now_ms() == 5_060_500
    assert clock.expired(1)


@pytest.mark.parametrize("answer", [None, 7, b"OK", [], [b"1"], [b"soon", b"0"], [None, None], [[], []]])
def test_an_answer_that_is_no_time_changes_nothing(clock: RedisClock, answer: object) -> None:
    clock.sample_answer(answer)
    assert clock.now_ms() == 5_000_000
    clock.sample_answer([b"6000", b"5000"])
    assert clock.now_ms() == 6_000_005

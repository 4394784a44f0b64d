"""One log line when Redis is out of memory, and one when that is over."""

from __future__ import annotations

import pytest

from headrace_asgi.layers.redis.memory_watch import OVER_SECONDS, MemoryWatch


def test_each_change_of_state_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    watch = MemoryWatch("redis://here", "requests get 503", lambda: now[0])
    watch.accepted()
    assert not watch.is_full
    for _ in range(100):
        watch.refused()
        watch.accepted()  # at its limit Redis refuses now this, now that
        now[0] += OVER_SECONDS / 2
    assert watch.is_full
    now[0] += OVER_SECONDS
    watch.accepted()
    assert not watch.is_full
    watch.refused()
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 3
    assert said[0].startswith("Redis at redis://here is out of memory: requests get 503; raise its maxmemory")
    assert "has memory again" in said[1]
    assert said[2] == said[0]

"""What is said of versions while a process runs."""

from __future__ import annotations

import logging

import pytest

from headrace_asgi.layers.redis import agreed_version
from headrace_asgi.layers.redis.agreed_version import heard_versions
from headrace_asgi.layers.redis.plan.versions import Agreed
from headrace_asgi.log_limit import LogLimit
from tests.support.interfaces import plan_for


def test_who_cannot_read_what_others_write_says_so_once_a_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = 0.0
    monkeypatch.setattr(agreed_version, "_complaints", LogLimit(clock=lambda: now))
    plan, _ = plan_for("redis://127.0.0.1:6379/0")
    with caplog.at_level(logging.ERROR, "headrace.layer"):
        heard_versions(plan, Agreed(1, 1), "redis here")
        assert not caplog.records
        for _ in range(12):
            heard_versions(plan, Agreed(2, 2), "redis here")
            now += 5.0
        now += 1.0
        heard_versions(plan, Agreed(2, 2), "redis here")
    assert len(caplog.records) == 2
    assert "At redis here a newer Headrace has written entries of version 2" in caplog.text
    assert plan.codec.version == 1

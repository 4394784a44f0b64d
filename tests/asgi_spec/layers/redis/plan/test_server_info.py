"""What INFO tells, and what an ACL or a strange build makes of it."""

from __future__ import annotations

import pytest
from hiredis import ReplyError

from headrace_asgi.layers.redis.plan.server_info import ServerInfo, facts_of


def test_what_info_says_is_read() -> None:
    facts = facts_of(
        b"# Server\r\nredis_version:7.2.4\r\nredis_mode:standalone\r\nrun_id:abc\r\nos:Linux 6.1\r\n"
        b"# Memory\r\nmaxmemory_policy:allkeys-lru\r\n# Replication\r\nrole:slave\r\n"
    )
    assert facts == ServerInfo("7.2.4", "abc", "standalone", "slave", "allkeys-lru")


def test_a_server_that_does_not_say_is_taken_as_it_is() -> None:
    assert facts_of(ReplyError("NOPERM")) == ServerInfo()
    assert not ServerInfo().too_old


@pytest.mark.parametrize(
    ("version", "too_old"),
    [("6.2.9", True), ("7.0.0", False), ("8.1", False), ("10.0.1", False), ("dev", False)],
)
def test_an_old_version_cannot_serve(version: str, too_old: bool) -> None:
    assert ServerInfo(version).too_old is too_old


@pytest.mark.parametrize("name", ["redis_mode", "server_mode"])
def test_what_a_server_is_for_is_read_whatever_that_is_called(name: str) -> None:
    assert facts_of(f"redis_version:7.2.4\r\n{name}:sentinel\r\n".encode()).mode == "sentinel"

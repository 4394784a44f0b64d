"""A user to whom one command is forbidden: whoever needs it names it, and what such a user needs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import headrace_asgi.layers.redis
from headrace_asgi.errors import ConfigurationError, LayerRefused
from headrace_asgi.layers.redis.blocking.layer import RedisPlaceLayer
from headrace_asgi.layers.redis.plan.outcomes import ACL
from tests.support.every_key import Everything
from tests.support.interfaces import InterfaceSide, interface_side
from tests.support.reactors import hand_reactor
from tests.support.services import RedisServer

PACKAGE = Path(str(headrace_asgi.layers.redis.__file__)).parent
#: What commands of ours begin with, in Python and in Lua.
COMMANDS = sorted(
    {
        word.lower()
        for path in [*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.lua")]
        for pattern in (r"\(b\"([A-Z]{3,})\"", r"redis\.p?call\('([A-Z]+)'")
        for word in re.findall(pattern, path.read_text(encoding="utf-8"))
    }
)
#: Without these a connection does not come about; without the others less is known or told, and all works.
AT_THE_START = ("time", "script")
SPARED = ("info", "client", "auth", "select", "sentinel", "cluster", "ping")
#: Asked for by `flush`, after a death, with a second registration or a forgotten script; or by claims, whose
#: errors are told once a minute; or by the take that an interface server waits in already; or only where the
#: messages of several sockets end at once.
RARE = {
    *("eval", "incr", "expire", "persist", "unlink", "smembers", "hscan", "del", "scan", "lrange"),
    *("hsetnx", "rpop", "lrem", "sadd", "srem", "lpop", "hlen", "zcard", "blmpop", "mset"),
}


@pytest.fixture
def user(redis_server: RedisServer, redis_url: str) -> Iterator[str]:
    """URL of a user that may do what is needed and nothing else."""
    redis_server.command("ACL", "SETUSER", "few", "reset", "on", ">pw", *ACL.split())
    yield redis_url.replace("unix://", "unix://few:pw@")
    redis_server.command("ACL", "DELUSER", "few")


@pytest.mark.parametrize("command", [one for one in COMMANDS if one not in (*SPARED, *AT_THE_START)])
def test_a_command_that_is_forbidden_is_named_with_what_is_needed_and_nothing_else_breaks(
    redis_server: RedisServer, user: str, command: str, caplog: pytest.LogCaptureFixture
) -> None:
    with hand_reactor() as reactor, interface_side(reactor, user) as side:
        everything = Everything(user, reactor, side)
        redis_server.command("ACL", "SETUSER", "few", f"-{command}")
        everything.use()
        redis_server.command("ACL", "SETUSER", "few", f"+{command}")
        everything.works_again()
        everything.close()
    said = [str(error) for error in everything.refused]
    said += [record.getMessage() for record in caplog.records if "permission" in record.getMessage()]
    assert said or command in RARE
    assert all(f"a user of an ACL needs: {ACL}" in one and f"'{command}' command" in one for one in said)
    assert all(isinstance(error, LayerRefused) for error in everything.refused)


@pytest.mark.parametrize("command", AT_THE_START)
def test_who_may_not_even_begin_is_told_at_the_start_by_both_sides(
    redis_server: RedisServer, user: str, command: str
) -> None:
    redis_server.command("ACL", "SETUSER", "few", f"-{command}")
    layer = RedisPlaceLayer([user])
    with pytest.raises(ConfigurationError, match=rf"'{command}.*' command.*a user of an ACL needs"):
        layer.ensure_usable()
    layer.close()
    with hand_reactor() as reactor:
        side = InterfaceSide(reactor, user)
        side.port.start(side.receiver)
        reactor.until(lambda: side.receiver.of("lost"))
        assert f"a user of an ACL needs: {ACL}" in str(side.receiver.of("lost"))
        side.close()
        reactor.turn(0.05)


def test_the_commands_are_those_of_the_code() -> None:
    assert {"evalsha", "rpush", "hincrby", "zadd", "blmpop", "hmget", *AT_THE_START, *RARE} <= {
        *COMMANDS,
        "keys",
    }

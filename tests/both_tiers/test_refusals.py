"""A real Redis that is set up so that it cannot serve: both tiers name the setting and what to do."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from headrace_asgi import RedisChannelLayer
from headrace_asgi.conformance.receiver import Recorder
from headrace_asgi.errors import ConfigurationError, HeadraceError
from headrace_asgi.layers.redis.blocking import executor as blocking_executor
from headrace_asgi.layers.redis.plan.outcomes import ACL
from tests.support.ports import free_port
from tests.support.reactors import HandReactor, hand_reactor
from tests.support.services import RedisServer, valkey_binary

LOGIN = "check user and password in hosts or --layer, as in redis://user:password@host:port/db"


@pytest.fixture
def reactor() -> Iterator[HandReactor]:
    with hand_reactor() as reactor:
        yield reactor


@pytest.fixture(autouse=True)
def short_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocking_executor, "HOLD_SECONDS", 0.1)


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """A server with users who may do this and that. The default one has a password."""
    with RedisServer(valkey_binary()) as server:
        for name, *rules in (
            ("scriptless", "~*", "+@all", "-@scripting"),
            ("timeless", "~*", "+@all", "-time"),
            ("elsewhere", "~cache:*", "+@all"),
            ("reader", "~*", "+@all", "-@write"),
        ):
            server.command("ACL", "SETUSER", name, "on", ">pw", *rules)
        server.command("CONFIG", "SET", "requirepass", "right")
        yield server


def told_to_a_worker(host: Any) -> str:
    layer = RedisChannelLayer([host])
    try:
        with pytest.raises(HeadraceError) as raised:
            layer.send("test", {})
    finally:
        layer.close()
    return str(raised.value)


def told_to_an_interface_server(
    host: Any, reactor: HandReactor, caplog: pytest.LogCaptureFixture, piece: str
) -> str:
    """What it says to itself or its log that has a piece of what is expected."""
    layer = RedisChannelLayer([host])
    port, receiver = layer.open_interface_port(reactor), Recorder()

    def lines() -> list[str]:
        lost = [reason for (reason,) in receiver.of("lost")]
        return [line for line in lost + [one.getMessage() for one in caplog.records] if piece in line]

    with caplog.at_level(logging.WARNING, "headrace.layer"):
        port.start(receiver)
        reactor.until(lines)
    said = lines()[0]
    port.stop(lambda: None, 0)
    reactor.turn(0.05)
    layer.close()
    return said


@pytest.mark.parametrize(
    ("login", "end", "told"),
    [
        ("", "/0", f"refused the login (NOAUTH Authentication required.); {LOGIN}"),
        (
            ":guess@",
            "/0",
            f"refused the login (WRONGPASS invalid username-password pair or user is disabled.); {LOGIN}",
        ),
        (
            "nobody:guess@",
            "/0",
            f"refused the login (WRONGPASS invalid username-password pair or user is disabled.); {LOGIN}",
        ),
        (
            ":right@",
            "/99",
            "the db in hosts or --layer (the number at the end of the URL) must be that of a database",
        ),
        ("scriptless:pw@", "/0", f"a user of an ACL needs: {ACL}"),
        ("timeless:pw@", "/0", f"a user of an ACL needs: {ACL}"),
    ],
)
def test_what_redis_refuses_at_the_door_is_told_by_both_tiers_in_the_same_words(
    server: RedisServer,
    reactor: HandReactor,
    caplog: pytest.LogCaptureFixture,
    login: str,
    end: str,
    told: str,
) -> None:
    url = f"redis://{login}127.0.0.1:{server.port}{end}"
    to_worker = told_to_a_worker(url)
    assert to_worker == told_to_an_interface_server(url, reactor, caplog, told)
    assert told in to_worker
    assert to_worker.startswith(f"Redis at redis://127.0.0.1:{server.port}{end} refused ")
    assert "guess" not in to_worker
    with pytest.raises(ConfigurationError):
        RedisChannelLayer([url]).ensure_usable()


@pytest.mark.parametrize("user", ["elsewhere", "reader"])
def test_an_acl_that_forbids_what_is_sent_is_told_with_what_a_user_needs(
    server: RedisServer, reactor: HandReactor, caplog: pytest.LogCaptureFixture, user: str
) -> None:
    host = {"host": "127.0.0.1", "port": server.port, "username": user, "password": "pw"}
    for said in (told_to_a_worker(host), told_to_an_interface_server(host, reactor, caplog, "refused")):
        assert said.endswith(f"; a user of an ACL needs: {ACL}")


def test_a_password_for_a_redis_that_has_none(
    reactor: HandReactor, caplog: pytest.LogCaptureFixture, redis_server: RedisServer
) -> None:
    url = f"redis://:guess@127.0.0.1:{redis_server.port}/0"
    told = "it has none: leave the password out of hosts or --layer, or set requirepass in Redis"
    said = told_to_a_worker(url)
    assert said == told_to_an_interface_server(url, reactor, caplog, told)
    assert "guess" not in said


def test_a_replica_is_named_at_the_start_and_when_it_became_one(
    reactor: HandReactor, caplog: pytest.LogCaptureFixture, private_redis_server: RedisServer
) -> None:
    url = private_redis_server.url
    worked = RedisChannelLayer([url])
    worked.send("test", {})
    private_redis_server.command("REPLICAOF", "127.0.0.1", "1")
    remedy = "is a read-only replica; name the primary in hosts or --layer"
    with pytest.raises(ConfigurationError, match=f"^Redis at {url} {remedy}$"):
        RedisChannelLayer([url]).ensure_usable()
    assert remedy in told_to_an_interface_server(url, reactor, caplog, remedy)
    with pytest.raises(HeadraceError, match=f"READONLY .*; it {remedy}$"):
        worked.send("test", {})
    private_redis_server.command("REPLICAOF", "NO", "ONE")
    worked.send("test", {})
    worked.close()


def test_a_node_of_a_cluster_is_named(reactor: HandReactor, caplog: pytest.LogCaptureFixture) -> None:
    told = (
        "is a node of a Cluster; in hosts or --layer write that, with some of its nodes: "
        "redis+cluster://host1:7000,host2:7000/"
    )
    # By default its bus is 10,000 above the port, where there may be no port any more.
    cluster = ["--cluster-enabled", "yes", "--cluster-port", str(free_port())]
    with RedisServer(valkey_binary(), cluster) as server:
        for said in (
            told_to_a_worker(server.url),
            told_to_an_interface_server(server.url, reactor, caplog, "is a node"),
        ):
            assert said.endswith(f"Redis at {server.url} {told}")


def test_another_eviction_policy_is_warned_of_where_config_is_forbidden(
    reactor: HandReactor, caplog: pytest.LogCaptureFixture
) -> None:
    options = ["--maxmemory-policy", "allkeys-lru", "--rename-command", "CONFIG", ""]
    with RedisServer(valkey_binary(), options) as server:
        told = f"Redis at {server.url} has maxmemory-policy allkeys-lru: it may delete messages and groups"
        layer = RedisChannelLayer([server.url])
        with caplog.at_level(logging.WARNING, "headrace.layer"):
            layer.send("test", {})
        layer.close()
        assert caplog.text.count(told) == 1
        caplog.clear()
        assert told in told_to_an_interface_server(server.url, reactor, caplog, "set it to noeviction")


def test_a_full_redis_says_what_to_raise(private_redis_server: RedisServer) -> None:
    layer = RedisChannelLayer([private_redis_server.url])
    layer.send("test", {})
    private_redis_server.command("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(
        HeadraceError, match=r"out of memory: OOM .*; raise its maxmemory, or see what fills it$"
    ):
        layer.send("test", {})
    layer.close()

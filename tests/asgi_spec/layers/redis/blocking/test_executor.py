"""RedisExecutor: repeats what may be repeated, holds what will pass, keeps its connections to its process."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from headrace_asgi.errors import ConfigurationError, LayerRefused, LayerUnavailable, OutcomeUnknown
from headrace_asgi.layers.redis.blocking import executor as redis_executor
from headrace_asgi.layers.redis.blocking.layer import RedisPlaceLayer
from headrace_asgi.layers.redis.plan.command import RedisCommand, as_is
from tests.support.services import RedisServer, valkey_binary


@pytest.fixture
def private_layer(private_redis_server: RedisServer) -> Iterator[RedisPlaceLayer]:
    made = RedisPlaceLayer([private_redis_server.url])
    yield made
    made.close()


def raw(layer: RedisPlaceLayer, *args: bytes | str | int, repeat: bool = False) -> object:
    return layer.ask(RedisCommand("0", args, as_is, repeat=repeat))


def test_a_server_that_cannot_write_now_is_waited_for(
    private_layer: RedisPlaceLayer, private_redis_server: RedisServer
) -> None:
    private_layer.send("test", {"number": 0})
    private_redis_server.command("CONFIG", "SET", "replica-serve-stale-data", "yes")
    private_redis_server.command("REPLICAOF", "127.0.0.1", "1")
    promote = threading.Timer(0.2, private_redis_server.command, ("REPLICAOF", "NO", "ONE"))
    promote.start()
    private_layer.send("test", {"number": 1})
    promote.join()
    assert [one["number"] for _, one in private_layer.receive_many(["test"], 3)] == [0, 1]


def test_it_is_not_waited_for_ever(
    private_layer: RedisPlaceLayer, private_redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_executor, "HOLD_SECONDS", 0.2)
    private_layer.send("test", {})
    private_redis_server.command("REPLICAOF", "127.0.0.1", "1")
    with pytest.raises(LayerUnavailable, match="READONLY"):
        private_layer.send("test", {})


def break_then_push(server: RedisServer) -> threading.Thread:
    """Break the connection that waits in BLPOP, then give it what it waited for."""

    def act() -> None:
        while b"blocked_clients:1" not in server.command("INFO", "clients"):
            time.sleep(0.005)
        server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        server.command("RPUSH", "list", "value")

    thread = threading.Thread(target=act)
    thread.start()
    return thread


def test_what_may_be_repeated_is_repeated_after_a_lost_answer(
    private_layer: RedisPlaceLayer, private_redis_server: RedisServer
) -> None:
    breaking = break_then_push(private_redis_server)
    assert raw(private_layer, "BLPOP", "list", 4, repeat=True) == [b"list", b"value"]
    breaking.join()


def test_what_may_not_be_repeated_is_unknown_after_a_lost_answer(
    private_layer: RedisPlaceLayer, private_redis_server: RedisServer
) -> None:
    breaking = break_then_push(private_redis_server)
    with pytest.raises(OutcomeUnknown):
        raw(private_layer, "BLPOP", "list", 4)
    breaking.join()
    assert raw(private_layer, "LLEN", "list") == 1


def test_a_command_that_redis_refuses_is_named_with_its_answer(private_layer: RedisPlaceLayer) -> None:
    with pytest.raises(LayerUnavailable, match=r"unix://.* refused NOSUCH: .*unknown command"):
        raw(private_layer, "NOSUCH")
    assert raw(private_layer, "PING") == b"PONG"


def test_a_login_that_is_refused_is_a_setting_at_first_and_an_outage_once_it_worked(
    private_layer: RedisPlaceLayer, private_redis_server: RedisServer
) -> None:
    private_layer.send("test", {})
    # One connection: the next one would not be let in.
    with redis.Redis.from_url(private_redis_server.url) as client:
        client.config_set("requirepass", "another")
        client.client_kill_filter(_type="normal")
    with pytest.raises(LayerRefused, match="refused the login"):
        private_layer.send("test", {})
    late = RedisPlaceLayer([private_redis_server.url])
    with pytest.raises(ConfigurationError, match="refused the login"):
        late.send("test", {})
    private_redis_server.restart()
    for layer in (private_layer, late):
        layer.send("test", {})
    late.close()


def test_a_certificate_that_cannot_be_read_is_refused_and_a_wrong_port_is_not(tmp_path: Path) -> None:
    for name in ("ssl_ca_certs", "ssl_certfile"):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            url = f"rediss://127.0.0.1:{listener.getsockname()[1]}/0"
            with pytest.raises(ConfigurationError, match="certificates for TLS"):
                RedisPlaceLayer([f"{url}?{name}={tmp_path}/none.pem"]).send("test", {})
    with pytest.raises(LayerUnavailable, match="there is no connection to Redis at rediss://"):
        RedisPlaceLayer([url]).send("test", {})


def test_what_a_credential_provider_gives_logs_in() -> None:
    given = [("default", "right"), ("right",), ("wrong",)]

    class Provider:
        def get_credentials(self) -> tuple[str, ...]:
            return given.pop(0)

    with RedisServer(valkey_binary(), ["--requirepass", "right"]) as server:
        for _ in range(2):
            layer = RedisPlaceLayer([server.url], connection_kwargs={"credential_provider": Provider()})
            layer.send("test", {})
            layer.close()
        layer = RedisPlaceLayer([server.url], connection_kwargs={"credential_provider": Provider()})
        with pytest.raises(ConfigurationError, match="refused the login"):
            layer.send("test", {})
        with pytest.raises(LayerUnavailable, match="there are no credentials for "):
            layer.send("test", {})


def test_one_connection_serves_commands_one_after_the_other(private_layer: RedisPlaceLayer) -> None:
    assert {raw(private_layer, "CLIENT", "ID") for _ in range(5)} == {raw(private_layer, "CLIENT", "ID")}


def test_a_connection_in_use_while_the_layer_is_closed_is_closed_when_it_comes_back(redis_url: str) -> None:
    layer = RedisPlaceLayer([redis_url])
    executor = layer.executor("0")
    connection = executor.take_out()
    layer.close()
    assert connection.is_open
    executor.put_back(connection)
    assert not connection.is_open


def test_a_forked_child_leaves_the_connection_of_its_parent_alone_w14(
    private_layer: RedisPlaceLayer,
) -> None:
    ours = raw(private_layer, "CLIENT", "ID")
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.write(write, str(raw(private_layer, "CLIENT", "ID")).encode())
            private_layer.close()
        finally:
            os._exit(0)
    # While we hold this end, a child that says nothing would be waited for without end.
    os.close(write)
    with os.fdopen(read) as said:
        theirs = said.read()
    os.waitpid(pid, 0)
    assert int(theirs) != ours
    assert raw(private_layer, "CLIENT", "ID") == ours


def test_another_eviction_policy_is_warned_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with RedisServer(valkey_binary(), ["--maxmemory-policy", "allkeys-lru"]) as server:
        layer = RedisPlaceLayer([server.url])
        with caplog.at_level(logging.WARNING, "headrace.layer"):
            for _ in range(3):
                layer.send("test", {})
        layer.close()
    assert [record.getMessage() for record in caplog.records if "noeviction" in record.getMessage()] == [
        f"Redis at unix://{server.path} has maxmemory-policy allkeys-lru: it may delete messages and groups "
        "when memory is short; set it to noeviction"
    ]

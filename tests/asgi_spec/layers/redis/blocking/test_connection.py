"""RedisConnection and RedisAddress: logging in, refusing what cannot serve, ending what was before."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from headrace_asgi.errors import ConfigurationError
from headrace_asgi.layers.redis.blocking.connection import ConnectionBroken, RedisAddress, RedisConnection
from headrace_asgi.layers.redis.blocking.layer import RedisPlaceLayer
from headrace_asgi.layers.redis.plan import server_info as redis_facts
from headrace_asgi.layers.redis.plan.clock import RedisClock
from headrace_asgi.layers.redis.plan.command import RedisCommand, as_is
from headrace_asgi.layers.redis.plan.resp import pack
from tests.support.services import RedisServer, valkey_binary


@pytest.fixture
def layer(redis_url: str) -> Iterator[RedisPlaceLayer]:
    made = RedisPlaceLayer([redis_url])
    yield made
    made.close()


def raw(layer: RedisPlaceLayer, *args: bytes | str | int) -> object:
    return layer.ask(RedisCommand("0", args, as_is))


def opened(url: str) -> RedisConnection:
    connection = RedisConnection(RedisAddress(url), RedisClock(60))
    connection.open()
    return connection


def test_an_answer_of_megabytes_is_read_and_written_whole(redis_server: RedisServer) -> None:
    for url in (redis_server.url, redis_server.tcp_url):
        connection = opened(url)
        large = bytes(range(256)) * 40_000
        connection.write(pack((b"ECHO", large)) + pack((b"PING",)))
        assert connection.read() == large
        assert connection.read() == b"PONG"
        connection.close()


def test_a_server_that_says_nothing_breaks_the_connection(private_redis_server: RedisServer) -> None:
    connection = opened(private_redis_server.url)
    private_redis_server.pause()
    connection.write(pack((b"PING",)))
    with pytest.raises(ConnectionBroken, match="no answer within"):
        connection.read(0.1)
    assert not connection.is_open
    private_redis_server.resume()


def test_an_idle_connection_that_was_closed_is_noticed(private_redis_server: RedisServer) -> None:
    connection = opened(private_redis_server.url)
    assert not connection.lost_its_peer()
    private_redis_server.kill()
    assert connection.lost_its_peer()
    connection.close()


def test_a_reconnecting_connection_ends_the_one_before_it(layer: RedisPlaceLayer) -> None:
    executor = layer.executor("0")
    connection = executor.new_connection()
    executor.open(connection)
    before, close = connection.client_id, connection._close_socket
    # As after a broken network: the server still holds a connection that we gave up.
    connection._close_socket = None
    connection._sock = None
    executor.open(connection)
    clients = raw(layer, "CLIENT", "LIST")
    assert isinstance(clients, bytes)
    assert b"id=%d " % before not in clients
    assert b"id=%d " % connection.client_id in clients
    connection.close()
    assert close is not None
    close()


def test_a_wrong_password_says_so_and_never_shows_it() -> None:
    with RedisServer(valkey_binary(), ["--requirepass", "right"]) as server:
        for query in ("", "?password=wrong-one"):
            layer = RedisPlaceLayer([server.url + query])
            with pytest.raises(ConfigurationError, match="refused the login") as raised:
                layer.send("test", {})
            assert "wrong-one" not in str(raised.value)
        layer = RedisPlaceLayer([server.url + "?password=right"])
        layer.send("test", {})
        layer.close()


def test_an_acl_that_lacks_something_is_told_with_what_is_needed() -> None:
    acl = ["--user", "reader", "on", ">pw", "~*", "+@read", "+@connection", "+info", "+time"]
    with RedisServer(valkey_binary(), acl) as server:
        layer = RedisPlaceLayer([server.tcp_url.replace("//", "//reader:pw@")])
        with pytest.raises(ConfigurationError, match=r"ACL needs: .*\+@scripting"):
            layer.send("test", {})


def test_a_redis_that_is_too_old_is_named_with_what_is_needed(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_facts, "OLDEST", (99, 0))
    with pytest.raises(ConfigurationError, match=r"is version 7.*needs Redis 7\.0 or Valkey 7\.2"):
        RedisPlaceLayer([redis_url]).send("test", {})

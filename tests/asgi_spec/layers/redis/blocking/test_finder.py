"""Finding a primary with blocking calls: real sentinels, and made-up ones for what they seldom say."""

from __future__ import annotations

import pytest

from headrace_asgi.errors import LayerRefused, LayerUnavailable
from headrace_asgi.layers.redis.blocking import finder as blocking_finder
from headrace_asgi.layers.redis.blocking.connection import RedisAddress, RedisConnection, Whereabouts
from headrace_asgi.layers.redis.blocking.finder import whereabouts
from headrace_asgi.layers.redis.plan.clock import RedisClock
from headrace_asgi.layers.redis.plan.sentinel import PrimarySearch
from tests.support.fake_redis import FakeRedis, naming
from tests.support.ports import free_port
from tests.support.services import RedisServer, SentinelSet


def asked(place: Whereabouts) -> str:
    return place.find().label


def test_a_url_without_sentinels_is_where_it_says() -> None:
    place = whereabouts("redis://h:1/2")
    assert isinstance(place, RedisAddress)
    assert place.find() is place
    assert not place.may_move
    assert not place.has_left(place)


def test_the_primary_is_found_and_stays_the_same_object_r6(sentinel_set: SentinelSet) -> None:
    place = whereabouts(sentinel_set.url)
    found = place.find()
    assert found.label == f"redis://127.0.0.1:{sentinel_set.primary.port}/0 (primary of 'main')"
    assert place.find() is found
    assert place.may_move
    assert not place.has_left(found)
    assert place.label == sentinel_set.url


def test_a_service_without_a_name_is_found(sentinel_set: SentinelSet) -> None:
    place = whereabouts(sentinel_set.url.replace("/main/0", ""))
    assert place.find().address.primary_of == "main"


def test_a_connection_leads_to_the_primary_with_the_login_of_the_place(
    sentinel_set: SentinelSet,
) -> None:
    connection = RedisConnection(whereabouts(sentinel_set.url.replace("/main/0", "/main/3")), RedisClock(60))
    connection.open()
    connection.write(b"CLIENT INFO\r\n")
    assert b" db=3 " in connection.read()
    assert not connection.is_replica
    connection.close()


def test_sentinels_that_are_away_are_passed_over_and_the_one_that_answered_is_asked_first() -> None:
    with naming(7001) as one, naming(7002) as other:
        place = whereabouts(f"redis+sentinel://127.0.0.1:{free_port()},{one.address},{other.address}/m")
        assert "127.0.0.1:7001" in asked(place)
        assert "127.0.0.1:7001" in asked(place)
        assert (one.connections, other.connections) == (2, 0)
        place.doubt()
        assert "127.0.0.1:7002" in asked(place)


def test_a_sentinel_that_says_nothing_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocking_finder, "FINDER_ANSWER_SECONDS", 0.1)
    with FakeRedis(script=[b""]) as silent, naming(7002) as other:
        assert "127.0.0.1:7002" in asked(whereabouts(f"redis+sentinel://{silent.address},{other.address}/m"))


def test_when_no_sentinel_answers_each_is_named_by_the_first_that_has_a_remedy() -> None:
    with FakeRedis(script=[b"-NOAUTH Authentication required.\r\n"]) as strict:
        url = f"redis+sentinel://127.0.0.1:{free_port()},{strict.address}/m"
        with pytest.raises(
            LayerUnavailable, match=r"refused the login .*sentinel_kwargs.* 1 other say"
        ) as raised:
            whereabouts(url).find()
        assert not isinstance(raised.value, LayerRefused)
        with pytest.raises(LayerRefused, match="refused the login"):
            whereabouts(f"redis+sentinel://{strict.address}/m").find()


def test_another_primary_is_noticed_at_the_next_look_and_not_asked_for_more_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(PrimarySearch, "look_seconds", 0.0)
    with naming(7001, 7001, 7002) as sentinel:
        place = whereabouts(f"redis+sentinel://{sentinel.address}/m")
        server = place.find()
        assert not place.has_left(server)
        assert place.has_left(server)
        monkeypatch.setattr(PrimarySearch, "look_seconds", 60.0)
        now = place.find()
        assert now.address.port == 7002
        count = sentinel.connections
        assert not place.has_left(now)
        assert place.has_left(server)
        assert sentinel.connections == count


def test_sentinels_that_are_away_move_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PrimarySearch, "look_seconds", 0.0)
    with naming(7001) as sentinel:
        place = whereabouts(f"redis+sentinel://{sentinel.address}/m")
        server = place.find()
    assert not place.has_left(server)
    assert not place.has_left(server)


def test_a_replica_that_a_sentinel_names_is_not_used_and_another_sentinel_is_asked(
    private_redis_server: RedisServer, redis_server: RedisServer
) -> None:
    private_redis_server.command("REPLICAOF", "127.0.0.1", "1")
    with naming(private_redis_server.port) as stale, naming(redis_server.port) as right:
        place = whereabouts(f"redis+sentinel://{stale.address},{right.address}/m")
        connection = RedisConnection(place, RedisClock(60))
        with pytest.raises(LayerUnavailable, match="is a replica, as while it fails over; its Sentinels are"):
            connection.open()
        assert not connection.is_open
        connection.open()
        assert connection.server.address.port == redis_server.port
        connection.close()


def test_a_primary_that_is_named_and_away_is_told_as_what_the_sentinels_said() -> None:
    port = free_port()
    with naming(port) as sentinel:
        connection = RedisConnection(whereabouts(f"redis+sentinel://{sentinel.address}/m"), RedisClock(60))
        with pytest.raises(LayerUnavailable) as raised:
            connection.open()
    assert str(raised.value) == (
        f"there is no connection to Redis at redis://127.0.0.1:{port}/0 (primary of 'm'): nobody listens "
        "there; its Sentinels are asked again until they name another"
    )

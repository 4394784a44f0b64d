"""RedisSentinelChannelLayer: the options of asgi_redis, and what they come to."""

from __future__ import annotations

from typing import Any

import pytest

from headrace_asgi import RedisSentinelChannelLayer
from headrace_asgi.errors import ConfigurationError
from headrace_asgi.layers.from_config import layer_from_config
from headrace_asgi.layers.redis.address import ServerAddress
from tests.support.services import SentinelSet


def address_of(layer: RedisSentinelChannelLayer) -> ServerAddress:
    (shard,) = layer.shards.values()
    return shard.executor(shard.place).address.address


def test_hosts_are_sentinels_and_services_what_they_call_the_primary() -> None:
    layer = RedisSentinelChannelLayer([("a", 1), ("b", 2)], services=["main"], prefix="p")
    assert layer.label == "redis+sentinel://a:1,b:2/main/0, prefix 'p'"
    assert RedisSentinelChannelLayer().label == "redis+sentinel://localhost:26379//0, prefix ''"


def test_options_are_for_redis_and_those_of_sentinels_are_apart() -> None:
    for options in (
        {"connection_kwargs": {"password": "rp", "db": 2}, "sentinel_kwargs": {"password": "sp"}},
        {"connection_kwargs": {"password": "rp", "db": 2, "sentinel_kwargs": {"password": "sp"}}},
    ):
        address = address_of(RedisSentinelChannelLayer([("a", 1)], ["main"], **options))
        assert (address.password, address.db) == ("rp", 2)
        assert address.sentinels is not None
        assert [one.password for one in address.sentinels.addresses] == ["sp"]


@pytest.mark.parametrize("services", [None, [], ["main"]])
def test_it_works_with_a_name_and_without(sentinel_set: SentinelSet, services: Any) -> None:
    layer = RedisSentinelChannelLayer(sentinel_set.hosts, services, prefix="named")
    layer.send("test", {"n": 1})
    assert layer.receive_many(["test"]) == [("test", {"n": 1})]
    layer.close()


def test_a_config_of_asgi_redis_needs_another_backend_and_nothing_else(sentinel_set: SentinelSet) -> None:
    config = {"hosts": sentinel_set.hosts, "services": ["main"], "sentinel_refresh_interval": 0, "expiry": 9}
    layer = layer_from_config({"BACKEND": "headrace_asgi.RedisSentinelChannelLayer", "CONFIG": config})
    assert isinstance(layer, RedisSentinelChannelLayer)
    layer.ensure_usable()
    assert layer.expiry == 9
    layer.close()


@pytest.mark.parametrize(
    ("hosts", "services", "told"),
    [
        ([("a", 1)], "main", 'services must be a list of names, as in \\["mymaster"\\]'),
        ([("a", 1)], [7], "services must be a list of names, each a str"),
        ([("a", 1)], [""], "services must be a list of names, each a str"),
        ([("a", 1)], ["x", "x"], "hosts must name each Redis once, not twice redis\\+sentinel://a:1/x/0"),
        (["redis://:secret@a"], ["x"], "sentinels of a host must be a list of .*one of them is a str"),
        ([], ["x"], "sentinels of a host must be a list of"),
    ],
)
def test_what_cannot_work_is_told(hosts: Any, services: Any, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told) as raised:
        RedisSentinelChannelLayer(hosts, services)
    assert "secret" not in str(raised.value)

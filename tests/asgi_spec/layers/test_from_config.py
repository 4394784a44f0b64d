"""Layers from URLs, import paths and `CONFIG`: the right layer, or one clear line."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock

from headrace_asgi import InMemoryChannelLayer, IPCChannelLayer, RabbitMQChannelLayer, RedisChannelLayer
from headrace_asgi.conformance.receiver import Recorder
from headrace_asgi.errors import ConfigurationError
from headrace_asgi.layers.from_config import interface_ports, layer_from_config, layer_from_url
from headrace_asgi.layers.redis.plan.command import RedisCommand, as_is
from tests.support.reactors import hand_reactor
from tests.support.services import RedisServer

REDIS = "headrace_asgi.RedisChannelLayer"


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """An importable module named `layer_project`."""
    made = types.ModuleType("layer_project")
    monkeypatch.setitem(sys.modules, "layer_project", made)
    return made


def test_a_url_gives_a_layer_that_works(redis_url: str) -> None:
    layer = layer_from_url(redis_url)
    layer.send("test", {"value": 1})
    assert layer.receive(["test"]) == ("test", {"value": 1})
    layer.close()


def test_options_of_the_layer_stand_in_the_url_and_others_go_to_redis() -> None:
    layer = layer_from_url("redis://host:1234/2?prefix=x&capacity=7&expiry=1.5&socket_timeout=3")
    assert isinstance(layer, RedisChannelLayer)
    (shard,) = layer.shards.values()
    assert (shard.places.prefix, layer.capacities.default, layer.expiry) == ("x", 7, 1.5)
    assert shard.places.urls == {"0": "redis://host:1234/2?socket_timeout=3"}


def test_several_hosts_stand_in_the_url_with_commas_between_them() -> None:
    layer = layer_from_url(
        "redis://:a,b@one/2?socket_timeout=3,rediss://two:7?prefix=x,unix:///tmp/three?db=1"
    )
    assert isinstance(layer, RedisChannelLayer)
    labels = ["redis://one:6379/2", "rediss://two:7/0", "unix:///tmp/three?db=1"]
    assert sorted(layer.map.labels.values()) == labels
    assert {shard.places.prefix for shard in layer.shards.values()} == {"x"}
    assert layer.label == f"{', '.join(layer.map.labels.values())}, prefix 'x'"


def test_amqp_names_a_rabbitmq_and_the_options_of_the_layer_leave_its_url() -> None:
    layer = layer_from_url("amqps://me:secret@host:1234/v?prefix=x&capacity=7&expiry=1.5")
    assert isinstance(layer, RabbitMQChannelLayer)
    assert layer.label == "amqps://host:1234/v, prefix 'x'"
    assert (layer.capacities.default, layer.expiry) == (7, 1.5)


def test_rabbitmq_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("headrace_asgi.layers.rabbitmq")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pika", None)
    with pytest.raises(ConfigurationError, match=r"pip install headrace\[rabbitmq\]"):
        layer_from_url("amqp://host")


def test_ipc_names_the_embedded_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = layer_from_url("ipc:///srv/my%20project?prefix=p")
    assert isinstance(layer, IPCChannelLayer)
    assert (layer.name, layer.places.prefix) == ("/srv/my project", "p")


def test_an_import_path_gives_an_instance_or_what_a_callable_returns(module: Any) -> None:
    layer = InMemoryChannelLayer()
    module.instance = layer
    module.make = lambda: layer
    module.wrapped = types.SimpleNamespace(channel_layer=layer)
    for name in ("instance", "make", "wrapped"):
        assert layer_from_url(f"layer_project:{name}") is layer


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("localhost:6379", "did you mean redis://localhost:6379"),
        ("redis://[::1", "no URL of a Redis"),
        ("no_such_module:layer", "cannot be imported: No module"),
        ("layer_project_that_fails:layer", "cannot be imported: ZeroDivisionError: division by zero"),
        ("layer_project:fails", "layer_project:fails, which should make the layer, failed: KeyError: 'URL'"),
        ("layer_project:refuses", "^use another$"),
        ("redis", "names no layer"),
        ("http://localhost", "there is no 'http'"),
        ("sentinel://localhost:26379/main", "Sentinels are named as in redis.sentinel://host1:26379"),
        ("redis+sentinel:///main", r"URL names Sentinels and what they call the primary"),
        ("rediscluster://localhost", r"a Cluster is named as in redis\+cluster://host1:7000,host2:7000/"),
        ("redis+cluster://", "names some nodes of the Cluster"),
        ("redis+cluster://localhost/3", "a Redis Cluster has database 0 only: leave out"),
        ("redis+cluster://localhost?buckets=0", "buckets must be a whole number from 1 to 32, not '0'"),
        ("redis+cluster://a,redis://b", "hosts must name one Redis Cluster and nothing beside it"),
        ("redis+cluster://a,redis+cluster://b", "hosts must name one Redis Cluster and nothing beside it"),
        ("redis://localhost/zero", "number of a database"),
        ("redis://localhost:port/0", "no URL of a Redis|port"),
        ("redis://localhost/0?capacity=many", "capacity in the layer's URL must be an integer, not 'many'"),
        ("redis://localhost/0?expiry=-1", "expiry must be a positive number"),
        ("redis://localhost/0?capcity=1", "capcity"),
        ("redis://localhost/0?prefix={x}", "prefix must consist of"),
        ("unix://", "path of a socket"),
        ("ipc://", "needs a name"),
        ("ipc://x?capcity=1", "did you mean 'capacity'"),
        ("ipc://x?symmetric_encryption_keys=x", "may not stand in a layer's URL"),
        ("redis://h?symmetric_encryption_keys=x", "may not stand in a layer's URL"),
        ("amqp://", "url names no host"),
        ("amqp://h?capcity=1", "url has no option 'capcity'"),
        ("amqp://h?symmetric_encryption_keys=x", "may not stand in a layer's URL"),
        ("amqp://h?ordering_lease_seconds=7", "has no option 'ordering_lease_seconds'"),
        ("amqp://h?prefix=a:b", "prefix must consist of"),
        ("layer_project:nothing", "has no nothing"),
        ("layer_project:number", "neither a channel layer nor"),
    ],
)
def test_a_wrong_url_is_told_in_one_line(
    module: Any, url: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses() -> None:
        raise ConfigurationError("use another")

    module.number, module.fails, module.refuses = 7, lambda: {}["URL"], refuses
    (tmp_path / "layer_project_that_fails.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigurationError, match=text) as raised:
        layer_from_url(url)
    assert "\n" not in str(raised.value)


def test_a_url_may_name_sentinels() -> None:
    layer = layer_from_url("redis+sentinel://:pw@a:1,b:2/main/3?prefix=p&capacity=7&sentinel_password=sp")
    assert layer.label == "redis+sentinel://a:1,b:2/main/3, prefix 'p'"


def test_no_error_tells_the_password() -> None:
    for url in (
        "redis+sentinel://u:secret@host:x/main",
        "redis+sentinel://u:secret@host/main/x",
        "redis+sentinel://u:secret/2@host/main",
        "redis+sentinel://u:secret?2@host/main",
        "redis+sentinel://host/main?sentinel_password=secret&sentinel_what=1",
        "redis://u:secret@host:x/0",
        "redis://u:secret@host/x",
        "redis://u:secret@host/0?what=1",
        "redis://u:secret/2@host/0",
        "redis://u:secret?2@host/0",
        "redis://u:[secret]2@host/0",
        "redis:/u:secret@host",
        "redis//:secret@host",
        "amqp://u:secret@host:x/v",
        "amqp://u:secret/2@host/v",
        "amqp://u:secret@host/v?what=1",
        "amqp:/u:secret@host",
    ):
        with pytest.raises(ConfigurationError) as raised:
            layer_from_url(url)
        assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({}, "BACKEND must be the dotted path"),
        ({"BACKEND": "asgi_redis.RedisChannelLayer"}, "write headrace_asgi.RedisChannelLayer"),
        ({"BACKEND": "channels_redis.core.RedisChannelLayer"}, "write headrace_asgi.RedisChannelLayer"),
        (
            {"BACKEND": "asgi_redis.RedisSentinelChannelLayer"},
            "write headrace_asgi.RedisSentinelChannelLayer",
        ),
        (
            {"BACKEND": REDIS, "CONFIG": {"services": ["main"]}},
            "'services' cannot be used: it is for Sentinels",
        ),
        ({"BACKEND": "asgi_rabbitmq.RabbitmqChannelLayer"}, "write headrace_asgi.RabbitMQChannelLayer"),
        ({"BACKEND": "no.such.Layer"}, "cannot be imported"),
        ({"BACKEND": "headrace_asgi.NoLayer"}, "has no NoLayer"),
        ({"BACKEND": "collections.OrderedDict"}, "not a channel layer"),
        ({"BACKEND": REDIS, "CONFIG": [1]}, "CONFIG must be a dict"),
        ({"BACKEND": REDIS, "CONFIG": {"capcity": 1}}, "did you mean 'capacity'"),
        ({"BACKEND": REDIS, "CONFIG": {"hosts": "redis://localhost"}}, "hosts must be a list"),
        ({"BACKEND": REDIS, "CONFIG": {"hosts": [7]}}, "a host is a URL"),
        ({"BACKEND": REDIS, "CONFIG": {"hosts": []}}, "hosts must name at least one Redis"),
        ({"BACKEND": REDIS, "CONFIG": {"hosts": ["ftp://localhost"]}}, "no URL of a Redis"),
        ({"BACKEND": REDIS, "CONFIG": {"capacity": "100"}}, "capacity must be a positive integer"),
        ({"BACKEND": REDIS, "CONFIG": {"expiry": True}}, "expiry must be a positive number"),
        ({"BACKEND": REDIS, "CONFIG": {"max_message_bytes": 0}}, "max_message_bytes must be"),
        ({"BACKEND": REDIS, "CONFIG": {"prefix": 7}}, "prefix must consist of"),
        ({"BACKEND": REDIS, "CONFIG": {"connection_kwargs": {"colour": 1}}}, "colour"),
        (
            {"BACKEND": REDIS, "CONFIG": {"connection_kwargs": 3}},
            "connection_kwargs must be a dict, not a int",
        ),
        ({"BACKEND": REDIS, "CONFIG": {"channel_capacity": [1]}}, "channel_capacity must be a dict"),
    ],
)
def test_a_wrong_config_is_told_in_one_line(config: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigurationError, match=text) as raised:
        layer_from_config(config)
    assert "\n" not in str(raised.value)


def test_hosts_may_be_pairs_as_in_channels_1x() -> None:
    layer = layer_from_config({"BACKEND": REDIS, "CONFIG": {"hosts": [("::1", 6380)]}})
    assert layer.label == "redis://[::1]:6380/0, prefix ''"


#: A `CONFIG` with every option of each, as the documentation of asgi_redis 1.4 and channels_redis 4 shows it.
ASGI_REDIS = {
    "hosts": [("redis.example", 6380)],
    "prefix": "site:",
    "expiry": 30,
    "group_expiry": 3600,
    "capacity": 200,
    "channel_capacity": {"http.request": 300, "http.response!*": 10, re.compile(r"^websocket.send\!.+"): 20},
    "stats_prefix": "site-meta:",
    "connection_kwargs": {"password": "pw", "db": 3, "socket_timeout": 10},
}
CHANNELS_REDIS = {
    "hosts": [{"address": "rediss://redis.example:6380/3", "password": "pw", "ssl_cert_reqs": None}],
    "prefix": "site",
    "expiry": 30,
    "group_expiry": 3600,
    "capacity": 200,
    "channel_capacity": {"http.request": 300, "http.response!*": 10, re.compile(r"^websocket.send\!.+"): 20},
    "random_prefix_length": 12,
    "serializer_format": "json",
}


@pytest.mark.parametrize(
    ("config", "label"),
    [
        (ASGI_REDIS, "redis://redis.example:6380/3, prefix 'site:'"),
        (CHANNELS_REDIS, "rediss://redis.example:6380/3, prefix 'site'"),
    ],
)
def test_a_config_of_channels_means_what_it_meant(config: dict[str, Any], label: str) -> None:
    layer = layer_from_config({"BACKEND": REDIS, "CONFIG": config})
    assert isinstance(layer, RedisChannelLayer)
    assert (layer.label, layer.expiry, layer.group_expiry) == (label, 30, 3600)
    capacities = [
        layer.capacities.of(name) for name in ("http.request", "http.response!x", "websocket.send!x")
    ]
    assert capacities == [300, 10, 20]
    assert layer.capacities.of("another") == 200


def test_options_of_a_host_and_of_all_hosts_connect_both_tiers_to_one_database(
    redis_server: RedisServer,
) -> None:
    url = redis_server.tcp_url  # which ends with /0
    for hosts, kwargs in (([url], {"db": 5}), ([{"address": url, "db": 5}], {"db": 4})):
        options = {"hosts": hosts, "connection_kwargs": kwargs, "prefix": "db-of-both"}
        layer = layer_from_config({"BACKEND": REDIS, "CONFIG": options})
        assert isinstance(layer, RedisChannelLayer)
        assert b" db=5 " in layer.shards["0"].ask(RedisCommand("0", (b"CLIENT", b"INFO"), as_is))
        with hand_reactor() as reactor:
            (port,), receiver = interface_ports(layer, reactor), Recorder()
            port.start(receiver)
            reactor.until(lambda receiver=receiver: receiver.of("back"))
            layer.send(port.process + "socket", {"text": "x"})
            reactor.until(lambda receiver=receiver: receiver.of("reply"))
            port.stop(lambda: None)
            reactor.turn(0.05)
        layer.close()


def test_an_interface_server_is_told_what_to_take_instead_of_a_layer_of_one_process_w13() -> None:
    with pytest.raises(ConfigurationError, match=r"lives in one process only.*ipc://NAME"):
        interface_ports(InMemoryChannelLayer(), Clock())


def test_a_redis_layer_gives_an_interface_port_of_its_plan(redis_url: str) -> None:
    layer = layer_from_url(redis_url)
    (port,) = interface_ports(layer, Clock())
    assert port.process.startswith("hr1.0.")
    assert port.label == layer.label
    assert "prefix 't" in port.label

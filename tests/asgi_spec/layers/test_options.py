"""Options of a layer: accepted, or refused with their name."""

from __future__ import annotations

import ast
import ssl
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from headrace_asgi import RedisChannelLayer
from headrace_asgi.errors import ConfigurationError
from headrace_asgi.layers.options import (
    HOST_FORMS,
    Host,
    hosts_option,
    mapping_option,
    number_option,
    optional_seconds_option,
    seconds_option,
)
from headrace_asgi.layers.redis.address import Sentinels, ServerAddress, Tls, parse_address
from headrace_asgi.layers.redis.blocking.finder import whereabouts

UNCHECKED = Tls(verify=False, check_hostname=False)
SECRET = "s3cr3t-of-the-test"
#: Values as people might write them in the wrong place.
ODD: dict[str, list[Any]] = {
    "address": [
        f"redis://:{SECRET}@h",
        f"redis://u:{SECRET}@h:x/0",
        f"redis:/{SECRET}@h",
        f"u:{SECRET}@h",
        7,
    ],
    "host": ["h", f"u:{SECRET}@h", f"redis://:{SECRET}@h", None, 3.5],
    "port": [6379, "6379", 0, None, 2.5],
    "db": [0, "1", -1, None],
    "username": ["u", None, [SECRET]],
    "password": [SECRET, SECRET.encode(), [SECRET], {"password": SECRET}, None],
    "path": ["/run/v.sock", None],
    "ssl": [True, False, None],
    "ssl_ca_certs": ["/ca.pem", None],
}


@pytest.mark.parametrize("value", [0, -1, True, "1", None, float("inf"), float("nan")])
def test_seconds_are_a_positive_finite_number(value: Any) -> None:
    assert seconds_option("expiry", 1.5) == 1.5
    with pytest.raises(ConfigurationError, match="expiry must be a positive number of seconds"):
        seconds_option("expiry", value)


@pytest.mark.parametrize("value", [0, -1, True, 1.5, "1", None])
def test_numbers_are_positive_integers(value: Any) -> None:
    assert number_option("capacity", 1) == 1
    with pytest.raises(ConfigurationError, match="capacity must be a positive integer"):
        number_option("capacity", value)


def test_the_prefix_of_a_url_counts_if_there_is_no_other() -> None:
    url = "redis://host/0?prefix=x&socket_timeout=3"
    without = Host("redis://host/0?socket_timeout=3")
    assert hosts_option([url], "") == ([without], "x")
    assert hosts_option([url], "y") == ([without], "y")
    assert hosts_option([{"address": url}], "") == ([without], "x")
    assert hosts_option(("redis://host/0",), "") == ([Host("redis://host/0")], "")


def test_a_mapping_is_copied_and_may_be_absent() -> None:
    given = {"a": 1}
    assert mapping_option("kwargs", given) == given
    assert mapping_option("kwargs", given) is not given
    assert mapping_option("kwargs", None) == {}
    with pytest.raises(ConfigurationError, match="kwargs must be a dict, not a str") as raised:
        mapping_option("kwargs", "password=secret")
    assert "secret" not in str(raised.value)
    with pytest.raises(ConfigurationError, match="the keys of kwargs must be names"):
        mapping_option("kwargs", {3: "secret"})


def address(entry: Any) -> ServerAddress:
    """What one entry of `hosts` means to both executors."""
    (host,), _ = hosts_option([entry], "")
    found = parse_address(host.url, host.options)
    assert replace(whereabouts(host.url, host.options).address, bucket=None) == found
    return found


def sentinel(host: str, port: int = 26379, **more: Any) -> ServerAddress:
    return ServerAddress(host, port, kind="Sentinel", **{"connect_timeout_seconds": 1.0, **more})


def named(service: str, *sentinels: ServerAddress, **more: Any) -> ServerAddress:
    return ServerAddress("", 0, sentinels=Sentinels(sentinels, service), **more)


URL = "redis://user:pw@host:6380/2"
FULL = ServerAddress("host", 6380, username="user", password="pw", db=2)


@pytest.mark.parametrize(
    ("entry", "meant"),
    [
        (URL, FULL),
        ({"address": URL}, FULL),
        ({"host": "host", "port": 6380, "username": "user", "password": "pw", "db": 2}, FULL),
        ({"host": "host", "port": "6380", "username": "user", "password": "pw", "db": "2"}, FULL),
        ({"address": "redis://host:6380", "username": "user", "password": "pw", "db": 2}, FULL),
        ({"address": ("host", 6380), "username": "user", "password": "pw", "db": 2}, FULL),
        ({"address": "redis://:old@host:6380/7", "username": "user", "password": "pw", "db": 2}, FULL),
        (("host", 6380), ServerAddress("host", 6380)),
        (["host", 6380], ServerAddress("host", 6380)),
        (("host", "6380"), ServerAddress("host", 6380)),
        (("::1", 6380), ServerAddress("::1", 6380)),
        ({"host": "host"}, ServerAddress("host")),
        ({"port": 6380}, ServerAddress(port=6380)),
        ({"host": "host", "port": None, "db": None, "password": None}, ServerAddress("host")),
        ({"host": "host", "password": 1234}, ServerAddress("host", password="1234")),
        ({"host": "host", "socket_connect_timeout": 2}, ServerAddress("host", connect_timeout_seconds=2)),
        ({"host": "host", "max_connections": 5, "socket_keepalive": True}, ServerAddress("host")),
        ("unix:///run/v.sock?db=2", ServerAddress(path="/run/v.sock", db=2)),
        ({"path": "/run/v.sock", "db": 2}, ServerAddress(path="/run/v.sock", db=2)),
        ({"address": "unix:///run/v.sock", "password": "x"}, ServerAddress(path="/run/v.sock", password="x")),
        ("rediss://host", ServerAddress("host", tls=Tls())),
        ({"host": "host", "ssl": True}, ServerAddress("host", tls=Tls())),
        ({"host": "host", "ssl": False}, ServerAddress("host")),
        ({"host": "host", "ssl": True, "ssl_ca_certs": "/c"}, ServerAddress("host", tls=Tls(ca_file="/c"))),
        ({"address": "rediss://host", "ssl_ca_certs": "/c"}, ServerAddress("host", tls=Tls(ca_file="/c"))),
        ({"address": "rediss://host", "ssl_cert_reqs": None}, ServerAddress("host", tls=UNCHECKED)),
        ({"address": "rediss://host", "ssl_cert_reqs": "none"}, ServerAddress("host", tls=UNCHECKED)),
        ({"address": "rediss://host", "ssl_cert_reqs": ssl.CERT_NONE}, ServerAddress("host", tls=UNCHECKED)),
        ({"address": "rediss://host", "ssl_cert_reqs": ssl.CERT_REQUIRED}, ServerAddress("host", tls=Tls())),
        ({"address": "rediss://host", "ssl_cert_reqs": "optional"}, ServerAddress("host", tls=Tls())),
        ("redis+sentinel://a,b:7/m/2", named("m", sentinel("a"), sentinel("b", 7), db=2)),
        ("redis+sentinel://a", named("", sentinel("a"))),
        (
            "redis+sentinel://user:pw@[::1]:7,a/m%2Fn?sentinel_password=sp&socket_connect_timeout=2",
            named(
                "m/n",
                sentinel("::1", 7, password="sp"),
                sentinel("a", password="sp"),
                username="user",
                password="pw",
                connect_timeout_seconds=2,
            ),
        ),
        (
            "rediss+sentinel://a/m?ssl_ca_certs=/c",
            named("m", sentinel("a", tls=Tls(ca_file="/c")), tls=Tls(ca_file="/c")),
        ),
        (
            {"sentinels": [("a", 26379), ["::1", "7"]], "master_name": "m/n", "db": 2, "password": "pw"},
            named("m/n", sentinel("a"), sentinel("::1", 7), password="pw", db=2),
        ),
        ({"sentinels": [("a", 26379)]}, named("", sentinel("a"))),
        (
            {
                "sentinels": [("a", 26379)],
                "master_name": "m",
                "sentinel_kwargs": {"username": "su", "password": "sp", "socket_connect_timeout": 3},
            },
            named("m", sentinel("a", username="su", password="sp", connect_timeout_seconds=3)),
        ),
        (
            {"address": "redis+sentinel://a/m", "ssl": True, "sentinel_kwargs": {"ssl": True}},
            named("m", sentinel("a", tls=Tls()), tls=Tls()),
        ),
    ],
)
def test_every_form_of_a_host_means_the_same_to_both_tiers(entry: Any, meant: ServerAddress) -> None:
    assert address(entry) == meant


@pytest.mark.parametrize("form", HOST_FORMS)
def test_every_form_that_the_reference_shows_can_be_used(form: str) -> None:
    assert address(ast.literal_eval(form)) != ServerAddress("nowhere")


@pytest.mark.parametrize(
    ("hosts", "told"),
    [
        ("redis://:secret@host", "hosts must be a list of URLs, not a string; put it into"),
        (b"redis://:secret@host", "hosts must be a list of URLs, not a string"),
        ({"address": "redis://:secret@host"}, "hosts must be a list of URLs, not a dict; put it into"),
        (None, "hosts must be a list of URLs, not None"),
        (7, "hosts must be a list of URLs, not a int"),
        ([7], "a host is a URL such as .* not a int"),
        ([None], "a host is a URL such as .* not None"),
        ([("secret",)], "a host is a URL such as .* not a tuple"),
        ([("host", 6379, "secret")], "a host is a URL such as .* not a tuple"),
        ([("host", "many")], "port must be a whole number from 1 to 65535, not a str"),
        ([("host", 0)], "port must be a whole number from 1 to 65535, not 0"),
        ([("host", True)], "port must be a whole number"),
        ([("redis://:secret@host", 6379)], "host must be a name or an address"),
        ([("redis://a", "redis://:secret@host")], "host must be a name or an address"),
        ([{"host": "redis://:secret@host"}], 'host must be a name or an address.*under "address"'),
        ([{"host": 7}], "host must be a name or an address"),
        ([{"host": "host", "port": 70000}], "port must be a whole number from 1 to 65535, not 70000"),
        ([{"host": "host", "db": -1}], "db must be a whole number of 0 or more, not -1"),
        ([{"host": "host", "db": "one"}], "db must be a whole number"),
        ([{"host": "host", "password": ["secret"]}], "password must be a str, not list"),
        ([{"host": "host", "username": b"secret"}], "username must be a str, not bytes"),
        ([{"host": "host", "passwrod": "secret"}], "hosts .* an option .* cannot work: .*passwrod"),
        ([{"path": "/v.sock", "host": "host"}], "one of 'host' and 'path', not both"),
        ([{"address": "redis://:secret@a", "host": "b"}], "one of 'address' and 'host', not both"),
        ([{"address": {"host": "b", "password": "secret"}}], "'address' of a host must be a URL"),
        ([{"url": "redis://:secret@a"}], "needs 'address', 'host' or 'path'; its keys: 'url'"),
        ([{}], "needs 'address', 'host' or 'path'; its keys: none"),
        ([{7: "secret", "host": "host"}], "the keys of a host must be names of options"),
        (
            [{"sentinels": "s:26379", "master_name": "m"}],
            "sentinels of a host must be a list of .* not a str",
        ),
        ([{"sentinels": [], "master_name": "m"}], "sentinels of a host must be a list of"),
        ([{"master_name": "m"}], "sentinels of a host must be a list of .* not None"),
        ([{"sentinels": ["s:26379"], "master_name": "m"}], "one of them is a str"),
        ([{"sentinels": [("s", 26379, 1)], "master_name": "m"}], "one of them is a tuple"),
        ([{"sentinels": [("s/:secret@x", 26379)], "master_name": "m"}], "one of them is something else"),
        ([{"sentinels": [("s", "secret")], "master_name": "m"}], "one of them is something else"),
        ([{"sentinels": [("s", 70000)], "master_name": "m"}], "sentinels or sentinel_kwargs: port must be"),
        (
            [{"sentinels": [("s", 1)], "master_name": 7}],
            "master_name must be what the Sentinels call the pri",
        ),
        ([{"sentinels": [("s", 1)], "host": "h"}], "a host has 'sentinels' or 'host', not both"),
        ([{"sentinels": [("s", 1)], "address": "redis://:secret@h"}], "'sentinels' or 'address', not both"),
        (
            [{"sentinels": [("s", 1)], "unix_socket_path": "/v"}],
            "an option .* cannot work: .*unix_socket_path",
        ),
        (
            [{"sentinels": [("s", 1)], "sentinel_kwargs": "secret"}],
            "sentinel_kwargs must be a dict, not a str",
        ),
        ([{"sentinels": [("s", 1)], "sentinel_kwargs": {"passwrod": "secret"}}], "cannot work: .*passwrod"),
        (
            [{"sentinels": [("s", 1)], "sentinel_kwargs": {"ssl_ca_certs": "/c"}}],
            "sentinels or sentinel_kwargs: connection option 'ssl_ca_certs' needs a rediss:// URL, or 'ssl'",
        ),
        ([{"sentinels": [("s", 1)], "min_other_sentinels": 1}], "an option .* cannot work: .*min_other_sent"),
        (
            [{"host": "h", "sentinel_kwargs": {"password": "secret"}}],
            "sentinel_kwargs are for Sentinels, whi",
        ),
        (
            ["sentinel://:secret@s:26379/m"],
            "sentinel:// is no URL of a Redis; Sentinels are named as in redis",
        ),
        (["redis+sentinel://:secret@"], "a redis\\+sentinel:// URL names Sentinels and what they call the p"),
        (["redis+sentinel://s,/m"], "a redis\\+sentinel:// URL names Sentinels"),
        (["redis+sentinel://:secret/2@s/m"], "percent-encoded"),
        (["redis+sentinel://:secret@s/m/zero"], "ends with the number of a database"),
        (["rediscluster://:secret@s:7000"], "rediscluster:// is no URL of a Redis; a Cluster is named as"),
        (["redis+cluster://:secret/2@s/"], "percent-encoded"),
        (["redis+cluster://:secret@s/1"], "a Redis Cluster has database 0 only: leave out what stands behin"),
        (["redis+cluster://:secret@s:0/"], "port must be a whole number from 1 to 65535"),
        (["redis+cluster://:secret@s/?buckets=33"], "buckets must be a whole number from 1 to 32, not '33'"),
        (["redis+cluster://:secret@s/?buckets="], "buckets must be a whole number from 1 to 32, not ''"),
        ([{"cluster": ["redis://:secret@s"], "db": 2}], "has database 0 only, not 2: leave out 'db'"),
        ([{"cluster": ["redis://s"], "path": "/r"}], "a host has 'cluster' or 'path', not both"),
        ([{"cluster": [("s", 1)], "buckets": "many"}], "buckets must be a whole number"),
        ([{"cluster": "redis://:secret@s"}], "cluster of a host must be a list of nodes, .* not a str"),
        ([{"cluster": []}], "cluster of a host must be a list of nodes, .* not a list"),
        ([{"buckets": 4}], "cluster of a host must be a list of nodes, .* not None"),
        ([{"cluster": ["s:7000"]}], "one of them is something else"),
        (
            [{"cluster": ["redis://:secret@s/1"]}],
            "Database 0 is the only one of a Cluster, and options stand",
        ),
        ([{"cluster": [("s", "secret")]}], "one of them is something else"),
        (
            [{"cluster": ["redis://:secret@s", "rediss://:secret@t"]}],
            "the nodes of a Cluster have the same scheme, user and password",
        ),
        (
            [{"cluster": ["redis://:secret@s", "redis://:other@t"]}],
            "the nodes of a Cluster have the same scheme, user and password",
        ),
        ([{"cluster": [("s", 1)], "passwrod": "secret"}], "cannot work: .*passwrod"),
        ([{"cluster": [("s", 1)]}, "redis://t"], "hosts must name one Redis Cluster and nothing beside it"),
        (["http://:secret@host"], "'http://host' is no URL of a Redis"),
        (["redis://:secret/2@host"], "percent-encoded"),
        ([{"address": "redis://:secret/2@host"}], "percent-encoded"),
        ([{"host": "host", "ssl_ca_certs": "/c"}], "'ssl_ca_certs' needs a rediss:// URL, or 'ssl': True"),
        ([{"host": "host", "ssl": True, "ssl_cert_reqs": "some"}], "ssl_cert_reqs must be 'required' or"),
        ([{"host": "host", "socket_connect_timeout": "soon"}], "socket_connect_timeout must be a positive"),
        ([{"host": "host", "socket_connect_timeout": -1}], "socket_connect_timeout must be a positive"),
        ([], "hosts must name at least one Redis"),
        (
            ["redis://:secret@a", "redis://:secret@a/0"],
            "hosts must name each Redis once, not twice redis://a",
        ),
    ],
)
def test_a_wrong_form_of_a_host_is_named_and_no_password_is_shown(hosts: Any, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told) as raised:
        RedisChannelLayer(hosts)
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.seeds(200)
def test_whatever_stands_in_hosts_is_used_or_refused_without_its_password(seed: int) -> None:
    random = Random(seed)
    options = {name: random.choice(choices) for name, choices in ODD.items() if random.random() < 0.4}
    address = random.choice(ODD["address"])
    entry = random.choice([options, [options], tuple(options.values()), address, {"address": address}])
    try:
        (host,), _ = hosts_option([entry], "")
        told = f"{host!r} {parse_address(host.url, host.options)!r} {RedisChannelLayer([entry]).label}"
    except ConfigurationError as error:
        told = str(error)
    assert SECRET not in told
    assert "\n" not in told


def test_an_option_of_seconds_may_be_left_out_where_that_means_something() -> None:
    assert optional_seconds_option("lease", None) is None
    assert optional_seconds_option("lease", 1.5) == 1.5
    with pytest.raises(ConfigurationError, match="lease"):
        optional_seconds_option("lease", 0)

"""Options of a layer: accepted, or refused with their name."""

from __future__ import annotations

import ast
import ssl
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
    seconds_option,
)
from headrace_asgi.layers.redis.address import ServerAddress, Tls, parse_address
from headrace_asgi.layers.redis.blocking.connection import RedisAddress

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
    assert RedisAddress(host.url, host.options).address == found
    return found


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
            [{"sentinels": [("s", 26379)], "master_name": "m"}],
            "Sentinel is not in this version; name the pri",
        ),
        (["redis+sentinel://:secret@s:26379/m"], "redis\\+sentinel:// is not in this version"),
        (["rediscluster://:secret@s:7000"], "rediscluster:// is not in this version"),
        (["http://:secret@host"], "'http://host' is no URL of a Redis"),
        (["redis://:secret/2@host"], "percent-encoded"),
        ([{"address": "redis://:secret/2@host"}], "percent-encoded"),
        ([{"host": "host", "ssl_ca_certs": "/c"}], "'ssl_ca_certs' needs a rediss:// URL, or 'ssl': True"),
        ([{"host": "host", "ssl": True, "ssl_cert_reqs": "some"}], "ssl_cert_reqs must be 'required' or"),
        ([{"host": "host", "socket_connect_timeout": "soon"}], "socket_connect_timeout must be a positive"),
        ([{"host": "host", "socket_connect_timeout": -1}], "socket_connect_timeout must be a positive"),
        ([], "hosts must name exactly one Redis, not 0"),
        (["redis://:secret@a", "redis://:secret@b"], "hosts must name exactly one Redis, not 2: several are"),
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

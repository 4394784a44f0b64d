"""Options of a layer's `CONFIG`, checked: a wrong one is a ConfigurationError that names it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from ..errors import ConfigurationError
from .encryption_keys import refuse_keys_in

__all__ = [
    "CLUSTER_SCHEMES",
    "HOST_FORMS",
    "SENTINEL_SCHEMES",
    "Host",
    "hosts_option",
    "mapping_option",
    "number_option",
    "optional_seconds_option",
    "refuse_several",
    "seconds_option",
]

#: How a Redis may be written in `hosts`, and what that means.
HOST_FORMS = {
    '"redis://user:password@host:6379/0"': "A URL. Without a number at its end: database 0. Options of "
    "redis-py follow as `?name=value`; characters such as / ? # in a password are percent-encoded",
    '"rediss://host:6380/0?ssl_ca_certs=/path/ca.pem"': "The same over TLS. The server's certificate is "
    "checked: against the authorities of the system, or those of `ssl_ca_certs`",
    '"unix:///path/to/socket?db=0"': "A unix socket",
    '("host", 6379)': "Host and port, database 0",
    '{"address": "rediss://host:6380", "ssl_ca_certs": "/path/ca.pem"}': "A URL, and options of redis-py, "
    "which win over it and over `connection_kwargs`",
    '{"host": "host", "port": 6379, "db": 0, "username": "user", "password": "password", "ssl": True}': (
        "Options of redis-py alone; what is left out has its default"
    ),
    '{"path": "/path/to/socket", "password": "password"}': "A unix socket, and options of redis-py",
    '"redis+sentinel://user:password@host1:26379,host2:26379/mymaster/0"': "The primary that these "
    "Sentinels call `mymaster`; without a name: the only one they watch. User, password, number and options "
    "are for Redis; those that begin with `sentinel_`, such as `?sentinel_password=`, are for the Sentinels",
    '"rediss+sentinel://host1:26379,host2:26379/mymaster?ssl_ca_certs=/path/ca.pem"': "The same with TLS to "
    "the Sentinels and to Redis. Its certificate must be for the name or address that the Sentinels tell",
    '{"sentinels": [("host1", 26379), ("host2", 26379)], "master_name": "mymaster", "password": "password", '
    '"sentinel_kwargs": {"password": "password"}}': "The same; `sentinel_kwargs` are the options of redis-py "
    "for the Sentinels, all others are for Redis",
    '"redis+cluster://user:password@host1:7000,host2:7000/?buckets=4"': "A Redis Cluster, by some of its "
    "nodes; with `rediss+cluster://` all of them speak TLS. `buckets`, from 1 to 32, are the parts into "
    "which the layer is divided. It stands alone in `hosts`",
    '{"cluster": [("host1", 7000), "redis://host2:7000"], "buckets": 4, "password": "password"}': "The same; "
    "all others are options of redis-py for every node",
}
_FORMS = (
    'a URL such as "redis://localhost:6379/0", (host, port), or a dict such as {"address": "redis://…"} or '
    '{"host": "localhost", "port": 6379}, or {"sentinels": [("host", 26379)], "master_name": "mymaster"}, '
    'or {"cluster": [("host", 7000)]}'
)
_NODES = 'a list of nodes, each (host, port) or a URL, as in [("host1", 7000), "redis://host2:7000"]'
_NO_NODE = f"cluster of a host must be {_NODES}; one of them is something else"
_PAIRS = 'a list of (host, port), as in [("host1", 26379), ("host2", 26379)]'

#: In schemes of other libraries for what is more than one Redis.
_SEVERAL = ("sentinel", "cluster")
#: Schemes of a Redis that sentinels name, and what the primary itself speaks.
SENTINEL_SCHEMES = {"redis+sentinel": "redis", "rediss+sentinel": "rediss"}
#: Schemes of a Cluster, and what its nodes speak.
CLUSTER_SCHEMES = {"redis+cluster": "redis", "rediss+cluster": "rediss"}


def refuse_several(url: str) -> None:
    """Raise ConfigurationError for a URL that writes Sentinels or a Cluster as others do."""
    scheme, separator, _ = url.partition("://")
    known = scheme in SENTINEL_SCHEMES or scheme in CLUSTER_SCHEMES
    if not separator or known or not any(word in scheme for word in _SEVERAL):
        return
    if "sentinel" in scheme:
        raise ConfigurationError(
            f"{scheme}:// is no URL of a Redis; Sentinels are named as in "
            "redis+sentinel://host1:26379,host2:26379/mymaster/0"
        )
    raise ConfigurationError(
        f"{scheme}:// is no URL of a Redis; a Cluster is named as in redis+cluster://host1:7000,host2:7000/"
    )


def seconds_option(name: str, value: Any) -> float:
    """A positive number of seconds."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < float("inf"):
        raise ConfigurationError(f"{name} must be a positive number of seconds, not {value!r}")
    return value


def optional_seconds_option(name: str, value: Any) -> float | None:
    """A positive number of seconds, or None."""
    return None if value is None else seconds_option(name, value)


def number_option(name: str, value: Any) -> int:
    """A positive integer."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigurationError(f"{name} must be a positive integer, not {value!r}")
    return value


def mapping_option(name: str, value: Any) -> dict[str, Any]:
    """A dict, empty for None."""
    if value is not None and not isinstance(value, Mapping):
        raise ConfigurationError(f"{name} must be a dict, not {_kind(value)}")
    return _named(name, value or {})


def _named(name: str, options: Mapping[Any, Any]) -> dict[str, Any]:
    if not all(isinstance(key, str) for key in options):
        raise ConfigurationError(f"the keys of {name} must be names of options, each a str")
    return dict(options)


@dataclass(frozen=True, slots=True)
class Host:
    """One entry of `hosts`: a URL, and options of redis-py for this host, which win over it."""

    url: str = field(repr=False)
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)


def hosts_option(hosts: Any, prefix: Any) -> tuple[list[Host], Any]:
    """The entries of `hosts` and the prefix, which may stand in a URL as `?prefix=`.

    Raises ConfigurationError, whose text shows no value of an entry: there may be a password in it.
    """
    if isinstance(hosts, str | bytes):
        raise ConfigurationError("hosts must be a list of URLs, not a string; put it into [ ]")
    if not isinstance(hosts, Sequence):
        raise ConfigurationError(f"hosts must be a list of URLs, not {_kind(hosts)}; put it into [ ]")
    found = []
    for entry in hosts:
        host = _host(entry)
        refuse_keys_in(host.url)
        url, in_url = _without_prefix(host.url)
        prefix = prefix or in_url
        found.append(Host(url, host.options))
    return found, prefix


def _without_prefix(url: str) -> tuple[str, str]:
    head, _, query = url.partition("?")
    options = parse_qsl(query)
    found = [value for name, value in options if name == "prefix"]
    if not found:
        return url, ""
    rest = urlencode([(name, value) for name, value in options if name != "prefix"], safe="@:/")
    return head + (f"?{rest}" if rest else ""), found[-1]


def _host(entry: Any) -> Host:
    if isinstance(entry, Host):
        return entry
    if isinstance(entry, str):
        return Host(entry)
    if isinstance(entry, Mapping):
        return _host_of_dict(entry)
    if isinstance(entry, Sequence) and len(entry) == 2 and all(isinstance(part, str | int) for part in entry):
        return Host("redis://", {"host": entry[0], "port": entry[1]})
    raise ConfigurationError(f"a host is {_FORMS}, not {_kind(entry)}")


def _host_of_dict(entry: Mapping[Any, Any]) -> Host:
    options = _named("a host", entry)
    if "sentinels" in options or "master_name" in options:
        return _host_of_sentinels(options)
    if "cluster" in options or "buckets" in options:
        return _host_of_cluster(options)
    where = [name for name in ("address", "host", "path") if name in options]
    if len(where) > 1:
        raise ConfigurationError(f"a host has one of {' and '.join(map(repr, where))}, not both")
    if not where and "port" not in options:
        keys = ", ".join(repr(key) for key in options) or "none"
        raise ConfigurationError(f"a host that is a dict needs 'address', 'host' or 'path'; its keys: {keys}")
    if where != ["address"]:
        return Host("redis://", options)
    address = options.pop("address")
    if isinstance(address, Mapping):
        raise ConfigurationError("the 'address' of a host must be a URL or (host, port), not a dict")
    inner = _host(address)
    return Host(inner.url, {**inner.options, **options})


def _host_of_sentinels(options: dict[str, Any]) -> Host:
    """A host as channels_redis writes it: the primary `master_name` that the `sentinels` know."""
    for name in ("address", "host", "port", "path"):
        if name in options:
            raise ConfigurationError(f"a host has 'sentinels' or {name!r}, not both")
    sentinels, service = options.pop("sentinels", None), options.pop("master_name", None)
    if not isinstance(sentinels, Sequence) or isinstance(sentinels, str | bytes) or not sentinels:
        raise ConfigurationError(f"sentinels of a host must be {_PAIRS}, not {_kind(sentinels)}")
    if not isinstance(service, str | None):
        raise ConfigurationError(
            f"master_name must be what the Sentinels call the primary, not {_kind(service)}"
        )
    where = ",".join(map(_sentinel, sentinels))
    return Host(f"redis+sentinel://{where}/{quote(service or '', safe='')}", options)


def _sentinel(entry: Any) -> str:
    """Host and port of a sentinel, as they stand in a URL."""
    if isinstance(entry, str | bytes) or not isinstance(entry, Sequence) or len(entry) != 2:
        raise ConfigurationError(f"sentinels of a host must be {_PAIRS}; one of them is {_kind(entry)}")
    host, port = entry
    if not isinstance(host, str) or any(mark in host for mark in "/@ ,?#") or not str(port).isdecimal():
        raise ConfigurationError(f"sentinels of a host must be {_PAIRS}; one of them is something else")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _host_of_cluster(options: dict[str, Any]) -> Host:
    """A host that is a Cluster, known by some nodes: their URLs become one."""
    for name in ("address", "host", "port", "path"):
        if name in options:
            raise ConfigurationError(f"a host has 'cluster' or {name!r}, not both")
    nodes, buckets = options.pop("cluster", None), options.pop("buckets", None)
    if not isinstance(nodes, Sequence) or isinstance(nodes, str | bytes) or not nodes:
        raise ConfigurationError(f"cluster of a host must be {_NODES}, not {_kind(nodes)}")
    found = [_node(one) for one in nodes]
    schemes = {scheme for scheme, _, _ in found if scheme} or {"redis"}
    logins = {login for _, login, _ in found if login} or {""}
    if len(schemes) > 1 or len(logins) > 1:
        raise ConfigurationError(
            "the nodes of a Cluster have the same scheme, user and password: write redis:// or rediss:// "
            "for all, and the login once, as 'username' and 'password' beside 'cluster'"
        )
    (scheme,), (login,) = schemes, logins
    query = "" if buckets is None else f"?buckets={quote(str(buckets), safe='')}"
    where = ",".join(host for _, _, host in found)
    return Host(f"{scheme}+cluster://{login}{where}/{query}", options)


def _node(entry: Any) -> tuple[str, str, str]:
    """Scheme, login and host of a node of a Cluster, as they stand in a URL."""
    if not isinstance(entry, str):
        try:
            return "", "", _sentinel(entry)
        except ConfigurationError:
            raise ConfigurationError(_NO_NODE) from None
    scheme, separator, rest = entry.partition("://")
    login, at, host = rest.rpartition("@")
    host = host.removesuffix("/0").removesuffix("/")
    known = separator and scheme in CLUSTER_SCHEMES.values()
    if not known or not host or any(mark in host for mark in "/,?#"):
        raise ConfigurationError(
            f"{_NO_NODE}. Database 0 is the only one of a Cluster, and options stand beside 'cluster'"
        )
    return scheme, login + at, host


def _kind(value: Any) -> str:
    """What something is, without showing it."""
    return "None" if value is None else f"a {type(value).__name__}"

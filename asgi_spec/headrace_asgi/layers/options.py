"""Options of a layer's `CONFIG`, checked: a wrong one is a ConfigurationError that names it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode

from ..errors import ConfigurationError
from .encryption_keys import refuse_keys_in

__all__ = [
    "HOST_FORMS",
    "Host",
    "hosts_option",
    "mapping_option",
    "number_option",
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
}
_FORMS = (
    'a URL such as "redis://localhost:6379/0", (host, port), or a dict such as {"address": "redis://…"} or '
    '{"host": "localhost", "port": 6379}'
)


#: In schemes of other libraries for what is more than one Redis.
_SEVERAL = ("sentinel", "cluster")


def refuse_several(url: str) -> None:
    """Raise ConfigurationError for the URL of a Sentinel or a Cluster."""
    scheme, separator, _ = url.partition("://")
    if separator and any(word in scheme for word in _SEVERAL):
        raise ConfigurationError(
            f"{scheme}:// is not in this version, which uses one Redis: name that, as in redis://host:6379/0"
        )


def seconds_option(name: str, value: Any) -> float:
    """A positive number of seconds."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < float("inf"):
        raise ConfigurationError(f"{name} must be a positive number of seconds, not {value!r}")
    return value


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
        raise ConfigurationError(
            "hosts: Sentinel is not in this version; name the primary itself, as in redis://host:6379/0"
        )
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


def _kind(value: Any) -> str:
    """What something is, without showing it."""
    return "None" if value is None else f"a {type(value).__name__}"

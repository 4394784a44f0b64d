"""Options of a layer's `CONFIG`, checked: a wrong one is a ConfigurationError that names it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlencode

from ..errors import ConfigurationError

__all__ = ["hosts_option", "mapping_option", "number_option", "seconds_option"]


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
        raise ConfigurationError(f"{name} must be a dict, not {value!r}")
    return dict(value or {})


def hosts_option(hosts: Any, prefix: Any) -> tuple[list[str], Any]:
    """URLs of Redis servers and the prefix, which may stand in the URL as `?prefix=`."""
    if isinstance(hosts, str):
        raise ConfigurationError("hosts must be a list of URLs, not a string; put it into [ ]")
    if not isinstance(hosts, Sequence):
        raise ConfigurationError(f"hosts must be a list of URLs, not {hosts!r}")
    urls = []
    for host in hosts:
        url = _url(host)
        query = parse_qsl(url.partition("?")[2])
        found = [value for name, value in query if name == "prefix"]
        if found:
            prefix = prefix or found[-1]
            rest = urlencode([(name, value) for name, value in query if name != "prefix"], safe="@:/")
            url = url.partition("?")[0] + (f"?{rest}" if rest else "")
        urls.append(url)
    return urls, prefix


def _url(host: Any) -> str:
    if isinstance(host, str):
        return host
    if (
        isinstance(host, Sequence)
        and len(host) == 2
        and isinstance(host[0], str)
        and isinstance(host[1], int)
    ):
        name = f"[{host[0]}]" if ":" in host[0] else host[0]
        return f"redis://{name}:{host[1]}/0"
    raise ConfigurationError(
        f"a host is a URL such as redis://localhost:6379/0 or (host, port), not {host!r}"
    )

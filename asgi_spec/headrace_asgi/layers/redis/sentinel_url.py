"""How a Redis that sentinels name is written: `redis+sentinel://user:password@host,host2:26380/service/db`.

What is said of Redis and what is said of its sentinels are taken apart here, into options of redis-py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode

from headrace_asgi.errors import ConfigurationError

from ..options import SENTINEL_SCHEMES
from .hosts_url import host_and_port, parts_of

__all__ = ["SentinelUrl", "split_sentinels"]

#: Seconds to wait for one sentinel, as everybody waits meanwhile; there are others. Option
#: `socket_connect_timeout` of `sentinel_kwargs`.
SENTINEL_CONNECT_SECONDS = 1.0
SENTINEL_PORT = "26379"
#: What an option in a URL begins with that is for the sentinels.
_OF_SENTINELS = "sentinel_"
_NO_SENTINEL = (
    "a redis+sentinel:// URL names Sentinels and what they call the primary, as in "
    "redis+sentinel://host1:26379,host2:26379/mymaster/0"
)


@dataclass(frozen=True, slots=True)
class SentinelUrl:
    """What stands in such a URL and its options. `service` is empty for the only one the sentinels watch."""

    service: str
    #: A URL and options of the primary; where it is has still to be found.
    url: str = field(repr=False)
    options: Mapping[str, Any] = field(repr=False)
    #: The options of each sentinel.
    sentinels: tuple[Mapping[str, Any], ...] = field(repr=False)


def split_sentinels(url: object, options: Mapping[str, Any] | None) -> SentinelUrl | None:
    """Take a URL and redis-py's options apart; None for a URL that names no sentinels.

    Raises ConfigurationError, whose text shows no password.
    """
    scheme, separator, rest = url.partition("://") if isinstance(url, str) else ("", "", "")
    given = dict(options or {})
    of_sentinels = given.pop("sentinel_kwargs", None)
    if not separator or scheme not in SENTINEL_SCHEMES:
        if of_sentinels is not None:
            raise ConfigurationError(
                "sentinel_kwargs are for Sentinels, which are named by 'sentinels' or redis+sentinel://…"
            )
        return None
    parts = parts_of(rest, "redis+sentinel")
    service, _, database = parts.path.partition("/")
    said = parse_qsl(parts.query)
    plain = urlencode([one for one in said if not one[0].startswith(_OF_SENTINELS)], safe="@:/")
    common = _common(scheme, said, of_sentinels)
    return SentinelUrl(
        unquote(service),
        f"{SENTINEL_SCHEMES[scheme]}://{parts.login}localhost/{database}" + (f"?{plain}" if plain else ""),
        given,
        tuple({**common, **_place(one)} for one in parts.hosts),
    )


def _common(scheme: str, said: list[tuple[str, str]], given: object) -> dict[str, Any]:
    """The options of every sentinel."""
    if given is not None and not isinstance(given, Mapping):
        raise ConfigurationError(f"sentinel_kwargs must be a dict, not a {type(given).__name__}")
    common: dict[str, Any] = {"socket_connect_timeout": SENTINEL_CONNECT_SECONDS}
    if SENTINEL_SCHEMES[scheme] == "rediss":
        common |= {"ssl": True, **{name: value for name, value in said if name.startswith("ssl_")}}
    common |= {
        name.removeprefix(_OF_SENTINELS): value for name, value in said if name.startswith(_OF_SENTINELS)
    }
    return {**common, **(given or {})}


def _place(host: str) -> dict[str, str]:
    """Host and port of one sentinel."""
    name, port = host_and_port(host, SENTINEL_PORT, _NO_SENTINEL)
    return {"host": name, "port": port}

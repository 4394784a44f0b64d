"""How a Redis Cluster is written: `redis+cluster://user:password@host:7000,host2:7000/?buckets=4`. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode

from headrace_asgi.errors import ConfigurationError

from ..options import CLUSTER_SCHEMES
from .hosts_url import host_and_port, parts_of

__all__ = ["DEFAULT_BUCKETS", "MOST_BUCKETS", "NODE_CONNECT_SECONDS", "ClusterUrl", "split_cluster"]

#: Enough for two nodes each of which has a share of every channel, and for three or four without one idle.
DEFAULT_BUCKETS = 4
#: Each bucket is a beat, two connections of every interface server and three of every worker.
MOST_BUCKETS = 32
#: Seconds to wait for a node that is asked where a bucket is, as everybody waits meanwhile; there are others.
NODE_CONNECT_SECONDS = 1.0
NODE_PORT = "6379"
_BUCKETS = "buckets"
_NO_NODE = (
    "a redis+cluster:// URL names some nodes of the Cluster, as in redis+cluster://host1:7000,host2:7000/"
)


@dataclass(frozen=True, slots=True)
class ClusterUrl:
    """What stands in such a URL and its options."""

    buckets: int
    #: A URL and options of every node; where those are that serve has still to be found.
    url: str = field(repr=False)
    options: Mapping[str, Any] = field(repr=False)
    #: Host and port of the nodes that may be asked.
    nodes: tuple[tuple[str, str], ...]


def split_cluster(url: object, options: Mapping[str, Any] | None) -> ClusterUrl | None:
    """Take a URL and redis-py's options apart; None for a URL that names no Cluster.

    Raises ConfigurationError, whose text shows no password.
    """
    scheme, separator, rest = url.partition("://") if isinstance(url, str) else ("", "", "")
    if not separator or scheme not in CLUSTER_SCHEMES:
        return None
    parts = parts_of(rest, "redis+cluster")
    if parts.path not in ("", "0"):
        raise ConfigurationError(
            "a Redis Cluster has database 0 only: leave out what stands behind the hosts in the URL; "
            "layers that share a Cluster are set apart by 'prefix'"
        )
    said = parse_qsl(parts.query, keep_blank_values=True)
    plain = urlencode([one for one in said if one[0] != _BUCKETS], safe="@:/")
    return ClusterUrl(
        _count([value for name, value in said if name == _BUCKETS]),
        f"{CLUSTER_SCHEMES[scheme]}://{parts.login}localhost" + (f"?{plain}" if plain else ""),
        dict(options or {}),
        tuple(host_and_port(one, NODE_PORT, _NO_NODE) for one in parts.hosts),
    )


def _count(said: list[str]) -> int:
    """The number of buckets."""
    value = said[-1] if said else str(DEFAULT_BUCKETS)
    count = int(value) if value.isdecimal() else 0
    if not 1 <= count <= MOST_BUCKETS:
        raise ConfigurationError(
            f"buckets must be a whole number from 1 to {MOST_BUCKETS}, not {value!r}; take one or two for "
            f"each master of the Cluster, or leave it out for {DEFAULT_BUCKETS}"
        )
    return count

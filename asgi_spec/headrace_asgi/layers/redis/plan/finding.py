"""Which search finds the server of a place that somebody else says. Pure."""

from __future__ import annotations

from headrace_asgi.errors import LayerUnavailable

from ..address import ServerAddress
from .cluster import SlotSearch
from .search import ServerSearch
from .sentinel import PrimarySearch

__all__ = ["left_server", "search_of"]


def search_of(address: ServerAddress, first: int) -> ServerSearch:
    """The search for the server of an address that has sentinels or is a bucket of a Cluster.

    `first` is the number of the one to ask first.
    """
    if address.sentinels is not None:
        return PrimarySearch(address, address.sentinels, first)
    if address.cluster is None or address.bucket is None:
        raise ValueError(f"{address.label} is where it is")
    return SlotSearch(address, address.cluster, address.bucket, first)


def left_server(server: ServerAddress, now: ServerAddress) -> LayerUnavailable | None:
    """Why to leave `server` when `now` is named; None if that is the same."""
    if (server.host, server.port) == (now.host, now.port):
        return None
    what = "Redis failed over" if server.bucket is None else "the slot of a bucket moved"
    return LayerUnavailable(f"{what} from {server.label} to {now.label}")

"""Where each channel lies when a layer has several places: the same map in every process. Pure.

A place is called by a digest of where its Redis is (a bucket of a Cluster by its tag, see `buckets`), so
neither the order of the settings nor a further host changes the name of another one. What has a home of its
own (process queues, single-reader channels) says its place in its name; the place of other names is found by
rendezvous hashing: of a name, each place has a score, and the highest wins. So a host that is added or
removed takes only its own share along.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from headrace_asgi.errors import ConfigurationError
from headrace_asgi.names import (
    is_process_queue,
    non_local_name,
    place_of_process,
    place_of_single_reader,
)

from .places import ONLY_PLACE

__all__ = ["ShardMap"]

#: Characters of a place's name. It stands in the name of every client's channel.
_NAME_LENGTH = 6


class ShardMap:
    """The places of a layer by name, and where each channel lies."""

    def __init__(self, labels: Iterable[str]) -> None:
        """Take what each Redis is called, host, port and database: so must every process call it.

        One that has no others beside it may be called something else elsewhere. Raises ConfigurationError for
        one that comes twice, and for none.
        """
        #: Name of each place -> what its Redis is called, in an order of their own.
        self.labels: dict[str, str] = {}
        listed = sorted(labels)
        if not listed:
            raise ConfigurationError("hosts must name at least one Redis")
        if len(listed) == 1:
            self.labels[ONLY_PLACE] = listed[0]
            listed = []
        for label in listed:
            name = hashlib.sha256(label.encode()).hexdigest()[:_NAME_LENGTH]
            if name in self.labels:
                twice = "" if self.labels[name] == label else f" and {label}, whose digests are the same"
                raise ConfigurationError(
                    f"hosts must name each Redis once, not twice {self.labels[name]}{twice}"
                )
            self.labels[name] = label
        self.places = tuple(self.labels)
        #: Whether these are the buckets of a Cluster.
        self.is_cluster = False
        #: What processes with several places must agree on to find each other; empty for one Redis.
        self.fingerprint = " ".join(self.labels.values()) if len(self.labels) > 1 else ""

    @classmethod
    def over_buckets(cls, names: Sequence[str], label: str) -> ShardMap:
        """The map of a Redis Cluster, which is called `label`, with buckets of these names."""
        found = cls([label])
        found.labels = {name: f"{label} (bucket {name})" for name in names}
        found.places = tuple(found.labels)
        found.is_cluster = True
        # Not the nodes: each process may name others.
        found.fingerprint = f"{len(names)} buckets of a Cluster"
        return found

    def is_spread(self, channel: str) -> bool:
        """Whether a channel has lists at several places, so that whoever sends chooses one: a shared one."""
        return len(self.places) > 1 and "!" not in channel and "?" not in channel

    def of(self, channel: str) -> str:
        """The only place of a channel that is not spread; of another name, the same one each time."""
        if len(self.places) == 1:
            return self.places[0]
        written = ""
        if is_process_queue(channel):
            written = place_of_process(channel)
        elif "?" in channel:
            written = place_of_single_reader(channel)
        if written in self.labels:
            return written
        name = non_local_name(channel)
        return max(self.places, key=lambda place: _score(place, name))


def _score(place: str, name: str) -> bytes:
    return hashlib.blake2b(f"{place} {name}".encode(), digest_size=8).digest()

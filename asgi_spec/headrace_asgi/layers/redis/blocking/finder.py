"""Finds the server of a place by asking those who know it, sentinels or nodes of a Cluster; blocks."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

from headrace_asgi.errors import LayerUnavailable

from ..address import ServerAddress, at_bucket, parse_address
from ..cluster_url import split_cluster
from ..plan.faults import connect_error
from ..plan.finding import left_server, search_of
from ..plan.resp import pack
from ..plan.search import Question
from ..plan.sentinel import FAILED_LOOK_SECONDS
from ..sentinel_url import split_sentinels
from .connection import ConnectionBroken, RedisAddress, RespConnection, Whereabouts

__all__ = ["FoundAddress", "whereabouts"]

#: Seconds in which a server that works answers.
FINDER_ANSWER_SECONDS = 1.0


def whereabouts(
    url: str, connection_kwargs: Mapping[str, Any] | None = None, place: str = "", key_start: str = ""
) -> Whereabouts:
    """Where the Redis of a URL is, with redis-py's connection options; of a Cluster, that of one bucket.

    `place` and `key_start` say which bucket. Raises ConfigurationError.
    """
    address = at_bucket(parse_address(url, connection_kwargs, all_options=True), place, key_start)
    cluster = split_cluster(url, connection_kwargs)
    if cluster is not None and address.cluster is not None:
        options = [cluster.options] * len(cluster.nodes)
        return FoundAddress(address, cluster.url, cluster.options, address.cluster.addresses, options)
    split = split_sentinels(url, connection_kwargs)
    if split is not None and address.sentinels is not None:
        return FoundAddress(address, split.url, split.options, address.sentinels.addresses, split.sentinels)
    return RedisAddress(url, connection_kwargs)


class FoundAddress:
    """A Redis of which others say where it is. Thread-safe."""

    may_move = True

    def __init__(
        self,
        address: ServerAddress,
        url: str,
        options: Mapping[str, Any],
        askable: Sequence[ServerAddress],
        their_options: Sequence[Mapping[str, Any]],
    ) -> None:
        """Take the address of the place, a URL and options for who is found, and whom to ask, with theirs."""
        self._url, self._options = url, options
        self._askable = [
            RedisAddress("redis://" if address.sentinels else url, given, found=one)
            for given, one in zip(their_options, askable, strict=True)
        ]
        place = RedisAddress(url, options, found=address)
        self.address = place.address
        self.label = place.label
        #: The number of the one to ask first: who answered last.
        self._first = 0
        self._server: RedisAddress | None = None
        self._look_at = 0.0

    def find(self) -> RedisAddress:
        """The server, as the first one says that answers.

        Blocks for about two seconds for each that does not. Raises LayerUnavailable; LayerRefused if each of
        them wants something to be put right.
        """
        search = search_of(self.address, self._first)
        while (number := search.next()) is not None:
            asked = self._askable[number]
            try:
                question = search.question(asked.login())
                _ask(asked, question)
            except LayerUnavailable as error:
                search.failed(error)
                continue
            self._first = number
            found = search.found(question)
            server = self._server
            # The same object for the same server: it is told by its identity.
            if server is None or left_server(server.address, found):
                server = self._server = RedisAddress(self._url, self._options, found=found)
            self._look_at = time.monotonic() + search.look_seconds
            return server
        self._look_at = time.monotonic() + search.failed_look_seconds
        raise search.error

    def doubt(self) -> None:
        """Ask another one next: the one that answered may be cut off from the others."""
        self._first += 1

    def has_left(self, server: RedisAddress) -> bool:
        """Whether another Redis is the one by now. Asks for it if that is not known of the last moment."""
        if time.monotonic() >= self._look_at:
            # At once, so that other threads do not ask too.
            self._look_at = time.monotonic() + FAILED_LOOK_SECONDS
            with contextlib.suppress(LayerUnavailable):
                self.find()
        return self._server is not server


def _ask(asked: RedisAddress, question: Question) -> None:
    """Put a question over a connection of its own. Raises LayerUnavailable."""
    connection = RespConnection(asked.label)
    connection.connect(asked)
    try:
        connection.write(b"".join(map(pack, question.commands)))
        while not question.is_over:
            further = question.heard(connection.read(FINDER_ANSWER_SECONDS))
            if further is not None:
                connection.write(pack(further))
    except ConnectionBroken as broken:
        raise connect_error(asked.address, broken.fault, broken.why) from None
    finally:
        connection.close()

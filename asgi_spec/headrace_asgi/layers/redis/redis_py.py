"""The one door to redis-py, which reads URLs and opens sockets for us. What is said over them is ours.

Used of it, beside what its documentation shows (`ConnectionPool.from_url`, the classes of connections and
their options, `redis_connect_func`, `credential_provider`):

    redis.connection.parse_url       reads a URL as users of redis-py know it; else we would read it ourselves
    ConnectionPool.connection_class  what `from_url` found in a URL; else we would choose among the classes
    ConnectionPool.connection_kwargs   by its scheme, and read its options
    Connection.connect, .disconnect  open and close one connection that stands in no pool
    Connection._sock                 private: the socket, with TLS where that is spoken. redis-py's own
                                     reading cannot wait for two descriptors and costs as much as Redis
                                     itself. Without this name we would have to make sockets ourselves.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import Any, cast

from redis import RedisError
from redis.connection import ConnectionPool, SSLConnection, UnixDomainSocketConnection, parse_url

__all__ = ["SocketOpener", "is_tls", "is_unix", "url_options"]


def url_options(url: str) -> dict[str, Any]:
    """The connection options that a URL says, its connection class among them. Raises ValueError."""
    return dict(parse_url(url))  # type: ignore[no-untyped-call]


def is_unix(connection_class: Any) -> bool:
    """Whether a connection class is that of unix sockets."""
    return isinstance(connection_class, type) and issubclass(connection_class, UnixDomainSocketConnection)


def is_tls(connection_class: Any) -> bool:
    """Whether a connection class speaks TLS."""
    return isinstance(connection_class, type) and issubclass(connection_class, SSLConnection)


class SocketOpener:
    """Opens sockets to one Redis."""

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        """Take a URL and redis-py's connection options, which win over it. Raises ValueError."""
        try:
            pool = ConnectionPool.from_url(url, **options)
            # We speak RESP2 only; with RESP3 redis-py would want to hear of maintenance over our socket.
            #: The options of every connection, those in the URL included.
            self.options: dict[str, Any] = {**pool.connection_kwargs, "protocol": 2}
            self.options.setdefault("redis_connect_func", _say_nothing)
            self._connection_class = cast(Callable[..., Any], pool.connection_class)
            self._connection_class(**self.options)
        except (TypeError, RedisError) as error:
            raise ValueError(str(error)) from None

    def open(self) -> tuple[socket.socket, Callable[[], object]]:
        """A connected socket, and what closes it. Blocks up to the timeout of connecting. Raises OSError."""
        connection = self._connection_class(**self.options)
        try:
            connection.connect()
        except RedisError as error:
            raise ConnectionError(str(error)) from None
        return cast(socket.socket, connection._sock), connection.disconnect


def _say_nothing(connection: object) -> None:
    """In place of redis-py's own greeting."""

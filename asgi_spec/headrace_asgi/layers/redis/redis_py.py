"""The one door to redis-py, which reads URLs and opens sockets for us. What is said over them is ours.

Used of it, beside what its documentation shows (`ConnectionPool`, the classes of connections and their
options, `redis_connect_func`, `credential_provider`):

    redis.connection.parse_url       reads a URL as users of redis-py know it; else we would read it ourselves
    ConnectionPool.connection_class  what is left for a connection of the options that a pool takes; else we
    ConnectionPool.connection_kwargs   would have to know which are which
    Connection.connect, .disconnect  open and close one connection that stands in no pool
    Connection._sock                 private: the socket, with TLS where that is spoken. redis-py's own
                                     reading cannot wait for two descriptors and costs as much as Redis
                                     itself. Without this name we would have to make sockets ourselves.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Mapping
from typing import Any, cast

from redis import RedisError
from redis.connection import ConnectionPool, SSLConnection, UnixDomainSocketConnection, parse_url

__all__ = ["SocketOpener", "is_tls", "is_unix", "url_options"]

#: What `ssl_cert_reqs` may be where any certificate will do.
_NOT_VERIFIED = ("none", None, ssl.CERT_NONE)


def url_options(url: str, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The connection options that a URL says, and `options`, which win over it. Raises ValueError.

    The class of the connection is among them where it is not the one for TCP: by the URL's scheme, by a
    `path`, which is that of a unix socket, or by `ssl`, which stands in no answer.
    """
    values: dict[str, Any] = {**parse_url(url), **(options or {})}  # type: ignore[no-untyped-call]
    secure = values.pop("ssl", False)
    if "connection_class" not in values:
        if values.get("path"):
            values["connection_class"] = UnixDomainSocketConnection
        elif secure:
            values["connection_class"] = SSLConnection
    return values


def is_unix(connection_class: Any) -> bool:
    """Whether a connection class is that of unix sockets."""
    return isinstance(connection_class, type) and issubclass(connection_class, UnixDomainSocketConnection)


def is_tls(connection_class: Any) -> bool:
    """Whether a connection class speaks TLS."""
    return isinstance(connection_class, type) and issubclass(connection_class, SSLConnection)


class SocketOpener:
    """Opens sockets to one Redis."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        """Take redis-py's connection options, as `url_options` gives them. Raises ValueError."""
        try:
            pool = ConnectionPool(**options)
            # We speak RESP2 only; with RESP3 redis-py would want to hear of maintenance over our socket.
            #: The options of every connection, those in the URL included.
            self.options: dict[str, Any] = {**pool.connection_kwargs, "protocol": 2}
            self.options.setdefault("redis_connect_func", _say_nothing)
            self._connection_class = cast(Callable[..., Any], pool.connection_class)
            if self.options.get("ssl_cert_reqs", "") in _NOT_VERIFIED and is_tls(pool.connection_class):
                # Nothing is left to compare a name with. redis-py 6.0 must be told so.
                self.options["ssl_check_hostname"] = False
            self._connection_class(**self.options)
        except (TypeError, RedisError) as error:
            raise ValueError(str(error)) from None

    def open(self) -> tuple[socket.socket, Callable[[], object]]:
        """A connected socket, and what closes it. Blocks up to the timeout of connecting. Raises OSError."""
        connection = self._connection_class(**self.options)
        try:
            connection.connect()
        except RedisError as error:
            # What the system said tells more than redis-py's sentence about it.
            cause = error.__context__
            raise (cause if isinstance(cause, OSError) else ConnectionError(str(error))) from None
        return cast(socket.socket, connection._sock), connection.disconnect


def _say_nothing(connection: object) -> None:
    """In place of redis-py's own greeting."""

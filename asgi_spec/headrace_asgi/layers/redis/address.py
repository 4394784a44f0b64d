"""Where a Redis is and how to be let in, read from the same URLs and options as redis-py takes."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from headrace_asgi.errors import ConfigurationError

from ..options import refuse_several
from .cluster_url import NODE_CONNECT_SECONDS, ClusterUrl, split_cluster
from .redis_py import is_tls, is_unix, url_options
from .sentinel_url import SentinelUrl, split_sentinels

__all__ = [
    "Bucket",
    "ClusterNodes",
    "Sentinels",
    "ServerAddress",
    "Tls",
    "at_bucket",
    "keepalive_options",
    "parse_address",
]

#: Seconds to wait for a connection to be made.
CONNECT_TIMEOUT_SECONDS = 5.0
#: A peer that vanished without a word is noticed after 45 s even if nothing is asked of it.
_KEEPALIVE = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))

_TLS_OPTIONS = {
    "ssl_ca_certs": "ca_file",
    "ssl_ca_data": "ca_data",
    "ssl_certfile": "certificate_file",
    "ssl_keyfile": "key_file",
    "ssl_check_hostname": "check_hostname",
}
#: As names, as the numbers of the standard library, and as None. A client that may verify does.
_VERIFY = {"required": True, "optional": True, "none": False, "2": True, "1": True, "0": False}
_NOT_ENCODED = "characters such as / ? # [ in its user or password must be percent-encoded"
_LAST_PORT = 65535
#: Things of redis-py that would make a connection safer or let it in at all, and that we do not do: an
#: option of this kind must not be ignored.
_REFUSED = ("ssl_", "credential_provider", "redis_connect_func")


@dataclass(frozen=True, slots=True)
class Tls:
    """How to speak TLS; certificates are PEM files, `ca_data` is PEM text."""

    ca_file: str | None = None
    ca_data: str | bytes | None = None
    certificate_file: str | None = None
    key_file: str | None = None
    verify: bool = True
    check_hostname: bool = True


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """One Redis. `path` is that of a unix socket, used instead of host and port."""

    host: str = "localhost"
    port: int = 6379
    path: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    db: int = 0
    tls: Tls | None = None
    connect_timeout_seconds: float = CONNECT_TIMEOUT_SECONDS
    #: Who says where it is; then there is no host and port.
    sentinels: Sentinels | None = None
    #: What sentinels call the service whose primary they said it to be; empty if it was named by people.
    primary_of: str = ""
    #: Who says which node has the slot of `bucket`; then there is no host and port.
    cluster: ClusterNodes | None = None
    #: What this server serves of a Cluster.
    bucket: Bucket | None = None
    #: Redis, Sentinel, or a node that is only asked.
    kind: str = "Redis"

    @property
    def login(self) -> tuple[bytes | str, ...]:
        """The command that logs in; empty if nothing is to be said."""
        if not self.username and not self.password:
            return ()
        user = (self.username,) if self.username else ()
        return (b"AUTH", *user, self.password or "")

    @property
    def label(self) -> str:
        """What log lines call it: everything but the password."""
        if self.path is not None:
            return f"unix://{self.path}" + (f"?db={self.db}" if self.db else "")
        scheme = "rediss" if self.tls else "redis"
        if self.sentinels is not None:
            where = ",".join(one.host_and_port for one in self.sentinels.addresses)
            return f"{scheme}+sentinel://{where}/{self.sentinels.service}/{self.db}"
        bucket = f" (bucket {self.bucket.place})" if self.bucket else ""
        if self.cluster is not None:
            where = ",".join(one.host_and_port for one in self.cluster.addresses)
            return f"{scheme}+cluster://{where}{bucket}"
        if self.kind != "Redis":
            return f"{scheme}://{self.host_and_port}"
        primary = f" (primary of {self.primary_of!r})" if self.primary_of else ""
        return f"{scheme}://{self.host_and_port}/{self.db}{primary}{bucket}"

    @property
    def is_found(self) -> bool:
        """Whether others said where this server is."""
        return bool(self.primary_of) or self.bucket is not None

    @property
    def host_and_port(self) -> str:
        """Where it is, as in a URL."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Sentinels:
    """Who says where a Redis is: any of `addresses`. `service` is empty for the only one they watch."""

    addresses: tuple[ServerAddress, ...]
    service: str = ""


@dataclass(frozen=True, slots=True)
class Bucket:
    """A place in a Cluster, and what its keys begin with: that has its slot."""

    place: str
    key_start: str


@dataclass(frozen=True, slots=True)
class ClusterNodes:
    """Who says which node has a slot: any of `addresses`. `buckets` is how many the layer has."""

    addresses: tuple[ServerAddress, ...]
    buckets: int


def at_bucket(address: ServerAddress, place: str, key_start: str) -> ServerAddress:
    """The address of one place, if this is that of a Cluster; the same one else."""
    return address if address.cluster is None else replace(address, bucket=Bucket(place, key_start))


def keepalive_options() -> dict[int, int]:
    """The options of a TCP socket by which the kernel finds dead peers, as far as this system has them."""
    return {getattr(socket, name): value for name, value in _KEEPALIVE if hasattr(socket, name)}


def parse_address(
    url: str, options: Mapping[str, Any] | None = None, all_options: bool = False
) -> ServerAddress:
    """Read a URL (redis://, rediss://, unix://, with sentinels, of a Cluster) and redis-py's options.

    Those win over it. Options that only tune redis-py's own sockets are ignored; `all_options` says that
    redis-py opens the socket, so that it may know more of TLS and of logging in than we do.

    Raises ConfigurationError for a URL or an option that cannot work.
    """
    cluster = split_cluster(url, options)
    if cluster is not None:
        return _cluster(cluster, all_options)
    split = split_sentinels(url, options)
    if split is None:
        return _server(url, options, all_options)
    primary = _server(split.url, split.options, all_options)
    if primary.path is not None:
        raise ConfigurationError("a Redis has Sentinels, or the 'path' of a unix socket, not both")
    return replace(primary, host="", port=0, sentinels=_sentinels(split, all_options))


def _sentinels(split: SentinelUrl, all_options: bool) -> Sentinels:
    try:
        found = [_server("redis://", one, all_options) for one in split.sentinels]
    except ConfigurationError as error:
        raise ConfigurationError(f"sentinels or sentinel_kwargs: {error}") from None
    return Sentinels(tuple(replace(one, kind="Sentinel") for one in found), split.service)


def _cluster(split: ClusterUrl, all_options: bool) -> ServerAddress:
    """The address of all buckets of a Cluster."""
    node = _server(split.url, split.options, all_options)
    if node.path is not None:
        raise ConfigurationError("a Redis Cluster has nodes, not the 'path' of a unix socket")
    if node.db:
        raise ConfigurationError(f"a Redis Cluster has database 0 only, not {node.db}: leave out 'db'")
    seconds = min(node.connect_timeout_seconds, NODE_CONNECT_SECONDS)
    asked = replace(node, connect_timeout_seconds=seconds, kind="a node of the Cluster")
    addresses = tuple(
        replace(asked, host=_host(host), port=_number("port", port, 0, 1, _LAST_PORT))
        for host, port in split.nodes
    )
    return replace(node, host="", port=0, cluster=ClusterNodes(addresses, split.buckets))


def _server(url: str, options: Mapping[str, Any] | None, all_options: bool) -> ServerAddress:
    """The address of one server that is named by people."""
    values = _values(url, options)
    kind = values.pop("connection_class", None)
    unix = is_unix(kind)
    if unix and not values.get("path"):
        raise ConfigurationError("unix:// needs the path of a socket, as in unix:///run/valkey/valkey.sock")
    database = "" if unix else urlsplit(url).path.strip("/")
    if database and not database.isdigit():
        raise ConfigurationError(
            f"a Redis URL ends with the number of a database, such as /0, not with /{database}"
        )
    tls = _tls(values) if is_tls(kind) else None
    _refuse_unsupported(values, tls is not None, all_options)
    return ServerAddress(
        host=_host(values.get("host")),
        port=_number("port", values.get("port"), 6379, 1, _LAST_PORT),
        path=_text("path", values.get("path")) if unix else None,
        username=_text("username", values.get("username")),
        password=_text("password", values.get("password")),
        db=_number("db", values.get("db"), 0, 0),
        tls=tls,
        connect_timeout_seconds=_seconds("socket_connect_timeout", values.get("socket_connect_timeout")),
    )


def _values(url: str, options: Mapping[str, Any] | None) -> dict[str, Any]:
    refuse_several(url)
    try:
        return url_options(url, options)
    except ValueError as error:
        # The text of an error may hold a piece of a password that ended early.
        reason = _NOT_ENCODED if _user_breaks(url) else error
        raise ConfigurationError(f"{_without_password(url)!r} is no URL of a Redis: {reason}") from None


def _refuse_unsupported(values: Mapping[str, Any], secure: bool, all_options: bool) -> None:
    for name in values:
        if name.startswith("ssl_") and not secure:
            raise ConfigurationError(f"connection option {name!r} needs a rediss:// URL, or 'ssl': True")
        if name.startswith(_REFUSED) and not all_options:
            raise ConfigurationError(f"connection option {name!r} is not supported by the interface server")


def _host(value: Any) -> str:
    if value is None or value == "":
        return "localhost"
    if not isinstance(value, str) or any(mark in value for mark in "/@ "):
        raise ConfigurationError(
            'host must be a name or an address, such as "127.0.0.1"; a URL stands alone or under "address"'
        )
    return value


def _number(name: str, value: Any, default: int, least: int, most: int | None = None) -> int:
    """A whole number, which may be written as text, as environment variables are."""
    if value is None or value == "":
        return default
    number = int(value) if isinstance(value, str) and value.isdecimal() else value
    if type(number) is not int or number < least or (most is not None and number > most):
        span = f"from {least} to {most}" if most is not None else f"of {least} or more"
        # A text in the wrong place may be a password.
        shown = repr(value) if isinstance(value, int | float) else f"a {type(value).__name__}"
        raise ConfigurationError(f"{name} must be a whole number {span}, not {shown}")
    return number


def _seconds(name: str, value: Any) -> float:
    if value is None:
        return CONNECT_TIMEOUT_SECONDS
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise ConfigurationError(f"{name} must be a positive number of seconds, not {value!r}")
    return seconds


def _text(name: str, value: Any) -> str | None:
    """Text, or None. What is wrong is not shown: it may be a part of a password."""
    if value is None or isinstance(value, str):
        return value
    if type(value) is int:
        return str(value)
    raise ConfigurationError(f"{name} must be a str, not {type(value).__name__}")


def _tls(values: dict[str, Any]) -> Tls:
    found = {ours: values.pop(theirs) for theirs, ours in _TLS_OPTIONS.items() if theirs in values}
    asked = values.pop("ssl_cert_reqs", "required")
    required = _VERIFY.get(str(int(asked) if isinstance(asked, int) else asked).lower())
    if required is None:
        raise ConfigurationError(f"ssl_cert_reqs must be 'required' or 'none', not {asked!r}")
    check = found.pop("check_hostname", True)
    if isinstance(check, str):
        check = check.lower() not in ("0", "false", "no", "off")
    return Tls(**found, verify=required, check_hostname=bool(check) and required)


def _user_breaks(url: object) -> bool:
    """Whether a user or password may have characters that end it."""
    return any(mark in str(url).partition("://")[2].rpartition("@")[0] for mark in "/?#[]")


def _without_password(url: object) -> str:
    """A URL for people: without who logs in, and without its options, one of which may be a password."""
    scheme, separator, rest = str(url).partition("://")
    if not separator:
        scheme, rest = "", scheme
    return scheme + separator + rest.rpartition("@")[2].partition("?")[0]

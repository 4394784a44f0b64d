"""Where a Redis is and how to be let in, read from the same URLs and options as redis-py takes."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from headrace_asgi.errors import ConfigurationError

from .redis_py import is_tls, is_unix, url_options

__all__ = ["ServerAddress", "Tls", "keepalive_options", "parse_address"]

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
_VERIFY = {"required": True, "none": False}
_NOT_ENCODED = "characters such as / ? # [ in its user or password must be percent-encoded"
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
    password: str | None = None
    db: int = 0
    tls: Tls | None = None
    connect_timeout_seconds: float = CONNECT_TIMEOUT_SECONDS

    @property
    def label(self) -> str:
        """What log lines call it: everything but the password."""
        if self.path is not None:
            return f"unix://{self.path}" + (f"?db={self.db}" if self.db else "")
        return f"redis{'s' if self.tls else ''}://{self.host}:{self.port}/{self.db}"


def keepalive_options() -> dict[int, int]:
    """The options of a TCP socket by which the kernel finds dead peers, as far as this system has them."""
    return {getattr(socket, name): value for name, value in _KEEPALIVE if hasattr(socket, name)}


def parse_address(url: str, options: Mapping[str, Any] | None = None) -> ServerAddress:
    """Read a URL (redis://, rediss://, unix://) and redis-py's connection options, which win over it.

    Options that only tune redis-py's own sockets are ignored. Raises ConfigurationError for a URL or an
    option that cannot work.
    """
    try:
        values = url_options(url)
    except ValueError as error:
        # The text of an error may hold a piece of a password that ended early.
        reason = _NOT_ENCODED if _user_breaks(url) else error
        raise ConfigurationError(f"{_without_password(url)!r} is no URL of a Redis: {reason}") from None
    values.update(options or {})
    kind = values.pop("connection_class", None)
    unix = is_unix(kind)
    if unix and not values.get("path"):
        raise ConfigurationError("unix:// needs the path of a socket, as in unix:///run/valkey/valkey.sock")
    database = "" if unix else urlsplit(url).path.strip("/")
    if database and not database.isdigit():
        raise ConfigurationError(
            f"a Redis URL ends with the number of a database, such as /0, not with /{database}"
        )
    secure = values.pop("ssl", False) or is_tls(kind)
    tls = _tls(values) if secure else None
    for name in values:
        if name.startswith(_REFUSED):
            reason = "is not supported by the interface server" if secure else "needs a rediss:// URL"
            raise ConfigurationError(f"connection option {name!r} {reason}")
    try:
        return ServerAddress(
            host=values.get("host") or "localhost",
            port=int(values.get("port") or 6379),
            path=values.get("path") if unix else None,
            username=values.get("username"),
            password=values.get("password"),
            db=int(values.get("db") or 0),
            tls=tls,
            connect_timeout_seconds=float(values.get("socket_connect_timeout") or CONNECT_TIMEOUT_SECONDS),
        )
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            f"{_without_password(url)!r} has an option that is no number: {error}"
        ) from None


def _tls(values: dict[str, Any]) -> Tls:
    found = {ours: values.pop(theirs) for theirs, ours in _TLS_OPTIONS.items() if theirs in values}
    asked = values.pop("ssl_cert_reqs", "required")
    required = _VERIFY.get(str(asked).lower() if asked is not None else "none")
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
    scheme, separator, rest = str(url).partition("://")
    return scheme + separator + rest.rpartition("@")[2]

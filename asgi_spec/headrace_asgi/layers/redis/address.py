"""Where a Redis is and how to be let in, read from the same URLs and options as redis-py takes."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from headrace_asgi.errors import ConfigurationError

from ..options import refuse_several
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

    @property
    def label(self) -> str:
        """What log lines call it: everything but the password."""
        if self.path is not None:
            return f"unix://{self.path}" + (f"?db={self.db}" if self.db else "")
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"redis{'s' if self.tls else ''}://{host}:{self.port}/{self.db}"


def keepalive_options() -> dict[int, int]:
    """The options of a TCP socket by which the kernel finds dead peers, as far as this system has them."""
    return {getattr(socket, name): value for name, value in _KEEPALIVE if hasattr(socket, name)}


def parse_address(
    url: str, options: Mapping[str, Any] | None = None, all_options: bool = False
) -> ServerAddress:
    """Read a URL (redis://, rediss://, unix://) and redis-py's connection options, which win over it.

    Options that only tune redis-py's own sockets are ignored; `all_options` says that redis-py opens the
    socket, so that it may know more of TLS and of logging in than we do. Raises ConfigurationError for a URL
    or an option that cannot work.
    """
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

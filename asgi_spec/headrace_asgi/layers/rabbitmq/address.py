"""Where a RabbitMQ is and how to be let in, read from a URL."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

from headrace_asgi.errors import ConfigurationError

__all__ = ["DEFAULT_URL", "BrokerAddress", "parse_address"]

#: The broker of this machine, as it is after its installation.
DEFAULT_URL = "amqp://guest:guest@127.0.0.1:5672/%2F"
_PORTS = {"amqp": 5672, "amqps": 5671}
#: Options of TLS in a URL: paths of PEM files.
_TLS_OPTIONS = {
    "ssl_ca_certs": "ca_file",
    "ssl_certfile": "certificate_file",
    "ssl_keyfile": "key_file",
}
_FORM = "amqp://user:password@host:5672/vhost (amqps:// for TLS)"
_NOT_ENCODED = "characters such as / ? # @ [ in its user, password or vhost must be percent-encoded"


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """One RabbitMQ, and a virtual host of it."""

    host: str
    port: int
    vhost: str
    username: str
    password: str = field(repr=False)
    tls: bool = False
    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None

    @property
    def label(self) -> str:
        """What log lines call it: everything but user and password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"amqp{'s' if self.tls else ''}://{host}:{self.port}/{quote(self.vhost, safe='')}"


def parse_address(url: Any) -> BrokerAddress:
    """Read a URL (amqp:// or amqps://).

    Without a user it is guest, whom RabbitMQ only lets in from its own machine; without a path the virtual
    host is "/". Raises ConfigurationError, whose text never holds the password.
    """
    if not isinstance(url, str):
        raise ConfigurationError(f"url must be a str such as {_FORM}, not a {type(url).__name__}")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ConfigurationError(f"url is no URL of a RabbitMQ: {_NOT_ENCODED}; write {_FORM}") from None
    if parts.scheme not in _PORTS:
        raise ConfigurationError(f"url must begin with amqp:// or amqps://: {_FORM}")
    if not parts.hostname:
        raise ConfigurationError(f"url names no host: {_FORM}")
    if parts.fragment or parts.path.count("/") > 1:
        raise ConfigurationError(f"url has more than one / behind its host, or a #: {_NOT_ENCODED}")
    return BrokerAddress(
        host=parts.hostname,
        port=port or _PORTS[parts.scheme],
        vhost=unquote(parts.path[1:]) or "/",
        username=unquote(parts.username or "") or "guest",
        password=unquote(parts.password or "") if parts.username else "guest",
        tls=parts.scheme == "amqps",
        **_tls_options(parts),
    )


def _tls_options(parts: SplitResult) -> dict[str, str]:
    found = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in _TLS_OPTIONS:
            raise ConfigurationError(f"url has no option {name!r}; there are {', '.join(_TLS_OPTIONS)}")
        if parts.scheme != "amqps":
            raise ConfigurationError(f"url: {name} is for TLS; begin with amqps://, or leave it out")
        found[_TLS_OPTIONS[name]] = value
    return found

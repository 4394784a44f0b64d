"""Which pages may open a WebSocket.

A browser lets any page open a socket to any site and sends that site's cookies along; the Origin header,
which a page cannot forge, is all that tells friend from foe. The worker's dispatch asks `origin_allowed` for
every `websocket.connect` (`is_refused`), unless the consumer is marked `headrace_any_origin = True` or
`HEADRACE = {"ORIGIN_CHECK": False}`.

With `ALLOWED_HOSTS = ["example.com"]`, `CSRF_TRUSTED_ORIGINS = ["https://*.partner.org"]`, and a handshake
for `Host: example.com` over TLS (`wss`):

    Origin                               answer   why
    https://example.com                  allowed  the site itself
    HTTPS://EXAMPLE.COM:443              allowed  case and default port make no difference
    https://app.partner.org              allowed  CSRF_TRUSTED_ORIGINS: scheme, host and port fit
    https://sub.example.com              refused  not in ALLOWED_HOSTS; ".example.com" there would allow it
    https://example.com:8443             refused  another port, so another origin
    https://evil.test, example.com.evil.test     refused
    http://example.com                   refused  whoever can alter the plain page could use the socket
    http://app.partner.org               refused  another scheme
    https://user@example.com, .../path   refused  not the form of an Origin (RFC 6454 section 7)
    https://exämple.com                  refused  browsers send xn--exmple-cua.com
    null                                 refused  sandboxed frames, data: and file: pages
    two Origin headers                   refused
    none, with a Cookie or Sec-Fetch-* header    refused: browsers always send one
    none, without them                   allowed  no browser, so nobody's cookies are misused

Over plain `ws` both `http` and `https` are accepted: TLS may end at a proxy that does not say so.
`SECURE_PROXY_SSL_HEADER`, `USE_X_FORWARDED_HOST` and `USE_X_FORWARDED_PORT` count as they do for requests.
The site itself means the Host of the handshake, which must pass ALLOWED_HOSTS, or another host that is named
there (`"*"` names none); on the port of the Host, or the default port, so that pages of port 443 may use
sockets of port 8443. With DEBUG and an empty ALLOWED_HOSTS, localhost.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import update_wrapper
from types import MethodType

from django.conf import settings
from django.http.request import validate_host
from django.utils.http import is_same_domain

from ..decorating import message_of
from ..exceptions import DenyConnection
from ..message import Message
from ..types import Consumer

__all__ = [
    "AllowedHostsOnlyOriginValidator",
    "BaseOriginValidator",
    "allowed_hosts_only",
    "is_refused",
    "origin_allowed",
]

_ORIGIN = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<host>\[[0-9a-f:.]+\]|[a-z0-9._-]+|)(?::(?P<port>[0-9]{1,5}))?"
)
_HOST = re.compile(r"(?P<host>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_DEBUG_HOSTS = [".localhost", "127.0.0.1", "[::1]"]


def origin_allowed(message: Message) -> bool:
    """Whether the page that asks for this WebSocket may have it; the module's table says when.

    Never raises for anything a client sends. Does not block.
    """
    headers = _headers(message)
    origins = headers.get("origin")
    if origins is None:
        return not any(name == "cookie" or name.startswith("sec-fetch-") for name in headers)
    origin = _parsed(origins[0]) if len(origins) == 1 else None
    if origin is None:
        return False
    return _is_trusted(origin) or _is_own(origin, message, headers)


def is_refused(message: Message, consumer: Consumer, check: bool) -> bool:
    """Whether a message is a connect that its consumer must not see; `check` is HEADRACE["ORIGIN_CHECK"]."""
    if message.channel_name != "websocket.connect" or not check:
        return False
    return not getattr(consumer, "headrace_any_origin", False) and not origin_allowed(message)


class BaseOriginValidator:
    """A decorator for `websocket.connect` consumers: override `validate_origin`. The rest is denied, 403."""

    def __init__(self, func: Consumer) -> None:
        """Take the consumer, a function or a method."""
        update_wrapper(self, func)
        self.func = func

    def __call__(self, *args: object, **kwargs: object) -> object:
        """Run the consumer, or raise DenyConnection."""
        message = message_of(args)
        origin = self.get_origin(message)
        if not self.validate_origin(message, origin):
            raise DenyConnection()
        return self.func(*args, **kwargs)

    def __get__(self, instance: object, owner: type | None = None) -> Consumer:
        return self if instance is None else MethodType(self, instance)

    def get_header(self, message: Message, name: str) -> str | None:
        """The value of the first header of that name, None without one."""
        values = _headers(message).get(name.lower())
        return None if values is None else values[0]

    def get_origin(self, message: Message) -> str | None:
        """The Origin header. Raises DenyConnection if there is none, or one that is not ASCII."""
        origin = self.get_header(message, "origin")
        if origin is None or not origin.isascii():
            raise DenyConnection()
        return origin

    def validate_origin(self, message: Message, origin: str | None) -> bool:
        """Whether a page with this origin may open the socket of `message`."""
        raise NotImplementedError(f"{type(self).__name__} has no validate_origin(message, origin)")


class AllowedHostsOnlyOriginValidator(BaseOriginValidator):
    """Allows what `origin_allowed` allows, where the check is off for the project as a whole."""

    def get_origin(self, message: Message) -> str | None:
        """The Origin header, None without one: `origin_allowed` decides about that too."""
        return self.get_header(message, "origin")

    def validate_origin(self, message: Message, origin: str | None) -> bool:
        """Compare with ALLOWED_HOSTS and CSRF_TRUSTED_ORIGINS."""
        return origin_allowed(message)


allowed_hosts_only = AllowedHostsOnlyOriginValidator


@dataclass(frozen=True, slots=True)
class _Origin:
    scheme: str
    host: str
    port: int | None


def _parsed(text: str) -> _Origin | None:
    match = _ORIGIN.fullmatch(text.lower())
    if match is None:
        return None
    scheme, host = match["scheme"], match["host"]
    port = int(match["port"]) if match["port"] else _DEFAULT_PORTS.get(scheme)
    return _Origin(scheme, host.removesuffix("."), port)


def _is_trusted(origin: _Origin) -> bool:
    for text in settings.CSRF_TRUSTED_ORIGINS:
        scheme, _, place = text.lower().partition("://")
        # As in Django, "*.example.com" is for subdomains and the domain itself, "*example.com" for that only.
        pattern = place.lstrip("*")
        wildcard = place != pattern and pattern.startswith(".")
        trusted = _parsed(f"{scheme}://{pattern[1:] if wildcard else pattern}")
        if trusted is None or (place and not trusted.host):
            continue
        if trusted.scheme != origin.scheme or trusted.port != origin.port:
            continue
        if is_same_domain(origin.host, "." + trusted.host) if wildcard else origin.host == trusted.host:
            return True
    return False


def _is_own(origin: _Origin, message: Message, headers: dict[str, list[str]]) -> bool:
    if origin.scheme not in _DEFAULT_PORTS or not origin.host:
        return False
    secure = _is_secure(message, headers)
    if secure and origin.scheme != "https":
        return False
    asked = _asked_host(headers)
    if asked is None:
        return False
    host, port = asked
    if port is None:
        port = _DEFAULT_PORTS[origin.scheme]
    patterns = settings.ALLOWED_HOSTS or (_DEBUG_HOSTS if settings.DEBUG else [])
    if origin.port not in (port, _DEFAULT_PORTS[origin.scheme]):
        return False
    if origin.host == host:
        return validate_host(host, patterns)
    return validate_host(origin.host, [pattern for pattern in patterns if pattern != "*"])


def _is_secure(message: Message, headers: dict[str, list[str]]) -> bool:
    if settings.SECURE_PROXY_SSL_HEADER:
        name, secure_value = settings.SECURE_PROXY_SSL_HEADER
        values = headers.get(name.removeprefix("HTTP_").replace("_", "-").lower())
        if values is not None:
            return values[0].split(",", 1)[0].strip() == secure_value
    return message.content.get("scheme") in ("wss", "https")


def _asked_host(headers: dict[str, list[str]]) -> tuple[str, int | None] | None:
    """Host and port that the client asked for; the port is None where it is the scheme's own."""
    forwarded = headers.get("x-forwarded-host") if settings.USE_X_FORWARDED_HOST else None
    values = forwarded or headers.get("host")
    if values is None or len(values) != 1:
        return None
    match = _HOST.fullmatch(values[0].lower())
    if match is None:
        return None
    port = match["port"]
    if settings.USE_X_FORWARDED_PORT:
        port = headers.get("x-forwarded-port", [port])[0]
    host = match["host"].removesuffix(".")
    return host, int(port) if port and port.isdecimal() and len(port) <= 5 else None


def _headers(message: Message) -> dict[str, list[str]]:
    """Header values by lower-case name. Latin-1 loses nothing and never fails."""
    found: dict[str, list[str]] = {}
    headers = message.content.get("headers") or ()
    for name, value in headers.items() if isinstance(headers, dict) else headers:
        found.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return found

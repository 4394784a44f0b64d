"""Where the server listens: endpoints of every kind, each with transports that write at once."""

# ruff: noqa: N802 (Twisted's names, called by Twisted)

from __future__ import annotations

import os
import resource
import select
import socket
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet import defer, endpoints, error, protocol, tcp
from twisted.internet.interfaces import IProtocolNegotiationFactory
from twisted.logger import LogEvent
from twisted.python.failure import Failure
from zope.interface import implementer  # type: ignore[import-untyped]

from headrace_asgi.errors import ConfigurationError

from . import direct_send
from .context import ServerContext
from .episodes import Episode
from .http.protocol import HttpProtocol, SocketFactory
from .timers import Clock

__all__ = ["HttpFactory", "Refusals", "accept_waiting", "addresses", "describe", "listen", "make_endpoints"]

#: Connections that the kernel keeps while the reactor is busy: a reconnect storm after a deploy.
_BACKLOG = 1024


@implementer(IProtocolNegotiationFactory)
class HttpFactory(protocol.Factory):
    """Makes a `HttpProtocol` for each connection, or where HTTP/2 may be spoken what chooses between the two.

    Without the negotiation interface Twisted fails every TLS handshake that offers ALPN.
    """

    noisy = False

    def __init__(self, context: ServerContext, make_socket: SocketFactory) -> None:
        self.context = context
        self._make_socket = make_socket
        self._make: Any = HttpProtocol
        self.choose(context.settings.http2_prior_knowledge)

    def choose(self, between_versions: bool) -> None:
        """Whether HTTP/2 may be spoken on these connections."""
        if between_versions:
            self._make = _http_choice()

    def acceptableProtocols(self) -> list[bytes]:
        """What is offered by ALPN (RFC 7301), the best first; the same on every listener."""
        return [b"h2", b"http/1.1"] if self.context.settings.http2 else [b"http/1.1"]

    def buildProtocol(self, address: Any) -> Any:
        return self._make(self.context.next_place(), self._make_socket)


def _http_choice() -> Any:
    """Only here the library h2 is needed, which may not be installed."""
    from .http2.choice import HttpChoice

    return HttpChoice


def make_endpoints(
    reactor: Any,
    *,
    host: str | None = None,
    port: int | None = None,
    unix_socket: str | None = None,
    fd: int | None = None,
    strings: Sequence[str] = (),
) -> list[tuple[str, Any]]:
    """(description, endpoint) of everything that was asked for; 127.0.0.1:8000 if nothing was.

    `port` 0 takes a free one. Raises ConfigurationError for what cannot be an endpoint.
    """
    made: list[tuple[str, Any]] = []
    if fd is not None:
        made.append((f"--fd {fd}", _adopted(reactor, fd)))
    if unix_socket is not None:
        quoted = unix_socket.replace("\\", "\\\\").replace(":", "\\:")
        made.append((f"--unix-socket {unix_socket}", _from_string(reactor, f"unix:{quoted}:mode=660")))
    made += [(f"--endpoint {text}", _from_string(reactor, text)) for text in strings]
    if host is not None or port is not None or not made:
        host = (host or "127.0.0.1").strip("[]")
        number = 8000 if port is None else port
        quoted = host.replace("\\", "\\\\").replace(":", "\\:")
        kind = "tcp6" if ":" in host else "tcp"
        text = f"{kind}:{number}:interface={quoted}:backlog={_BACKLOG}"
        made.append((f"{host} port {number}", _from_string(reactor, text)))
    return made


def _from_string(reactor: Any, text: str) -> Any:
    if text.startswith("haproxy:"):
        raise ConfigurationError(
            f"--endpoint {text!r} would believe everybody; use --proxy-protocol, and what follows haproxy:"
        )
    try:
        return endpoints.serverFromString(reactor, text)
    except Exception as problem:  # endpoint plug-ins raise whatever they like
        raise ConfigurationError(
            f"--endpoint {text!r} is not understood ({problem}); it is something like "
            "'tcp:8000:interface=127.0.0.1' or 'ssl:443:privateKey=key.pem:certKey=cert.pem'"
        ) from None


def _adopted(reactor: Any, fd: int) -> Any:
    endpoint = getattr(reactor, "next_endpoint", None)
    if endpoint is not None:
        return endpoint  # the descriptor was given to an image before this one, and is closed
    try:
        with socket.socket(fileno=os.dup(fd)) as copy:
            listens = copy.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            family = copy.family
    except OSError as problem:
        raise ConfigurationError(f"--fd {fd} is no open socket ({problem.strerror})") from None
    if not listens:
        raise ConfigurationError(f"--fd {fd} is a socket that does not listen: call listen() on it first")
    return endpoints.AdoptedStreamServerEndpoint(reactor, fd, family)


async def listen(
    endpoint: tuple[str, Any], factory: protocol.Factory, gate: Callable[[Any], Any] | None = None
) -> Any:
    """Listen; returns the port. Raises ConfigurationError that names the endpoint and the reason.

    `gate` makes a factory of another one, whose connections come before those of that: before TLS, too.
    """
    name, made = endpoint
    try:
        port = await made.listen(factory)
    except error.CannotListenError as problem:
        raise ConfigurationError(f"Cannot listen on {name}: {_reason(problem.socketError)}") from None
    except Exception as problem:
        raise ConfigurationError(f"Cannot listen on {name}: {_reason(problem)}") from None
    if gate is not None and not direct_send.put_before(port, gate):
        await defer.maybeDeferred(port.stopListening)
        raise ConfigurationError(f"--proxy-protocol needs an endpoint of Twisted's own, not {name}")
    if isinstance(factory, HttpFactory) and direct_send.is_encrypted(port):
        factory.choose(factory.context.settings.http2)
    return direct_send.install(port)


def accept_waiting(port: Any) -> None:
    """Accept what the kernel has accepted for us: closing the port would reset those connections."""
    if not isinstance(port, tcp.Port):
        return  # an endpoint of a foreign kind
    poll = select.poll()
    poll.register(port.fileno(), select.POLLIN)
    for _ in range(_BACKLOG):
        if not poll.poll(0):
            return
        port.doRead()


class Refusals:
    """An observer of Twisted's log: says when connections cannot be accepted, and when they can again."""

    def __init__(self, clock: Clock) -> None:
        self._episode = Episode(
            clock,
            "New connections are refused: this process may open no more files. Raise its limit (ulimit -n, "
            f"LimitNOFILE= of systemd, minfds of supervisord), which is {_open_files()}; others are served.",
            "Connections are accepted again; {count} were refused within {seconds} s.",
        )

    def __call__(self, event: LogEvent) -> None:
        """Look at one event: Twisted closes whom it cannot keep (`address`), or gives up (`acceptError`)."""
        if event.get("log_namespace") != "twisted.internet.tcp.Port":
            return
        if "address" in event or event.get("acceptError") in ("EMFILE", "ENFILE"):
            self._episode.happened()


def _open_files() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _reason(problem: object) -> str:
    if isinstance(problem, Failure):
        problem = problem.value
    text = str(getattr(problem, "strerror", None) or problem)
    return "another process listens there" if text == "Cannot acquire lock" else text


def describe(port: Any) -> str:
    """What a person types to get here: `http://127.0.0.1:8000/`, or `unix:/path`."""
    address = port.getHost()
    host = getattr(address, "host", None)
    if host is None:
        name = address.name
        return "unix:" + (name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name))
    if ":" in host:
        host = f"[{host}]"
    scheme = "https" if direct_send.is_encrypted(port) else "http"
    return f"{scheme}://{host}:{address.port}/"


def addresses(ports: Sequence[Any]) -> list[str]:
    """`describe` of each."""
    return [describe(port) for port in ports]

"""A small HTTP listener of its own for probes and people: `/live`, `/ready`, `/startup`, `/state`, as JSON.

It answers one request a connection, GET or HEAD, and reads neither a body nor headers. It never listens where
clients come, so that it takes no path of the application's.
"""

# ruff: noqa: N802 (Twisted's names, called by Twisted)

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import Any

from twisted.internet import protocol
from twisted.python.failure import Failure

from headrace_asgi.errors import ConfigurationError

from .http import grammar
from .http.writer import ResponseWriter
from .listeners import make_endpoints
from .process_state import ProcessState
from .timers import Clock

__all__ = ["MAX_ADMIN_CONNECTIONS", "AdminFactory", "admin_answer", "admin_endpoint"]

#: Connections at the same time; more are closed at once. A probe needs one, for some milliseconds.
MAX_ADMIN_CONNECTIONS = 32
#: Bytes of a request's head, as of those that probes and browsers send.
_MAX_HEAD_BYTES = 8192
#: Seconds for all of a connection: a probe's own deadline is shorter.
_CONNECTION_SECONDS = 10.0

_REQUEST_LINE = re.compile(rb"([A-Z]{1,20}) (/[^ ?\r\n]*)(?:\?[^ \r\n]*)? HTTP/1\.([01])\r\n")
_HEADERS = (
    (b"Content-Type", b"application/json"),
    (b"Cache-Control", b"no-store"),
    (b"X-Content-Type-Options", b"nosniff"),
)


def admin_endpoint(text: str, reactor: Any) -> tuple[str, Any]:
    """(description, endpoint) of `host:port`, of `:port` on 127.0.0.1, or of the path of a unix socket.

    Raises ConfigurationError for anything else.
    """
    if "/" in text:
        ((_, endpoint),) = make_endpoints(reactor, unix_socket=text.removeprefix("unix:"))
        return f"--admin {text}", endpoint
    host, colon, port = text.rpartition(":")
    is_bare_ipv6 = ":" in host and not (host.startswith("[") and host.endswith("]"))
    if not colon or not port.isdecimal() or int(port) > 65535 or is_bare_ipv6:
        raise ConfigurationError(
            f"--admin takes host:port, as in 127.0.0.1:9000 or [::1]:9000, or the path of a unix socket with "
            f"a slash in it, not {text!r}"
        )
    ((_, endpoint),) = make_endpoints(reactor, host=host or None, port=int(port))
    return f"--admin {text}", endpoint


def admin_answer(state: ProcessState, method: str, path: str) -> tuple[int, dict[str, Any]]:
    """The status and the content for one request. Pure."""
    if method not in ("GET", "HEAD"):
        return 405, {"error": "only GET and HEAD"}
    if path == "/live":
        return 200, {"live": True}
    if path == "/ready":
        unready = state.unready
        return (503, {"ready": False, "unready": unready}) if unready else (200, {"ready": True})
    if path == "/startup":
        return (200 if state.has_started else 503), {"started": state.has_started}
    if path == "/state":
        return 200, state.as_dict()
    return 404, {"error": "there are /live, /ready, /startup and /state"}


class AdminProtocol(protocol.Protocol):
    """One connection: a head comes, an answer leaves, it is closed."""

    def __init__(self, state: ProcessState, clock: Clock, gone: Callable[[AdminProtocol], None]) -> None:
        self._state = state
        self._clock = clock
        self._gone = gone
        self._head = b""
        self._answered = False
        self._deadline: Any = None

    def connectionMade(self) -> None:
        self._deadline = self._clock.callLater(_CONNECTION_SECONDS, self._abort)

    def dataReceived(self, data: bytes) -> None:
        if self._answered:
            return
        self._head += data
        if len(self._head) > _MAX_HEAD_BYTES:
            self._answer("GET", "1.1", 431, {"error": f"a head has up to {_MAX_HEAD_BYTES} bytes"})
        elif b"\r\n\r\n" in self._head:
            line = _REQUEST_LINE.match(self._head)
            if line is None:
                self._answer("GET", "1.1", 400, {"error": "this is no request of HTTP/1.1"})
                return
            method, path = line[1].decode("ascii"), line[2].decode("latin-1")
            self._answer(method, f"1.{line[3].decode('ascii')}", *admin_answer(self._state, method, path))

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._gone(self)

    def _answer(self, method: str, version: str, status: int, content: dict[str, Any]) -> None:
        self._answered = True
        transport: Any = self.transport
        allow = ((b"Allow", b"GET, HEAD"),) if status == 405 else ()
        writer = ResponseWriter(method, version, keep_alive=False)
        body = json.dumps(content).encode("ascii") + b"\n"
        transport.write(writer.whole(status, (*_HEADERS, *allow), body, grammar.date(int(time.time()))))
        transport.loseConnection()

    def _abort(self) -> None:
        transport: Any = self.transport
        transport.abortConnection()


class AdminFactory(protocol.Factory):
    """Makes an `AdminProtocol` for each connection, up to a limit."""

    noisy = False

    def __init__(self, state: ProcessState, clock: Clock) -> None:
        self._state = state
        self._clock = clock
        self._open: set[AdminProtocol] = set()

    def buildProtocol(self, address: Any) -> AdminProtocol | None:
        if len(self._open) >= MAX_ADMIN_CONNECTIONS:
            return None
        made = AdminProtocol(self._state, self._clock, self._open.discard)
        self._open.add(made)
        return made

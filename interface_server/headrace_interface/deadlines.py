"""Every deadline of the interface server in one table: name, default, option, and what the client is told.

A deadline is absolute: a byte every ten seconds does not move it. `OFF` (an option value of -1 or 0)
means that there is none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any

__all__ = ["OFF", "RUNNING_NOTICE_SECONDS", "Deadlines", "Row", "rows", "spoken", "takeable_seconds"]

#: Seconds of a deadline that never comes.
OFF = math.inf

#: A message taken at the last moment is known to be running after a second; this is that and the way here.
RUNNING_NOTICE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Row:
    """What there is to know about one deadline besides its seconds."""

    option: str
    help: str
    status: int | None = None
    close_code: int | None = None


def _row(
    seconds: float, option: str, text: str, status: int | None = None, close_code: int | None = None
) -> Any:
    return field(default=seconds, metadata={"row": Row(option, text, status, close_code)})


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds of each deadline; the field's metadata says the rest."""

    introduction: float = _row(
        5, "--proxy-protocol-timeout", "for the header of the PROXY protocol, from the connection's beginning"
    )
    header: float = _row(10, "--header-timeout", "for the head of a request, from its first byte", 408)
    body: float = _row(30, "--body-timeout", "for a request body, plus a second for each 1,000 bytes", 408)
    idle: float = _row(75, "--idle-timeout", "a connection is kept open without a request")
    queue: float = _row(30, "--queue-timeout", "for a worker to take a request or handshake", 503, 1013)
    response: float = _row(120, "--http-timeout", "for a worker to answer, or to send the next part", 504)
    write: float = _row(60, "--write-timeout", "a client may read nothing of a response")
    linger: float = _row(2, "--linger-timeout", "input is thrown away after a response that ended early")
    handshake: float = _row(
        30, "--websocket-connect-timeout", "for the application to accept a WebSocket", 504, 1013
    )
    socket_age: float = _row(86_400, "--websocket-timeout", "a WebSocket stays open at most", close_code=1000)
    ping_interval: float = _row(20, "--ping-interval", "of silence before a WebSocket is pinged")
    ping: float = _row(30, "--ping-timeout", "for the pong to a ping", close_code=1011)
    slow_client: float = _row(
        5,
        "--slow-client-timeout",
        "for a WebSocket client to read 256 KiB while too much waits",
        close_code=1008,
    )
    close: float = _row(5, "--websocket-close-timeout", "for the client's part of a closing handshake")
    layer: float = _row(10, "--layer-timeout", "a new request waits while the layer is unreachable", 503)
    layer_grace: float = _row(
        60, "--layer-grace", "WebSockets stay open while the layer is unreachable", close_code=1013
    )
    drain: float = _row(25, "--drain-timeout", "for what is open to end after SIGTERM", close_code=1012)


def takeable_seconds(deadline_seconds: float) -> float:
    """Seconds that a message may wait for a worker whose client is turned away at the deadline.

    It expires earlier, so that a worker that took it in time has told us so when the deadline comes.
    """
    return max(deadline_seconds - RUNNING_NOTICE_SECONDS, deadline_seconds / 2)


def spoken(seconds: float) -> str:
    """A deadline in a sentence."""
    return "as long as it takes" if seconds == OFF else f"up to {seconds:g} s"


def rows() -> list[tuple[str, float, Row]]:
    """(name, default seconds, row) of each deadline, in the order of the table."""
    return [(each.name, float(each.default), each.metadata["row"]) for each in fields(Deadlines)]  # type: ignore[arg-type]

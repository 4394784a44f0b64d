"""What the exchange of a WebSocket tells its shell to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from headrace_asgi.close_codes import NORMAL, POLICY_VIOLATION

from ..transport_actions import Abort, Pause, Resume

if TYPE_CHECKING:
    from headrace_asgi.contract import Outcome

__all__ = [
    "AGED",
    "BUSY",
    "FLOOD",
    "GO",
    "SLOW",
    "Abort",
    "Accept",
    "Action",
    "Close",
    "Deny",
    "Forget",
    "Go",
    "Headers",
    "Pause",
    "ReadOn",
    "Resume",
    "SendFrame",
    "Tell",
    "Wait",
    "Write",
]

#: Pairs of name and value; those of the application come as lists.
Headers = Sequence[Sequence[bytes]]


@dataclass(frozen=True, slots=True)
class Accept:
    """Answer 101."""

    subprotocol: str | None
    headers: Headers


@dataclass(frozen=True, slots=True)
class Deny:
    """Answer with an HTTP response and close; `text` is the body where there is no `content`."""

    status: int
    text: str
    headers: Headers = ()
    content: bytes = b""


@dataclass(frozen=True, slots=True)
class Write:
    """Send the client a message."""

    payload: str | bytes


@dataclass(frozen=True, slots=True)
class Close:
    """Begin the closing handshake."""

    code: int
    reason: str


@dataclass(slots=True)
class SendFrame:
    """Put a `websocket.receive` on its channel; with `ordered` through the socket's mailbox.

    `order` was given once: a frame that is sent again has it still. `weight` is what it is charged.
    """

    payload: str | bytes
    order: int
    ordered: bool = field(default=False, compare=False)
    weight: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Go:
    """Frames may leave: `Exchange.take` has them."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Frames cannot leave, for this reason; they may try again later."""

    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Tell:
    """Send the `websocket.disconnect`."""

    code: int
    order: int


@dataclass(frozen=True, slots=True)
class Forget:
    """Unregister the socket without a disconnect."""


@dataclass(frozen=True, slots=True)
class ReadOn:
    """Look at what was read before the pause, and then read on."""


Action = (
    Accept | Deny | Write | Close | SendFrame | Go | Wait | Tell | Forget | Pause | Resume | ReadOn | Abort
)

GO = Go()

#: RFC 9110 10.2.3: a client that waits a moment will probably be served.
BUSY = Deny(503, "The server is busy; try again in a moment.", ((b"retry-after", b"1"),))

SLOW = Close(POLICY_VIOLATION, "the client reads too slowly")
FLOOD = Close(POLICY_VIOLATION, "too many control frames")
AGED = Close(NORMAL, "the connection reached its maximum age")

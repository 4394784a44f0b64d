"""What the HTTP exchange tells its shell to do, with all that it takes."""

from __future__ import annotations

from dataclasses import dataclass

from ..files.answer import Wanted

__all__ = [
    "Action",
    "AnswerError",
    "Await",
    "CutOff",
    "GiveCredit",
    "Hold",
    "Hurry",
    "Last",
    "LetGo",
    "NoteFull",
    "NoteLate",
    "Part",
    "PassOn",
    "SendRequest",
    "Shed",
    "Start",
    "TellLeft",
    "TimeOut",
    "Whole",
]


@dataclass(frozen=True, slots=True)
class SendRequest:
    """Put the request on its channel."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Keep the request until the layer is back."""


@dataclass(frozen=True, slots=True)
class Await:
    """From now on the client is waited with for this deadline, by its name in `Deadlines`."""

    deadline: str


@dataclass(frozen=True, slots=True)
class Hurry:
    """From now on it is waited for so long, but not longer than it would have been."""

    seconds: float


# Those that carry content are not frozen: that would double the price of making one.


@dataclass(slots=True)
class Whole:
    """Write a response that is one message; `content_bytes` of `data` are its content."""

    data: bytes
    status: int
    content_bytes: int
    keep_alive: bool


@dataclass(slots=True)
class Start:
    """Write the head and the first part of a response; who sends it may want credit."""

    data: bytes
    status: int
    content_bytes: int
    credit_channel: str | None


@dataclass(slots=True)
class Part:
    """Write one more part."""

    data: bytes
    content_bytes: int


@dataclass(slots=True)
class Last:
    """Write the last part."""

    data: bytes
    content_bytes: int
    keep_alive: bool


@dataclass(slots=True)
class PassOn:
    """Let this file be the response; `credit_channel` is that of the one that it replaces."""

    wanted: Wanted
    credit_channel: object


@dataclass(frozen=True, slots=True)
class GiveCredit:
    """Tell the sender of the parts how far the client is, if it wants to know."""


@dataclass(frozen=True, slots=True)
class NoteFull:
    """Note that workers do not keep up: the channel is full."""


@dataclass(frozen=True, slots=True)
class NoteLate:
    """Note that workers do not keep up: none took the request in time."""


@dataclass(frozen=True, slots=True)
class Shed:
    """Answer 503 with Retry-After and close."""


@dataclass(frozen=True, slots=True)
class TimeOut:
    """Answer 504 and close."""


@dataclass(frozen=True, slots=True)
class AnswerError:
    """Answer with this status and close; the client reads `reason` only if it is at fault itself (4xx).

    `credit_channel` is that of a response which could not be begun: its sender should stop.
    """

    status: int
    reason: str
    credit_channel: object = None


@dataclass(frozen=True, slots=True)
class CutOff:
    """Drop the connection in the middle of a response; `slow_reader` if it is the client's doing."""

    reason: str
    slow_reader: bool = False


@dataclass(frozen=True, slots=True)
class TellLeft:
    """Tell the application that its client left."""


@dataclass(frozen=True, slots=True)
class LetGo:
    """Let go of everything: the client is gone."""


Action = (
    SendRequest
    | Hold
    | Await
    | Hurry
    | Whole
    | Start
    | Part
    | Last
    | PassOn
    | GiveCredit
    | NoteFull
    | NoteLate
    | Shed
    | TimeOut
    | AnswerError
    | CutOff
    | TellLeft
    | LetGo
)

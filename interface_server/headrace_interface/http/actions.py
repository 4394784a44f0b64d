"""What the HTTP exchange tells its shell to do. The shell knows how, the exchange knows when."""

from __future__ import annotations

from enum import StrEnum

from headrace_asgi.enums import quick

__all__ = ["Action"]


@quick
class Action(StrEnum):
    """One thing to do."""

    #: Put the request on its channel.
    SEND = "send"
    #: Keep the request until the layer is back.
    HOLD = "hold"
    #: Write the application's response, which is one message.
    WHOLE = "whole"
    #: Write the head and the first part of the application's response.
    START = "start"
    #: Write one more part.
    PART = "part"
    #: Write the last part.
    LAST = "last"
    #: Answer 503 with Retry-After and close.
    SHED = "shed"
    #: Answer 504: a worker has the request and does not answer.
    TIMEOUT = "timeout"
    #: Answer with the status of the failure (500 if it names none).
    FAIL = "fail"
    #: Drop the connection: half a response was written, only that tells the client.
    ABORT = "abort"
    #: Tell the application that its client left.
    TELL_LEFT = "tell left"

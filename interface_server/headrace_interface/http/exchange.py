"""One request and its response: what happens when. Pure; every transition stands in `TABLE`.

    NEW ── begin ──► QUEUED ── running ──► RUNNING ── start ──► STREAMING ── last ──► DONE
      └─ layer down ─► HELD ── layer back ──► QUEUED

A request is QUEUED until a reply, a credit, or a note that it has been running for a second. The queue
deadline covers that state and is answered 503; the response deadline covers RUNNING (504), each part of the
request's body that is read, and each wait for a next part of the response (the connection is dropped).
It is UNSURE if nobody knows whether it was sent: it waits as a queued one does, and not longer, but 503 would
say that it did not run (504). It is LOST if the layer lost it, unless a worker has it: then that is heard
within a moment. A pair that is not in the table is ignored: it is late news.
"""

from __future__ import annotations

from enum import StrEnum

from headrace_asgi import messages
from headrace_asgi.contract import Outcome
from headrace_asgi.enums import quick
from headrace_asgi.envelope import Message
from headrace_asgi.errors import BadMessage

from ..deadlines import RUNNING_NOTICE_SECONDS, Deadlines
from .actions import Action

__all__ = ["TABLE", "Event", "HttpExchange", "RequestState"]


@quick
class RequestState(StrEnum):
    """Where a request is."""

    NEW = "new"
    HELD = "held"
    QUEUED = "queued"
    UNSURE = "unsure"
    LOST = "lost"
    RUNNING = "running"
    STREAMING = "streaming"
    DONE = "done"


@quick
class Event(StrEnum):
    """What can happen to it."""

    BEGIN = "begin"
    BEGIN_WITHOUT_LAYER = "begin without layer"
    LAYER_BACK = "layer back"
    FULL = "full"
    NOT_SENT = "not sent"
    UNKNOWN = "unknown"
    REFUSED = "refused"
    #: The layer came back empty.
    DATA_LOST = "data lost"
    RUNNING = "running"
    #: A worker read some of the request's body.
    READ = "read"
    WHOLE = "whole"
    START = "start"
    PART = "part"
    LAST = "last"
    #: The reply cannot be used, or nobody will reply, or the request's body broke.
    FAILED = "failed"
    DEADLINE = "deadline"
    CLIENT_LEFT = "client left"


_REPLIES: dict[Event, tuple[RequestState, Action | None]] = {
    Event.WHOLE: (RequestState.DONE, Action.WHOLE),
    Event.START: (RequestState.STREAMING, Action.START),
    Event.FAILED: (RequestState.DONE, Action.FAIL),
    Event.CLIENT_LEFT: (RequestState.DONE, Action.TELL_LEFT),
}
#: Until it is known that a worker has it.
_TAKEN: dict[Event, tuple[RequestState, Action | None]] = {
    **_REPLIES,
    Event.RUNNING: (RequestState.RUNNING, None),
    Event.READ: (RequestState.RUNNING, None),
}

#: state -> event -> (next state, what to do)
TABLE: dict[RequestState, dict[Event, tuple[RequestState, Action | None]]] = {
    RequestState.NEW: {
        Event.BEGIN: (RequestState.QUEUED, Action.SEND),
        Event.BEGIN_WITHOUT_LAYER: (RequestState.HELD, Action.HOLD),
    },
    RequestState.HELD: {
        Event.LAYER_BACK: (RequestState.QUEUED, Action.SEND),
        Event.DEADLINE: (RequestState.DONE, Action.SHED),
        Event.FAILED: (RequestState.DONE, Action.FAIL),
        # Nothing was sent, so nobody is told.
        Event.CLIENT_LEFT: (RequestState.DONE, None),
    },
    RequestState.QUEUED: {
        **_TAKEN,
        Event.FULL: (RequestState.DONE, Action.SHED),
        Event.REFUSED: (RequestState.DONE, Action.FAIL),
        Event.NOT_SENT: (RequestState.HELD, Action.HOLD),
        # It may be a POST that is running: neither repeated nor refused, the reply is waited for.
        Event.UNKNOWN: (RequestState.UNSURE, None),
        Event.DATA_LOST: (RequestState.LOST, None),
        Event.DEADLINE: (RequestState.DONE, Action.SHED),
    },
    RequestState.UNSURE: {
        **_TAKEN,
        Event.DATA_LOST: (RequestState.LOST, None),
        Event.DEADLINE: (RequestState.DONE, Action.TIMEOUT),
    },
    RequestState.LOST: {
        **_TAKEN,
        Event.DEADLINE: (RequestState.DONE, Action.SHED),
    },
    RequestState.RUNNING: {
        **_REPLIES,
        Event.READ: (RequestState.RUNNING, None),
        Event.DEADLINE: (RequestState.DONE, Action.TIMEOUT),
    },
    RequestState.STREAMING: {
        Event.PART: (RequestState.STREAMING, Action.PART),
        Event.LAST: (RequestState.DONE, Action.LAST),
        Event.FAILED: (RequestState.DONE, Action.ABORT),
        Event.DEADLINE: (RequestState.DONE, Action.ABORT),
        Event.CLIENT_LEFT: (RequestState.DONE, Action.TELL_LEFT),
    },
    RequestState.DONE: {},
}

_OUTCOMES = {
    Outcome.FULL: Event.FULL,
    Outcome.UNAVAILABLE: Event.NOT_SENT,
    Outcome.UNKNOWN: Event.UNKNOWN,
    Outcome.GONE: Event.REFUSED,
    Outcome.STALE: Event.REFUSED,
    Outcome.UNSENDABLE: Event.REFUSED,
}


class HttpExchange:
    """The state of one request.

    `message` is the last reply, with defaults filled in; `failure` is (status, text for the log) of the last
    FAILED event. Both are for the shell that carries out the action.
    """

    __slots__ = ("failure", "message", "moved", "state")

    def __init__(self) -> None:
        self.state = RequestState.NEW
        #: Whether the last event meant something, so that the deadline of the state starts anew. An unknown
        #: outcome is no reason to wait longer.
        self.moved = False
        self.message: Message = {}
        self.failure: tuple[int, str] = (500, "")

    @property
    def open(self) -> bool:
        """Whether something is still to come."""
        return self.state is not RequestState.DONE

    def end(self) -> None:
        """It is over, whatever the table says: the shell could not go on."""
        self.state = RequestState.DONE

    def happened(self, event: Event) -> Action | None:
        """Take an event; what to do about it, if anything."""
        found = TABLE[self.state].get(event)
        self.moved = found is not None and event is not Event.UNKNOWN
        if found is None:
            return None
        self.state, action = found
        return action

    def outcome(self, outcome: Outcome) -> Action | None:
        """The layer's answer to sending the request. Success needs nothing: the reply is waited for."""
        event = _OUTCOMES.get(outcome)
        if event is None:
            self.moved = False
            return None
        if event is Event.REFUSED:
            self.failure = (500, f"the layer refused the request ({outcome.name})")
        return self.happened(event)

    def failed(self, status: int, reason: str) -> Action | None:
        """Nobody will answer, or what was answered cannot be used; `reason` is for the log."""
        self.failure = (status, reason)
        return self.happened(Event.FAILED)

    def reply(self, message: Message) -> Action | None:
        """A message on the reply channel. One that breaks the specification fails the request."""
        streaming = self.state is RequestState.STREAMING
        try:
            if streaming:
                if "status" in message:
                    raise BadMessage("a second response: its first part was sent already")
                message = messages.HTTP_RESPONSE_CHUNK.check(message)
            else:
                message = messages.HTTP_RESPONSE.check(message)
        except BadMessage as error:
            return self.failed(500, str(error))
        self.message = message
        if message["more_content"]:
            return self.happened(Event.PART if streaming else Event.START)
        return self.happened(Event.LAST if streaming else Event.WHOLE)

    def deadline_seconds(self, deadlines: Deadlines) -> float:
        """How long the present state may last from now on."""
        state = self.state
        if state is RequestState.QUEUED or state is RequestState.UNSURE:
            return deadlines.queue
        if state is RequestState.LOST:
            return RUNNING_NOTICE_SECONDS
        if state is RequestState.HELD:
            return deadlines.layer
        return deadlines.response

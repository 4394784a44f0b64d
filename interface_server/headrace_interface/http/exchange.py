"""One request and its response: what happens when. Pure; every transition stands in `TABLE`.

    NEW ── begin ──► QUEUED ── running ──► RUNNING ── start ──► STREAMING ── last ──► DONE
      └─ layer down ─► HELD ── layer back ──► QUEUED

What happened goes in, with what is known of it; what to do comes out, with all that it takes. Nothing else
connects the exchange with its shell.

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

from ..deadlines import RUNNING_NOTICE_SECONDS
from ..files.answer import Wanted
from .actions import (
    Action,
    AnswerError,
    Await,
    CutOff,
    GiveCredit,
    Hold,
    Hurry,
    Last,
    LetGo,
    NoteFull,
    NoteLate,
    Part,
    PassOn,
    SendRequest,
    Shed,
    Start,
    TellLeft,
    TimeOut,
    Whole,
)
from .writer import BadResponse, ResponseWriter

__all__ = ["TABLE", "Actions", "Event", "HttpExchange", "RequestState", "RequestStep"]


@quick
class RequestState(StrEnum):
    """Where a request is."""

    NEW = "new"
    #: Waits here for the layer.
    HELD = "held"
    QUEUED = "queued"
    #: Nobody knows whether it was sent.
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
    #: No more requests are taken, or held, or its body cannot be read back.
    TURNED_AWAY = "turned away"
    LAYER_BACK = "layer back"
    FULL = "full"
    NOT_SENT = "not sent"
    UNKNOWN = "unknown"
    #: The layer came back empty.
    DATA_LOST = "data lost"
    RUNNING = "running"
    #: A worker read some of the request's body.
    READ = "read"
    WHOLE = "whole"
    START = "start"
    PART = "part"
    LAST = "last"
    #: The response is a file that is sent from here.
    REDIRECTED = "redirected"
    #: The reply cannot be used, or nobody will reply, or the layer or the client broke off the request.
    FAILED = "failed"
    DEADLINE = "deadline"
    #: The deadline came, but the client has yet to read what it was sent: the next part is not missed.
    BEHIND = "behind"
    #: The client took some of what waited for it.
    CLIENT_READ = "client read"
    #: A part of the response does not fit behind what waits for the client.
    TOO_MUCH = "too much"
    CLIENT_LEFT = "client left"


@quick
class RequestStep(StrEnum):
    """What a transition does; each is one action, made from what came with the event."""

    #: Put the request on its channel.
    SEND = "send"
    #: Keep the request until the layer is back.
    HOLD = "hold"
    #: The deadline of the next state begins.
    WAIT = "wait"
    #: A shorter deadline begins, unless less is left of the present one.
    HURRY = "hurry"
    #: Write the application's response, which is one message.
    WHOLE = "whole"
    #: Write the head and the first part of the application's response.
    START = "start"
    #: Write one more part.
    PART = "part"
    #: Write the last part.
    LAST = "last"
    #: Let a file be the response.
    PASS_ON = "pass on"
    #: Tell the worker how far its client is.
    CREDIT = "credit"
    #: Note that the channel is full.
    NOTE_FULL = "note full"
    #: Note that no worker took it in time.
    NOTE_LATE = "note late"
    #: Answer 503 with Retry-After and close.
    SHED = "shed"
    #: Answer 504: a worker has the request and does not answer.
    TIMEOUT = "timeout"
    #: Answer with the status of the failure.
    FAIL = "fail"
    #: Drop the connection: half a response was written, only that tells the client.
    ABORT = "abort"
    #: Tell the application that its client left.
    TELL_LEFT = "tell left"
    #: Let go of everything.
    LEAVE = "leave"


_S, _E = RequestState, Event
_Row = dict[Event, tuple[RequestState, tuple[RequestStep, ...]]]

_WAIT = (RequestStep.WAIT,)
_SHED = (RequestStep.SHED,)
_HOLD = (RequestStep.WAIT, RequestStep.HOLD)
_SEND = (RequestStep.WAIT, RequestStep.SEND)
_START = (RequestStep.WAIT, RequestStep.START, RequestStep.CREDIT)
_LEFT = (RequestStep.TELL_LEFT, RequestStep.LEAVE)

_REPLIES: _Row = {
    _E.WHOLE: (_S.DONE, (RequestStep.WHOLE,)),
    _E.START: (_S.STREAMING, _START),
    _E.REDIRECTED: (_S.DONE, (RequestStep.PASS_ON,)),
    _E.FAILED: (_S.DONE, (RequestStep.FAIL,)),
    _E.CLIENT_LEFT: (_S.DONE, _LEFT),
}
#: Until it is known that a worker has it.
_TAKEN: _Row = {
    **_REPLIES,
    _E.RUNNING: (_S.RUNNING, _WAIT),
    _E.READ: (_S.RUNNING, _WAIT),
}

#: state → event → (next state, steps)
TABLE: dict[RequestState, _Row] = {
    _S.NEW: {
        _E.BEGIN: (_S.QUEUED, _SEND),
        _E.BEGIN_WITHOUT_LAYER: (_S.HELD, _HOLD),
        _E.TURNED_AWAY: (_S.DONE, _SHED),
    },
    _S.HELD: {
        _E.LAYER_BACK: (_S.QUEUED, _SEND),
        _E.TURNED_AWAY: (_S.DONE, _SHED),
        _E.DEADLINE: (_S.DONE, _SHED),
        _E.FAILED: (_S.DONE, (RequestStep.FAIL,)),
        # Nothing was sent, so nobody is told.
        _E.CLIENT_LEFT: (_S.DONE, (RequestStep.LEAVE,)),
    },
    _S.QUEUED: {
        **_TAKEN,
        _E.FULL: (_S.DONE, (RequestStep.NOTE_FULL, RequestStep.SHED)),
        _E.NOT_SENT: (_S.HELD, _HOLD),
        # It may be a POST that is running: neither repeated nor refused, the reply is waited for.
        _E.UNKNOWN: (_S.UNSURE, ()),
        _E.DATA_LOST: (_S.LOST, (RequestStep.HURRY,)),
        _E.DEADLINE: (_S.DONE, (RequestStep.NOTE_LATE, RequestStep.SHED)),
    },
    _S.UNSURE: {
        **_TAKEN,
        _E.DATA_LOST: (_S.LOST, (RequestStep.HURRY,)),
        _E.DEADLINE: (_S.DONE, (RequestStep.TIMEOUT,)),
    },
    _S.LOST: {
        **_TAKEN,
        _E.DEADLINE: (_S.DONE, _SHED),
    },
    _S.RUNNING: {
        **_REPLIES,
        _E.READ: (_S.RUNNING, _WAIT),
        _E.DEADLINE: (_S.DONE, (RequestStep.TIMEOUT,)),
    },
    _S.STREAMING: {
        _E.PART: (_S.STREAMING, (RequestStep.WAIT, RequestStep.PART, RequestStep.CREDIT)),
        _E.LAST: (_S.DONE, (RequestStep.LAST,)),
        _E.FAILED: (_S.DONE, (RequestStep.ABORT,)),
        _E.DEADLINE: (_S.DONE, (RequestStep.ABORT,)),
        _E.BEHIND: (_S.STREAMING, _WAIT),
        _E.CLIENT_READ: (_S.STREAMING, (RequestStep.CREDIT, RequestStep.WAIT)),
        _E.TOO_MUCH: (_S.DONE, (RequestStep.TELL_LEFT, RequestStep.ABORT)),
        _E.CLIENT_LEFT: (_S.DONE, _LEFT),
    },
    _S.DONE: {},
}

_WAITS: dict[RequestState, Action] = {
    _S.HELD: Await("layer"),
    _S.QUEUED: Await("queue"),
    _S.RUNNING: Await("response"),
    _S.STREAMING: Await("response"),
}
#: Actions that are always the same.
_PLAIN: dict[RequestStep, Action] = {
    RequestStep.SEND: SendRequest(),
    RequestStep.HOLD: Hold(),
    RequestStep.HURRY: Hurry(RUNNING_NOTICE_SECONDS),
    RequestStep.CREDIT: GiveCredit(),
    RequestStep.NOTE_FULL: NoteFull(),
    RequestStep.NOTE_LATE: NoteLate(),
    RequestStep.SHED: Shed(),
    RequestStep.TIMEOUT: TimeOut(),
    RequestStep.TELL_LEFT: TellLeft(),
    RequestStep.LEAVE: LetGo(),
}

Actions = tuple[Action, ...]
_NOTHING: Actions = ()
#: Stands for the action that comes with the event.
_CARRIED = AnswerError(500, "")


def _actions(state: RequestState, steps: tuple[RequestStep, ...]) -> Actions:
    """The steps into a state as actions, as far as they are known before anything happens."""
    return tuple(_WAITS[state] if step is RequestStep.WAIT else _PLAIN.get(step, _CARRIED) for step in steps)


#: `TABLE` with actions instead of steps, so that a transition makes none.
_ROWS = {
    state: {event: (after, _actions(after, steps)) for event, (after, steps) in row.items()}
    for state, row in TABLE.items()
}

#: Looked up once: Python 3.11 takes as long for a member of an enumeration as for a call.
_NEW, _STREAMING, _DONE = _S.NEW, _S.STREAMING, _S.DONE
_WHOLE, _PART, _SENT = _E.WHOLE, _E.PART, Outcome.SENT

_OUTCOMES = {Outcome.FULL: _E.FULL, Outcome.UNAVAILABLE: _E.NOT_SENT, Outcome.UNKNOWN: _E.UNKNOWN}


#: The layer has the request, and its answer is awaited, or the next part of it.
_HANDED_OVER = frozenset((_S.QUEUED, _S.UNSURE, _S.RUNNING, _STREAMING))


class HttpExchange:
    """The state of one request. Every method takes what happened and answers what to do, in order."""

    __slots__ = ("_http_version", "_method", "_writer", "state")

    def __init__(self, method: str, http_version: str) -> None:
        self.state = _NEW
        self._method = method
        self._http_version = http_version
        #: Of a response in parts.
        self._writer: ResponseWriter | None = None

    def as_plain(self) -> Message | None:
        """What `resume` needs; None before the layer has the request, and after its end."""
        if self.state not in _HANDED_OVER:
            return None
        return {"state": self.state.value, "writer": self._writer and self._writer.as_plain()}

    def resume(self, plain: Message) -> None:
        """Wait for what another one waited for."""
        self.state = RequestState(plain["state"])
        if plain["writer"] is not None:
            self._writer = ResponseWriter(self._method, self._http_version, keep_alive=False)
            self._writer.resume(plain["writer"])

    @property
    def open(self) -> bool:
        """Whether something is still to come."""
        return self.state is not _DONE

    def happened(self, event: Event) -> Actions:
        """Take an event that says everything by its name."""
        return self._move(event)

    def outcome(self, outcome: Outcome) -> Actions:
        """The layer's answer to sending the request. Success needs nothing: the reply is waited for."""
        if outcome is _SENT:
            return _NOTHING
        if outcome is Outcome.UNSENDABLE:
            return self.failed(
                500, "it is too large for the layer, or of a type that the layer does not carry"
            )
        event = _OUTCOMES.get(outcome)
        return _NOTHING if event is None else self._move(event)

    def failed(self, status: int, reason: str, credit_channel: object = None) -> Actions:
        """Nobody will answer, or what was answered cannot be used; `reason` is for the log."""
        streaming = self.state is _STREAMING
        return self._move(
            Event.FAILED, CutOff(reason) if streaming else AnswerError(status, reason, credit_channel)
        )

    def deadline(self, behind: bool) -> Actions:
        """The present state has lasted too long; `behind` if the client has yet to read something."""
        if self.state is not _STREAMING:
            return self._move(Event.DEADLINE)
        if behind:
            return self._move(Event.BEHIND)
        return self._move(Event.DEADLINE, CutOff("the application did not send the next part in time"))

    def response(self, message: Message, keep_alive: bool, date: bytes, server: bytes) -> Actions:
        """The first message on the reply channel. One that breaks the specification fails the request.

        So does one that would split or lie: it is not written.
        """
        writer = ResponseWriter(self._method, self._http_version, keep_alive)
        try:
            checked = messages.HTTP_RESPONSE.check(message)
            status, headers, content = checked["status"], checked["headers"], checked["content"]
            if not checked["more_content"]:
                data = writer.whole(status, headers, content, date, server)
                return self._move(_WHOLE, Whole(data, status, len(content), writer.keep_alive))
            data = writer.start(status, headers, date, server) + writer.part(content, last=False)
        except (BadMessage, BadResponse) as error:
            return self.failed(500, str(error), message.get("credit_channel"))
        self._writer = writer
        return self._move(Event.START, Start(data, status, len(content), checked["credit_channel"]))

    def redirected(self, wanted: Wanted, credit_channel: object) -> Actions:
        """The first message names a file that is sent from here in its place."""
        return self._move(Event.REDIRECTED, PassOn(wanted, credit_channel))

    def part(self, message: Message, room_bytes: int) -> Actions:
        """A further message on the reply channel; `room_bytes` may be written behind what waits already."""
        writer = self._writer
        if writer is None:
            return _NOTHING
        try:
            if "status" in message:
                raise BadMessage("a second response: its first part was sent already")
            checked = messages.HTTP_RESPONSE_CHUNK.check(message)
            content, last = checked["content"], not checked["more_content"]
            data = writer.part(content, last)
        except (BadMessage, BadResponse) as error:
            return self.failed(500, str(error))
        if len(data) > room_bytes:
            reason = "its client reads too slowly and too much is waiting"
            return self._move(Event.TOO_MUCH, CutOff(reason, slow_reader=True))
        if last:
            return self._move(Event.LAST, Last(data, len(content), writer.keep_alive))
        return self._move(_PART, Part(data, len(content)))

    def _move(self, event: Event, carried: Action | None = None) -> Actions:
        """All events go through here. `carried` is the action of the step that is made of what came along."""
        row = _ROWS[self.state].get(event)
        if row is None:
            return _NOTHING
        self.state, actions = row
        if carried is None:
            return actions
        if len(actions) == 1:
            return (carried,)
        return tuple([carried if action is _CARRIED else action for action in actions])

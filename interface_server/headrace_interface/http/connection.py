"""One HTTP/1 connection: bytes in, what to do out. Pure; every transition stands in `TABLE`.

    READY ── request ──────────────────────────────► ANSWERING ── answered ──► READY
      └─ body awaited ──► COLLECTING ── body ready ──►   └─ answered last ──► ENDING ── written ──► CLOSING

There is no transport, reactor or clock here: the shell says what happened and when, then asks for the next
action until there is none. Requests of a pipeline are answered in order; what the client sends
meanwhile waits here, bounded by not reading from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from headrace_asgi.enums import quick

from ..settings import InterfaceSettings
from ..transport_actions import Abort, Pause, Resume
from .body import RequestBody
from .client_deadline import ClientDeadline, Expected
from .head import Endpoints, Refused, RequestHead
from .parser import Incoming, RequestParser
from .spool import Bodies

__all__ = [
    "TABLE",
    "Abort",
    "Action",
    "Begin",
    "CloseConnection",
    "ConnectionEvent",
    "ConnectionState",
    "ConnectionStep",
    "Continue",
    "Fail",
    "HandOver",
    "HttpConnection",
    "Leave",
    "Pause",
    "Refuse",
    "Resume",
    "TurnAway",
]

#: Bytes parsed at once while no body is read: bounds the requests that one read of 64 KiB can make.
_SLICE_BYTES = 4096
#: Seconds of quiet after which a connection is closed while the process ends. A client that is in the middle
#: of something sends its next request sooner, and learns from the answer that it is the last.
_QUIET_SECONDS = 1.0


@quick
class ConnectionState(StrEnum):
    """Where a connection is."""

    #: No request is in front; one may be arriving.
    READY = "ready"
    #: Too little of the body of the request in front has arrived to send it.
    COLLECTING = "collecting"
    #: The request in front is with its call; the rest of its body may still be arriving.
    ANSWERING = "answering"
    #: Nothing is read any more; what was written is leaving.
    ENDING = "ending"
    #: All was written; the client's end is awaited.
    CLOSING = "closing"
    #: It was dropped; its end will be told in a moment.
    ABORTED = "aborted"
    #: It belongs to a WebSocket now.
    UPGRADED = "upgraded"
    LOST = "lost"


@quick
class ConnectionEvent(StrEnum):
    """What can happen to it."""

    #: A request is whole.
    REQUEST = "request"
    BODY_AWAITED = "body awaited"
    #: The client sends its body when it is told to.
    CONTINUE_AWAITED = "continue awaited"
    BODY_READY = "body ready"
    UPGRADE = "upgrade"
    #: A request came while none are taken.
    TURNED_AWAY = "turned away"
    #: The client broke the rules, or took too long.
    REFUSED = "refused"
    #: The response is on its way, and another request may follow.
    ANSWERED = "answered"
    ANSWERED_LAST = "answered last"
    #: No request came for a while.
    QUIET = "quiet"
    #: The client has read everything.
    WRITTEN = "written"
    #: The client did not close its end.
    OVERDUE = "overdue"
    #: By the server, or because the response cannot be finished.
    ABORT = "abort"
    LOST = "lost"


@quick
class ConnectionStep(StrEnum):
    """What a transition does."""

    #: Give the request to a call.
    BEGIN = "begin"
    #: Answer 503 without asking anybody.
    TURN_AWAY = "turn away"
    #: Tell the client to send its body.
    CONTINUE = "continue"
    #: Hand the connection to a WebSocket.
    HAND_OVER = "hand over"
    #: Answer what the client did wrong.
    REFUSE = "refuse"
    #: Tell the call that the rest of its request will not come.
    FAIL = "fail"
    #: Close, by halves if the client may still be sending.
    CLOSE = "close"
    #: Drop the connection.
    ABORT = "abort"
    #: Tell the call that its client left.
    LEAVE = "leave"


_S, _E, _D = ConnectionState, ConnectionEvent, ConnectionStep
_Row = dict[ConnectionEvent, tuple[ConnectionState, ConnectionStep | None]]

_CUT: _Row = {_E.ABORT: (_S.ABORTED, _D.ABORT)}
_ENDS: _Row = {**_CUT, _E.LOST: (_S.LOST, None)}

#: state → event → (next state, step). A pair that is not in the table changes nothing.
TABLE: dict[ConnectionState, _Row] = {
    _S.READY: {
        _E.REQUEST: (_S.ANSWERING, _D.BEGIN),
        _E.BODY_AWAITED: (_S.COLLECTING, None),
        _E.CONTINUE_AWAITED: (_S.COLLECTING, _D.CONTINUE),
        _E.UPGRADE: (_S.UPGRADED, _D.HAND_OVER),
        _E.TURNED_AWAY: (_S.ANSWERING, _D.TURN_AWAY),
        _E.REFUSED: (_S.ENDING, _D.REFUSE),
        _E.QUIET: (_S.ENDING, None),
        **_ENDS,
    },
    _S.COLLECTING: {
        _E.BODY_READY: (_S.ANSWERING, _D.BEGIN),
        _E.REFUSED: (_S.ENDING, _D.REFUSE),
        **_ENDS,
    },
    _S.ANSWERING: {
        # The call knows whether a part of its response was written, and ends the connection either way.
        _E.REFUSED: (_S.ANSWERING, _D.FAIL),
        _E.ANSWERED: (_S.READY, None),
        _E.ANSWERED_LAST: (_S.ENDING, None),
        **_CUT,
        _E.LOST: (_S.LOST, _D.LEAVE),
    },
    _S.ENDING: {_E.WRITTEN: (_S.CLOSING, _D.CLOSE), **_ENDS},
    _S.CLOSING: {_E.OVERDUE: (_S.ABORTED, _D.ABORT), **_ENDS},
    # It may have been dropped in the middle of a call.
    _S.ABORTED: {_E.LOST: (_S.LOST, _D.LEAVE)},
    _S.UPGRADED: {},
    _S.LOST: {},
}


@dataclass(slots=True)
class Begin:
    """Give this request to a call."""

    incoming: Incoming


@dataclass(slots=True)
class TurnAway:
    """Answer this request 503."""

    incoming: Incoming


@dataclass(frozen=True, slots=True)
class Continue:
    """Write 100 Continue."""


@dataclass(slots=True)
class HandOver:
    """Let a WebSocket have the connection, and the bytes that came behind its request."""

    head: RequestHead
    early: bytes


@dataclass(slots=True)
class Refuse:
    """Write this answer to a client, to a request of this method as far as that is known."""

    refused: Refused
    method: str
    client: list[Any] | None


@dataclass(slots=True)
class Fail:
    """Let the call answer this, or drop the connection."""

    refused: Refused


@dataclass(frozen=True, slots=True)
class CloseConnection:
    """Close, or with `linger` only our end.

    Closing on bytes that were not read resets the connection, and the client may never see the response.
    """

    linger: bool


@dataclass(frozen=True, slots=True)
class Leave:
    """The client of the call, if there is one, is gone."""


Action = (
    Begin | TurnAway | Continue | HandOver | Refuse | Fail | CloseConnection | Abort | Leave | Pause | Resume
)

_PLAIN: dict[ConnectionStep, Action] = {_D.CONTINUE: Continue(), _D.ABORT: Abort(), _D.LEAVE: Leave()}
_PAUSE, _RESUME = Pause(), Resume()
#: Looked up once: Python 3.11 takes as long for a member of an enumeration as for a call.
_READY, _COLLECTING, _ANSWERING = _S.READY, _S.COLLECTING, _S.ANSWERING
_REQUEST, _ANSWERED = _E.REQUEST, _E.ANSWERED
_HEAD_DUE, _REQUEST_DUE, _NOTHING_DUE = Expected.HEAD, Expected.REQUEST, Expected.NOTHING
_READING = frozenset((_READY, _COLLECTING, _ANSWERING))


class HttpConnection:
    """The state of one connection. Whatever happens, `next_action` is asked afterwards, until it is None.

    Times are seconds of one monotonic clock. Nothing raises, but for bugs.
    """

    __slots__ = (
        "_bodies",
        "_body",
        "_deadline",
        "_early_bytes",
        "_incoming",
        "_kept",
        "_linger",
        "_parser",
        "_paused",
        "state",
    )

    def __init__(self, settings: InterfaceSettings, endpoints: Endpoints, bodies: Bodies) -> None:
        self.state = _READY
        self._bodies = bodies
        self._early_bytes = settings.max_early_bytes
        self._deadline = ClientDeadline(settings.deadlines)
        self._parser = RequestParser(settings, endpoints, bodies)
        #: The request in front, while it is collected or answered.
        self._incoming: Incoming | None = None
        self._body: RequestBody | None = None
        #: Bytes that were not parsed yet, because a request is being answered.
        self._kept = b""
        self._paused = False
        self._linger = False

    @property
    def paused(self) -> bool:
        """Whether the client is not read from."""
        return self._paused

    @property
    def may_be_handed_over(self) -> bool:
        """Whether it is between two requests, or one is with its call and nothing came behind that."""
        parser = self._parser
        if parser.in_head or parser.in_body or parser.ready or parser.refused or self._paused or self._kept:
            return False
        return self.state is _READY or self.state is _ANSWERING

    def resume(self, incoming: Incoming) -> None:
        """A request is with its call, as it was in another image of the process."""
        self.state, self._incoming = _ANSWERING, incoming

    @property
    def busy(self) -> bool:
        """Whether a request is being received or answered."""
        return self._deadline.expected not in (Expected.REQUEST, Expected.CLOSE)

    # What happened.

    def receive(self, data: bytes, backlogged: bool) -> None:
        """Bytes of the client; `backlogged` if it has yet to read something."""
        parser, state, body = self._parser, self.state, self._body
        if state not in _READING or parser.refused is not None:
            return
        waits = state is _ANSWERING and (body is None or body.complete)
        if waits or self._kept or backlogged or parser.after_upgrade is not None:
            # Reading goes on below the bound, so that a leaving client is noticed.
            self._keep(self._kept + data)
        else:
            self._parse(data)

    def answered(self, keep_alive: bool, draining: bool) -> None:
        """The response of the request in front was written, as far as the buffer goes."""
        if keep_alive:
            self._move(_ANSWERED)
            return
        # While draining the client may have sent a request more before it read that this was the last.
        self._linger = draining or not (self._body is None or self._body.complete)
        self._move(ConnectionEvent.ANSWERED_LAST)

    def lost(self) -> Action | None:
        """The connection is gone."""
        return self._move(ConnectionEvent.LOST)

    def abort(self) -> Action | None:
        """Somebody wants to drop it."""
        return self._move(ConnectionEvent.ABORT)

    def overdue(self, now: float, has_input: bool) -> Action | None:
        """The client has taken too long; `has_input` if something of it has yet to be read."""
        expected = self._deadline.expected
        self._deadline.stop()
        if expected is Expected.CLOSE:
            return self._move(ConnectionEvent.OVERDUE)
        if expected is not Expected.REQUEST:
            return self._refuse(Refused(408, "The request did not arrive in time."))
        if has_input:
            self._deadline.prolong(now, _QUIET_SECONDS)  # a request is there, or the client's end
            return None
        return self._move(ConnectionEvent.QUIET)

    def drain(self, now: float, has_input: bool) -> Action | None:
        """The process ends: the connection does as soon as the client was quiet for a while."""
        self._deadline.hasten(_QUIET_SECONDS)
        return self.overdue(now, has_input) if self._deadline.due <= now else None

    # What to do.

    def next_action(self, accepting: bool, backlogged: bool) -> Action | None:
        """What to do next: the one place where anything is started.

        `accepting` is whether requests are taken, `backlogged` whether the client has yet to read something.
        """
        while True:
            state, body = self.state, self._body
            if state is _ANSWERING:
                if body is None or body.complete:
                    return None
            elif state is _READY:
                if backlogged:
                    return None
                if self._parser.ready:
                    action = self._take(self._parser.ready.popleft(), accepting)
                    if action is not None:
                        return action
                    continue
            elif state is not _COLLECTING:
                return (
                    None if backlogged else self._move(ConnectionEvent.WRITTEN, CloseConnection(self._linger))
                )
            elif self._incoming is not None and body is not None and body.ready:
                return self._move(ConnectionEvent.BODY_READY, Begin(self._incoming))
            if self._parser.refused is not None:
                return self._refuse(self._parser.refused)
            if backlogged or not self._kept:
                return None
            data = self._kept
            self._keep(b"")
            self._parse(data)

    def flow(self, now: float) -> Action | None:
        """Whether to pause or to resume the client, if that changes.

        A paused transport does not notice that its client left: every pause ends with the deadline of the
        call that causes it.
        """
        if not (self._kept or self._paused or self._body is not None):
            return None
        paused = self._is_full()
        if paused is self._paused or self.state is ConnectionState.ABORTED:
            return None
        self._paused = paused
        if paused:
            self._deadline.pause(now)
            return _PAUSE
        self._deadline.resume(now)
        return _RESUME

    def client_due(self, now: float) -> float:
        """When the client has taken too long for what it owes now."""
        state, deadline, body = self.state, self._deadline, self._body
        if state is _READY:
            expected = _HEAD_DUE if self._parser.in_head else _REQUEST_DUE
        elif body is not None and not body.complete:
            deadline.expect(Expected.BODY, now, body.received)
            return deadline.due
        elif state is _ANSWERING:
            expected = _NOTHING_DUE
        else:
            expected = Expected.CLOSE if state is ConnectionState.CLOSING else _NOTHING_DUE
        if expected is not deadline.expected:
            deadline.expect(expected, now)
        return deadline.due

    # Reading.

    def _is_full(self) -> bool:
        if self.state not in _READING:
            return False
        if len(self._kept) > (0 if self._bodies.crowded else self._early_bytes):
            return True
        return self._body is not None and self._body.full

    def _keep(self, data: bytes) -> None:
        """Keep these bytes for later; they count with the bodies."""
        self._bodies.memory_bytes += len(data) - len(self._kept)
        self._kept = data

    def _parse(self, data: bytes) -> None:
        if len(data) > _SLICE_BYTES and self._parser.in_body is None:
            self._keep(data[_SLICE_BYTES:])
            data = data[:_SLICE_BYTES]
        self._parser.feed(data)

    def _take(self, incoming: Incoming, accepting: bool) -> Action | None:
        """Make a request the one in front."""
        self._incoming, self._body = incoming, incoming.body
        if not accepting:
            return self._move(ConnectionEvent.TURNED_AWAY, TurnAway(incoming))
        if incoming.framing.upgrade == b"websocket":
            early = (self._parser.after_upgrade or b"") + self._kept
            return self._move(ConnectionEvent.UPGRADE, HandOver(incoming.head, early))
        if incoming.body is None:
            return self._move(_REQUEST, Begin(incoming))
        if incoming.framing.expects_continue and not incoming.body.received:
            return self._move(ConnectionEvent.CONTINUE_AWAITED)
        return self._move(ConnectionEvent.BODY_AWAITED)

    def _refuse(self, refused: Refused) -> Action | None:
        """Nothing that the client sends is read any more."""
        if self.state is _ANSWERING:
            return self._move(ConnectionEvent.REFUSED, Fail(refused))
        self._linger = True
        method = "GET" if self._incoming is None else self._incoming.head.method
        return self._move(ConnectionEvent.REFUSED, Refuse(refused, method, self._parser.endpoints.client))

    # Moving.

    def _move(self, event: ConnectionEvent, carried: Action | None = None) -> Action | None:
        """All events go through here. `carried` is the action of the step that is made of what came along."""
        row = TABLE[self.state].get(event)
        if row is None:
            return None
        state, step = row
        self.state = state
        if state is not _ANSWERING and state is not _COLLECTING:
            self._incoming = self._body = None
            if state is not _READY:
                self._let_go()
        return None if step is None else carried or _PLAIN[step]

    def _let_go(self) -> None:
        """Nothing is read any more."""
        self._keep(b"")
        if self.state is ConnectionState.LOST or self.state is ConnectionState.UPGRADED:
            self._parser.stop()

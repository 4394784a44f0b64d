"""One HTTP/2 connection: bytes in, what to do out. Pure; every transition stands in `TABLE`.

    OPEN ── drain ──► WARNED ── told ──► LEAVING ── empty ──► CLOSING
      └─ client leaves ───────────────►   │
      └─ idle, violation ──────────────────────────────►

There is no transport, reactor or clock here: the shell says what happened and when, carries out the actions
until there is none, and writes the output until there is none. The streams are in `stream`, the rules of
frames in h2 behind `codec`, what is too much in `floods`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from h2 import events

from headrace_asgi.enums import quick

from ..http.body import RequestBody, too_large
from ..http.client_deadline import ClientDeadline, Expected
from ..http.connection import Begin, Fail, HandOver, Leave, Refuse, TurnAway
from ..http.head import CHUNKED, Endpoints, Framing, Refused
from ..http.parser import Incoming
from ..http.spool import Bodies, Spool
from ..settings import InterfaceSettings
from ..transport_actions import Abort
from ..write_buffer import Backlog
from .codec import ErrorCodes, FrameCodec
from .fields import Malformed, check_trailers, read_fields
from .floods import FrameGate, Violation
from .stream import Http2Stream, StreamEvent, StreamState, StreamStep

__all__ = [
    "TABLE",
    "BodyArrived",
    "EndConnection",
    "Flooded",
    "Http2Action",
    "Http2Connection",
    "Http2Event",
    "Http2State",
    "Http2Step",
    "SocketBytes",
    "WentWrong",
]

#: Bytes of content that are made into frames at once, of all streams in turn.
_OUTPUT_BYTES = 64 * 1024
#: Seconds that a client has to answer that it knows of the end; then it is told up to which stream it is
#: served.
_WARNING_SECONDS = 1.0


@quick
class Http2State(StrEnum):
    """Where a connection is."""

    OPEN = "open"
    #: The client knows that it should open no more streams; those on their way are served.
    WARNED = "warned"
    #: No more streams are served; it ends with the last one.
    LEAVING = "leaving"
    #: All was said; the client's end is awaited.
    CLOSING = "closing"
    LOST = "lost"


@quick
class Http2Event(StrEnum):
    """What can happen to it."""

    #: The process ends.
    DRAIN = "drain"
    #: The client answered to the warning, or had the time to.
    TOLD = "told"
    CLIENT_LEAVES = "client leaves"
    #: No request came for a while, or its head was not whole in time.
    IDLE = "idle"
    #: The last stream has ended.
    EMPTY = "empty"
    #: The client broke a rule of the connection, or floods it.
    VIOLATION = "violation"
    #: The client did not close its end.
    OVERDUE = "overdue"
    ABORT = "abort"
    LOST = "lost"


@quick
class Http2Step(StrEnum):
    """What a transition does."""

    #: Say that the end is near (GOAWAY that names no stream), and ask for an answer.
    WARN = "warn"
    #: Say up to which stream is served.
    GO_AWAY = "go away"
    #: Say what was wrong.
    ACCUSE = "accuse"
    #: Tell the calls of all streams that their client left.
    LET_GO = "let go"
    #: Write what there is, then close.
    CLOSE = "close"
    #: Drop the connection.
    ABORT = "abort"


_S, _E, _D = Http2State, Http2Event, Http2Step
_Row = dict[Http2Event, tuple[Http2State, tuple[Http2Step, ...]]]

_ENDS: _Row = {
    _E.VIOLATION: (_S.CLOSING, (_D.ACCUSE, _D.LET_GO, _D.CLOSE)),
    _E.ABORT: (_S.CLOSING, (_D.ABORT,)),
    _E.LOST: (_S.LOST, (_D.LET_GO,)),
}

#: state → event → (next state, steps). A pair that is not in the table changes nothing.
TABLE: dict[Http2State, _Row] = {
    _S.OPEN: {
        _E.DRAIN: (_S.WARNED, (_D.WARN,)),
        _E.CLIENT_LEAVES: (_S.LEAVING, ()),
        _E.IDLE: (_S.CLOSING, (_D.GO_AWAY, _D.LET_GO, _D.CLOSE)),
        **_ENDS,
    },
    _S.WARNED: {
        _E.TOLD: (_S.LEAVING, (_D.GO_AWAY,)),
        _E.CLIENT_LEAVES: (_S.LEAVING, (_D.GO_AWAY,)),
        _E.IDLE: (_S.CLOSING, (_D.GO_AWAY, _D.LET_GO, _D.CLOSE)),
        **_ENDS,
    },
    _S.LEAVING: {
        _E.EMPTY: (_S.CLOSING, (_D.CLOSE,)),
        _E.IDLE: (_S.CLOSING, (_D.LET_GO, _D.CLOSE)),
        **_ENDS,
    },
    _S.CLOSING: {
        _E.OVERDUE: (_S.CLOSING, (_D.ABORT,)),
        _E.ABORT: (_S.CLOSING, (_D.ABORT,)),
        _E.LOST: (_S.LOST, (_D.LET_GO,)),
    },
    _S.LOST: {},
}


@dataclass(frozen=True, slots=True)
class BodyArrived:
    """More of a request is there: watch for the rest, and tell its call if it has one."""


@dataclass(slots=True)
class SocketBytes:
    """What a client said on a WebSocket."""

    data: bytes


@dataclass(frozen=True, slots=True)
class EndConnection:
    """Write what is there, then close; our end first, if there is a way to."""


@dataclass(frozen=True, slots=True)
class Flooded:
    """Note that the connection ends because of too much of `what`."""

    what: str


@dataclass(frozen=True, slots=True)
class WentWrong:
    """Count what a client did, under this name."""

    name: str


#: What the shell does for a stream, or for the connection.
Http2Action = (
    Begin
    | TurnAway
    | HandOver
    | SocketBytes
    | Fail
    | Leave
    | Refuse
    | BodyArrived
    | EndConnection
    | Abort
    | Flooded
    | WentWrong
)
_LEAVE, _BODY_ARRIVED = Leave(), BodyArrived()


@dataclass(frozen=True, slots=True)
class _Why:
    """What came along with an event of a stream."""

    refused: Refused
    #: Of a request whose head cannot be read.
    method: str = ""
    #: What a reset says.
    code: int = ErrorCodes.INTERNAL_ERROR


_NO_REASON = _Why(Refused(500, ""))
_MALFORMED = replace(_NO_REASON, code=ErrorCodes.PROTOCOL_ERROR)
_BEGINS = (Begin, TurnAway, HandOver, SocketBytes)
_READING = frozenset((_S.OPEN, _S.WARNED, _S.LEAVING))


class Http2Connection:
    """The state of one connection. Whatever happens, `next_action` and `output` are asked afterwards.

    Times are seconds of one monotonic clock. Nothing raises, but for bugs.
    """

    def __init__(
        self, settings: InterfaceSettings, endpoints: Endpoints, bodies: Bodies, backlog: Backlog, now: float
    ) -> None:
        self.state = Http2State.OPEN
        self.streams: dict[int, Http2Stream] = {}
        #: Streams whose clients took some of what waited, since this was looked at.
        self.progress: set[Http2Stream] = set()
        #: Streams that have ended, since this was looked at.
        self.over: list[Http2Stream] = []
        self._settings = settings
        self._endpoints = endpoints
        self._bodies = bodies
        self._backlog = backlog
        self._codec = FrameCodec(settings)
        self._gate = FrameGate(settings, now)
        self._deadline = ClientDeadline(settings.deadlines)
        self._actions: deque[tuple[Http2Stream | None, Http2Action]] = deque()
        #: Streams that have something to write, in the order of their turns.
        self._ready: dict[Http2Stream, None] = {}
        #: Bytes by which the connection's window is smaller than it was.
        self._consumed_bytes = 0
        self._last_stream_id = 0
        self._heads = -1
        self._warned_at = now
        self._now = now
        self._accepting = True

    # What happened.

    def receive(self, data: bytes, now: float, accepting: bool) -> None:
        """Bytes of the client; `accepting` is whether requests are taken."""
        if self.state not in _READING:
            return
        self._now, self._accepting = now, accepting
        try:
            passed = self._gate.feed(data, now)
            if passed.leaving:
                self._move(Http2Event.CLIENT_LEAVES)
            for event in self._codec.receive(passed.data) if passed.data else ():
                handler = _EVENTS.get(event.__class__)
                if handler is not None:
                    handler(self, event)
            for _ in range(self._codec.late_frames()):
                self._gate.count("late frames", now)
        except Violation as violation:
            self._violated(violation)

    def answered(self, stream: Http2Stream) -> None:
        """The response of a stream was written, as far as its buffer goes."""
        self._happened(stream, StreamEvent.ANSWERED)
        self._ready[stream] = None

    def moved(self, stream: Http2Stream) -> None:
        """Somebody took some of the stream's body, or may have."""
        self._give_back(stream)

    def abort_stream(self, stream: Http2Stream, code: int = ErrorCodes.INTERNAL_ERROR) -> None:
        """The stream cannot go on."""
        self._happened(stream, StreamEvent.ABORT, replace(_NO_REASON, code=code))

    def stream_overdue(self, stream: Http2Stream) -> None:
        """The rest of the body did not come in time."""
        late = Refused(408, "The request did not arrive in time.")
        self._happened(stream, StreamEvent.REFUSED, _Why(late))

    def is_let(self, stream: Http2Stream) -> bool:
        """Whether the client lets a stream go on, so that it is the connection that holds it up."""
        return self._codec.has_window(stream.id)

    def drain(self, now: float) -> None:
        """The process ends."""
        self._now = now
        self._move(Http2Event.DRAIN)

    def overdue(self, now: float) -> None:
        """The client has taken too long for what it owes to the connection."""
        self._now = now
        expected = self._deadline.expected
        self._deadline.stop()
        if expected is Expected.CLOSE:
            self._move(Http2Event.OVERDUE)
        elif self.state is Http2State.WARNED and not self._gate.in_head:
            self._move(Http2Event.TOLD)
        else:
            self._move(Http2Event.IDLE)

    def abort(self) -> None:
        """Somebody wants to drop it."""
        self._move(Http2Event.ABORT)

    def lost(self) -> None:
        """The connection is gone."""
        self._move(Http2Event.LOST)

    # What to do.

    def next_action(self) -> tuple[Http2Stream | None, Http2Action] | None:
        """What to do next, and for which stream; None for the connection."""
        while self._actions:
            stream, action = self._actions.popleft()
            if stream is None or stream.state is not StreamState.CLOSED or not isinstance(action, _BEGINS):
                return stream, action
            # The client has given it up in the same breath: nobody needs to hear of it.
            if isinstance(action, Begin | TurnAway) and action.incoming.body is not None:
                action.incoming.body.close()
        return None

    def output(self, backlogged: bool) -> bytes:
        """What to write next; no content while the client has yet to read what the transport has."""
        if backlogged:
            return self._codec.taken()
        self._write_streams()
        data = self._codec.taken()
        if not data and not self.streams:
            self._move(Http2Event.EMPTY)
        return data

    def client_due(self, now: float) -> float:
        """When the client has taken too long for what it owes to the connection."""
        deadline, gate = self._deadline, self._gate
        if self.state is Http2State.CLOSING:
            expected = Expected.CLOSE
        elif gate.in_head or (gate.in_frame and not self.streams):
            expected = Expected.HEAD
            if self._heads != gate.heads:
                self._heads = gate.heads
                deadline.expect(Expected.NOTHING, now)
        elif self.state is Http2State.WARNED:
            return self._warned_at + _WARNING_SECONDS
        else:
            expected = Expected.NOTHING if self.streams else Expected.REQUEST
        if expected is not Expected.HEAD:
            self._heads = -1
        if expected is not deadline.expected:
            deadline.expect(expected, now)
        return deadline.due

    # Events of h2.

    def _request(self, event: events.RequestReceived) -> None:
        stream_id, ended = event.stream_id, event.stream_ended is not None
        if self.state is Http2State.LEAVING or len(self.streams) >= self._settings.http2_streams:
            self._codec.reset(stream_id, ErrorCodes.REFUSED_STREAM)
            self._note("http2_streams_refused")
            return
        self._last_stream_id = stream_id
        # However short it is, the connection was used.
        self._deadline.expect(Expected.NOTHING, self._now)
        deadline = ClientDeadline(self._settings.deadlines)
        stream = Http2Stream(stream_id, self._backlog, self._is_ready, deadline, ended)
        self.streams[stream_id] = stream
        try:
            head, framing = read_fields(event.headers, ended, self._endpoints, self._settings)
            incoming = Incoming(head, framing, self._body(framing))
        except Malformed:
            self._fault(stream)
        except Refused as refused:
            self._happened(stream, StreamEvent.REFUSED, _Why(refused, _method_of(event)))
        else:
            happened = stream.take(incoming)
            self._happened(stream, happened if self._accepting else StreamEvent.TURNED_AWAY)
            if incoming.body is not None:
                self._actions.append((stream, _BODY_ARRIVED))

    def _data(self, event: events.DataReceived) -> None:
        self._consumed_bytes += event.flow_controlled_length
        if self._consumed_bytes >= self._settings.http2_window_bytes:
            self._codec.replenish(self._consumed_bytes)
            self._consumed_bytes = 0
        stream = self.streams.get(event.stream_id)
        if stream is None:
            return
        stream.unreturned_bytes += event.flow_controlled_length
        data, ends = event.data or b"", event.stream_ended is not None
        if not ends and stream.state is not StreamState.TUNNEL:
            self._gate.content(len(data), self._now)
        self._arrived(stream, data, ends)

    def _trailers(self, event: events.TrailersReceived) -> None:
        stream = self.streams.get(event.stream_id)
        if stream is None:
            return
        try:
            check_trailers(event.headers)
        except Malformed:
            self._fault(stream)
        else:
            self._arrived(stream, b"", ends=True)

    def _reset(self, event: events.StreamReset) -> None:
        stream = self.streams.get(event.stream_id)
        if stream is not None:
            self._happened(stream, StreamEvent.RESET)

    def _window(self, event: events.WindowUpdated) -> None:
        if event.stream_id:
            stream = self.streams.get(event.stream_id)
            if stream is not None:
                self._ready[stream] = None
        else:
            self._all_ready()

    def _settings_changed(self, event: events.RemoteSettingsChanged) -> None:
        self._codec.settings_changed()
        self._all_ready()

    def _ponged(self, event: events.PingAckReceived) -> None:
        self._move(Http2Event.TOLD)

    # Requests.

    def _arrived(self, stream: Http2Stream, data: bytes, ends: bool) -> None:
        """Content of a stream that is wanted, or was."""
        if not stream.arrived(len(data), ends):
            self._fault(stream)
            return
        body = stream.body
        if body is None:
            self._said(stream, data, ends)
            return
        try:
            if data:
                body.feed(data)
        except Refused as refused:
            self._happened(stream, StreamEvent.REFUSED, _Why(refused))
            return
        body.complete = stream.ended
        if body.ready:
            self._happened(stream, StreamEvent.BODY_READY)
        self._actions.append((stream, _BODY_ARRIVED))
        self._give_back(stream)

    def _said(self, stream: Http2Stream, data: bytes, ends: bool) -> None:
        """Bytes on a WebSocket; of a request that is answered nobody wants them."""
        if data and stream.state is StreamState.TUNNEL:
            self._actions.append((stream, SocketBytes(data)))
            self._give_back(stream)
        if ends:
            self._happened(stream, StreamEvent.CLIENT_ENDED)
            self._ready[stream] = None

    def _give_back(self, stream: Http2Stream) -> None:
        """Let the client send as much more as was taken, when that is worth a frame."""
        if stream.unreturned_bytes * 2 >= self._settings.http2_window_bytes and stream.returnable:
            self._codec.replenish(stream.unreturned_bytes, stream.id)
            stream.unreturned_bytes = 0

    def _body(self, framing: Framing) -> RequestBody | None:
        """Raises Refused(413)."""
        settings = self._settings
        limit = settings.max_body_bytes
        if limit and framing.body_bytes != CHUNKED and framing.body_bytes > limit:
            raise too_large(limit)
        if not framing.body_bytes:
            return None
        return RequestBody(
            Spool(self._bodies),
            limit,
            settings.inline_body_bytes,
            settings.body_window_bytes,
            settings.stream_uploads,
        )

    def _fault(self, stream: Http2Stream) -> None:
        """The client broke a rule of HTTP/2 with one request (RFC 9113 8.1.1)."""
        self._happened(stream, StreamEvent.ABORT, _MALFORMED)
        self._note("http2_malformed")

    def _note(self, name: str) -> None:
        """Count what cost the client nothing and us a reset. Raises Violation if that is too often."""
        self._actions.append((None, WentWrong(name)))
        self._gate.count("faults", self._now)

    # Writing.

    def _all_ready(self) -> None:
        for stream in self.streams.values():
            self._ready[stream] = None

    def _is_ready(self, stream: Http2Stream) -> None:
        self._ready[stream] = None

    def _write_streams(self) -> None:
        """One frame of each stream in turn, as far as the windows go, and not too much at once."""
        left, frames = _OUTPUT_BYTES, 0
        while self._ready and left > 0:
            stream = next(iter(self._ready))
            del self._ready[stream]
            sent = self._write_some(stream)
            if sent:
                left -= sent
                frames += 1
                self.progress.add(stream)
        if frames:
            self._gate.sent(frames)

    def _write_some(self, stream: Http2Stream) -> int:
        """The head of a response, and a frame of its content; how many bytes of content."""
        buffer, codec = stream.buffer, self._codec
        if buffer.fields is not None:
            fields, buffer.fields = buffer.fields, None
            ends = stream.answered and not buffer.backlogged
            codec.send_fields(stream.id, fields, ends)
            if ends:
                self._happened(stream, StreamEvent.WRITTEN)
                return 0
        content = buffer.take(codec.room(stream.id)) if buffer.backlogged else b""
        ends = stream.answered and not buffer.backlogged
        if content or ends:
            codec.send_content(stream.id, content, ends)
        if ends:
            self._happened(stream, StreamEvent.WRITTEN)
        elif content and buffer.backlogged:
            self._ready[stream] = None
        return len(content)

    # Moving.

    def _happened(self, stream: Http2Stream, event: StreamEvent, why: _Why = _NO_REASON) -> None:
        """All events of streams go through here. `why` has what came along."""
        for step in stream.move(event):
            if step is StreamStep.CONTINUE:
                self._codec.inform(stream.id, 100)
            elif step is StreamStep.RESET:
                self._codec.reset(stream.id, why.code)
            elif step is StreamStep.STOP:
                if not stream.ended:
                    self._codec.reset(stream.id, ErrorCodes.NO_ERROR)
            else:
                self._actions.append((stream, self._action(step, stream, why)))
        if stream.state is StreamState.CLOSED:
            if self.streams.pop(stream.id, None) is not None:
                self.over.append(stream)
            self._ready.pop(stream, None)
            self.progress.discard(stream)

    def _action(self, step: StreamStep, stream: Http2Stream, why: _Why) -> Http2Action:
        """What the shell does of a step."""
        incoming = stream.incoming
        if step is StreamStep.REFUSE:
            method = why.method if incoming is None else incoming.head.method
            return Refuse(why.refused, method, self._endpoints.client)
        if step is StreamStep.FAIL:
            return Fail(why.refused)
        if incoming is None or step is StreamStep.LEAVE:
            return _LEAVE
        if step is StreamStep.HAND_OVER:
            return HandOver(incoming.head, b"")
        return Begin(incoming) if step is StreamStep.BEGIN else TurnAway(incoming)

    def _violated(self, violation: Violation) -> None:
        if violation.flood:
            self._actions.append((None, Flooded(violation.flood)))
        else:
            self._actions.append((None, WentWrong("http2_violations")))
        self._move(Http2Event.VIOLATION, violation)

    def _move(self, event: Http2Event, violation: Violation | None = None) -> None:
        """All events of the connection go through here."""
        row = TABLE[self.state].get(event)
        if row is None:
            return
        self.state, steps = row
        for step in steps:
            if step is Http2Step.WARN:
                self._warned_at = self._now
                self._codec.go_away()
                self._codec.ping()
            elif step is Http2Step.GO_AWAY:
                self._codec.go_away(self._last_stream_id)
            elif step is Http2Step.ACCUSE and violation is not None:
                self._codec.go_away(self._last_stream_id, violation.code, violation.flood.encode())
            elif step is Http2Step.LET_GO:
                for stream in list(self.streams.values()):
                    self._happened(stream, StreamEvent.LOST)
            else:
                self._actions.append((None, Abort() if step is Http2Step.ABORT else EndConnection()))


def _method_of(event: events.RequestReceived) -> str:
    """The method that a head names which cannot be read otherwise."""
    return next((value.decode("latin-1") for name, value in event.headers if name == b":method"), "GET")


#: What is done about each event of h2; about the others nothing is.
_EVENTS: dict[type, Callable[[Http2Connection, Any], None]] = {
    events.RequestReceived: Http2Connection._request,
    events.DataReceived: Http2Connection._data,
    events.TrailersReceived: Http2Connection._trailers,
    events.StreamReset: Http2Connection._reset,
    events.WindowUpdated: Http2Connection._window,
    events.RemoteSettingsChanged: Http2Connection._settings_changed,
    events.PingAckReceived: Http2Connection._ponged,
}

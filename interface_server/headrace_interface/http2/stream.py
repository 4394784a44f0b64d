"""One request of an HTTP/2 connection and its response. Pure; every transition stands in `TABLE`.

    NEW ── request ────────────────────────────────► ANSWERING ── answered ──► SENDING ── written ──► CLOSED
      ├─ body awaited ──► COLLECTING ── body ready ──►
      └─ upgrade ──► TUNNEL ── answered, client ended ──► DRAINING ── written ──► CLOSED

These are the states of a request; those of the stream that carries it (RFC 9113 5.1) are kept by h2.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import StrEnum
from functools import partial

from headrace_asgi.enums import quick

from ..deadlines import OFF
from ..http.body import RequestBody
from ..http.client_deadline import ClientDeadline, Expected
from ..http.head import CHUNKED
from ..http.parser import Incoming
from ..http.writer import Headed
from ..write_buffer import Backlog

__all__ = ["TABLE", "Http2Stream", "StreamBuffer", "StreamEvent", "StreamState", "StreamStep"]


@quick
class StreamState(StrEnum):
    """Where a request is."""

    NEW = "new"
    #: Too little of its body has arrived to send it.
    COLLECTING = "collecting"
    #: It is with its call; the rest of its body may still be arriving.
    ANSWERING = "answering"
    #: It is a WebSocket.
    TUNNEL = "tunnel"
    #: The WebSocket is over; what it said waits for the client's window.
    DRAINING = "draining"
    #: The response is whole, and waits for the client's window.
    SENDING = "sending"
    CLOSED = "closed"


@quick
class StreamEvent(StrEnum):
    """What can happen to it."""

    #: Its head is there, and it has no body.
    REQUEST = "request"
    BODY_AWAITED = "body awaited"
    #: The client sends its body when it is told to.
    CONTINUE_AWAITED = "continue awaited"
    BODY_READY = "body ready"
    #: It asks for a WebSocket.
    UPGRADE = "upgrade"
    #: The client says no more on its WebSocket.
    CLIENT_ENDED = "client ended"
    #: It came while none are taken.
    TURNED_AWAY = "turned away"
    #: The client is told with a status what it did wrong, or that it took too long.
    REFUSED = "refused"
    #: The response, or what a WebSocket has to say, is whole.
    ANSWERED = "answered"
    #: The client's windows took everything.
    WRITTEN = "written"
    #: The client wants no answer any more.
    RESET = "reset"
    #: The client broke a rule of HTTP/2, or did not read, or the response cannot be finished.
    ABORT = "abort"
    #: The connection is gone, or ends.
    LOST = "lost"


@quick
class StreamStep(StrEnum):
    """What a transition does."""

    #: Give the request to a call.
    BEGIN = "begin"
    #: Answer 503 without asking anybody.
    TURN_AWAY = "turn away"
    #: Give the stream to a WebSocket.
    HAND_OVER = "hand over"
    #: Tell the client to send its body.
    CONTINUE = "continue"
    #: Answer what the client did wrong.
    REFUSE = "refuse"
    #: Tell the call that the rest of its request will not come.
    FAIL = "fail"
    #: Tell the call, or the WebSocket, that its client left.
    LEAVE = "leave"
    #: Reset the stream.
    RESET = "reset"
    #: Reset the stream, without blame, if the client is still sending (RFC 9113 8.1).
    STOP = "stop"


_S, _E, _D = StreamState, StreamEvent, StreamStep
_Row = dict[StreamEvent, tuple[StreamState, tuple[StreamStep, ...]]]

_LEAVES: _Row = {
    _E.RESET: (_S.CLOSED, (_D.LEAVE,)),
    _E.ABORT: (_S.CLOSED, (_D.RESET, _D.LEAVE)),
    _E.LOST: (_S.CLOSED, (_D.LEAVE,)),
}
_ENDS: _Row = {
    _E.RESET: (_S.CLOSED, ()),
    _E.ABORT: (_S.CLOSED, (_D.RESET,)),
    _E.LOST: (_S.CLOSED, ()),
}

#: state → event → (next state, steps). A pair that is not in the table changes nothing.
TABLE: dict[StreamState, _Row] = {
    _S.NEW: {
        _E.REQUEST: (_S.ANSWERING, (_D.BEGIN,)),
        _E.BODY_AWAITED: (_S.COLLECTING, ()),
        _E.CONTINUE_AWAITED: (_S.COLLECTING, (_D.CONTINUE,)),
        _E.TURNED_AWAY: (_S.ANSWERING, (_D.TURN_AWAY,)),
        _E.UPGRADE: (_S.TUNNEL, (_D.HAND_OVER,)),
        _E.REFUSED: (_S.SENDING, (_D.REFUSE,)),
        _E.ABORT: (_S.CLOSED, (_D.RESET,)),
    },
    _S.COLLECTING: {
        _E.BODY_READY: (_S.ANSWERING, (_D.BEGIN,)),
        _E.REFUSED: (_S.SENDING, (_D.REFUSE,)),
        **_ENDS,
    },
    _S.ANSWERING: {
        # The call knows whether a part of its response was written, and ends the stream either way.
        _E.REFUSED: (_S.ANSWERING, (_D.FAIL,)),
        _E.ANSWERED: (_S.SENDING, ()),
        **_LEAVES,
    },
    # As a TCP connection: an end of the client's is the end of both (RFC 8441 5).
    _S.TUNNEL: {_E.ANSWERED: (_S.DRAINING, ()), _E.CLIENT_ENDED: (_S.DRAINING, ()), **_LEAVES},
    _S.DRAINING: {_E.WRITTEN: (_S.CLOSED, (_D.STOP, _D.LEAVE)), **_LEAVES},
    _S.SENDING: {_E.WRITTEN: (_S.CLOSED, (_D.STOP,)), **_ENDS},
    _S.CLOSED: {},
}

#: Looked up once: Python 3.11 takes as long for a member of an enumeration as for a call.
_RECEIVING = frozenset((_S.COLLECTING, _S.ANSWERING))


class StreamBuffer:
    """A response on its way: what the client's windows, or the connection, have yet to take.

    `when_written` is called with each write; nothing is sent from there.
    """

    __slots__ = ("_at", "_backlog", "_queue", "_when_written", "fields", "queued_bytes")

    def __init__(self, backlog: Backlog, when_written: Callable[[], None]) -> None:
        self._backlog = backlog
        self._when_written = when_written
        self._queue: deque[bytes] = deque()
        #: Bytes of the first in the queue that were taken.
        self._at = 0
        #: The head, until it is sent.
        self.fields: list[tuple[bytes, bytes]] | None = None
        self.queued_bytes = 0

    @property
    def backlogged(self) -> bool:
        """Whether content waits."""
        return self.queued_bytes > 0

    @property
    def waiting_bytes(self) -> int:
        """What waits here; what the transport has is counted with the connection."""
        return self.queued_bytes

    def write(self, data: bytes) -> None:
        """Keep these bytes, and the head that may be with them; nothing happens on a stream that is gone."""
        if self._when_written is _nothing:
            return
        if data.__class__ is Headed:
            self.fields = data.fields
            data = bytes(data)
        if data:
            self._queue.append(data)
            self._count(len(data))
        self._when_written()

    def take(self, most_bytes: int) -> bytes:
        """What comes next."""
        parts = []
        while most_bytes and self._queue:
            first = self._queue[0]
            part = first[self._at : self._at + most_bytes]
            most_bytes -= len(part)
            self._at += len(part)
            if self._at == len(first):
                self._queue.popleft()
                self._at = 0
            parts.append(part)
        taken = parts[0] if len(parts) == 1 else b"".join(parts)
        self._count(-len(taken))
        return taken

    def stop(self) -> None:
        """Nobody takes the rest."""
        self._queue.clear()
        self.fields = None
        self._when_written = _nothing
        self._count(-self.queued_bytes)

    def _count(self, more: int) -> None:
        self.queued_bytes += more
        self._backlog.bytes += more


class Http2Stream:
    """The state of one request; its connection moves it.

    `ended` is whether the client has sent all of it, `unreturned_bytes` what its window lacks for content
    that was taken.
    """

    __slots__ = (
        "_deadline",
        "_expected_bytes",
        "_full",
        "_received_bytes",
        "buffer",
        "ended",
        "id",
        "incoming",
        "paused",
        "state",
        "unreturned_bytes",
    )

    def __init__(
        self,
        stream_id: int,
        backlog: Backlog,
        when_written: Callable[[Http2Stream], None],
        deadline: ClientDeadline,
        ended: bool,
    ) -> None:
        self.id = stream_id
        self.state = StreamState.NEW
        self.buffer = StreamBuffer(backlog, partial(when_written, self))
        self.ended = ended
        self.incoming: Incoming | None = None
        self.unreturned_bytes = 0
        #: Whether its WebSocket wants to hear no more for now.
        self.paused = False
        self._deadline = deadline
        self._expected_bytes = CHUNKED
        self._received_bytes = 0
        self._full = False

    def take(self, incoming: Incoming) -> StreamEvent:
        """Its head is there: what that means."""
        self.incoming = incoming
        self._expected_bytes = incoming.framing.body_bytes
        if incoming.framing.upgrade:
            self._expected_bytes = CHUNKED
            return StreamEvent.UPGRADE
        if incoming.body is None:
            return StreamEvent.REQUEST
        return StreamEvent.CONTINUE_AWAITED if incoming.framing.expects_continue else StreamEvent.BODY_AWAITED

    @property
    def body(self) -> RequestBody | None:
        """Its body, while somebody wants it."""
        return self.incoming.body if self.incoming is not None and self.state in _RECEIVING else None

    @property
    def answered(self) -> bool:
        """Whether its response is whole."""
        return self.state is StreamState.SENDING or self.state is StreamState.DRAINING

    def arrived(self, count: int, ends: bool) -> bool:
        """Bytes of the body, and perhaps its end; whether that is what was announced (RFC 9113 8.1.1)."""
        self._received_bytes += count
        self.ended = self.ended or ends
        expected = self._expected_bytes
        if expected == CHUNKED:
            return True
        return self._received_bytes == expected if ends else self._received_bytes <= expected

    @property
    def returnable(self) -> bool:
        """Whether the client may send more of the body, or on its WebSocket."""
        if self.state is StreamState.TUNNEL:
            return not self.paused
        body = self.body
        return body is not None and not self.ended and not body.full

    def client_due(self, now: float) -> float:
        """When the client has taken too long for the rest of the body; while it is not taken it has time."""
        body, deadline = self.body, self._deadline
        if body is None or self.ended:
            return OFF
        if body.full is not self._full:
            self._full = body.full
            (deadline.pause if body.full else deadline.resume)(now)
        deadline.expect(Expected.BODY, now, body.received)
        return deadline.due

    def move(self, event: StreamEvent) -> tuple[StreamStep, ...]:
        """All events go through here: what they do."""
        row = TABLE[self.state].get(event)
        if row is None:
            return ()
        body = self.body if self.state is StreamState.COLLECTING else None
        self.state, steps = row
        if self.state is StreamState.CLOSED:
            self.buffer.stop()
        if body is not None and self.state not in _RECEIVING:
            body.close()
        return steps


def _nothing() -> None:
    """Stands for the callback of a stream that is gone."""

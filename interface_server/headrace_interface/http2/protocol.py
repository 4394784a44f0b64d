"""The shell of one HTTP/2 connection: tells `Http2Connection` what happened, carries out what it decides."""

# ruff: noqa: N802 (Twisted's names, called by Twisted)

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import ISSLTransport
from twisted.python.failure import Failure

from ..context import ServerContext
from ..forwarded import endpoints_of
from ..http.call import call_for
from ..http.connection import Begin, Fail, HandOver, Leave, Refuse, TurnAway
from ..http.protocol import SocketFactory
from ..http.stream import StreamCall
from ..http.writer import simple_response
from ..transport_actions import Abort
from ..write_buffer import WriteBuffer
from .codec import ErrorCodes
from .connection import BodyArrived, EndConnection, Flooded, Http2Connection, SocketBytes, WentWrong
from .stream import Http2Stream, StreamBuffer
from .tunnel import StreamTransport

__all__ = ["Http2Protocol", "StreamShell"]


class StreamShell:
    """One request of a connection, as its call sees it: the `Stream` of HTTP/2. It watches its deadlines."""

    __slots__ = ("_protocol", "_write_due", "call", "due", "stream", "watched", "write_buffer")

    def __init__(self, protocol: Http2Protocol, stream: Http2Stream) -> None:
        self._protocol = protocol
        self.stream = stream
        self.write_buffer: StreamBuffer = stream.buffer
        self.call: StreamCall | None = None
        self.due = self.watched = math.inf
        #: When the client has to have taken some of what waits for it.
        self._write_due = math.inf

    # Called by the call.

    def call_moved(self) -> None:
        """The call's deadline, its response, or its need to pause the client changed."""
        self._protocol.moved(self)

    def call_replaced(self, call: StreamCall) -> None:
        """Another call answers the request."""
        self.call = call
        call.begin()
        self._protocol.moved(self)

    def call_done(self, call: StreamCall, keep_alive: bool) -> None:
        """The response is on its way."""
        self.call = None
        self._protocol.answered(self)

    def abort(self) -> None:
        """Reset the stream: the client must notice that its response is not whole."""
        self._protocol.abort_stream(self)

    # Called by the protocol.

    def client_read(self) -> None:
        """The client took some of what waited for it."""
        self._write_due = math.inf
        if self.call is not None:
            self.call.client_read()

    def next_due(self, now: float, write_seconds: float) -> float:
        """The nearest of three deadlines: for the body, for reading, and the call's own."""
        if not self.write_buffer.backlogged:
            self._write_due = math.inf
        elif self._write_due == math.inf:
            self._write_due = now + write_seconds
        due = min(self._write_due, self.stream.client_due(now))
        return due if self.call is None else min(due, self.call.due)

    # Called by the timers.

    def deadline_passed(self, now: float) -> None:
        """One of the deadlines has come."""
        if self._write_due <= now:
            self._write_due = math.inf
            self._protocol.reads_nothing(self, now)
        elif self.stream.client_due(now) <= now:
            self._protocol.body_overdue(self)
        elif self.call is not None and self.call.due <= now:
            self.call.deadline_passed()
        self._protocol.moved(self)


class Http2Protocol:
    """One connection, the shells of its requests, and the transports of its WebSockets."""

    __slots__ = (
        "_connection", "_context", "_make_socket", "_read_at", "_touched", "_working", "_write_due",
        "_written", "due", "factory", "shells", "transport", "tunnels", "watched", "write_buffer",
    )  # fmt: skip

    def __init__(self, context: ServerContext, make_socket: SocketFactory) -> None:
        self._context = context
        self._make_socket = make_socket
        self.due = self.watched = math.inf
        #: When the client has to have read some of what the transport has.
        self._write_due = math.inf
        #: When the client last took some content, of any stream.
        self._read_at = -math.inf
        self._working = False
        self.shells: dict[Http2Stream, StreamShell] = {}
        self.tunnels: dict[Http2Stream, StreamTransport] = {}
        #: Those of them that may have more waiting.
        self._written: set[StreamTransport] = set()
        #: Streams whose deadlines may have moved.
        self._touched: set[StreamShell] = set()

    # Called by Twisted.

    def makeConnection(self, transport: Any) -> None:
        self.transport = transport
        context = self._context
        self.write_buffer = WriteBuffer(transport, self._client_read, self._client_read, context.backlog)
        secure = ISSLTransport.providedBy(transport)
        endpoints = endpoints_of(transport.getPeer(), transport.getHost(), secure, context.settings)
        now = context.timers.now()
        self._connection = Http2Connection(context.settings, endpoints, context.bodies, context.backlog, now)
        set_no_delay = getattr(transport, "setTcpNoDelay", None)
        if set_no_delay is not None:
            set_no_delay(True)
        context.http_shells.add(self)
        context.counters["http2_connections"] += 1
        self._advance()
        if context.draining:
            self.drain()

    def dataReceived(self, data: bytes) -> None:
        if not self._context.layer_up:
            self._context = self._context.next_place()
        self._connection.receive(data, self._context.timers.now(), self._context.accepting)
        self._advance()

    def connectionLost(self, reason: Failure) -> None:
        self._context.http_shells.discard(self)
        self._context.timers.forget(self)
        self.write_buffer.stop()
        self._connection.lost()
        self._advance()

    # Called by the server.

    @property
    def busy(self) -> bool:
        """Whether a request is being received or answered."""
        return bool(self._connection.streams)

    def drain(self) -> None:
        """The process ends: the client is told to open no more streams; those that are open are served."""
        self._connection.drain(self._context.timers.now())
        self._advance()

    def abort(self) -> None:
        """Drop the connection now."""
        self._connection.abort()
        self._advance()

    # Called by the streams.

    def moved(self, shell: StreamShell) -> None:
        """What a stream has to write, or its deadline, or what was taken of its body, changed."""
        self._touched.add(shell)
        self._connection.moved(shell.stream)
        self._advance()

    def answered(self, shell: StreamShell) -> None:
        """The response of a stream is whole."""
        self._touched.add(shell)
        self._connection.answered(shell.stream)
        self._advance()

    def abort_stream(self, shell: StreamShell) -> None:
        """A response cannot be finished."""
        self._connection.abort_stream(shell.stream)
        self._advance()

    def reads_nothing(self, shell: StreamShell, now: float) -> None:
        """The client has taken nothing of a response for too long, unless others were in front of it."""
        busy = self._read_at > now - self._context.settings.deadlines.write
        if busy and self._connection.is_let(shell.stream):
            return
        self._context.counters["slow_readers"] += 1
        self._connection.abort_stream(shell.stream, ErrorCodes.CANCEL)

    def body_overdue(self, shell: StreamShell) -> None:
        """The client has sent too little of a request for too long."""
        self._connection.stream_overdue(shell.stream)

    # Called by the WebSockets.

    def tunnel_moved(self, transport: StreamTransport) -> None:
        """A WebSocket has something to write, or reads on."""
        self._written.add(transport)
        self._connection.moved(transport.stream)
        self._advance()

    def tunnel_ended(self, transport: StreamTransport) -> None:
        """A WebSocket has said everything."""
        self._connection.answered(transport.stream)
        self._advance()

    def tunnel_aborted(self, transport: StreamTransport) -> None:
        """A WebSocket is dropped."""
        self._connection.abort_stream(transport.stream, ErrorCodes.CANCEL)
        self._advance()

    # Carrying out what the connection decided.

    def _advance(self) -> None:
        """Go on as far as possible. What is called from here may call again: that is done here, too."""
        if self._working:
            return
        self._working = True
        try:
            while self._act() or self._write() or self._act():
                pass
        finally:
            self._working = False
        self._settle()

    def _act(self) -> bool:
        """The next action, if there is one."""
        following = self._connection.next_action()
        if following is None:
            return False
        stream, action = following
        _DOES[action.__class__](self, stream, action)
        if stream in self.shells:
            self._touched.add(self.shells[stream])
        return True

    def _write(self) -> bool:
        """What may be written now, if there is anything."""
        connection, buffer = self._connection, self.write_buffer
        if self not in self._context.http_shells:
            return False
        data = connection.output(buffer.backlogged)
        if data:
            buffer.write(data)
        progress = list(connection.progress)
        if progress:
            self._read_at = self._context.timers.now()
        connection.progress.clear()
        for stream in progress:
            shell = self.shells.get(stream)
            if shell is not None:
                shell.client_read()
                self._touched.add(shell)
            elif stream in self.tunnels:
                self.tunnels[stream].look()
        return bool(data)

    def _begin(self, stream: Http2Stream, action: Begin) -> None:
        shell = self._shell(stream)
        shell.call = call = call_for(self._context, shell, action.incoming)
        call.begin()

    def _turn_away(self, stream: Http2Stream, action: TurnAway) -> None:
        shell = self._shell(stream)
        shell.call = call = call_for(self._context, shell, action.incoming)
        call.turn_away()

    def _hand_over(self, stream: Http2Stream, action: HandOver) -> None:
        outside = self.transport
        transport = StreamTransport(self, stream, outside.getPeer(), outside.getHost())
        self.tunnels[stream] = transport
        socket = self._make_socket(self._context, transport, action.head, action.early)
        transport.protocol = socket
        socket.start()

    def _socket_bytes(self, stream: Http2Stream, action: SocketBytes) -> None:
        self.tunnels[stream].protocol.dataReceived(action.data)

    def _body_arrived(self, stream: Http2Stream, action: BodyArrived) -> None:
        call = self._shell(stream).call
        if call is not None:
            call.body_arrived()

    def _fail(self, stream: Http2Stream, action: Fail) -> None:
        call = self._shell(stream).call
        if call is not None:
            call.failed(action.refused.status, action.refused.text)

    def _leave(self, stream: Http2Stream, action: Leave) -> None:
        tunnel = self.tunnels.pop(stream, None)
        if tunnel is not None:
            # Not now: it may be that which ends it.
            self._context.clock.callLater(0, tunnel.lost)
        shell = self.shells.get(stream)
        if shell is not None and shell.call is not None:
            call, shell.call = shell.call, None
            call.client_left()

    def _refuse(self, stream: Http2Stream, action: Refuse) -> None:
        refused, context = action.refused, self._context
        context.counters[f"refused_{refused.status}"] += 1
        if context.access_log is not None:
            context.access_log.refused(action.client, refused.status)
        response = simple_response(
            refused.status,
            refused.text,
            date=context.date(),
            http_version="2",
            method=action.method,
            headers=refused.headers,
            server=context.settings.server_name,
        )
        stream.buffer.write(response)
        self._shell(stream)

    def _close(self, stream: None, action: EndConnection) -> None:
        self._write()
        half_close = getattr(self.transport, "loseWriteConnection", None)
        if self.write_buffer.direct and half_close is not None:
            half_close()
        else:
            self.transport.loseConnection()

    def _abort(self, stream: None, action: Abort) -> None:
        self.transport.abortConnection()

    def _flooded(self, stream: None, action: Flooded) -> None:
        self._context.flooded(getattr(self.transport.getPeer(), "host", None) or "a unix socket", action.what)

    def _went_wrong(self, stream: None, action: WentWrong) -> None:
        self._context.counters[action.name] += 1

    def _shell(self, stream: Http2Stream) -> StreamShell:
        shell = self.shells.get(stream)
        if shell is None:
            shell = self.shells[stream] = StreamShell(self, stream)
        return shell

    # Deadlines.

    def _client_read(self) -> None:
        self._write_due = math.inf
        self._read_at = self._context.timers.now()
        self._advance()

    def deadline_passed(self, now: float) -> None:
        """One of the deadlines of the connection has come."""
        if self._write_due <= now:
            self._write_due = math.inf
            if not self.write_buffer.client_read_some():
                self._context.counters["slow_readers"] += 1
                self._connection.abort()
        elif self._connection.client_due(now) <= now:
            self._connection.overdue(now)
        self._advance()

    def _settle(self) -> None:
        """Nothing is to be done now, until the nearest deadline of each stream, and of the connection."""
        timers, seconds = self._context.timers, self._context.settings.deadlines.write
        now = timers.now()
        connection, touched, self._touched = self._connection, self._touched, set()
        over, connection.over = connection.over, []
        for stream in over:
            gone = self.shells.pop(stream, None)
            if gone is not None:
                timers.forget(gone)
        for shell in touched:
            if shell.stream in self.shells:
                timers.set(shell, shell.next_due(now, seconds))
        if self not in self._context.http_shells:
            return
        written, self._written = self._written, set()
        for tunnel in written:
            tunnel.look()
        if not self.write_buffer.backlogged:
            self._write_due = math.inf
        elif self._write_due == math.inf:
            self._write_due = now + seconds
            self.write_buffer.mark()
        timers.set(self, min(self._write_due, self._connection.client_due(now)))


#: How each action is done.
_DOES: dict[type, Callable[[Http2Protocol, Any, Any], None]] = {
    Begin: Http2Protocol._begin,
    TurnAway: Http2Protocol._turn_away,
    HandOver: Http2Protocol._hand_over,
    SocketBytes: Http2Protocol._socket_bytes,
    BodyArrived: Http2Protocol._body_arrived,
    Fail: Http2Protocol._fail,
    Leave: Http2Protocol._leave,
    Refuse: Http2Protocol._refuse,
    EndConnection: Http2Protocol._close,
    Abort: Http2Protocol._abort,
    Flooded: Http2Protocol._flooded,
    WentWrong: Http2Protocol._went_wrong,
}

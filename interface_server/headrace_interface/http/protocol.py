"""The shell of one HTTP/1 connection: tells `HttpConnection` what happened, carries out what it decides."""

# ruff: noqa: N802 (Twisted's names, called by Twisted)

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.interfaces import ISSLTransport
from twisted.python.failure import Failure

from headrace_asgi.envelope import Message

from ..context import ServerContext
from ..direct_send import unsent_bytes
from ..forwarded import endpoints_of
from ..write_buffer import WriteBuffer
from .call import Call, call_for
from .connection import (
    Abort,
    Action,
    Begin,
    CloseConnection,
    Continue,
    Fail,
    HandOver,
    HttpConnection,
    Leave,
    Pause,
    Refuse,
    Resume,
    TurnAway,
)
from .head import RequestHead
from .parser import SpokeTls
from .stream import StreamCall
from .writer import CONTINUE, simple_response

__all__ = ["HttpProtocol", "SocketFactory"]


class _UpgradedShell(Protocol):
    def start(self) -> None: ...

    def dataReceived(self, data: bytes) -> None: ...

    def connectionLost(self, reason: Failure) -> None: ...


#: Makes the shell that takes a connection over: `(context, transport, head, early bytes)`.
SocketFactory = Callable[[ServerContext, Any, RequestHead, bytes], _UpgradedShell]


class HttpProtocol:
    """One connection; the `Stream` of its calls, which are one after the other."""

    __slots__ = (
        "_call",
        "_connection",
        "_context",
        "_make_socket",
        "_socket",
        "_write_due",
        "due",
        "factory",
        "transport",
        "watched",
        "write_buffer",
    )

    def __init__(self, context: ServerContext, make_socket: SocketFactory) -> None:
        self._context = context
        self._make_socket = make_socket
        self.due = self.watched = math.inf
        #: When the client has to have read some of what waits for it.
        self._write_due = math.inf
        self._call: StreamCall | None = None
        self._socket: _UpgradedShell | None = None

    # Called by Twisted.

    def makeConnection(self, transport: Any) -> None:
        self.transport = transport
        context = self._context
        self.write_buffer = WriteBuffer(
            transport, self._client_read_some, self._client_read_all, context.backlog
        )
        secure = ISSLTransport.providedBy(transport)
        endpoints = endpoints_of(transport.getPeer(), transport.getHost(), secure, context.settings)
        self._connection = HttpConnection(context.settings, endpoints, context.bodies)
        set_no_delay = getattr(transport, "setTcpNoDelay", None)
        if set_no_delay is not None:
            set_no_delay(True)
        context.http_shells.add(self)
        self._settle(self.write_buffer.backlogged)
        if context.draining:
            self.drain()

    def dataReceived(self, data: bytes) -> None:
        if self._socket is not None:
            self._socket.dataReceived(data)
        else:
            backlogged = self.write_buffer.backlogged
            self._connection.receive(data, backlogged)
            self._advance(backlogged)

    def connectionLost(self, reason: Failure) -> None:
        self._context.http_shells.discard(self)
        self._context.timers.forget(self)
        if self._socket is not None:
            self._socket.connectionLost(reason)
            return
        self.write_buffer.stop()
        self._do(self._connection.lost())

    def leave(self) -> None:
        """No byte came yet, and another protocol is spoken on the connection: this object is done."""
        self._context.http_shells.discard(self)
        self._context.timers.forget(self)
        self.write_buffer.stop()
        self._do(self._connection.lost())

    # Called for another image of the process, or by it.

    @property
    def place(self) -> ServerContext:
        """Where its request goes."""
        return self._context

    @property
    def reads(self) -> bool:
        """Whether its client may send more now."""
        return not self._connection.paused

    @property
    def awaits_layer(self) -> bool:
        """Whether the layer has yet to say whether it took the request."""
        return isinstance(self._call, Call) and self._call.awaits_layer

    def as_plain(self) -> Message | None:
        """What `resume` needs; None for a connection that cannot be handed over as it is now."""
        unsent = unsent_bytes(self.transport, self.write_buffer.queued())
        call = self._call.as_plain() if isinstance(self._call, Call) else None
        if unsent is None or not self._connection.may_be_handed_over or (self._call and call is None):
            return None
        return {"unsent": unsent, "call": call}

    def resume(self, plain: Message) -> None:
        """Be the connection that another one was; behind `makeConnection`."""
        if plain["unsent"]:
            self.write_buffer.write(plain["unsent"])
        if plain["call"] is not None:
            call = Call.resumed(self._context, self, plain["call"])
            self._call = call
            self._connection.resume(call.incoming)
        self._settle(self.write_buffer.backlogged)

    # Called by the call.

    def call_moved(self) -> None:
        """The call's deadline or its need to pause the client changed."""
        self._settle(self.write_buffer.backlogged)

    def call_replaced(self, call: StreamCall) -> None:
        """Another call answers the request."""
        self._call = call
        call.begin()
        self._settle(self.write_buffer.backlogged)

    def call_done(self, call: StreamCall, keep_alive: bool) -> None:
        """The response is on its way."""
        self._call = None
        self._connection.answered(keep_alive, self._context.draining)
        self._advance(self.write_buffer.backlogged)

    # Called by the call, and by the server.

    def abort(self) -> None:
        """Drop the connection now."""
        self._do(self._connection.abort())

    @property
    def busy(self) -> bool:
        """Whether a request is being received or answered."""
        return self._connection.busy

    def drain(self) -> None:
        """The process ends: close as soon as the client was quiet for a while.

        A request that comes before is answered, with `Connection: close` (`context.draining`).
        """
        self._do(self._connection.drain(self._context.timers.now(), self.write_buffer.has_input))
        self._advance(self.write_buffer.backlogged)

    # Carrying out what the connection decided.

    def _advance(self, backlogged: bool) -> None:
        """Go on as far as possible. `backlogged` is what the write buffer says, asked as seldom as may be."""
        if self._call is None and not self._context.layer_up:
            self._context = self._context.next_place()
        context, connection, write_buffer = self._context, self._connection, self.write_buffer
        while True:
            action = connection.next_action(context.accepting, backlogged)
            if action is None:
                break
            _DOES[action.__class__](self, action)
            backlogged = write_buffer.backlogged
        if self._socket is not None:
            return
        call = self._call
        if call is not None and call.incoming.body is not None:
            call.body_arrived()
            backlogged = write_buffer.backlogged
        self._settle(backlogged)

    def _do(self, action: Action | None) -> None:
        if action is not None:
            _DOES[action.__class__](self, action)

    def _begin(self, action: Begin) -> None:
        self._call = call = call_for(self._context, self, action.incoming)
        call.begin()

    def _turn_away(self, action: TurnAway) -> None:
        self._call = call = call_for(self._context, self, action.incoming)
        call.turn_away()

    def _continue(self, action: Continue) -> None:
        self.write_buffer.write(CONTINUE)

    def _fail(self, action: Fail) -> None:
        if self._call is not None:
            self._call.failed(action.refused.status, action.refused.text)

    def _leave(self, action: Leave) -> None:
        call, self._call = self._call, None
        if call is not None:
            call.client_left()

    def _refuse(self, action: Refuse) -> None:
        refused, context = action.refused, self._context
        context.counters[f"refused_{refused.status}"] += 1
        if isinstance(refused, SpokeTls):
            context.tls_on_plain("a unix socket" if action.client is None else str(action.client[0]))
        if context.access_log is not None:
            context.access_log.refused(action.client, refused.status)
        self.write_buffer.write(
            simple_response(
                refused.status,
                refused.text,
                date=context.date(),
                method=action.method,
                headers=refused.headers,
                server=context.settings.server_name,
            )
        )

    def _hand_over(self, action: HandOver) -> None:
        """From now on this object only passes on what Twisted calls."""
        self._do(self._connection.flow(self._context.timers.now()))
        self._context.timers.forget(self)
        self._context.http_shells.discard(self)
        self.write_buffer.stop()
        self._socket = self._make_socket(self._context, self.transport, action.head, action.early)
        del self._connection, self.write_buffer
        self._socket.start()

    def _close(self, action: CloseConnection) -> None:
        self._do(self._connection.flow(self._context.timers.now()))
        half_close = getattr(self.transport, "loseWriteConnection", None)
        if action.linger and self.write_buffer.direct and half_close is not None:
            half_close()
        else:
            self.transport.loseConnection()

    def _abort(self, action: Abort) -> None:
        self.transport.abortConnection()

    def _pause(self, action: Pause) -> None:
        self.transport.pauseProducing()

    def _resume(self, action: Resume) -> None:
        self.transport.resumeProducing()

    # Deadlines.

    def _client_read_some(self) -> None:
        self._write_due = math.inf
        if self._call is not None:
            self._call.client_read()
        self._settle(self.write_buffer.backlogged)

    def _client_read_all(self) -> None:
        self._write_due = math.inf
        if self._call is not None:
            self._call.client_read()
        self._advance(self.write_buffer.backlogged)

    def deadline_passed(self, now: float) -> None:
        """One of the deadlines has come."""
        call, connection = self._call, self._connection
        if self._write_due <= now:
            self._write_due = math.inf
            if not self.write_buffer.client_read_some():
                self._context.counters["slow_readers"] += 1
                self.abort()
        elif connection.client_due(now) <= now:
            self._do(connection.overdue(now, self.write_buffer.has_input))
            self._advance(self.write_buffer.backlogged)
        elif call is not None and call.due <= now:
            call.deadline_passed()
        if self._socket is None:
            self._settle(self.write_buffer.backlogged)

    def _settle(self, backlogged: bool) -> None:
        """Nothing is to be done now: read on or not, until the nearest deadline.

        There are three: what the client owes to send, what it has to read, and what the layer owes.
        """
        timers, connection, call = self._context.timers, self._connection, self._call
        now = timers.now()
        action = connection.flow(now)
        if action is not None:
            _DOES[action.__class__](self, action)
        due = connection.client_due(now)
        if not backlogged:
            self._write_due = math.inf
        else:
            if self._write_due == math.inf:
                self._write_due = now + self._context.settings.deadlines.write
                self.write_buffer.mark()
            due = min(due, self._write_due)
        if call is not None and call.due < due:
            due = call.due
        timers.set(self, due)


#: How each action is done.
_DOES: dict[type, Callable[[HttpProtocol, Any], None]] = {
    Begin: HttpProtocol._begin,
    TurnAway: HttpProtocol._turn_away,
    Continue: HttpProtocol._continue,
    HandOver: HttpProtocol._hand_over,
    Refuse: HttpProtocol._refuse,
    Fail: HttpProtocol._fail,
    CloseConnection: HttpProtocol._close,
    Abort: HttpProtocol._abort,
    Leave: HttpProtocol._leave,
    Pause: HttpProtocol._pause,
    Resume: HttpProtocol._resume,
}

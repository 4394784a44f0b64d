"""The shell of one HTTP/1 connection: bytes to requests, one call at a time, deadlines, closing.

`RequestParser` finds the requests, a `Call` answers one. Requests of a pipeline are answered in order;
what the client sends meanwhile waits here, bounded.
"""

# ruff: noqa: N802 (Twisted's names, called by Twisted)

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.interfaces import ISSLTransport
from twisted.python.failure import Failure

from ..context import ServerContext
from ..forwarded import endpoints_of
from ..write_buffer import WriteBuffer
from .call import Call
from .client_deadline import ClientDeadline, Expected
from .head import Refused, RequestHead
from .parser import Incoming, RequestParser
from .writer import CONTINUE, simple_response

__all__ = ["HttpProtocol", "SocketFactory"]

logger = logging.getLogger("headrace.interface")

#: Bytes parsed at once while no body is read: bounds the requests that one read of 64 KiB can make.
_SLICE_BYTES = 4096
#: Seconds of quiet after which a connection is closed while the process ends. A client that is in the middle
#: of something sends its next request sooner, and learns from the answer that it is the last.
_QUIET_SECONDS = 1.0


class _UpgradedShell(Protocol):
    def start(self) -> None: ...

    def dataReceived(self, data: bytes) -> None: ...

    def connectionLost(self, reason: Failure) -> None: ...


#: Makes the shell that takes a connection over: `(context, transport, head, early bytes)`.
SocketFactory = Callable[[ServerContext, Any, RequestHead, bytes], _UpgradedShell]


class HttpProtocol:
    """One connection."""

    __slots__ = (
        "_call",
        "_client_deadline",
        "_collecting",
        "_context",
        "_ending",
        "_linger",
        "_make_socket",
        "_parser",
        "_paused",
        "_socket",
        "_unfed",
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
        self._client_deadline = ClientDeadline(context.settings.deadlines)
        self._write_due = math.inf
        #: The current request while too little of it arrived to send it, and once it was sent.
        self._collecting: Incoming | None = None
        self._call: Call | None = None
        #: Bytes that came while a request was being answered.
        self._unfed = b""
        self._paused = False
        #: Nothing is read any more, and the connection is closed when all is written.
        self._ending = False
        self._linger = False
        self._socket: _UpgradedShell | None = None

    # Called by Twisted.

    def makeConnection(self, transport: Any) -> None:
        self.transport = transport
        self.write_buffer = WriteBuffer(
            transport, self._client_read_some, self._client_read_all, self._context.backlog
        )
        endpoints = endpoints_of(
            transport.getPeer(),
            transport.getHost(),
            ISSLTransport.providedBy(transport),
            self._context.settings,
        )
        self._parser = RequestParser(self._context.settings, endpoints, self._context.bodies)
        set_no_delay = getattr(transport, "setTcpNoDelay", None)
        if set_no_delay is not None:
            set_no_delay(True)
        self._context.http_shells.add(self)
        self._set_deadline()
        if self._context.draining:
            self.drain()

    def dataReceived(self, data: bytes) -> None:
        if self._socket is not None:
            self._socket.dataReceived(data)
        elif not self._ending:
            if self._may_feed():
                self._feed(data)
                self._advance()
            elif self._parser.refused is None:
                # Reading goes on below the bound, so that a leaving client is noticed.
                self._keep(self._unfed + data)
                self._regulate()

    def connectionLost(self, reason: Failure) -> None:
        context = self._context
        context.http_shells.discard(self)
        context.timers.forget(self)
        if self._socket is not None:
            self._socket.connectionLost(reason)
            return
        self._ending = True
        self._keep(b"")
        self._parser.stop()
        self.write_buffer.stop()
        if self._call is not None:
            self._call.client_left()
            self._call = None

    # Called by the call, and by the server.

    def call_moved(self) -> None:
        """The call's deadline or its need to pause the client changed."""
        self._regulate()
        self._set_deadline()

    def call_done(self, call: Call, keep_alive: bool) -> None:
        """The response is on its way."""
        complete = call.incoming.complete
        self._call = None
        if not keep_alive:
            # While draining the client may have sent a request more before it read that this was the last.
            self._end(linger=not complete or self._context.draining)
        else:
            self._advance()

    def abort(self) -> None:
        """Drop the connection now."""
        self._ending = True
        self.transport.abortConnection()

    @property
    def busy(self) -> bool:
        """Whether a request is being received or answered."""
        return self._client_deadline.expected not in (Expected.REQUEST, Expected.CLOSE)

    def drain(self) -> None:
        """The process ends: close as soon as the client was quiet for a while.

        A request that comes before is answered, with `Connection: close` (`context.draining`).
        """
        now = self._context.timers.now()
        self._client_deadline.hasten(_QUIET_SECONDS)
        if self._client_deadline.due <= now:
            self._client_too_slow(now)
        self._set_deadline()

    # Reading.

    def _may_feed(self) -> bool:
        parser, call = self._parser, self._call
        return (
            (call is None or not call.incoming.complete)
            and not self._unfed
            and parser.refused is None
            and parser.after_upgrade is None
            and not self.write_buffer.backlogged
        )

    def _keep(self, data: bytes) -> None:
        """Keep these bytes for later; they count with the bodies."""
        self._context.bodies.memory_bytes += len(data) - len(self._unfed)
        self._unfed = data

    def _feed(self, data: bytes) -> None:
        if len(data) > _SLICE_BYTES and self._parser.in_body is None:
            self._keep(data[_SLICE_BYTES:])
            data = data[:_SLICE_BYTES]
        self._parser.feed(data)

    def _feed_kept(self) -> None:
        data = self._unfed
        self._keep(b"")
        self._feed(data)

    def _regulate(self) -> None:
        """Pause or resume the client.

        A paused transport does not notice that its client left: every pause ends with the deadline of the
        call that causes it.
        """
        call = self._call
        context = self._context
        room = 0 if context.bodies.crowded else context.settings.max_early_bytes
        paused = len(self._unfed) > room or (call is not None and call.full)
        if paused is not self._paused and not self._ending:
            self._paused = paused
            now = self._context.timers.now()
            if paused:
                self._client_deadline.pause(now)
                self.transport.pauseProducing()
            else:
                self._client_deadline.resume(now)
                self.transport.resumeProducing()

    def _advance(self) -> None:
        """Go on as far as possible: the one place where anything is started."""
        while not self._ending and self._socket is None and self._step():
            pass
        if self._socket is not None:
            return
        call = self._call
        if call is not None and call.incoming.body is not None:
            call.body_arrived()
            self._regulate()
        elif self._paused or self._unfed:
            self._regulate()
        self._set_deadline()

    def _step(self) -> bool:
        """Do the next thing; False if there is nothing to do."""
        parser, collecting = self._parser, self._collecting
        if collecting is not None:
            if collecting.body is None or collecting.body.ready:
                self._collecting = None
                self._begin(collecting)
                return True
        elif self._call is not None:
            if self._call.incoming.complete:
                return False
        elif self.write_buffer.backlogged:
            return False
        elif parser.ready:
            self._take(parser.ready.popleft())
            return True
        if parser.refused is not None:
            self._refuse(parser.refused)
        elif self._unfed:
            self._feed_kept()
        else:
            return False
        return True

    def _take(self, incoming: Incoming) -> None:
        """Make a request the current one."""
        if not self._context.accepting:
            self._call = Call(self._context, self, incoming)
            self._call.shed()
        elif incoming.framing.upgrade == b"websocket":
            self._open_socket(incoming)
        elif incoming.body is None:
            self._begin(incoming)
        else:
            self._collecting = incoming
            if incoming.framing.expects_continue and not incoming.body.received:
                self.write_buffer.write(CONTINUE)

    def _begin(self, incoming: Incoming) -> None:
        self._call = call = Call(self._context, self, incoming)
        call.begin()

    def _refuse(self, refused: Refused) -> None:
        """The client broke the rules: nothing it sends is read any more."""
        collecting, self._collecting = self._collecting, None
        if self._call is not None:
            self._call.failed(refused.status, refused.text)
        elif not refused.status:
            self._end(linger=False)
        else:
            context = self._context
            context.counters[f"refused_{refused.status}"] += 1
            method = "GET" if collecting is None else collecting.head.method
            if context.access_log is not None:
                context.access_log.refused(self._parser.endpoints.client, refused.status)
            self.write_buffer.write(
                simple_response(
                    refused.status,
                    refused.text,
                    date=context.date(),
                    method=method,
                    headers=refused.headers,
                    server=context.settings.server_name,
                )
            )
            self._end(linger=True)

    def _open_socket(self, incoming: Incoming) -> None:
        """Hand the connection over; this object only passes on what Twisted calls."""
        early = (self._parser.after_upgrade or b"") + self._unfed
        if self._paused:
            self.transport.resumeProducing()
        self._context.timers.forget(self)
        self._context.http_shells.discard(self)
        self._parser.stop()
        self.write_buffer.stop()
        self._keep(b"")
        self._socket = self._make_socket(self._context, self.transport, incoming.head, early)
        del self._parser, self.write_buffer
        self._socket.start()

    # Ending.

    def _end(self, linger: bool) -> None:
        """Close once everything is written.

        `linger` for a client that may still be sending: closing on unread bytes resets the connection, and
        the client may never see the response.
        """
        self._ending = True
        self._keep(b"")
        self._linger = linger
        if self._paused:
            self._paused = False
            self.transport.resumeProducing()
        if not self.write_buffer.backlogged:
            self._close()
        self._set_deadline()

    def _close(self) -> None:
        half_close = getattr(self.transport, "loseWriteConnection", None)
        if self._linger and self.write_buffer.direct and half_close is not None:
            half_close()
        else:
            self.transport.loseConnection()

    def _client_read_some(self) -> None:
        self._write_due = math.inf
        if self._call is not None:
            self._call.client_read()
        self._set_deadline()

    def _client_read_all(self) -> None:
        self._write_due = math.inf
        if self._call is not None:
            self._call.client_read()
        if self._ending:
            self._close()
            self._set_deadline()
        else:
            self._advance()

    # Deadlines.

    def deadline_passed(self, now: float) -> None:
        """One of the deadlines has come."""
        call = self._call
        if self._write_due <= now:
            self._write_due = math.inf
            if self.write_buffer.client_read_some():
                self._set_deadline()
            else:
                self._context.counters["slow_readers"] += 1
                self.abort()
        elif self._client_deadline.due <= now:
            self._client_too_slow(now)
        elif call is not None and call.due <= now:
            call.deadline_passed()
        if not self._ending:
            self._set_deadline()

    def _client_too_slow(self, now: float) -> None:
        expected, self._client_deadline.due = self._client_deadline.expected, math.inf
        if self._ending:
            self.abort()
        elif expected is Expected.REQUEST:
            if self.write_buffer.has_input:
                self._client_deadline.due = now + _QUIET_SECONDS  # a request is there, or the client's end
            else:
                self._end(linger=False)
        else:
            self._refuse(Refused(408, "The request did not arrive in time."))

    def _set_deadline(self) -> None:
        """Find the nearest of three: what the client owes to send, to read, and what the layer owes."""
        timers, client_deadline, call = self._context.timers, self._client_deadline, self._call
        now = timers.now()
        expected = self._expected()
        if expected is Expected.BODY:
            client_deadline.expect(expected, now, self._body_bytes())
        elif expected is not client_deadline.expected:
            client_deadline.expect(expected, now)
        if not self.write_buffer.backlogged:
            self._write_due = math.inf
        elif self._write_due == math.inf:
            self._write_due = now + self._context.settings.deadlines.write
            self.write_buffer.mark()
        due = client_deadline.due if client_deadline.due < self._write_due else self._write_due
        if call is not None and call.due < due:
            due = call.due
        timers.set(self, due)

    def _expected(self) -> Expected:
        call = self._call
        if self._ending:
            return Expected.NOTHING if self.write_buffer.backlogged else Expected.CLOSE
        if self._collecting is not None:
            return Expected.BODY
        if call is not None:
            return Expected.NOTHING if call.incoming.complete else Expected.BODY
        return Expected.HEAD if self._parser.in_head else Expected.REQUEST

    def _body_bytes(self) -> int:
        incoming = self._collecting or (None if self._call is None else self._call.incoming)
        return 0 if incoming is None or incoming.body is None else incoming.body.received

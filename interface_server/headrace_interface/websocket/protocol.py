"""One WebSocket: the shell between its transport, Autobahn, the layer's port and its exchange.

The HTTP shell makes one when a client asks for an upgrade, and then passes on what it receives. No 101 is
written before the application accepted; until then the client's bytes wait here, bounded.
"""

# ruff: noqa: N802 (Twisted's names, called by Twisted)

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from sys import intern
from typing import TYPE_CHECKING, Any

from headrace_asgi import control
from headrace_asgi.close_codes import TRY_AGAIN_LATER
from headrace_asgi.contract import Outcome
from headrace_asgi.envelope import Message
from headrace_asgi.errors import BadMessage

from ..access_log import escape
from . import actions as do
from .actions import BUSY, SLOW, Action, Close, Deny
from .autobahn import socket_factory
from .exchange import Exchange
from .frames import encode_for
from .opening import TOO_EARLY, Opening
from .reader import FrameReader
from .reply import Reply, read_reply
from .sender import FrameSender
from .states import SocketState
from .writer import FrameWriter

if TYPE_CHECKING:
    from ..context import ServerContext
    from ..http.head import RequestHead

__all__ = ["WebSocketShell"]

logger = logging.getLogger("headrace.interface")


class WebSocketShell:
    """One client's WebSocket, from the checked request to the end of its connection."""

    __slots__ = (
        "_context",
        "_exchange",
        "_head",
        "_opening",
        "_reader",
        "_sender",
        "_transport",
        "_window_bits",
        "_writer",
        "due",
        "local",
        "path",
        "registered",
        "reply_channel",
        "watched",
    )

    def __init__(self, context: ServerContext, transport: Any, head: RequestHead, early: bytes = b"") -> None:
        """Take over the transport of a request whose head was checked; `early` is what came behind it."""
        self._context = context
        self._transport = transport
        self._writer = FrameWriter(transport, context.slow_sockets, self)
        self._exchange = Exchange(
            context.settings.max_unanswered_messages, context.settings.max_unanswered_bytes, len(head.path)
        )
        # One text for all sockets of an address.
        address = intern(head.client[0]) if head.client else ""
        self._sender = FrameSender(context, self._exchange, address, head.path, self)
        self._opening: Opening | None = Opening(context, head, early)
        #: What the client says, from the accept to the end of the connection.
        self._reader: FrameReader | None = None
        self._window_bits = 0
        self.reply_channel = ""
        #: For the access log only: an idle socket keeps no headers.
        self._head = None if context.access_log is None else replace(head, headers=[])
        self.local = ""
        self.path = head.path
        #: Whether its connect was sent and its disconnect is still owed.
        self.registered = False
        self.due = self.watched = math.inf

    # From the HTTP shell, or from the transport itself.

    def start(self) -> None:
        """Judge the handshake and ask the application. Does not block."""
        context, opening = self._context, self._opening
        self._writer.take_over(self)
        if opening is None:
            return
        refusal = opening.judge()
        if refusal is not None:
            self.perform(self._exchange.refuse(refusal))
            return
        self.local = context.connections.add_socket(self)
        self._log("WSCONNECTING")
        if context.layer_up:
            self._connect(opening)
        else:
            context.held[self] = None
            self._set_due(context.settings.deadlines.layer)

    @property
    def transport(self) -> Any:
        """The connection of the client."""
        return self._transport

    @property
    def reads(self) -> bool:
        """Whether its client may say more now."""
        return not self._exchange.pauses

    @property
    def awaits_layer(self) -> bool:
        """Whether the layer has yet to say whether it took what an open socket's client said."""
        return self._exchange.state is SocketState.OPEN and self._exchange.due > 0

    def as_plain(self) -> Message | None:
        """What `resume` needs; None for a socket that cannot be handed over as it is now."""
        exchange = self._exchange.as_plain()
        reader = None if self._reader is None else self._reader.as_plain()
        unsent = self._writer.unsent()
        if exchange is None or reader is None or unsent is None:
            return None
        return {
            "local": self.local,
            "path": self.path,
            "address": self._sender.address,
            "exchange": exchange,
            "reader": reader,
            "unsent": unsent,
            "due": self.due,
            "head": self._head and self._head.as_plain(),
        }

    def resume(self, plain: Message) -> None:
        """Be the open socket that another one was; instead of `start`."""
        context, exchange = self._context, self._exchange
        self._opening = None
        self._writer.take_over(self)
        self.local = plain["local"]
        self.reply_channel = context.port.process + self.local
        context.connections.resume_socket(self.local, self)
        self.registered = True
        self._sender.begin(self.local, self.reply_channel)
        exchange.resume(plain["exchange"])
        self._reader = reader = FrameReader(context, self._transport, exchange, self._sender, self)
        windows = plain["reader"]["windows"]
        ws = socket_factory(context).resume(reader, self._writer, self._transport, windows and tuple(windows))
        self._window_bits = ws.window_bits
        if exchange.pauses:
            self._transport.pauseProducing()
        if plain["unsent"]:
            self._writer.write(plain["unsent"])
        reader.resume(ws, plain["reader"], plain["due"])
        if exchange.next_weight:
            context.waiting_room.enter(self._sender, Outcome.UNAVAILABLE)

    def layer_back(self) -> None:
        """The layer is reachable again: ask the application now."""
        if self._opening is not None and self._is_held():
            self._connect(self._opening)

    def _connect(self, opening: Opening) -> None:
        self.reply_channel = self._context.port.process + self.local
        self._sender.begin(self.local, self.reply_channel)
        self.registered = True
        self._set_due(opening.queue_seconds())
        opening.ask(self.local, self.reply_channel, self._connect_answered)

    def dataReceived(self, data: bytes) -> None:
        """Bytes of the client."""
        if self._reader is not None:
            self._reader.received(data)
        elif self._opening is not None and not self._opening.keep(data):
            self.perform(self._exchange.turn_away(TOO_EARLY))

    def connectionLost(self, reason: Any) -> None:
        """The connection is gone, by whomever."""
        context = self._context
        context.timers.forget(self)
        context.held.pop(self, None)
        reader, self._reader = self._reader, None
        opening, self._opening = self._opening, None
        if opening is not None:
            opening.end()
        self._writer.end()
        if reader is not None:
            reader.lost(reason)  # it calls `closed`
            return
        asked = self.registered
        self.perform(self._exchange.lost())
        if not asked:
            self.perform(self._exchange.connect_answered(Outcome.UNAVAILABLE))

    # From the layer, or from those who wait for it.

    @property
    def progress(self) -> tuple[int, bool]:
        """Order number of the last message known to have been accepted, and whether the order is strict."""
        return self._exchange.known, self._exchange.ordered is True

    @property
    def asked(self) -> tuple[str, float] | None:
        """`websocket.connect`, since it was sent or for ever; None once it is answered."""
        opening = self._opening
        if opening is None or not self.registered:
            return None
        return "websocket.connect", math.inf if opening.worker_has_it else opening.asked_at

    def reply(self, message: Message) -> None:
        """A message on the socket's reply channel, from anywhere."""
        exchange = self._exchange
        if len(message) == 1 and exchange.may_write:
            payload = message.get("text", message.get("bytes"))
            if payload.__class__ is str or payload.__class__ is bytes:
                self._writer.write(encode_for(payload, self._window_bits))
                return
        reply = self._read(message)
        opening = self._opening
        if reply is not None:
            self.perform(exchange.reply(reply))
            if opening is not None and self._reader is not None:
                opening.hand_over(self.group_message, self.dataReceived)

    def group_message(self, message: Message, frame_cache: dict[Any, Any]) -> None:
        """A message to a group; `frame_cache` is shared by all members, so that each frame is built once."""
        if not self._exchange.may_write:
            if self._opening is None or not self._opening.holds(message):
                self.reply(message)
            return
        frame = frame_cache.get(self._window_bits)
        if frame is None:
            if "reply" not in frame_cache:
                frame_cache["reply"] = self._read(message)
            reply: Reply | None = frame_cache["reply"]
            if reply is None:
                return
            if reply.payload is None or reply.close is not None or reply.accept is False:
                self.perform(self._exchange.reply(reply))
                return
            frame = frame_cache[self._window_bits] = encode_for(reply.payload, self._window_bits)
        self._writer.write(frame)

    def control(self, kind: str, body: Message) -> None:
        """A note about this socket."""
        exchange = self._exchange
        if kind in (control.VERDICT, control.RUNNING):
            self._taken_by_worker()
        if kind == control.VERDICT:
            self.perform(exchange.verdict(body.get("ordered", True)))
        elif kind == control.FAILED:
            self._context.counters["socket_failed"] += 1
            self.perform(exchange.failed(Deny(int(body.get("status", 500)), str(body.get("reason", "")))))
        elif kind == control.LAPSED:
            self._context.counters["socket_lapsed"] += 1
            self.perform(exchange.lapsed())
        elif kind == control.CLOSE:
            self.close(int(body.get("code", TRY_AGAIN_LATER)), "a message was lost")

    def close(self, code: int, reason: str) -> None:
        """The server closes the socket; a handshake still open is answered 503."""
        if self._is_held():
            self.perform(self._exchange.connect_answered(Outcome.UNAVAILABLE))
        elif self._opening is not None:
            self.perform(self._exchange.turn_away(BUSY))
        elif self._context.layer_up:
            self.perform(self._exchange.close(Close(code, reason)))
        else:
            self.perform(self._exchange.give_up(Close(code, reason)))

    def abort(self) -> None:
        """Drop the connection at once."""
        self._transport.abortConnection()

    def _connect_answered(self, outcome: Outcome) -> None:
        if not outcome.accepted:
            self._context.counters[f"connect_{outcome.name.lower()}"] += 1
            if self._opening is not None and outcome is not Outcome.UNKNOWN:
                self._opening.expires_at = -math.inf  # it is on no channel
        if outcome is Outcome.FULL:
            self._context.full("websocket.connect")
        self.perform(self._exchange.connect_answered(outcome))

    def _read(self, message: Message) -> Reply | None:
        offer = None if self._opening is None else self._opening.offer
        try:
            reply = read_reply(message, offer, self._context.settings.websocket_protocols)
        except BadMessage as error:
            self._context.counters["bad_messages"] += 1
            logger.warning("A message for the WebSocket %s is dropped: %s", self.reply_channel, error)
            return None
        if reply.remark:
            logger.warning("WebSocket %s (%s): %s.", self.reply_channel, escape(self.path), reply.remark)
        return reply

    # From the client.

    def close_begun(self) -> None:
        """The client sent a close frame, or was sent one for what it did."""
        self.perform(self._exchange.close_begun())
        self._set_due(self._context.settings.deadlines.close)

    def closed(self, code: int) -> None:
        """The connection is gone; `code` is the client's, or 1006."""
        actions = self._exchange.lost(code)
        if self._exchange.state is SocketState.EMPTYING:
            self._sender.depart()
        self.perform(actions)

    def meter_bytes(self, size_bytes: int) -> None:
        """So many bytes of the client count for what it may send."""
        if self._reader is not None:
            self._reader.meter_bytes(size_bytes)

    # To the client.

    def too_slow(self) -> None:
        """The client reads too slowly."""
        if self._exchange.state is not SocketState.OPEN:
            return
        self._context.counters["slow_clients"] += 1
        logger.info(
            "The WebSocket %s reads too slowly (%d bytes are waiting) and is closed (1008).",
            self.reply_channel,
            self._writer.waiting_bytes,
        )
        self._writer.drop()
        self.perform(self._exchange.expel(SLOW))

    def falls_behind(self) -> None:
        """Much of what the client was sent waits for it."""
        self.perform(self._exchange.falls_behind())

    def caught_up(self) -> None:
        """The client has read everything."""
        self.perform(self._exchange.caught_up())
        if self._exchange.state is SocketState.CLOSING:
            self._set_due(self._context.settings.deadlines.close)

    # From the clock.

    def deadline_passed(self, now: float) -> None:
        """The one deadline of the present state."""
        state = self._exchange.state
        if state is SocketState.OPEN and self._reader is not None:
            self._reader.look(now)
        elif state is SocketState.CLOSING:
            self.perform(self._exchange.overdue())
        elif self._is_held():
            self.perform(self._exchange.connect_answered(Outcome.UNAVAILABLE))
        elif self._opening is not None:
            self.perform(self._exchange.turn_away(self._opening.overdue()))
        else:
            self.abort()  # the client does not read its denial

    def _taken_by_worker(self) -> None:
        """The deadline of the queue was met; from now on that of the handshake counts."""
        if self._opening is not None and self._opening.taken():
            self._context.timers.set(self, self._opening.ends_at)

    def _is_held(self) -> bool:
        """Whether it waits for the layer: nobody was asked yet."""
        return self._exchange.state is SocketState.CONNECTING and not self.registered

    def _set_due(self, seconds: float) -> None:
        self._context.timers.set(self, self._context.timers.now() + seconds)

    # Actions.

    def perform(self, actions: Sequence[Action]) -> None:
        """Do what the exchange says, one after the other."""
        for action in actions:
            _DO[action.__class__](self, action)
        if self._exchange.state is SocketState.ENDED:
            self.registered = False
            self._sender.end()
            self._context.connections.remove(self.local)

    def _accept(self, action: do.Accept) -> None:
        context, opening = self._context, self._opening
        if opening is None:
            return
        self._opening = None
        opening.worker_has_it = True
        opening.end()
        reader = FrameReader(context, self._transport, self._exchange, self._sender, self)
        ws = socket_factory(context).open(
            reader, self._writer, self._transport, opening.offer, action.subprotocol, action.headers
        )
        reader.begin(ws)
        self._reader = reader
        self._window_bits = ws.window_bits
        self._log("WSCONNECT")

    def _deny(self, action: Deny) -> None:
        opening, self._opening = self._opening, None
        self._context.held.pop(self, None)
        if opening is not None:
            opening.end()
            self._transport.write(opening.denial(action))
            self._transport.loseConnection()
            self._set_due(self._context.settings.deadlines.close)
            self._log("WSREJECT", action.status)

    def _write(self, action: do.Write) -> None:
        self._writer.write(encode_for(action.payload, self._window_bits))

    def _close(self, action: Close) -> None:
        if self._reader is not None:
            deadlines = self._context.settings.deadlines
            self._reader.begin_close(action.code, action.reason)
            # A client that has yet to read gets the time to come to its close frame.
            self._set_due(deadlines.close if self._writer.keeps_up else deadlines.write)

    def _go(self, _: do.Go) -> None:
        self._sender.send_on()

    def _tell(self, action: do.Tell) -> None:
        self.registered = False
        self._sender.tell(action)
        self._log("WSDISCONNECT", action.code)

    def _read_on(self, _: do.ReadOn) -> None:
        if self._reader is not None:
            self._reader.read_on()

    def _resume(self, _: do.Resume) -> None:
        if self._reader is not None:
            self._transport.resumeProducing()

    def _log(self, action: str, code: int | None = None) -> None:
        if self._context.access_log is not None and self._head is not None:
            self._context.access_log.socket(action, self._head, code)


_DO: dict[type[Action], Callable[[WebSocketShell, Any], None]] = {
    do.Abort: lambda shell, _: shell.abort(),
    do.Accept: WebSocketShell._accept,
    do.Close: WebSocketShell._close,
    do.Deny: WebSocketShell._deny,
    do.Forget: lambda shell, _: shell._context.port.forget(shell.local),
    do.Pause: lambda shell, _: shell._transport.pauseProducing(),
    do.Go: WebSocketShell._go,
    do.ReadOn: WebSocketShell._read_on,
    do.Resume: WebSocketShell._resume,
    do.Tell: WebSocketShell._tell,
    do.Wait: lambda shell, action: shell._sender.wait(action.outcome),
    do.Write: WebSocketShell._write,
}

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
from .actions import AGED, BUSY, FLOOD, SLOW, Action, Close, Deny
from .autobahn import SocketProtocol, socket_factory
from .exchange import Exchange
from .frames import PING, encode_for
from .heartbeat import Heartbeat, HeartbeatAction, InputRate, inflation_charge
from .opening import LATE, TOO_EARLY, Opening
from .reply import Reply, read_reply
from .sender import FrameSender
from .shares import HEAVY_BYTES
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
        "_heartbeat",
        "_opening",
        "_reply_channel",
        "_sender",
        "_transport",
        "_window_bits",
        "_writer",
        "_ws",
        "due",
        "local",
        "path",
        "registered",
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
        self._ws: SocketProtocol | None = None
        self._window_bits = 0
        self._reply_channel = ""
        self._heartbeat = Heartbeat(context.settings.deadlines, context.timers.now())
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

    def layer_back(self) -> None:
        """The layer is reachable again: ask the application now."""
        if self._opening is not None and self._is_held():
            self._connect(self._opening)

    def _connect(self, opening: Opening) -> None:
        self._reply_channel = self._context.port.process + self.local
        self._sender.begin(self.local, self._reply_channel)
        self.registered = True
        self._set_due(opening.queue_seconds())
        opening.ask(self.local, self._reply_channel, self._connect_answered)

    def dataReceived(self, data: bytes) -> None:
        """Bytes of the client."""
        ws = self._ws
        if ws is None:
            if self._opening is not None and not self._opening.keep(data):
                self.perform(self._exchange.turn_away(TOO_EARLY))
            return
        self._heartbeat.heard_at = self._context.timers.now()
        if self._exchange.pauses:
            ws.keep(data)  # a wrapper between delivers what it had, pause or not
            self._exchange.left_over()
        else:
            self._look_at(ws, data)

    def _look_at(self, ws: SocketProtocol, data: bytes) -> None:
        """Take the messages out of what the client sent; what there is no room for stays in `ws`."""
        exchange = self._exchange
        received, taken = ws.take_messages(data, exchange.room)
        if received:
            self._sender.received(received)
            if self._context.settings.max_websocket_rate:
                self._meter(len(received))
            if taken == len(data):
                return
            data = data[taken:]
        ws.feed(data)
        # What was read may have been a close frame, or a violation that was answered with one.
        if ws.closing and exchange.state is SocketState.OPEN:
            self.perform(exchange.close_begun())
            self._set_due(self._context.settings.deadlines.close)

    @property
    def paused(self) -> bool:
        """Whether nothing more of what the client sent may be looked at now."""
        return self._exchange.pauses != 0

    def on_unread(self) -> None:
        """Not all that was received was looked at: it is when there is room, and others had their turn."""
        turn_is_over = not self._exchange.pauses
        self._exchange.left_over()
        if turn_is_over:
            self._transport.pauseProducing()
            self._context.clock.callLater(0, self._read_on)

    def _read_on(self) -> None:
        """Look at what was left over, and then read on."""
        ws, actions = self._ws, self._exchange.read_on()
        if ws is None or not actions:
            return
        try:
            self.perform(actions)
            self._look_at(ws, ws.unread())
        except Exception:
            logger.exception("Reading from the WebSocket %s failed; it is cut off.", self._reply_channel)
            self.abort()

    def connectionLost(self, reason: Any) -> None:
        """The connection is gone, by whomever."""
        context = self._context
        context.timers.forget(self)
        context.held.pop(self, None)
        ws, self._ws = self._ws, None
        opening, self._opening = self._opening, None
        if opening is not None:
            opening.end()
        self._writer.end()
        if ws is not None:
            ws.lost(reason)  # it calls on_close
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
            if opening is not None and self._ws is not None:
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
                self._opening.expires_at = -math.inf
        if outcome is Outcome.FULL:
            self._context.full("websocket.connect")
        self.perform(self._exchange.connect_answered(outcome))

    def _read(self, message: Message) -> Reply | None:
        offer = None if self._opening is None else self._opening.offer
        try:
            reply = read_reply(message, offer, self._context.settings.websocket_protocols)
        except BadMessage as error:
            self._context.counters["bad_messages"] += 1
            logger.warning("A message for the WebSocket %s is dropped: %s", self._reply_channel, error)
            return None
        if reply.remark:
            logger.warning("WebSocket %s (%s): %s.", self._reply_channel, escape(self.path), reply.remark)
        return reply

    def on_message(self, data: bytes, is_binary: bool, received_bytes: int) -> None:
        """A message that was not plain, whole and valid; `received_bytes` of it came, before inflation."""
        self.perform(self._exchange.received((data if is_binary else data.decode(),)))
        if len(data) >= HEAVY_BYTES:
            self.meter_bytes(inflation_charge(len(data), received_bytes))
        self._meter(1)

    def on_close(self, code: int) -> None:
        """The connection is gone; `code` is the client's, or 1006."""
        actions = self._exchange.lost(code)
        if self._exchange.state is SocketState.EMPTYING:
            self._sender.depart()
        self.perform(actions)

    def on_pings(self, payloads: Sequence[bytes]) -> None:
        """Pings, in the order of their coming."""
        self._writer.pong(payloads)

    def on_controls(self, count: int) -> None:
        """Frames that carry nothing: pings, pongs, empty fragments."""
        rate = self._context.settings.max_control_rate
        if not rate or self._exchange.state is not SocketState.OPEN:
            return
        pace = self._heartbeat.meter_controls(count, rate, self._context.timers.now())
        if pace is InputRate.FLOOD:
            self._context.counters["flooding_clients"] += 1
            logger.info("The WebSocket %s sends too many control frames: closed (1008).", self._reply_channel)
            self.perform(self._exchange.expel(FLOOD))
        elif pace is InputRate.FAST:
            self._hold_up()

    # To the client.

    def write_frame(self, frame: bytes) -> None:
        """Write a frame, behind those that wait."""
        self._writer.write(frame)

    def release_frames(self) -> None:
        """The connection is about to be closed: what waits is the transport's."""
        self._writer.release()

    def too_slow(self) -> None:
        """The client reads too slowly."""
        if self._exchange.state is not SocketState.OPEN:
            return
        self._context.counters["slow_clients"] += 1
        logger.info(
            "The WebSocket %s reads too slowly (%d bytes are waiting) and is closed (1008).",
            self._reply_channel,
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
        if state is SocketState.OPEN:
            self._check_life(now)
        elif state is SocketState.CLOSING:
            self.perform(self._exchange.overdue())
        elif self._is_held():
            self.perform(self._exchange.connect_answered(Outcome.UNAVAILABLE))
        elif self._opening is not None:
            if not self._opening.worker_has_it:
                self._context.late(self._context.handshake_watch)
            self.perform(self._exchange.turn_away(LATE if self._opening.worker_has_it else BUSY))
        else:
            self.abort()  # the client does not read its denial

    def _check_life(self, now: float) -> None:
        beat, due = self._heartbeat.look(now, reading=not self._exchange.pauses)
        if beat is HeartbeatAction.AGED:
            self.perform(self._exchange.close(AGED))
        elif beat is HeartbeatAction.SILENT:
            self._context.counters["silent_clients"] += 1
            self.abort()
        else:
            self._context.timers.set(self, due)
            if beat is HeartbeatAction.PING:
                self._transport.write(PING)
            if now >= self._heartbeat.held_until:
                self.perform(self._exchange.slow_enough())

    def meter_bytes(self, size_bytes: int) -> None:
        """So many bytes of the client count for what it may send."""
        rate = self._context.settings.max_websocket_bytes_per_second
        if rate and size_bytes and self._heartbeat.meter_bytes(size_bytes, rate, self._context.timers.now()):
            self._hold_up()

    def _meter(self, count: int) -> None:
        rate = self._context.settings.max_websocket_rate
        if rate and self._heartbeat.meter(count, rate):
            self._hold_up()

    def _hold_up(self) -> None:
        """Do not read from the client for a while. One that is closing keeps its deadline for that."""
        if self._exchange.state is SocketState.OPEN:
            self.perform(self._exchange.too_fast())
            self._context.timers.set(self, self._heartbeat.held_until)

    def _taken_by_worker(self) -> None:
        """The deadline of the queue was met; from now on that of the handshake counts."""
        if self._opening is not None and not self._opening.worker_has_it:
            self._context.handshake_watch.heard = True
            self._opening.worker_has_it = True
            self._context.timers.set(self, self._heartbeat.ends_at)

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
        self._ws = ws = socket_factory(context).open(
            self, self._transport, opening.offer, action.subprotocol, action.headers
        )
        self._window_bits = ws.window_bits
        context.timers.set(self, self._heartbeat.opened(context.timers.now()))
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
        if self._ws is not None:
            deadlines = self._context.settings.deadlines
            self._ws.begin_close(action.code, action.reason)
            # A client that has yet to read gets the time to come to its close frame.
            self._set_due(deadlines.close if self._writer.keeps_up else deadlines.write)

    def _go(self, _: do.Go) -> None:
        self._sender.send_on()

    def _tell(self, action: do.Tell) -> None:
        self.registered = False
        self._sender.tell(action)
        self._log("WSDISCONNECT", action.code)

    def _resume(self, _: do.Resume) -> None:
        if self._ws is not None:
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
    do.ReadOn: lambda shell, _: shell._context.clock.callLater(0, shell._read_on),
    do.Resume: WebSocketShell._resume,
    do.Tell: WebSocketShell._tell,
    do.Wait: lambda shell, action: shell._sender.wait(action.outcome),
    do.Write: WebSocketShell._write,
}

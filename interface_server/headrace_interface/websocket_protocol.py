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
from typing import TYPE_CHECKING, Any

from headrace_asgi import control, messages
from headrace_asgi.contract import Outcome
from headrace_asgi.envelope import Message
from headrace_asgi.errors import BadMessage

from . import websocket_actions as do
from .access_log import escape
from .direct_send import Wire, wire_of
from .websocket_actions import AGED, BUSY, SLOW, Action, Close, Deny
from .websocket_autobahn import OPEN, SocketProtocol, socket_factory
from .websocket_exchange import Exchange, Fact, State
from .websocket_frames import PING, close_body, encode_for, take_messages
from .websocket_heartbeat import Beat, Heartbeat
from .websocket_opening import LATE, TOO_EARLY, Opening
from .websocket_reply import Reply, read_reply

if TYPE_CHECKING:
    from .http_head import RequestHead
    from .site import Site

__all__ = ["WebSocketShell"]

logger = logging.getLogger("headrace.interface")


class WebSocketShell:
    """One client's WebSocket, from the checked request to the end of its connection."""

    __slots__ = (
        "_exchange",
        "_head",
        "_heartbeat",
        "_opening",
        "_reply_channel",
        "_site",
        "_transport",
        "_window_bits",
        "_wire",
        "_ws",
        "due",
        "local",
        "path",
        "registered",
        "watched",
    )

    def __init__(self, site: Site, transport: Any, head: RequestHead, early: bytes = b"") -> None:
        """Take over the transport of a request whose head was checked; `early` is what came behind it."""
        self._site = site
        self._transport = transport
        # A transport that is not ours is taken for one that never waits.
        self._wire: Any = wire_of(transport) or Wire()
        self._exchange = Exchange(site.settings.max_unanswered_bytes)
        self._opening: Opening | None = Opening(site, head, early)
        self._ws: SocketProtocol | None = None
        self._window_bits = 0
        self._reply_channel = ""
        self._heartbeat = Heartbeat(site.settings.deadlines, site.timers.now())
        #: For the access log only: an idle socket keeps no headers.
        self._head = None if site.access_log is None else replace(head, headers=[])
        self.local = ""
        self.path = head.path
        #: Whether its connect was sent and its disconnect is still owed.
        self.registered = False
        self.due = self.watched = math.inf

    # From the HTTP shell, or from the transport itself.

    def start(self) -> None:
        """Judge the handshake and ask the application. Does not block."""
        site, opening = self._site, self._opening
        self._wire.when_drained = None
        if self._wire is self._transport:
            self._wire.protocol = self  # with no wrapper between, the HTTP shell can go
        if opening is None:
            return
        refusal = opening.judge()
        if refusal is not None:
            self._perform(self._exchange.refuse(refusal))
            return
        self.local = site.connections.add_socket(self)
        self._log("WSCONNECTING")
        if site.layer_up:
            self._connect(opening)
        else:
            site.held[self] = None
            self._set_due(site.settings.deadlines.layer)

    def layer_back(self) -> None:
        """The layer is reachable again: ask the application now."""
        if self._opening is not None and self._is_held():
            self._connect(self._opening)

    def _connect(self, opening: Opening) -> None:
        self._reply_channel = self._site.port.process + self.local
        self.registered = True
        self._set_due(opening.queue_seconds())
        opening.ask(self.local, self._reply_channel, self._connect_answered)

    def dataReceived(self, data: bytes) -> None:
        """Bytes of the client."""
        ws = self._ws
        if ws is None:
            if self._opening is not None and not self._opening.keep(data):
                self._perform(self._exchange.turn_away(TOO_EARLY))
            return
        self._heartbeat.heard_at = self._site.timers.now()
        if ws.state == OPEN and ws.current_frame is None and not ws.data and not ws.inside_message:
            received, taken = take_messages(data, ws.factory.plain_limit)
            for payload in received:
                for action in self._exchange.received(payload):
                    _DO[action.__class__](self, action)
            if ws.factory.rate:
                self._meter(len(received))
            if taken == len(data):
                return
            data = data[taken:]
        ws._dataReceived(data)
        if ws.state != OPEN and self._exchange.state is State.OPEN:
            self._perform(self._exchange.close_begun())
            self._set_due(self._site.settings.deadlines.close)

    def connectionLost(self, reason: Any) -> None:
        """The connection is gone, by whomever."""
        site = self._site
        site.timers.forget(self)
        site.held.pop(self, None)
        ws, self._ws = self._ws, None
        self._opening = None
        if ws is not None:
            ws._connectionLost(reason)  # it calls on_close
            return
        asked = self.registered
        self._perform(self._exchange.lost())
        if not asked:
            self._perform(self._exchange.connect_answered(Outcome.UNAVAILABLE))

    # From the layer.

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
        if len(message) == 1 and exchange.state is State.OPEN:
            payload = message.get("text", message.get("bytes"))
            if payload.__class__ is str or payload.__class__ is bytes:
                self._write_frame(encode_for(payload, self._window_bits))
                return
        reply = self._read(message)
        opening = self._opening
        if reply is not None:
            self._perform(exchange.reply(reply))
            if opening is not None and self._ws is not None:
                opening.hand_over(self.group_message, self.dataReceived)

    def group_message(self, message: Message, frame_cache: dict[Any, Any]) -> None:
        """A message to a group; `frame_cache` is shared by all members, so that each frame is built once."""
        if self._exchange.state is not State.OPEN:
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
                self._perform(self._exchange.reply(reply))
                return
            frame = frame_cache[self._window_bits] = encode_for(reply.payload, self._window_bits)
        self._write_frame(frame)

    def control(self, kind: str, body: Message) -> None:
        """A note about this socket."""
        exchange = self._exchange
        if kind in (control.VERDICT, control.RUNNING):
            self._taken_by_worker()
        if kind == control.VERDICT:
            self._perform(exchange.verdict(body.get("ordered", True)))
        elif kind == control.FAILED:
            self._site.counters["socket_failed"] += 1
            self._perform(exchange.failed(Deny(int(body.get("status", 500)), str(body.get("reason", "")))))
        elif kind == control.CLOSE:
            self.close(int(body.get("code", 1013)), "a message was lost")

    def close(self, code: int, reason: str) -> None:
        """The server closes the socket; a handshake still open is answered 503."""
        if self._is_held():
            self._perform(self._exchange.connect_answered(Outcome.UNAVAILABLE))
        elif self._opening is not None:
            self._perform(self._exchange.turn_away(BUSY))
        else:
            self._perform(self._exchange.close(Close(code, reason)))

    def abort(self) -> None:
        """Drop the connection at once."""
        self._transport.abortConnection()

    def _connect_answered(self, outcome: Outcome) -> None:
        if not outcome.accepted:
            self._site.counters[f"connect_{outcome.name.lower()}"] += 1
        if outcome is Outcome.FULL:
            self._site.full("websocket.connect")
        self._perform(self._exchange.connect_answered(outcome))

    def _ordered_answered(self, outcome: Outcome) -> None:
        self._perform(self._exchange.ordered_answered(outcome))
        if outcome <= 0:
            self._site.counters[f"frame_{outcome.name.lower()}"] += 1

    def _plain_answered(self, outcome: Outcome) -> None:
        actions = self._exchange.plain_answered(outcome)
        if actions or outcome <= 0:
            self._perform(actions)
            self._site.counters[f"frame_{outcome.name.lower()}"] += 1

    def _read(self, message: Message) -> Reply | None:
        offer = None if self._opening is None else self._opening.offer
        try:
            reply = read_reply(message, offer, self._site.settings.websocket_protocols)
        except BadMessage as error:
            self._site.counters["bad_messages"] += 1
            logger.warning("A message for the WebSocket %s is dropped: %s", self._reply_channel, error)
            return None
        if reply.remark:
            logger.warning("WebSocket %s (%s): %s.", self._reply_channel, escape(self.path), reply.remark)
        return reply

    def on_message(self, data: bytes, is_binary: bool) -> None:
        """A message that was not plain, whole and valid."""
        self._perform(self._exchange.received(data if is_binary else data.decode()))
        if self._ws is not None and self._ws.factory.rate:
            self._meter(1)

    def on_close(self, code: int) -> None:
        """The connection is gone; `code` is the client's, or 1006."""
        self._perform(self._exchange.lost(code))

    def may_write(self) -> bool:
        """Whether the client takes what it is sent; one that does not is closed."""
        wire = self._wire
        if not wire.backlogged or wire.pending_bytes <= self._site.settings.max_pending_bytes:
            return True
        if self._exchange.state is State.OPEN:
            self._site.counters["slow_clients"] += 1
            logger.info("The WebSocket %s reads too slowly and is closed (1008).", self._reply_channel)
            self._perform(self._exchange.close(SLOW))
        return False

    # From the clock.

    def deadline_passed(self, now: float) -> None:
        """The one deadline of the present state."""
        state = self._exchange.state
        if state is State.OPEN:
            self._check_life(now)
        elif state is State.CLOSING:
            self._perform(self._exchange.happened(Fact.OVERDUE))
        elif self._is_held():
            self._perform(self._exchange.connect_answered(Outcome.UNAVAILABLE))
        elif self._opening is not None:
            if not self._opening.worker_has_it:
                self._site.late(self._site.handshake_watch)
            self._perform(self._exchange.turn_away(LATE if self._opening.worker_has_it else BUSY))
        else:
            self.abort()  # the client does not read its denial

    def _check_life(self, now: float) -> None:
        beat, due = self._heartbeat.look(now, reading=not self._exchange.pauses)
        if beat is Beat.AGED:
            self._perform(self._exchange.close(AGED))
        elif beat is Beat.SILENT:
            self._site.counters["silent_clients"] += 1
            self.abort()
        else:
            self._site.timers.set(self, due)
            if beat is Beat.PING:
                self._transport.write(PING)
            if now >= self._heartbeat.held_until:
                self._perform(self._exchange.slow_enough())

    def _meter(self, count: int) -> None:
        if self._heartbeat.meter(count, self._site.settings.max_websocket_rate):
            self._perform(self._exchange.too_fast())
            self._site.timers.set(self, self._heartbeat.held_until)

    def _taken_by_worker(self) -> None:
        """The deadline of the queue was met; from now on that of the handshake counts."""
        if self._opening is not None and not self._opening.worker_has_it:
            self._site.handshake_watch.heard = True
            self._opening.worker_has_it = True
            self._site.timers.set(self, self._heartbeat.ends_at)

    def _is_held(self) -> bool:
        """Whether it waits for the layer: nobody was asked yet."""
        return self._exchange.state is State.CONNECTING and not self.registered

    def _set_due(self, seconds: float) -> None:
        self._site.timers.set(self, self._site.timers.now() + seconds)

    # Actions.

    def _perform(self, actions: Sequence[Action]) -> None:
        for action in actions:
            _DO[action.__class__](self, action)
        if self._exchange.state is State.ENDED:
            self.registered = False
            self._site.connections.remove(self.local)

    def _accept(self, action: do.Accept) -> None:
        site, opening = self._site, self._opening
        if opening is None:
            return
        self._opening = None
        self._ws = ws = socket_factory(site).open(
            self, self._transport, opening.offer, action.subprotocol, action.headers
        )
        self._window_bits = ws.window_bits
        site.timers.set(self, self._heartbeat.opened(site.timers.now()))
        self._log("WSCONNECT")

    def _deny(self, action: Deny) -> None:
        opening, self._opening = self._opening, None
        self._site.held.pop(self, None)
        if opening is not None:
            self._transport.write(opening.denial(action))
            self._transport.loseConnection()
            self._set_due(self._site.settings.deadlines.close)
            self._log("WSREJECT", action.status)

    def _write(self, action: do.Write) -> None:
        self._write_frame(encode_for(action.payload, self._window_bits))

    def _write_frame(self, frame: bytes) -> None:
        if not self._wire.backlogged or self.may_write():
            self._transport.write(frame)

    def _close(self, action: Close) -> None:
        if self._ws is not None:
            self._ws.sendCloseFrame(action.code, close_body(action.reason) or None)
            self._set_due(self._site.settings.deadlines.close)

    def _send_frame(self, action: do.SendFrame) -> None:
        payload = action.payload
        self._site.port.frame(
            self.local,
            {
                "reply_channel": self._reply_channel,
                "path": self.path,
                "text" if payload.__class__ is str else "bytes": payload,
                "order": action.order,
            },
            action.order,
            action.ordered,
            self._ordered_answered if action.ordered else self._plain_answered,
        )

    def _tell(self, action: do.Tell) -> None:
        self.registered = False
        message = messages.WEBSOCKET_DISCONNECT.build(
            reply_channel=self._reply_channel, code=action.code, path=self.path, order=action.order
        )
        # The port repeats it until it is told.
        self._site.port.disconnect(self.local, message, action.order, lambda _: None)
        self._log("WSDISCONNECT", action.code)

    def _resume(self, _: do.Resume) -> None:
        if self._ws is not None:
            self._transport.resumeProducing()

    def _log(self, action: str, code: int | None = None) -> None:
        if self._site.access_log is not None and self._head is not None:
            self._site.access_log.socket(action, self._head, code)


_DO: dict[type[Action], Callable[[WebSocketShell, Any], None]] = {
    do.Abort: lambda shell, _: shell.abort(),
    do.Accept: WebSocketShell._accept,
    do.Close: WebSocketShell._close,
    do.Deny: WebSocketShell._deny,
    do.Forget: lambda shell, _: shell._site.port.forget(shell.local),
    do.Pause: lambda shell, _: shell._transport.pauseProducing(),
    do.Resume: WebSocketShell._resume,
    do.SendFrame: WebSocketShell._send_frame,
    do.Tell: WebSocketShell._tell,
    do.Write: WebSocketShell._write,
}

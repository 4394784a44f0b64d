"""What one client says: taken out of its bytes while there is room, no faster than it may speak."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ..timers import Timed
from .actions import AGED, FLOOD, Action
from .frames import PING
from .heartbeat import Heartbeat, HeartbeatAction, InputRate, inflation_charge
from .shares import HEAVY_BYTES
from .states import SocketState

if TYPE_CHECKING:
    from headrace_asgi.envelope import Message

    from ..context import ServerContext
    from .autobahn import SocketProtocol
    from .exchange import Exchange
    from .sender import FrameSender

__all__ = ["FrameReader", "ReaderOwner"]

logger = logging.getLogger("headrace.interface")


class ReaderOwner(Timed, Protocol):
    """A socket's shell."""

    local: str
    reply_channel: str

    def perform(self, actions: Sequence[Action]) -> None:
        """Do what the exchange says."""

    def close_begun(self) -> None:
        """The client sent a close frame, or was sent one for what it did."""

    def closed(self, code: int) -> None:
        """The connection is gone; `code` is the client's, or 1006."""

    def abort(self) -> None:
        """Drop the connection at once."""


class FrameReader:
    """The receiving half of an open socket; Autobahn, where it has a part in that, calls it too.

    The client is pinged, and its age is looked at, when the shell's deadline has come.
    """

    __slots__ = (
        "_context", "_exchange", "_heartbeat", "_now", "_owner", "_rate", "_sender", "_transport", "_ws",
    )  # fmt: skip

    def __init__(
        self,
        context: ServerContext,
        transport: Any,
        exchange: Exchange,
        sender: FrameSender,
        owner: ReaderOwner,
    ) -> None:
        """`sender` has the messages that may leave at once."""
        self._context = context
        self._transport = transport
        self._exchange = exchange
        self._sender = sender
        self._owner = owner
        # Asked with each message.
        self._now = context.timers.now
        self._rate = context.settings.max_websocket_rate
        self._heartbeat = Heartbeat(context.settings.deadlines, self._now())
        self._ws: SocketProtocol

    def begin(self, ws: SocketProtocol) -> None:
        """The handshake is over."""
        self._ws = ws
        self._context.timers.set(self._owner, self._heartbeat.first_look)

    def as_plain(self) -> Message | None:
        """What `resume` needs; None if the client is in the middle of a compressed message."""
        begun = self._ws.begun()
        if begun is None:
            return None
        windows = self._ws.both_window_bits
        return {"begun": begun, "windows": windows and list(windows), "beats": self._heartbeat.as_plain()}

    def resume(self, ws: SocketProtocol, plain: Message, due: float) -> None:
        """Go on where another one was, in a turn of the reactor of its own."""
        self._ws = ws
        self._heartbeat.resume(plain["beats"])
        self._context.timers.set(self._owner, due)
        if plain["begun"]:
            ws.keep(plain["begun"])
            self._exchange.left_over()
            self.read_on()

    def received(self, data: bytes) -> None:
        """Take the messages out of what the client sent; what there is no room for stays in `ws`."""
        ws, exchange = self._ws, self._exchange
        self._heartbeat.heard_at = self._now()
        if exchange.pauses:
            ws.keep(data)  # a wrapper between delivers what it had, pause or not
            exchange.left_over()
            return
        messages, taken = ws.take_messages(data, exchange.room)
        if messages:
            self._sender.received(messages)
            if self._rate and self._heartbeat.meter(len(messages), self._rate):
                self._hold_up()
            if taken == len(data):
                return
            data = data[taken:]
        ws.feed(data)
        # What was read may have been a close frame, or a violation that was answered with one.
        if ws.closing and exchange.state is SocketState.OPEN:
            self._owner.close_begun()

    def read_on(self) -> None:
        """Look at what was left over, and then read on; in a turn of the reactor of its own."""
        self._context.clock.callLater(0, self._read_on)

    def _read_on(self) -> None:
        actions, owner = self._exchange.read_on(), self._owner
        if not actions:
            return
        try:
            owner.perform(actions)
            self.received(self._ws.unread())
        except Exception:
            logger.exception(
                "Reading from the WebSocket %s failed; it is cut off.", self._owner.reply_channel
            )
            owner.abort()

    def begin_close(self, code: int, reason: str) -> None:
        """Send a close frame, and await the client's."""
        self._ws.begin_close(code, reason)

    def lost(self, reason: Any) -> None:
        """The connection is gone; the owner's `closed` is called."""
        ws = self._ws
        del self._ws  # each holds the other
        ws.lost(reason)

    # Called by Autobahn.

    @property
    def local(self) -> str:
        """Which socket this is."""
        return self._owner.local

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
            self.read_on()

    def on_message(self, data: bytes, is_binary: bool, received_bytes: int) -> None:
        """A message that was not plain, whole and valid; `received_bytes` of it came, before inflation."""
        self._owner.perform(self._exchange.received((data if is_binary else data.decode(),)))
        if len(data) >= HEAVY_BYTES:
            self.meter_bytes(inflation_charge(len(data), received_bytes))
        if self._rate and self._heartbeat.meter(1, self._rate):
            self._hold_up()

    def on_close(self, code: int) -> None:
        """The connection is gone; `code` is the client's, or 1006."""
        self._owner.closed(code)

    def on_controls(self, count: int) -> None:
        """Frames that carry nothing: pings, pongs, empty fragments."""
        rate = self._context.settings.max_control_rate
        if not rate or self._exchange.state is not SocketState.OPEN:
            return
        pace = self._heartbeat.meter_controls(count, rate, self._context.timers.now())
        if pace is InputRate.FLOOD:
            self._context.counters["flooding_clients"] += 1
            logger.info(
                "The WebSocket %s sends too many control frames: closed (1008).", self._owner.reply_channel
            )
            self._owner.perform(self._exchange.expel(FLOOD))
        elif pace is InputRate.FAST:
            self._hold_up()

    # How long, and how fast.

    def look(self, now: float) -> None:
        """Whether the client is still there, has been for too long, or may be read from again."""
        beat, due = self._heartbeat.look(now, reading=not self._exchange.pauses)
        if beat is HeartbeatAction.AGED:
            self._owner.perform(self._exchange.close(AGED))
        elif beat is HeartbeatAction.SILENT:
            self._context.counters["silent_clients"] += 1
            self._owner.abort()
        else:
            self._context.timers.set(self._owner, due)
            if beat is HeartbeatAction.PING:
                self._transport.write(PING)
            if now >= self._heartbeat.held_until:
                self._owner.perform(self._exchange.slow_enough())

    def meter_bytes(self, size_bytes: int) -> None:
        """So many bytes of the client count for what it may send."""
        rate = self._context.settings.max_websocket_bytes_per_second
        if rate and size_bytes and self._heartbeat.meter_bytes(size_bytes, rate, self._context.timers.now()):
            self._hold_up()

    def _hold_up(self) -> None:
        """Do not read from the client for a while. One that is closing keeps its deadline for that."""
        if self._exchange.state is SocketState.OPEN:
            self._owner.perform(self._exchange.too_fast())
            self._context.timers.set(self._owner, self._heartbeat.held_until)

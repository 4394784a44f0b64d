"""One client's messages on their way through the layer's port: when they leave, and what they cost its share.

The exchange decides what may leave; here it is sent as there is room in the channel, or waits for room.
What a client that is gone left behind leaves in turn with that of the others of its address.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from headrace_asgi import messages
from headrace_asgi.contract import Outcome

from .actions import Action, SendFrame, Tell
from .exchange import TRY_AGAIN
from .shares import HEAVY_BYTES

if TYPE_CHECKING:
    from ..context import ServerContext
    from .exchange import Exchange
    from .waiting_room import Waiting

__all__ = ["FrameSender", "SenderOwner"]

logger = logging.getLogger("headrace.interface")

#: Looked up once, as it is compared with each answer.
_SENT = Outcome.SENT


class SenderOwner(Protocol):
    """A socket's shell."""

    def perform(self, actions: Sequence[Action]) -> None:
        """Do what the exchange says."""

    def meter_bytes(self, size_bytes: int) -> None:
        """So much of the client was accepted by the layer."""

    def abort(self) -> None:
        """Drop the connection at once."""


class _Nobody:
    """In the place of a shell that has ended: it is not kept alive by what it owned."""

    def perform(self, actions: Sequence[Action]) -> None:
        """Nothing."""

    def meter_bytes(self, size_bytes: int) -> None:
        """Nothing."""

    def abort(self) -> None:
        """Nothing."""


_NOBODY = _Nobody()


class FrameSender:
    """Sends the frames of one socket; it waits in the waiting room, and among the departed."""

    __slots__ = (
        "_context",
        "_exchange",
        "_local",
        "_owner",
        "_path",
        "_put_at",
        "_reply_channel",
        "address",
        "departed",
        "waiting",
    )

    def __init__(
        self, context: ServerContext, exchange: Exchange, address: str, path: str, owner: SenderOwner
    ) -> None:
        """`address` is whose client this is; the path is the socket's."""
        self._context = context
        self._exchange = exchange
        self._owner = owner
        self._path = path
        self._local = self._reply_channel = ""
        #: How many messages the channel had ever had after one of this socket that nobody else wrote down.
        self._put_at = 0
        self.address = address
        #: Whether its client left something behind that has yet to leave.
        self.departed = False
        #: Why its frames cannot leave, if so.
        self.waiting: Waiting | None = None

    def begin(self, local: str, reply_channel: str) -> None:
        """The socket has its names."""
        self._local, self._reply_channel = local, reply_channel

    def received(self, payloads: Sequence[str | bytes]) -> None:
        """Messages of the client: send them, or keep them until they may leave."""
        if len(payloads) == 1:
            shares = self._context.shares
            if shares.quiet or shares.has_room_for_one(self._put_at):
                frame = self._exchange.at_once(payloads[0])
                if frame is not None:
                    self.send(frame)
                    return
        self._owner.perform(self._exchange.received(payloads))

    def send(self, frame: SendFrame) -> None:
        """Put one on its way."""
        payload = frame.payload
        self._context.port.frame(
            self._local,
            {
                "reply_channel": self._reply_channel,
                "path": self._path,
                "text" if payload.__class__ is str else "bytes": payload,
                "order": frame.order,
            },
            frame.order,
            frame.ordered,
            self._answered,
        )

    def send_on(self) -> int:
        """Send the frames that may leave now, and answer how many; without room, wait for it."""
        exchange, context = self._exchange, self._context
        shares = context.shares
        if not exchange.next_weight:
            return 0
        if self.departed and not context.departed.is_first(self):
            self._owner.perform(exchange.hold())
            context.waiting_room.leave(self)  # its time begins with its turn
            return 0
        if context.draining:
            room = shares.most
        else:
            room = shares.room(self._local, self.address, exchange.next_weight, self.departed)
        if not room.messages:
            self._owner.perform(exchange.hold())
            context.waiting_room.enter(self, None)
            return 0
        frames = exchange.take(*room)
        for frame in frames:
            self.send(frame)
        return len(frames)

    def wait(self, outcome: Outcome) -> None:
        """The layer refused a frame; try again later."""
        self._context.waiting_room.enter(self, outcome)

    def abort(self) -> None:
        """Our own code failed for this client."""
        self._owner.abort()

    def give_up(self) -> None:
        """Nothing could be sent for too long; those that waited for this one have no better chance."""
        for sender in self._context.departed.with_the_same_address(self) if self.departed else (self,):
            sender.give_up_alone()

    def give_up_alone(self) -> None:
        """Drop what could not be sent; the connection, if it is there, is closed."""
        self._context.counters["socket_given_up"] += 1
        logger.info(
            "The WebSocket %s can send nothing to the application for too long and is closed (1013).",
            self._reply_channel,
        )
        self._owner.perform(self._exchange.give_up(TRY_AGAIN))

    def depart(self) -> None:
        """The client is gone, and what it said leaves in turn."""
        self.departed = True
        self._context.departed.join(self)

    def tell(self, end: Tell) -> None:
        """Send the disconnect; the port repeats it until it is told."""
        message = messages.WEBSOCKET_DISCONNECT.build(
            reply_channel=self._reply_channel, code=end.code, path=self._path, order=end.order
        )
        self._context.port.disconnect(self._local, message, end.order, lambda _: None)

    def end(self) -> None:
        """Nothing is left to send, and nobody to be told of it."""
        self._owner = _NOBODY
        context = self._context
        if self.departed:
            self.departed = False
            following = context.departed.leave(self)
            if following is not None:
                context.clock.callLater(0, context.waiting_room.try_now, following)
        context.waiting_room.leave(self)

    def _answered(self, outcome: Outcome) -> None:
        exchange = self._exchange
        actions = exchange.answered(outcome)
        if outcome is not _SENT and not outcome.accepted:
            self._context.counters[f"frame_{outcome.name.lower()}"] += 1
        if exchange.due:
            return
        if exchange.passed:
            shares = self._context.shares
            if self.waiting is not None or exchange.passed_weight >= HEAVY_BYTES:
                self._got_through(outcome)
            elif not shares.quiet:
                if exchange.passed == 1 and shares.has_room_for_one(self._put_at):
                    self._put_at = shares.sent
                else:
                    self._got_through(outcome)
        if actions:
            self._owner.perform(actions)

    def _got_through(self, outcome: Outcome) -> None:
        """Some of a batch were accepted, the last of all with this outcome."""
        exchange, shares, waiting = self._exchange, self._context.shares, self.waiting
        if exchange.passed_weight >= HEAVY_BYTES:
            self._owner.meter_bytes(exchange.passed_weight)
        if outcome is Outcome.BOXED:
            if waiting is not None:
                waiting.refused_at = math.inf
            return
        self.waiting = None
        if not shares.quiet or exchange.passed_weight >= HEAVY_BYTES:
            shares.put(self._local, self.address, exchange.passed, exchange.passed_weight)

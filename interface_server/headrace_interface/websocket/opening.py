"""What a socket holds until its handshake is answered; an open one keeps none of it."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from headrace_asgi.limits import DEFAULT_EXPIRY_SECONDS

from ..access_log import escape
from ..deadlines import RUNNING_NOTICE_SECONDS, takeable_seconds
from ..http.writer import BadResponse
from .actions import BUSY, Deny
from .handshake import HandshakeRefusal, Offer, check, connect_message, denial

if TYPE_CHECKING:
    from headrace_asgi.contract import Outcome
    from headrace_asgi.envelope import Message

    from ..context import ServerContext
    from ..http.head import RequestHead

__all__ = ["LATE", "TOO_EARLY", "Opening"]

logger = logging.getLogger("headrace.interface")

#: A worker has the connect and does not answer; one that nobody took is answered with BUSY.
LATE = Deny(504, "The application did not answer the handshake in time.")
#: Group messages that wait for the accept: of a busy group, the time a connect consumer takes.
MAX_WAITING = 100
TOO_EARLY = Deny(400, "Too much was sent before the handshake was answered.")


class Opening:
    """A handshake without its answer.

    `early` is what the client sent behind its request, `waiting` what groups sent to it.
    """

    __slots__ = (
        "_begun",
        "_context",
        "_head",
        "asked_at",
        "early",
        "ends_at",
        "expires_at",
        "offer",
        "waiting",
        "worker_has_it",
    )

    def __init__(self, context: ServerContext, head: RequestHead, early: bytes) -> None:
        self._context = context
        self._head = head
        self.early = early
        self.waiting: list[Message] = []
        self.offer = Offer(b"", (), "")
        #: When the handshake has taken too long.
        self.ends_at = context.timers.now() + context.settings.deadlines.handshake
        #: When the connect was sent.
        self.asked_at = math.inf
        #: Whether the deadline of the queue was met: a worker took the connect.
        self.worker_has_it = False
        #: When the connect leaves its channel at the latest; in the past while it is on none.
        self.expires_at = -math.inf
        #: The address that this handshake counts for, until it has ended.
        self._begun: str | None = None

    def judge(self) -> Deny | None:
        """Why the handshake is refused without asking the application, if it is."""
        context = self._context
        settings = context.settings
        offer = check(self._head, settings.websocket_compression)
        if isinstance(offer, HandshakeRefusal):
            return Deny(offer.status, offer.text, offer.headers)
        self.offer = offer
        full = settings.max_websockets and context.socket_count >= settings.max_websockets
        may_not_wait = not context.layer_up and len(context.held) >= settings.max_held
        if full or may_not_wait or context.draining or not context.accepting:
            return BUSY
        address = self._head.client[0] if self._head.client else ""
        if not context.handshakes.may_begin(address, context.timers.now(), context.departed.count(address)):
            context.counters["address_handshakes"] += 1
            return BUSY
        context.handshakes.begun(address)
        self._begun = address
        return None

    def end(self) -> None:
        """It has its answer, or its client is gone; once."""
        address, self._begun = self._begun, None
        if address is None:
            return
        handshakes = self._context.handshakes
        if self.worker_has_it or self.expires_at <= self._context.timers.now():
            handshakes.ended(address)
        else:
            handshakes.left(address, self.expires_at)

    def queue_seconds(self) -> float:
        """How long the client waits for a worker to take its connect.

        Without a deadline as long as the connect lives: an ordered message always expires
        (docs/protocol.md, section 7).
        """
        deadlines = self._context.settings.deadlines
        return min(deadlines.queue, deadlines.handshake, DEFAULT_EXPIRY_SECONDS + RUNNING_NOTICE_SECONDS)

    def ask(self, local: str, reply_channel: str, done: Callable[[Outcome], None]) -> None:
        """Send the `websocket.connect`; it expires when the client is turned away because nobody took it."""
        message = connect_message(self._head, self.offer, reply_channel)
        expiry_seconds = takeable_seconds(self.queue_seconds())
        self.asked_at = self._context.timers.now()
        self.expires_at = self.asked_at + expiry_seconds
        self._context.port.connect(local, self._head.path, message, expiry_seconds, done)
        self._context.handshake_watch.asked()

    def taken(self) -> bool:
        """A worker has the connect; False if that was known."""
        first, self.worker_has_it = not self.worker_has_it, True
        if first:
            self._context.handshake_watch.heard = True
        return first

    def overdue(self) -> Deny:
        """It was not answered in time: what its client is told."""
        if self.worker_has_it:
            return LATE
        self._context.late(self._context.handshake_watch)
        return BUSY

    def keep(self, data: bytes) -> bool:
        """Keep what came early; False if it is too much."""
        self.early += data
        return len(self.early) <= self._context.settings.max_early_bytes

    def holds(self, message: Message) -> bool:
        """Whether this group message waits for the accept: a group's traffic must let nobody in.

        One that says accept, or only close, is the application's answer. What is too much is dropped, as for
        any full member of a group.
        """
        says_something = message.get("text") is not None or message.get("bytes") is not None
        if message.get("accept") is not None or not says_something:
            return False
        if len(self.waiting) < MAX_WAITING:
            self.waiting.append(message)
        return True

    def hand_over(
        self, deliver: Callable[[Message, dict[Any, Any]], None], feed: Callable[[bytes], None]
    ) -> None:
        """The socket is open: what groups sent to it so far, then what its client did."""
        for message in self.waiting:
            deliver(message, {})
        if self.early:
            feed(self.early)

    def denial(self, deny: Deny) -> bytes:
        """The response of a refusal; the application's headers are left out if they cannot be sent."""
        date, server = self._context.date(), self._context.settings.server_name
        try:
            return denial(self._head, deny, date, server)
        except BadResponse as error:
            logger.warning(
                "The denial of a WebSocket on %s goes without its headers: %s",
                escape(self._head.path),
                error,
            )
            return denial(self._head, Deny(deny.status, deny.text), date, server)

"""A connection to one Redis that comes back by itself.

Each connection is let in by a `Handshake` before anything else is sent. A Redis that refuses us is tried
again like one that is away: somebody may put that right.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from enum import Enum, auto
from functools import partial
from typing import Any

from headrace_asgi.backoff import Backoff
from headrace_asgi.errors import LayerRefused, LayerUnavailable

from ..address import ServerAddress
from ..plan.command import Argument
from ..plan.faults import Fault, connect_error
from ..plan.finding import left_server
from ..plan.handshake import Handshake, Identity
from ..plan.outcomes import connection_lost
from ..plan.resp import pack
from .connection import Answered, Reactor, RespProtocol, Timer, connect
from .finder import ServerFinder, ServerWatch

__all__ = ["RedisLink"]

#: The first wait before connecting again, doubled with each failure up to the last: within 5 s of Redis
#: being back everybody has returned, and not all in the same millisecond.
FIRST_WAIT_SECONDS = 0.05
LAST_WAIT_SECONDS = 2.0


class _LinkState(Enum):
    """States of a link, and what ends each.

    IDLE        start -> CONNECTING
    CONNECTING  connected, after those who know said where that is -> GREETING; failed -> WAITING
    GREETING    let in -> OPEN; refused or lost -> WAITING
    OPEN        lost -> WAITING; left -> LEAVING
    LEAVING     everything is answered, or lost -> WAITING
    WAITING     the time is over -> CONNECTING
    STOPPED     the end, reached from every state by `stop`
    """

    IDLE = auto()
    CONNECTING = auto()
    GREETING = auto()
    OPEN = auto()
    LEAVING = auto()
    WAITING = auto()
    STOPPED = auto()


class RedisLink:
    """See the module. Not thread-safe: everything happens in the reactor's thread."""

    def __init__(
        self,
        address: ServerAddress,
        reactor: Reactor,
        name: str,
        on_up: Callable[[], None],
        on_down: Callable[[LayerUnavailable], None],
        gather: Callable[[], None] | None = None,
        answer_timeout_seconds: float = 5.0,
        random_part: Callable[[], float] = random.random,
    ) -> None:
        """Take where to connect and the name that CLIENT LIST shall show.

        `on_up` is called when commands can be sent, `on_down(error)` when that ends and after each failed
        attempt; LayerRefused says that a setting has to be put right. `gather` is called before each write
        and may send more.
        """
        self.address = address
        #: The one that is or was connected to last: `address`, or the one that was found for it.
        self.server = address
        self._reactor = reactor
        self._name = name
        self._on_up = on_up
        self._on_down = on_down
        self._gather = gather
        self._answer_timeout_seconds = answer_timeout_seconds
        self._state = _LinkState.IDLE
        self._connection: RespProtocol | None = None
        self._give_up: Callable[[], None] | None = None
        self._timer: Timer | None = None
        self._backoff = Backoff(FIRST_WAIT_SECONDS, LAST_WAIT_SECONDS, random_part)
        self._woken = False
        #: The connection that is or was open last.
        self._identity: Identity | None = None
        #: That of the connection which is being let in.
        self._handshake: Handshake | None = None
        self._finder = ServerFinder(address, reactor) if address.sentinels or address.cluster else None
        self._watch = ServerWatch(self._finder, reactor, self._named) if self._finder else None
        #: Why the connection is being broken, where we do that.
        self._error: LayerUnavailable | None = None
        #: What people should change of this Redis although it serves; empty if there is nothing.
        self.advice = ""

    @property
    def is_open(self) -> bool:
        """Whether commands can be sent."""
        return self._state is _LinkState.OPEN

    @property
    def unanswered(self) -> int:
        """Commands whose answer has not come."""
        return 0 if self._connection is None else self._connection.unanswered

    def start(self) -> None:
        """Connect, and again after every loss."""
        if self._state is _LinkState.IDLE:
            self._connect()

    def stop(self) -> None:
        """Disconnect for good after writing what is queued; `on_down` is not called."""
        state, self._state = self._state, _LinkState.STOPPED
        if self._watch is not None:
            self._watch.stop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._connection is None:
            if self._give_up is not None:
                self._give_up()
        elif state is _LinkState.OPEN:
            self._connection.close()
        else:
            self._connection.abort("closed")

    def drop(self, error: LayerUnavailable) -> None:
        """Break this connection and make a new one; `error` is what `on_down` will be told.

        Waits grow from one drop to the next: a server that lets us in and then refuses to serve is not back.
        """
        if self._connection is not None:
            self._backoff.resume()
            self._break(error)

    def leave(self, error: LayerUnavailable) -> None:
        """`drop`, once everything is answered that was asked: the server is there, and has done some of it.

        Nothing more can be sent from now on.
        """
        connection = self._connection
        if connection is None or self._state is not _LinkState.OPEN:
            return
        if not connection.unanswered:
            self.drop(error)
            return
        self._state = _LinkState.LEAVING
        self._backoff.resume()
        connection.send(pack((b"PING",)), lambda answer: self._left(connection, error))
        connection.flush()
        # Not at once: who tells us is telling others what became of what they asked.
        self._reactor.callLater(0, self._leaving, connection, error)

    def _leaving(self, connection: RespProtocol, error: LayerUnavailable) -> None:
        if connection is self._connection and self._state is _LinkState.LEAVING:
            self._on_down(error)

    def _left(self, connection: RespProtocol, error: LayerUnavailable) -> None:
        if connection is self._connection and self._state is _LinkState.LEAVING:
            self._break(error)

    def send(self, args: Sequence[Argument], answered: Answered) -> None:
        """Send one command at the end of this reactor turn.

        `answered` is called once: later, or at once with LayerUnavailable if there is no connection.
        """
        if self._connection is None or self._state is not _LinkState.OPEN:
            answered(self._away())
            return
        self._connection.send(pack(args), answered)
        if not self._woken:
            self.wake()

    def send_now(self, command: bytes, answered: Answered) -> None:
        """`send`, written at once, behind what this turn has sent so far; the command is packed."""
        if self._connection is None or self._state is not _LinkState.OPEN:
            answered(self._away())
            return
        self._connection.send(command, answered)
        self.flush()

    def wake(self) -> None:
        """See to it that `gather` runs and everything is written at the end of this reactor turn."""
        if not self._woken:
            self._woken = True
            self._reactor.callLater(0, self.flush)

    def flush(self) -> None:
        """Write now what this turn has sent so far."""
        if self._gather is not None:
            self._woken = True  # what `gather` sends leaves with this very write
            self._gather()
        self._woken = False
        if self._connection is not None and self._state is _LinkState.OPEN:
            self._connection.flush()

    def _away(self) -> LayerUnavailable:
        return LayerUnavailable(f"there is no connection to Redis at {self.address.label}")

    # Connecting

    def _connect(self) -> None:
        self._timer = None
        self._state = _LinkState.CONNECTING
        if self._finder is None:
            self._connect_to(self.address)
        else:
            self._give_up = self._finder.find(self._connect_to, self._not_found)

    def _connect_to(self, server: ServerAddress) -> None:
        self.server = server
        try:
            self._give_up = connect(
                server, self._reactor, self._answer_timeout_seconds, self._greet, self._lost
            )
        except LayerRefused as error:
            self._error = error
            self._lost(str(error), Fault.CERTIFICATES)

    def _not_found(self, error: LayerUnavailable) -> None:
        self._error = error
        self._lost(str(error), Fault.OTHER)

    def _named(self, server: ServerAddress) -> None:
        """Sentinels have named the primary while we are connected."""
        reason = left_server(self.server, server)
        if reason is not None:
            self.drop(reason)

    def _break(self, error: LayerUnavailable) -> None:
        """Break the connection, which leads to `_lost`."""
        if self._connection is not None:
            self._error = self._error or error
            self._connection.abort(str(error))

    def _lost(self, why: str, fault: Fault) -> None:
        """Not connected, not let in, or the connection broke."""
        error, self._error = self._error, None
        if error is None and self._is_unheard:
            error = connect_error(self.server, fault, why)
        if self._watch is not None:
            self._watch.stop()
        if self._finder is not None and self._state in (_LinkState.CONNECTING, _LinkState.GREETING):
            self._finder.doubt()
        self._connection = self._give_up = None
        if self._state is _LinkState.STOPPED:
            return
        self._state = _LinkState.WAITING
        self._timer = self._reactor.callLater(self._backoff.next_seconds(), self._connect)
        self._on_down(error or connection_lost(self.server.label, why, written=False))

    @property
    def _is_unheard(self) -> bool:
        """Whether Redis has not said a word over this connection, or the one that is being made."""
        handshake = self._handshake
        if self._state is _LinkState.GREETING and handshake is not None:
            return not handshake.has_heard
        return self._state is _LinkState.CONNECTING

    # Being let in

    def _greet(self, connection: RespProtocol) -> None:
        """Ask everything in one write."""
        if self._state is _LinkState.STOPPED:
            connection.abort("closed")
            return
        self._connection = connection
        self._state = _LinkState.GREETING
        if self._watch is not None:
            self._watch.start()  # now: a server that hangs is not waited for when there is another
        handshake = self._handshake = Handshake(self.server, self._name, self._identity)
        heard = partial(self._heard, connection, handshake)
        for command in handshake.commands:
            connection.send(pack(command), heard)
        connection.flush()

    def _heard(self, connection: RespProtocol, handshake: Handshake, answer: Any) -> None:
        if self._connection is not connection or self._state is not _LinkState.GREETING or self._error:
            return
        try:
            further = handshake.heard(answer)
        except LayerUnavailable as error:
            self._break(error)
            return
        if further is not None:
            connection.send(pack(further), partial(self._heard, connection, handshake))
            connection.flush()
        elif handshake.is_over:
            self._let_in(handshake)

    def _let_in(self, handshake: Handshake) -> None:
        self._state = _LinkState.OPEN
        self._handshake = None
        self._identity = handshake.identity
        self.advice = handshake.advice
        self._backoff.reset()
        self._on_up()

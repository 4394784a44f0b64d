"""A connection to one Redis that comes back by itself.

It lets itself in, loads the scripts, and ends what its own previous connection left at Redis: commands that
were not read yet must not run late, and a take that still blocks must not pop into the void
(docs/protocol.md, section 3).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Any

from headrace_asgi.backoff import Backoff
from headrace_asgi.errors import ConfigurationError, LayerUnavailable

from ..address import ServerAddress
from ..plan.command import Argument, text
from ..plan.scripts import SCRIPTS
from ..plan.server_info import facts_of
from .connection import Answered, Reactor, RespProtocol, Timer, connect

__all__ = ["RedisLink"]

#: The first wait before connecting again, doubled with each failure up to the last: within 5 s of Redis
#: being back everybody has returned, and not all in the same millisecond.
FIRST_WAIT_SECONDS = 0.05
LAST_WAIT_SECONDS = 2.0


class _LinkState(Enum):
    """States of a link, and what ends each.

    IDLE        start -> CONNECTING
    CONNECTING  connected -> GREETING; failed -> WAITING
    GREETING    let in -> OPEN; refused or lost -> WAITING
    OPEN        lost -> WAITING
    WAITING     the time is over -> CONNECTING
    STOPPED     the end, reached from every state by `stop`
    """

    IDLE = auto()
    CONNECTING = auto()
    GREETING = auto()
    OPEN = auto()
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
        on_down: Callable[[str], None],
        gather: Callable[[], None] | None = None,
        answer_timeout_seconds: float = 5.0,
        random_part: Callable[[], float] = random.random,
    ) -> None:
        """Take where to connect and the name that CLIENT LIST shall show.

        `on_up` is called when commands can be sent, `on_down(reason)` when that ends and after each failed
        attempt. `gather` is called before each write and may send more.
        """
        self.address = address
        self._reactor = reactor
        self._name = name
        self._on_up = on_up
        self._on_down = on_down
        self._gather = gather
        self._answer_timeout_seconds = answer_timeout_seconds
        self._state = _LinkState.IDLE
        self._wire: RespProtocol | None = None
        self._give_up: Callable[[], None] | None = None
        self._timer: Timer | None = None
        self._backoff = Backoff(FIRST_WAIT_SECONDS, LAST_WAIT_SECONDS, random_part)
        self._woken = False
        #: (run id of the server, id of the connection) of the connection that is or was open last.
        self._identity: tuple[str, int] | None = None
        #: What the server does when its memory is full; empty if it does not tell.
        self.eviction_policy = ""

    @property
    def is_open(self) -> bool:
        """Whether commands can be sent."""
        return self._state is _LinkState.OPEN

    @property
    def unanswered(self) -> int:
        """Commands whose answer has not come."""
        return 0 if self._wire is None else self._wire.unanswered

    def start(self) -> None:
        """Connect, and again after every loss."""
        if self._state is _LinkState.IDLE:
            self._connect()

    def stop(self) -> None:
        """Disconnect for good after writing what is queued; `on_down` is not called."""
        state, self._state = self._state, _LinkState.STOPPED
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._wire is None:
            if self._give_up is not None:
                self._give_up()
        elif state is _LinkState.OPEN:
            self._wire.close()
        else:
            self._wire.abort("closed")

    def drop(self, why: str) -> None:
        """Break this connection and make a new one.

        Waits grow from one drop to the next: a server that lets us in and then refuses to serve is not back.
        """
        if self._wire is not None:
            self._backoff.resume()
            self._wire.abort(why)

    def send(self, args: Sequence[Argument], answered: Answered) -> None:
        """Send one command at the end of this reactor turn.

        `answered` is called once: later, or at once with LayerUnavailable if there is no connection.
        """
        if self._wire is None or self._state is not _LinkState.OPEN:
            answered(LayerUnavailable(f"there is no connection to Redis at {self.address.label}"))
            return
        self._wire.send(args, answered)
        if not self._woken:
            self.wake()

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
        if self._wire is not None and self._state is _LinkState.OPEN:
            self._wire.flush()

    # Connecting

    def _connect(self) -> None:
        self._timer = None
        self._state = _LinkState.CONNECTING
        try:
            self._give_up = connect(
                self.address, self._reactor, self._answer_timeout_seconds, self._greet, self._lost
            )
        except ConfigurationError as error:
            self._lost(str(error))

    def _lost(self, why: str) -> None:
        """Not connected, not let in, or the connection broke."""
        self._wire = self._give_up = None
        if self._state is _LinkState.STOPPED:
            return
        self._state = _LinkState.WAITING
        self._timer = self._reactor.callLater(self._backoff.next_seconds(), self._connect)
        self._on_down(f"{self.address.label}: {why}")

    # Being let in

    def _greet(self, wire: RespProtocol) -> None:
        """Ask everything in one write."""
        if self._state is _LinkState.STOPPED:
            wire.abort("closed")
            return
        self._wire = wire
        self._state = _LinkState.GREETING
        address = self.address
        needed: list[tuple[Argument, ...]] = []
        if address.password is not None:
            user = () if address.username is None else (address.username,)
            needed.append((b"AUTH", *user, address.password))
        if address.db:
            needed.append((b"SELECT", address.db))
        needed += [(b"SCRIPT", b"LOAD", script.source) for script in SCRIPTS]
        wanted: list[tuple[Argument, ...]] = [
            (b"INFO", b"server"),
            (b"CLIENT", b"ID"),
            (b"CONFIG", b"GET", b"maxmemory-policy"),
            (b"CLIENT", b"SETNAME", self._name),
        ]
        answers: list[Any] = []

        def answered(answer: Any) -> None:
            answers.append(answer)
            if len(answers) == len(needed) + len(wanted) and self._wire is wire:
                self._let_in(wire, answers[: len(needed)], answers[len(needed) :])

        for command in (*needed, *wanted):
            wire.send(command, answered)
        wire.flush()

    def _let_in(self, wire: RespProtocol, needed: list[Any], wanted: list[Any]) -> None:
        refused = next((answer for answer in needed if isinstance(answer, Exception)), None)
        if refused is not None:
            wire.abort(f"Redis answers {str(refused)!r}")
            return
        info, identity, policy, _ = (None if isinstance(answer, Exception) else answer for answer in wanted)
        facts = facts_of(info)
        if facts.too_old:
            wire.abort(f"Redis {facts.version} is too old: 7.0 or later, or Valkey, is needed")
            return
        self.eviction_policy = text(policy[1]) if policy else ""
        before, run = self._identity, facts.run_id
        now = (run, identity) if run and identity is not None else None
        # Identifiers start anew with each server: the same number may be somebody else's by now.
        if before is not None and before[0] == run:
            wire.send((b"CLIENT", b"KILL", b"ID", before[1]), lambda answer: self._open(wire, now))
            wire.flush()
        else:
            self._open(wire, now)

    def _open(self, wire: RespProtocol, identity: tuple[str, int] | None) -> None:
        if self._wire is wire and self._state is _LinkState.GREETING:
            self._state = _LinkState.OPEN
            self._identity = identity
            self._backoff.reset()
            self._on_up()

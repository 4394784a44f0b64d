"""Carries out the plan's commands over blocking connections: pooled, reopened, repeated where safe."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from headrace_asgi.backoff import Backoff
from headrace_asgi.errors import (
    ChannelFull,
    ConfigurationError,
    HeadraceError,
    LayerRefused,
    LayerUnavailable,
    OutcomeUnknown,
)

from ..memory_watch import MemoryWatch
from ..plan.clock import RedisClock
from ..plan.command import RedisCommand, as_is
from ..plan.handshake import SlotMoves
from ..plan.outcomes import Reaction, may_repeat, not_understood, refusal_of
from ..plan.resp import ReplyError, pack
from ..plan.scripts import SCRIPTS
from .connection import ConnectionBroken, RedisConnection, Whereabouts
from .silence import ANSWER_SECONDS

__all__ = ["RedisExecutor"]

log = logging.getLogger("headrace.layer")

#: Seconds that commands are held which Redis cannot serve at present, before the caller gets the error.
HOLD_SECONDS = 5.0
FIRST_PAUSE_SECONDS = 0.02
LAST_PAUSE_SECONDS = 0.5
#: How often a command whose answer was lost is repeated.
REPEATS = 2

_WHEN_FULL = "what is sent to channels and groups is refused, replies and what is taken are not"
_TIME = RedisCommand("", (b"TIME",), as_is, repeat=True)
#: The commands that load every script.
_LOAD = b"".join(pack((b"SCRIPT", b"LOAD", one.source)) for one in SCRIPTS)


class RedisExecutor:
    """The connections of one process to one place. Thread-safe; a forked child opens its own."""

    def __init__(
        self, address: Whereabouts, clock: RedisClock, prepare: Callable[[], None] | None = None
    ) -> None:
        """`prepare` is called when Redis cannot be reached; it may start one, or raise."""
        self.address = address
        self.clock = clock
        self._prepare = prepare
        self._may_move = address.may_move
        self._pid = os.getpid()
        self._idle: deque[RedisConnection] = deque()
        self._is_closed = False
        self._has_connected = False
        self.memory = MemoryWatch(address.label, _WHEN_FULL)

    def run(self, commands: Sequence[RedisCommand], answer_seconds: float = ANSWER_SECONDS) -> list[Any]:
        """What each command answered, in order; an error takes the place of its answer.

        One write, one wait, unless something went wrong: then what may be repeated is repeated, and the rest
        becomes OutcomeUnknown. Raises nothing but ConfigurationError.
        """
        return _Run(self, commands, answer_seconds).run()

    def ask(self, command: RedisCommand, answer_seconds: float = ANSWER_SECONDS) -> Any:
        """What one command answered. Raises the error instead, a HeadraceError."""
        (answer,) = self.run((command,), answer_seconds)
        if isinstance(answer, HeadraceError):
            raise answer
        return answer

    def is_expired(self, expiry_ms: int) -> bool:
        """Whether a time on the Redis clock has passed; asks that clock again before it says yes."""
        if not self.clock.expired(expiry_ms):
            return False
        if not self.clock.fresh:
            try:
                self.sample_clock()
            except HeadraceError:
                return False  # delivered late is better than dropped by a wrong clock
        return self.clock.expired(expiry_ms)

    def sample_clock(self) -> None:
        """Ask Redis for the time. Raises LayerUnavailable."""
        self.clock.sample_answer(self.ask(_TIME))

    def new_connection(self) -> RedisConnection:
        """A new connection, not opened, that the caller keeps for itself."""
        return RedisConnection(self.address, self.clock)

    def open(self, connection: RedisConnection) -> None:
        """Open a connection. Raises LayerUnavailable, and what `prepare` raises."""
        if self._prepare is not None and not self._has_connected:
            self._prepare()
        try:
            self._open(connection)
        except LayerRefused:
            raise
        except LayerUnavailable:
            if self._prepare is None:
                raise
            self._prepare()
            self._open(connection)

    def _open(self, connection: RedisConnection) -> None:
        connection.open()
        if not self._has_connected:
            if connection.is_replica:
                # Later it is a failover, after which another one answers to this name.
                connection.close()
                raise LayerRefused(connection.advice)
            self._has_connected = True
            if connection.advice:
                log.warning("%s", connection.advice)

    def take_out(self) -> RedisConnection:
        """An open connection from the pool.

        Raises LayerUnavailable, and ConfigurationError if Redis refuses us and none ever worked here.
        """
        self._is_closed = False
        if self._pid != os.getpid():
            # The parent's connections: they are closed here without a word to Redis.
            self._pid, self._idle = os.getpid(), deque()
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self.new_connection()
        if connection.is_open and (
            connection.lost_its_peer() or (self._may_move and self.address.has_left(connection.server))
        ):
            connection.close()
        if not connection.is_open:
            try:
                self.open(connection)
            except BaseException as error:
                self._idle.append(connection)
                # What worked once works again: later, a wrong setting of Redis shall end no process.
                if isinstance(error, LayerRefused) and not self._has_connected:
                    raise ConfigurationError(str(error)) from None
                raise
        return connection

    def put_back(self, connection: RedisConnection) -> None:
        """Return a connection to the pool; a closed one knows whom to end when it is opened again."""
        self._idle.append(connection)
        if self._is_closed:
            self._drain()

    def close(self) -> None:
        """Close the connections in the pool, and those that threads still use as they put them back."""
        if self._pid == os.getpid():
            self._is_closed = True
            self._drain()

    def _drain(self) -> None:
        with contextlib.suppress(IndexError):
            while True:
                self._idle.pop().close()


class _Run:
    """One list of commands until each has an answer or an error."""

    def __init__(
        self, executor: RedisExecutor, commands: Sequence[RedisCommand], answer_seconds: float
    ) -> None:
        self._executor = executor
        self._commands = list(commands)
        self._answer_seconds = answer_seconds
        self._answers: list[Any] = [None] * len(commands)
        self._packed = [pack(command.args) for command in commands]
        self._load = self._leave = False
        self._repeats = 0
        #: Those that a broken connection may have carried to Redis.
        self._doubtful: set[int] = set()
        self._backoff = Backoff(FIRST_PAUSE_SECONDS, LAST_PAUSE_SECONDS, random.random)
        self._pause_seconds = 0.0
        self._give_up = 0.0

    def run(self) -> list[Any]:
        waiting: list[int] = list(range(len(self._commands)))
        while waiting:
            if self._pause_seconds:
                time.sleep(self._pause_seconds)
            try:
                connection = self._executor.take_out()
            except LayerUnavailable as error:
                if isinstance(error, SlotMoves) and self._may_hold():
                    continue
                for index in waiting:
                    doubtful = index in self._doubtful
                    self._answers[index] = OutcomeUnknown(str(error)) if doubtful else error
                break
            try:
                waiting = self._exchange(connection, waiting)
            except BaseException:
                connection.close()
                raise
            finally:
                self._executor.put_back(connection)
        return self._answers

    def _exchange(self, connection: RedisConnection, waiting: list[int]) -> list[int]:
        """Write and read; the commands to try again."""
        again: list[int] = []
        clock = connection.clock
        data = b"".join([self._packed[index] for index in waiting])
        ask_time = clock.stale
        if ask_time:
            data = pack((b"TIME",)) + data
        load, self._load = self._load, False
        done = 0
        try:
            connection.write(_LOAD + data if load else data)
            for _ in range(len(SCRIPTS) if load else 0):
                connection.read()
            if ask_time:
                clock.sample_answer(connection.read())
            for index in waiting:
                answer = connection.read(self._answer_seconds)
                done += 1
                if isinstance(answer, ReplyError):
                    if self._is_refused(index, answer):
                        again.append(index)
                else:
                    self._understand(index, answer)
        except ConnectionBroken as broken:
            again += self._lost(waiting[done:], broken)
        if self._leave:
            self._leave = False
            connection.close()
        return sorted(again)

    def _understand(self, index: int, answer: Any) -> None:
        command, executor = self._commands[index], self._executor
        try:
            self._answers[index] = command.read(answer)
        except (ValueError, TypeError, LookupError) as error:
            self._answers[index] = not_understood(answer, command, executor.address.label, error)
        if executor.memory.is_full and command.needs_memory:
            executor.memory.accepted()

    def _is_refused(self, index: int, answer: ReplyError) -> bool:
        """Whether to try a command again that Redis refused; if not, it has its error."""
        refusal = refusal_of(answer, self._commands[index], self._executor.address.label)
        if isinstance(refusal.error, ChannelFull):
            self._executor.memory.refused()
        if refusal.command is not None:
            self._commands[index] = refusal.command
            self._packed[index] = pack(refusal.command.args)
            # Others will want the scripts too.
            self._load = self._load or refusal.reaction is Reaction.WHOLE
            return True
        if refusal.reaction is Reaction.LEAVE:
            self._leave = True
        if refusal.reaction is not Reaction.FAIL and self._may_hold():
            return True
        self._answers[index] = refusal.error
        return False

    def _may_hold(self) -> bool:
        now = time.monotonic()
        if not self._give_up:
            self._give_up = now + HOLD_SECONDS
        self._pause_seconds = self._backoff.next_seconds()
        return now < self._give_up

    def _lost(self, unanswered: list[int], broken: ConnectionBroken) -> list[int]:
        """Those of the unanswered commands that may be sent again."""
        if broken.written:
            self._doubtful.update(unanswered)
        repeatable = [
            index
            for index in unanswered
            if self._repeats < REPEATS and may_repeat(self._commands[index], index in self._doubtful)
        ]
        self._repeats += 1
        for index in set(unanswered).difference(repeatable):
            self._answers[index] = broken.outcome(index in self._doubtful)
        return repeatable

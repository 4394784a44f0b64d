"""Carries out the plan's calls over blocking connections: pooled, reopened, repeated where that is safe."""

from __future__ import annotations

import logging
import os
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import hiredis

from headrace_asgi.backoff import Backoff
from headrace_asgi.errors import ChannelFull, HeadraceError, LayerRefused, LayerUnavailable, OutcomeUnknown

from ..memory_watch import MemoryWatch
from ..plan.clock import RedisClock
from ..plan.command import RedisCommand, as_is
from ..plan.resp import pack
from ..plan.scripts import SCRIPTS
from ..plan.server_info import NOT_NOW, error_code
from .connection import LinkBroken, RedisAddress, RedisSocket, loads
from .silence import ANSWER_SECONDS

__all__ = ["RedisExecutor", "error_for"]

log = logging.getLogger("headrace.layer")

#: Seconds that an error of `NOT_NOW` is held for before the caller gets it.
HOLD_SECONDS = 5.0
FIRST_PAUSE_SECONDS = 0.02
LAST_PAUSE_SECONDS = 0.5
#: How often a call whose answer was lost is repeated.
REPEATS = 2

_ADVICE = (
    "Redis at %s has maxmemory-policy %s: it may delete messages and groups when memory is short; "
    "set it to noeviction"
)
_WHEN_FULL = "what is sent to channels and groups is refused, replies and what is taken are not"
_TIME = RedisCommand("", (b"TIME",), as_is, repeat=True)


class RedisExecutor:
    """The connections of one process to one place. Thread-safe; a forked child opens its own."""

    def __init__(
        self, address: RedisAddress, clock: RedisClock, prepare: Callable[[], None] | None = None
    ) -> None:
        """`prepare` is called when Redis cannot be reached; it may start one, or raise."""
        self.address = address
        self.clock = clock
        self._prepare = prepare
        self._pid = os.getpid()
        self._idle: deque[RedisSocket] = deque()
        self._has_connected = False
        self.memory = MemoryWatch(address.label, _WHEN_FULL)

    def run(self, commands: Sequence[RedisCommand], answer_seconds: float = ANSWER_SECONDS) -> list[Any]:
        """What each call answered, in order; an error takes the place of its answer.

        One write, one wait, unless something went wrong: then calls that may be repeated are repeated, others
        become OutcomeUnknown. Raises nothing but ConfigurationError.
        """
        return _Run(self, commands, answer_seconds).run()

    def ask(self, command: RedisCommand, answer_seconds: float = ANSWER_SECONDS) -> Any:
        """What one call answered. Raises the error instead, a HeadraceError."""
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

    def link(self) -> RedisSocket:
        """A new connection, not opened, that the caller keeps for itself."""
        return RedisSocket(self.address, self.clock)

    def open(self, link: RedisSocket) -> None:
        """Open a connection. Raises LayerUnavailable, and ConfigurationError if none ever worked here."""
        if self._prepare is not None and not self._has_connected:
            self._prepare()
        try:
            self._open(link)
        except LayerUnavailable:
            if self._prepare is None:
                raise
            self._prepare()
            self._open(link)

    def _open(self, link: RedisSocket) -> None:
        try:
            link.open()
        except LayerUnavailable:
            raise
        except HeadraceError as error:
            # What worked once works again: a wrong setting of Redis shall end no process.
            if self._has_connected:
                raise LayerRefused(str(error)) from None
            raise
        if not self._has_connected:
            self._has_connected = True
            self._check_policy(link)

    def _check_policy(self, link: RedisSocket) -> None:
        link.write(pack((b"CONFIG", b"GET", b"maxmemory-policy")))
        answer = link.read()
        if isinstance(answer, list) and len(answer) == 2 and answer[1] != b"noeviction":
            log.warning(_ADVICE, self.address.label, answer[1].decode(errors="replace"))

    def take_out(self) -> RedisSocket:
        """An open connection from the pool. Raises what `open` raises."""
        if self._pid != os.getpid():
            # The parent's connections: they are closed here without a word to Redis.
            self._pid, self._idle = os.getpid(), deque()
        try:
            link = self._idle.pop()
        except IndexError:
            link = self.link()
        if link.is_open and link.lost_its_peer():
            link.close()
        if not link.is_open:
            try:
                self.open(link)
            except BaseException:
                self._idle.append(link)
                raise
        return link

    def put_back(self, link: RedisSocket) -> None:
        """Return a connection to the pool; a closed one knows whom to end when it is opened again."""
        self._idle.append(link)

    def close(self) -> None:
        """Close the connections in the pool."""
        if self._pid == os.getpid():
            while self._idle:
                self._idle.pop().close()


class _Run:
    """One list of calls until each has an answer or an error."""

    def __init__(
        self, executor: RedisExecutor, commands: Sequence[RedisCommand], answer_seconds: float
    ) -> None:
        self._executor = executor
        self._calls = list(commands)
        self._answer_seconds = answer_seconds
        self._answers: list[Any] = [None] * len(commands)
        self._packed = [pack(command.args) for command in commands]
        self._load = self._demoted = False
        self._repeats = 0
        self._backoff = Backoff(FIRST_PAUSE_SECONDS, LAST_PAUSE_SECONDS, random.random)
        self._pause_seconds = 0.0
        self._give_up = 0.0

    def run(self) -> list[Any]:
        waiting: list[int] = list(range(len(self._calls)))
        while waiting:
            if self._pause_seconds:
                time.sleep(self._pause_seconds)
            try:
                link = self._executor.take_out()
            except LayerUnavailable as error:
                # After a repeat nobody knows whether the first try was executed.
                lost = OutcomeUnknown(str(error)) if self._repeats else error
                for index in waiting:
                    self._answers[index] = lost
                break
            try:
                waiting = self._exchange(link, waiting)
            except BaseException:
                link.close()
                raise
            finally:
                self._executor.put_back(link)
        return self._answers

    def _exchange(self, link: RedisSocket, waiting: list[int]) -> list[int]:
        """Write and read; the calls to try again."""
        again: list[int] = []
        clock = link.clock
        data = b"".join([self._packed[index] for index in waiting])
        ask_time = clock.stale
        if ask_time:
            data = pack((b"TIME",)) + data
        load, self._load = self._load, False
        done = 0
        try:
            link.write(loads() + data if load else data)
            for _ in range(len(SCRIPTS) if load else 0):
                link.read()
            if ask_time:
                clock.sample_answer(link.read())
            for index in waiting:
                answer = link.read(self._answer_seconds)
                done += 1
                if isinstance(answer, hiredis.ReplyError):
                    self._refused(link, index, answer, again)
                else:
                    self._answers[index] = self._calls[index].read(answer)
                    if self._executor.memory.is_full and self._calls[index].needs_memory:
                        self._executor.memory.accepted()
        except LinkBroken as broken:
            again += self._lost(waiting[done:], broken)
        if self._demoted:
            self._demoted = False
            link.close()  # the name may lead to another server by now
        return sorted(again)

    def _refused(self, link: RedisSocket, index: int, answer: hiredis.ReplyError, again: list[int]) -> None:
        code = error_code(answer)
        command = self._calls[index]
        if code == "OOM":
            self._executor.memory.refused()
        if code == "NOSCRIPT" and command.script is not None:
            self._packed[index] = pack(command.whole())
            self._load = True
            again.append(index)
        elif code == "OOM" and command.lean is not None:
            self._calls[index] = command.lean
            self._packed[index] = pack(command.lean.args)
            again.append(index)
        elif code in NOT_NOW and self._may_hold():
            self._demoted = self._demoted or code == "READONLY"
            again.append(index)
        else:
            self._answers[index] = error_for(answer, command, self._executor.address.label)

    def _may_hold(self) -> bool:
        now = time.monotonic()
        if not self._give_up:
            self._give_up = now + HOLD_SECONDS
        self._pause_seconds = self._backoff.next_seconds()
        return now < self._give_up

    def _lost(self, unanswered: list[int], broken: LinkBroken) -> list[int]:
        """Those of the unanswered calls that may be sent again."""
        if self._repeats >= REPEATS:
            repeatable = []
        elif broken.written:
            repeatable = [index for index in unanswered if self._calls[index].repeat]
        else:
            repeatable = unanswered
        self._repeats += 1
        for index in set(unanswered).difference(repeatable):
            self._answers[index] = OutcomeUnknown(str(broken))
        return repeatable


def error_for(answer: hiredis.ReplyError, command: RedisCommand, label: str) -> HeadraceError:
    """Our error for an answer of Redis: it executed nothing."""
    if error_code(answer) == "OOM":
        return ChannelFull(f"Redis at {label} is out of memory: {answer}")
    name = command.script.name if command.script is not None else str(command.args[0])
    return LayerUnavailable(f"Redis at {label} refused {name}: {answer}")

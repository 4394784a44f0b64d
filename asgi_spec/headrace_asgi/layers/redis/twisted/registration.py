"""Keeps one process known at Redis: its name, its heartbeat, and everything it owns after an outage.

A process is registered where `up:<process>` exists. Each beat says that it lives, and learns whether Redis
lost its data or that mark (everything is registered again), whether others declared the process dead (it
takes a new name), what the clock of Redis says, and which channels have takers (docs/protocol.md, section 9).
"""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Callable, Iterable, Mapping
from enum import Enum, auto
from typing import Any, Protocol

from headrace_asgi import envelope
from headrace_asgi.contract import OpenSocket
from headrace_asgi.names import new_process_queue

from ..plan.clock import RedisClock
from ..plan.command import FENCED, LOST, UNMARKED, BeatAnswer, RedisCommand
from ..plan.plan import Plan
from .executor import TwistedExecutor
from .groups import Groups

__all__ = ["BEAT_SECONDS", "Owner", "Registration"]

log = logging.getLogger("headrace.layer")

BEAT_SECONDS = 5.0
#: Seconds until a registration that was refused is tried again.
RETRY_SECONDS = 1.0
#: Seconds between two refreshes of what Redis would otherwise forget after a day.
KEEP_SECONDS = 3600.0
SOCKETS_PER_COMMAND = 1000


class _RegistrationState(Enum):
    """States of the registration, and what ends each.

    AWAY       every place is connected -> ASKING
    ASKING     the first beat is answered -> ASSERTING
    ASSERTING  everything is registered -> HERE; refused -> ASKING, a second later
    HERE       a beat says that Redis lost data, the mark is gone, or the name is dead -> ASSERTING
    STOPPED    the end
    From ASKING, ASSERTING and HERE a lost connection leads to AWAY.
    """

    AWAY = auto()
    ASKING = auto()
    ASSERTING = auto()
    HERE = auto()
    STOPPED = auto()


class Owner(Protocol):
    """The port, as far as its registration needs it."""

    def sockets_to_register(self, data_lost: bool) -> Iterable[OpenSocket]:
        """What Redis must know. Sockets whose connect is on its way are left out, and those whose disconnect
        is, unless Redis lost its data."""

    def registered(self, sockets: Mapping[str, str]) -> None:
        """What Redis knows at one place: it owes a disconnect to those that are none of ours (any more)."""

    def data_lost(self) -> None:
        """Redis came back empty, or was emptied. Once for each time, before `here`."""

    def renamed(self) -> None:
        """The process has a new name, the old one is dead."""

    def here(self) -> None:
        """Everything is registered (again)."""

    def flushed(self) -> None:
        """Somebody emptied the layer, queues of processes too."""

    def beaten(self) -> None:
        """A beat found everything in place; do what is due with each."""


class Registration:
    """See the module. `process` is the name of the process queue."""

    def __init__(
        self,
        plan: Plan,
        executor: TwistedExecutor,
        groups: Groups,
        clock: RedisClock,
        owner: Owner,
        call_later: Callable[[float, Callable[[], None]], Any],
        monotonic: Callable[[], float],
        label: str,
    ) -> None:
        self._plan = plan
        self._executor = executor
        self._groups = groups
        self._clock = clock
        self._owner = owner
        self._call_later = call_later
        self._monotonic = monotonic
        self._label = label
        self._state = _RegistrationState.AWAY
        #: Grows with each connection and each assertion: answers to older questions are ignored.
        self._round = 0
        self._timer: Any = None
        self._beating = self._once_more = False
        self._flushes: int | None = None
        #: Whether Redis lost its data since everything was registered there last.
        self._lost = False
        #: Channels that workers take, as the last beat said.
        self.taken_channels: frozenset[str] = frozenset()
        self._kept_at = monotonic()
        self._take_name()

    @property
    def is_here(self) -> bool:
        """Whether this process is registered with everything it owns."""
        return self._state is _RegistrationState.HERE

    @property
    def is_coming(self) -> bool:
        """Whether everything is being registered just now."""
        return self._state is _RegistrationState.ASSERTING

    def _take_name(self) -> None:
        self.process = new_process_queue(self._plan.places.home)
        self._groups.process = self.process
        self._groups.membership.clear()

    def resume(self, process: str) -> None:
        """Have the name of another image of this process, which is registered; before `connected`."""
        self.process = self._groups.process = process

    # What happens

    def connected(self) -> None:
        """Every place can be asked."""
        if self._state is _RegistrationState.AWAY:
            self._state = _RegistrationState.ASKING
            self._round += 1
            self._beating = self._once_more = False
            self.beat()

    def disconnected(self) -> None:
        """A place cannot be asked any more."""
        if self._state is not _RegistrationState.STOPPED:
            self._state = _RegistrationState.AWAY
            self._round += 1
            self._executor.open = False
            self._cancel()

    def stop(self) -> None:
        """Beat no more."""
        self._state = _RegistrationState.STOPPED
        self._round += 1
        self._cancel()

    def beat(self) -> None:
        """Beat now; behind a beat that is on its way, once more."""
        self._cancel()
        if self._state not in (_RegistrationState.ASKING, _RegistrationState.HERE):
            return
        if self._beating:
            self._once_more = True
            return
        self._beating = True
        round_ = self._round
        self._executor.ask(self._plan.beat(self.process), lambda answer: self._beat_answered(round_, answer))

    def _beat_answered(self, round_: int, beat: Any) -> None:
        if round_ != self._round:
            return
        self._beating = False
        once_more, self._once_more = self._once_more, False
        if isinstance(beat, Exception):
            self._again(RETRY_SECONDS)
        elif once_more:
            self.beat()
        else:
            self._examine(beat)

    def _examine(self, beat: BeatAnswer) -> None:
        self._clock.sample(beat.now_ms)
        self.taken_channels = beat.taken
        before, self._flushes = self._flushes, beat.flushes
        if beat.status == FENCED:
            log.error("Others declared %s dead; it closes its sockets and takes a new name", self.process)
            self._take_name()
            self._lost = False
            self._owner.renamed()
            self._assert()
        elif beat.status == LOST:
            if before is not None and not self._lost:
                log.warning("Redis has lost its data; registering %s again", self.process)
                self._lost = True
                self._owner.data_lost()
            self._assert()
        elif beat.status == UNMARKED:
            log.warning(
                "The mark of %s at Redis is gone, as after a sleep; registering it again", self.process
            )
            self._assert()
        elif self._state is _RegistrationState.ASKING:
            self._assert()
        else:
            if beat.flushes != before:
                self._owner.flushed()
                self._groups.reassert(False, lambda worked: None)
            if self._monotonic() - self._kept_at > KEEP_SECONDS:
                self._keep()
            self._owner.beaten()
            self._again(BEAT_SECONDS)

    def _keep(self) -> None:
        self._kept_at = self._monotonic()
        for command in self._plan.keep(self.process):
            self._executor.ask(command, lambda answer: None)

    # Registering

    def _assert(self) -> None:
        """Register everything. All of it is idempotent."""
        self._state = _RegistrationState.ASSERTING
        self._executor.open = False
        self._round += 1
        round_ = self._round
        sockets = self._owner.sockets_to_register(self._lost)
        commands = self._plan.register(self.process, self._description()) + self._socket_commands(sockets)
        questions = [self._plan.registered_sockets(place, self.process) for place in self._plan.places.names]
        missing = len(commands) + len(questions) + 1
        worked = True

        def answered(fine: bool) -> None:
            nonlocal missing, worked
            missing -= 1
            worked = worked and fine
            if not missing and round_ == self._round:
                self._asserted(worked)

        def known(answer: Any) -> None:
            if not isinstance(answer, Exception) and round_ == self._round:
                self._owner.registered(answer)
            answered(not isinstance(answer, Exception))

        for command in commands:
            self._executor.ask(command, lambda answer: answered(_worked(answer)))
        for question in questions:
            self._executor.ask(question, known)
        self._groups.reassert(not self._lost, answered)

    def _asserted(self, worked: bool) -> None:
        if not worked:
            self._state = _RegistrationState.ASKING
            self._again(RETRY_SECONDS)
            return
        self._state = _RegistrationState.HERE
        self._lost = False
        self._executor.open = True
        self._again(BEAT_SECONDS)
        self._owner.here()

    def _socket_commands(self, sockets: Iterable[OpenSocket]) -> list[RedisCommand]:
        by_place: dict[str, list[OpenSocket]] = {}
        for one in sockets:
            by_place.setdefault(self._plan.places.of(self.process + one.local), []).append(one)
        return [
            self._plan.register_sockets(place, self.process, some[start : start + SOCKETS_PER_COMMAND])
            for place, some in by_place.items()
            for start in range(0, len(some), SOCKETS_PER_COMMAND)
        ]

    def _description(self) -> str:
        """What the table of processes says of this one."""
        return json.dumps(
            {
                "kind": "interface",
                "label": self._label,
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "reads": envelope.VERSION,
            }
        )

    def _again(self, seconds: float) -> None:
        self._cancel()
        self._timer = self._call_later(seconds, self._due)

    def _due(self) -> None:
        self._timer = None
        self.beat()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _worked(answer: Any) -> bool:
    """Whether something was registered; False comes for a process that others declared dead meanwhile."""
    return answer is not False and not isinstance(answer, Exception)

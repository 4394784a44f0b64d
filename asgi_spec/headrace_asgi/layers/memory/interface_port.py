"""An interface server's way to the memory layer, inside its reactor or on a test's clock.

What is asked in one turn is carried out together at its end, and answered in the turn after, so a loss finds
every call in one of three states, as over a network: not written, written and not answered, or answered.
`MemoryInterfacePort.lose` cuts the port off, for tests of what follows.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import partial
from typing import Any

from headrace_asgi.contract import Done, InterfacePort, InterfaceReceiver, OpenSocket, Outcome
from headrace_asgi.control import ADD, GROUP
from headrace_asgi.envelope import Message, decode, pack_message, unpack_message
from headrace_asgi.errors import MessageTooLarge, UnreadableEntry
from headrace_asgi.limits import STOP_LOOK_SECONDS, STOP_SECONDS
from headrace_asgi.messages import WEBSOCKET_RECEIVE
from headrace_asgi.names import local_part, new_process_queue

from .hub import Hub
from .store import Store

__all__ = ["MemoryInterfacePort"]

log = logging.getLogger("headrace.layer")


class _PortState(Enum):
    """States of the port, and what ends each.

    AWAY         started, or restored -> REGISTERING
    REGISTERING  the next turn -> HERE
    HERE         the layer lost its data -> REGISTERING
    STOPPED      the end
    From REGISTERING and HERE a loss leads to AWAY.
    """

    AWAY = auto()
    REGISTERING = auto()
    HERE = auto()
    STOPPED = auto()


@dataclass(slots=True, eq=False)
class _Asked:
    """One thing asked of the store, at a time in milliseconds."""

    step: Callable[[Store, int], Outcome]
    done: Done
    #: Whether it is repeated after an outage until it is answered; the store tells a repeat from a first try.
    insists: bool = False


@dataclass(slots=True, eq=False)
class _Gathered:
    """What was asked in one turn of the reactor."""

    calls: list[_Asked] = field(default_factory=list)
    #: Channels whose level is told with the answers.
    levels: dict[str, None] = field(default_factory=dict)
    answers: list[Outcome] = field(default_factory=list)
    told_levels: list[tuple[str, int, int, int]] = field(default_factory=list)

    def carry_out(self, store: Store, now_ms: int) -> None:
        """Do all of it, in the order in which it was asked."""
        self.answers = [call.step(store, now_ms) for call in self.calls]
        self.told_levels = [(name, *store.level(name), store.capacities.of(name)) for name in self.levels]


class MemoryInterfacePort(InterfacePort):
    """See `contract.InterfacePort`, which says what every method does."""

    def __init__(self, hub: Hub, reactor: Any, max_message_bytes: int, label: str) -> None:
        """Take a reactor, or a clock with only `callLater`: then the layer is used in its thread only."""
        self.process = new_process_queue("0")
        self.label = label
        self.counters: Counter[str] = Counter()
        #: Seconds that an answer is under way; a test's clock needs some to stop between question and answer.
        self.answer_seconds = 0.0
        self._hub = hub
        self._call_later = reactor.callLater
        self._call_from_thread = getattr(reactor, "callFromThread", None) or partial(reactor.callLater, 0)
        self._max_message_bytes = max_message_bytes
        self._state = _PortState.AWAY
        #: Why the layer is out of reach; empty if it is not.
        self._cut = ""
        #: Whether the layer knew this process before, and what the receiver was told last.
        self._was_known = False
        self._told_up: bool | None = None
        #: Whether `_hear` is on its way.
        self._rung = False
        self._turn = _Gathered()
        self._unanswered: list[_Gathered] = []
        self._held: list[_Asked] = []
        #: Sockets whose connect is not answered.
        self._connecting: set[str] = set()
        #: What ends such a socket: a connect that is repeated behind it would begin the socket anew.
        self._after_connect: dict[str, _Asked] = {}
        #: Those whose end is not: local part -> path, None if no disconnect is owed.
        self._ending: dict[str, str | None] = {}
        self._taken_channels: frozenset[str] = frozenset()
        self._when_stopped: Callable[[], None] | None = None
        self._receiver: InterfaceReceiver | None = None

    @property
    def taken_channels(self) -> frozenset[str]:
        if self._state is _PortState.HERE:
            with self._hub as store:
                self._taken_channels = store.taken_channels(self._hub.now_ms())
        return self._taken_channels

    # Coming and going

    def start(self, receiver: InterfaceReceiver) -> None:
        self._receiver = receiver
        if self._cut:
            self._call_later(0, self._tell_lost)
        else:
            self._register()

    def lose(self, reason: str = "the connection was cut") -> None:
        """Cut the connection, until `restore`: what was written and not answered has an unknown outcome."""
        if self._cut or self._state is _PortState.STOPPED:
            return
        self._cut = reason
        self._state = _PortState.AWAY
        self._hub.stop_listening(self.process)
        unanswered, self._unanswered = self._unanswered, []
        turn, self._turn = self._turn, _Gathered()
        held, self._held = self._held, []
        for lost in unanswered:
            self._give_up(lost.calls, Outcome.UNKNOWN)
        self._give_up(held + turn.calls, Outcome.UNAVAILABLE)
        self._tell_lost()

    def restore(self) -> None:
        """Connect again; `layer_back` follows in the next turn."""
        if self._cut:
            self._cut = ""
            if self._receiver is not None:
                self._register()

    def _give_up(self, calls: list[_Asked], outcome: Outcome) -> None:
        for call in calls:
            if call.insists:
                self._held.append(call)
            else:
                self._tell(call.done, outcome)

    def _tell_lost(self) -> None:
        if self._receiver is not None and self._told_up is not False and self._cut:
            self._told_up = False
            self._receiver.layer_lost(self._cut)

    def _register(self) -> None:
        self._state = _PortState.REGISTERING
        self._call_later(0, self._come_up)

    def _come_up(self) -> None:
        """Make everything known, ask what waited, and hear."""
        receiver = self._receiver
        if self._state is not _PortState.REGISTERING or receiver is None:
            return
        with self._hub as store:
            lost_data = self._was_known and self.process not in store.processes
        if lost_data:
            receiver.data_lost()
        with self._hub as store:
            store.register(self.process, self._sockets_to_register(receiver) if lost_data else ())
        self._was_known = True
        self._state = _PortState.HERE
        held, self._held = self._held, []
        for call in held:
            self._ask(call)
        self._hub.listen(self.process, self._ring)
        if self._told_up is not True:
            self._told_up = True
            receiver.layer_back()

    def _sockets_to_register(self, receiver: InterfaceReceiver) -> list[OpenSocket]:
        open_sockets = [
            socket
            for socket in receiver.open_sockets()
            if socket.local not in self._connecting and socket.local not in self._ending
        ]
        ending = [OpenSocket(local, path) for local, path in self._ending.items() if path is not None]
        return open_sockets + ending

    # Asking

    def send(self, channel: str, message: Message, expiry_seconds: float, done: Done) -> None:
        payload = self._packed(message, done)
        if payload is None:
            return
        expiry_ms = 0 if expiry_seconds == math.inf else self._hub.now_ms() + int(expiry_seconds * 1000)
        self._ask(_Asked(lambda store, now_ms: store.send(channel, payload, expiry_ms), done))

    def connect(self, local: str, path: str, message: Message, expiry_seconds: float, done: Done) -> None:
        payload = self._packed(message, done)
        if payload is None:
            return
        socket = self.process + local
        expiry_ms = None if expiry_seconds == math.inf else int(expiry_seconds * 1000)
        self._connecting.add(local)

        def finished(outcome: Outcome) -> None:
            self._connecting.discard(local)
            end = self._after_connect.pop(local, None)
            if end is not None:
                self._ask(end)
            done(outcome)

        def step(store: Store, now_ms: int) -> Outcome:
            return store.connect(socket, path, payload, now_ms, expiry_ms)

        self._ask(_Asked(step, finished, insists=True))

    def frame(self, local: str, message: Message, order: int, ordered: bool, done: Done) -> None:
        payload = self._packed(message, done)
        if payload is None:
            return
        socket = self.process + local
        self._ask(
            _Asked(lambda store, now_ms: store.frame(socket, payload, order, now_ms, ordered), done),
            level=WEBSOCKET_RECEIVE.channel,
        )

    def ask_level(self, channel: str) -> None:
        if self._state is _PortState.HERE:
            self._wake()
            self._turn.levels[channel] = None

    def disconnect(self, local: str, message: Message, order: int, done: Done) -> None:
        payload = pack_message(message)
        socket = self.process + local
        path = str(message.get("path", ""))
        self._end(local, path, lambda store, now_ms: store.disconnect(socket, payload, order, now_ms), done)

    def forget(self, local: str) -> None:
        socket = self.process + local

        def step(store: Store, now_ms: int) -> Outcome:
            store.forget(socket)
            return Outcome.SENT

        self._end(local, None, step, lambda outcome: None)

    def leave_groups(self, local: str) -> None:
        with self._hub as store:
            store.leave_all(self.process + local)

    def _end(self, local: str, path: str | None, step: Callable[[Store, int], Outcome], done: Done) -> None:
        """Unregister a socket, whatever it takes."""
        self.leave_groups(local)
        self._ending[local] = path

        def finished(outcome: Outcome) -> None:
            self._ending.pop(local, None)
            done(outcome)

        call = _Asked(step, finished, insists=True)
        if local in self._connecting:
            self._after_connect[local] = call
        else:
            self._ask(call)

    def _packed(self, message: Message, done: Done) -> bytes | None:
        """The message as bytes; None if it cannot be sent, which `done` learns."""
        is_coming = self._state is _PortState.REGISTERING and self._told_up
        if not (is_coming or self._state is _PortState.HERE) or self._when_stopped is not None:
            self._call_later(0, self._tell, done, Outcome.UNAVAILABLE)
            return None
        try:
            return pack_message(message, self._max_message_bytes)
        except (MessageTooLarge, TypeError) as error:
            self.counters["unsendable"] += 1
            log.error("A message cannot be sent, its client is refused: %s", error)
            self._call_later(0, self._tell, done, Outcome.UNSENDABLE)
            return None

    def _ask(self, call: _Asked, level: str = "") -> None:
        if self._state is _PortState.HERE:
            self._wake()
            self._turn.calls.append(call)
            if level:
                self._turn.levels[level] = None
        elif self._state is _PortState.STOPPED:
            self._call_later(0, self._tell, call.done, Outcome.UNAVAILABLE)
        else:
            self._held.append(call)

    def _wake(self) -> None:
        if not (self._turn.calls or self._turn.levels):
            self._call_later(0, self._write)

    def _write(self) -> None:
        """Carry out what this turn gathered; the answers come in another one."""
        turn = self._turn
        if self._state is not _PortState.HERE or not (turn.calls or turn.levels):
            return
        with self._hub as store:
            if self.process not in store.processes:
                lost_data = True
            else:
                lost_data = False
                turn.carry_out(store, self._hub.now_ms())
        if lost_data:
            # Nothing was done: it is, as soon as everything is registered again.
            self._register()
            self._held = turn.calls + self._held
            self._turn = _Gathered()
            return
        self._turn = _Gathered()
        self._unanswered.append(turn)
        self._call_later(self.answer_seconds, self._answer, turn)

    def _answer(self, turn: _Gathered) -> None:
        if turn not in self._unanswered:  # the layer was lost before
            return
        self._unanswered.remove(turn)
        if self._receiver is not None:
            for level in turn.told_levels:
                self._tell(self._receiver.level, *level)
        for call, outcome in zip(turn.calls, turn.answers, strict=True):
            self._tell(call.done, outcome)

    def _tell(self, told: Callable[..., object], *what: object) -> None:
        try:
            told(*what)
        except Exception:  # one client's failure must not keep the others from their answers
            self.counters["failed"] += 1
            log.exception("Telling a client what the layer said failed; going on with the next")

    # Hearing

    def _ring(self) -> None:
        """Something waits, or everything is lost; called in any thread, which holds the hub."""
        if not self._rung:
            self._rung = True
            self._call_from_thread(self._hear)

    def _hear(self) -> None:
        self._rung = False
        if self._state is not _PortState.HERE:
            return
        with self._hub as store:
            known = self.process in store.processes
            entries = store.take_all(self.process)
        if not known:
            self._hub.stop_listening(self.process)
            self._register()
        for raw in entries:
            self._tell(self._deliver, raw)

    def _deliver(self, raw: bytes) -> None:
        receiver = self._receiver
        if receiver is None:
            return
        try:
            entry = decode(raw)
            message = unpack_message(entry.payload)
        except UnreadableEntry as error:
            self.counters["unreadable"] += 1
            log.error("Discarded from the process queue: %s", error)
            return
        if not entry.control:
            receiver.reply(local_part(entry.channel or self.process), message)
        elif message["control"] == GROUP:
            receiver.group_message(message["group"], message["members"], unpack_message(message["packed"]))
        elif message["control"] == ADD:
            if not receiver.is_open(message["local"]):
                self.leave_groups(message["local"])
        else:
            receiver.control(message["control"], message["local"], message)

    # The end

    def stop(self, done: Callable[[], None], seconds: float = STOP_SECONDS) -> None:
        self._when_stopped = done
        self._wind_up(self._call_later(seconds, self._finish))

    def _wind_up(self, last: Any) -> None:
        """Wait for the answers that are due, and for sockets whose disconnect is owed."""
        if self._state is _PortState.STOPPED:
            return
        if self._turn.calls or self._unanswered or self._held or self._owes_sockets():
            self._call_later(STOP_LOOK_SECONDS, self._wind_up, last)
            return
        if self._state is _PortState.HERE:
            with self._hub as store:
                store.withdraw(self.process)
        last.cancel()
        self._call_later(0, self._finish)

    def _owes_sockets(self) -> bool:
        return self._receiver is not None and any(True for _ in self._receiver.open_sockets())

    def _finish(self) -> None:
        """End, whether everything was answered or not; what is still owed stays registered."""
        if self._state is _PortState.STOPPED:
            return
        self._state = _PortState.STOPPED
        self._hub.stop_listening(self.process)
        for turn in self._unanswered:
            for call in turn.calls:
                self._tell(call.done, Outcome.UNKNOWN)
        for call in self._turn.calls + self._held:
            self._tell(call.done, Outcome.UNAVAILABLE)
        self._unanswered, self._turn, self._held = [], _Gathered(), []
        if self._when_stopped is not None:
            self._when_stopped()

"""An interface server's way to Redis, inside its Twisted reactor: the InterfacePort of `contract`.

Two connections: one carries commands, everything of one reactor turn in one write; the other waits for the
entries of the process queue. `Registration` keeps the process known, `TwistedExecutor` repeats what may be
repeated.
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from headrace_asgi import control, messages
from headrace_asgi.contract import Done, InterfacePort, InterfaceReceiver, OpenSocket, Outcome
from headrace_asgi.envelope import Message, pack_message
from headrace_asgi.errors import KeySpoilt, LayerRefused, LayerUnavailable, MessageTooLarge
from headrace_asgi.limits import MAX_MESSAGE_BYTES, STOP_LOOK_SECONDS, STOP_SECONDS
from headrace_asgi.names import is_process_queue, new_single_reader

from ..address import ServerAddress
from ..agreed_version import heard_versions
from ..memory_watch import MemoryWatch
from ..plan.clock import RedisClock
from ..plan.command import Accepted, Level, RedisCommand
from ..plan.outcomes import refusal_of
from ..plan.outgoing import message_entry, outcomes_of
from ..plan.plan import ORDERED_CHANNELS, Plan
from ..plan.resp import ReplyError, pack
from ..plan.turn import Batch, Frame, Turn
from .connection import Reactor
from .executor import TwistedExecutor
from .groups import Groups
from .link import RedisLink
from .reader import QueueReader
from .registration import Registration
from .withdrawal import withdraw

__all__ = ["RedisInterfacePort"]

log = logging.getLogger("headrace.layer")

#: Entries in one answer of the process queue; and bytes, going by the entries of the last one: an answer is
#: read as a whole, and everybody waits for it.
TAKE_LIMIT = 100
TAKE_BYTES = 2 * 1024 * 1024
_LIGHT_BYTES = TAKE_BYTES // TAKE_LIMIT
#: Seconds that one waiting take lasts; its connection is given up when Redis is silent for longer.
TAKE_SECONDS = 30
ANSWER_SECONDS = 5.0
#: Seconds that `stop` keeps for the withdrawal.
WITHDRAW_SECONDS = 1.0
#: Seconds that the answer to `group_channels` is kept for who asked.
MEMBERS_EXPIRY_SECONDS = 10.0
_CONNECTS, _FRAMES, _DISCONNECTS = ORDERED_CHANNELS
_WHEN_FULL = "new requests get 503, new WebSockets and what they say are refused"


@dataclass(slots=True)
class _Open:
    """Questions whose answer changes what this process owes."""

    #: Sockets whose connect has not been answered.
    connecting: set[str] = field(default_factory=set)
    #: Those whose end has not: local part -> path, None if no disconnect is owed.
    ending: dict[str, str | None] = field(default_factory=dict)
    #: Sockets of a name that others declared dead, until their end: local part -> that name.
    former: dict[str, str] = field(default_factory=dict)
    #: What Redis called unregistered, until a beat has said why: (ask again, give up).
    gone: list[tuple[Callable[[], None], Done]] = field(default_factory=list)


@dataclass(slots=True)
class _Known:
    """What people and the receiver know of the connections."""

    #: Whether the receiver was told that the layer is there; None before it was told anything.
    up: bool | None = None
    #: Whether it was said, since the layer was there, that Redis refuses us.
    refused: bool = False
    #: What was said of the settings of a Redis that serves.
    advice: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Image:
    """Where one image of this process begins and ends."""

    #: Whether takes end, because another one goes on.
    leaves: bool = False
    #: How many entries the one before had read.
    read_before: int | None = 0


class RedisInterfacePort(InterfacePort):
    """See `contract.InterfacePort`, which says what every method does."""

    hands_over = True

    def __init__(
        self,
        plan: Plan,
        addresses: Mapping[str, ServerAddress],
        reactor: Reactor,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        version_label: str = "",
        monotonic: Callable[[], float] = time.monotonic,
        label: str = "",
    ) -> None:
        """Take the plan and, for each of its places, where its Redis is; `label` is that of the layer."""
        self._plan = plan
        self._encode = plan.codec.encode
        self._reactor = reactor
        self._monotonic = monotonic
        self._max_message_bytes = max_message_bytes
        self.counters: Counter[str] = Counter()
        self._links = {
            place: self._link(place, address, self._link_up, ANSWER_SECONDS, self._gather)
            for place, address in addresses.items()
        }
        self._take_link = self._link(
            "take", addresses[plan.places.home], self._take_up, TAKE_SECONDS + ANSWER_SECONDS
        )
        self._clock = RedisClock(plan.expiry_seconds, monotonic)
        memory = MemoryWatch(addresses[plan.places.home].label, _WHEN_FULL, monotonic)
        self._executor = TwistedExecutor(self._links, memory)
        self._groups = Groups(plan, self._executor, reactor.callLater, monotonic)
        self._registration = Registration(
            plan, self._executor, self._groups, self._clock, self, reactor.callLater, monotonic, version_label
        )
        self.process = self._registration.process
        self.label = label or plan.places.label(addresses[plan.places.home].label)
        self._turn = Turn(plan)
        #: Of all frames of this turn: to ask the clock for each would be a tenth of what sending it costs.
        self._frames_expiry_ms = 0
        self._open, self._known, self._image = _Open(), _Known(), _Image()
        self._stopping = False
        self._receiver: InterfaceReceiver
        self._reader: QueueReader

    def _link(
        self,
        name: str,
        address: ServerAddress,
        on_up: Callable[[], None],
        answer_seconds: float,
        gather: Callable[[], None] | None = None,
    ) -> RedisLink:
        full_name = f"headrace-interface-{name}"
        return RedisLink(address, self._reactor, full_name, on_up, self._link_down, gather, answer_seconds)

    @property
    def taken_channels(self) -> frozenset[str]:
        return self._registration.taken_channels

    def new_channel(self, pattern: str) -> str:
        return new_single_reader(pattern, self._plan.places.written)

    def start(self, receiver: InterfaceReceiver) -> None:
        self._receiver = receiver
        self._reader = QueueReader(
            receiver,
            self._groups,
            self._tell_members,
            self._registration.beat,
            self.counters,
            self._plan.codec,
        )
        self._reader.read_count = self._image.read_before
        for link in (*self._links.values(), self._take_link):
            link.start()

    # Sending

    def send(self, channel: str, message: Message, expiry_seconds: float, done: Done) -> None:
        if not self._registration.is_here:
            again = partial(self.send, channel, message, expiry_seconds, done)
            self._wait(again, lambda outcome: done(Outcome.UNAVAILABLE))
            return
        payload = self._packed(message, done)
        if payload is not None:
            expiry_ms = self._expiry_ms(expiry_seconds)
            self._turn.send(channel, message_entry(self._encode, channel, payload, expiry_ms), done)
            self._wake()

    def connect(self, local: str, path: str, message: Message, expiry_seconds: float, done: Done) -> None:
        if not self._registration.is_here:
            self._wait(partial(self.connect, local, path, message, expiry_seconds, done), done)
            return
        payload = self._packed(message, done)
        if payload is None:
            return
        seconds = min(expiry_seconds, self._plan.ordered_expiry_seconds)
        entry = self._encode(payload, self._expiry_ms(seconds), order=0, queue=_CONNECTS)
        self._open.connecting.add(local)

        def finished(outcome: Outcome) -> None:
            self._open.connecting.discard(local)
            done(outcome)

        command = self._plan.connect(self.process + local, path, entry)
        self._ask_registered(self._executor.insist, command, finished)

    def frame(self, local: str, message: Message, order: int, ordered: bool, done: Done) -> None:
        if not self._registration.is_here:
            self._wait(partial(self.frame, local, message, order, ordered, done), done)
            return
        payload = self._packed(message, done)
        if payload is None:
            return
        turn, place = self._turn, self._plan.places.of(self.process + local)
        if ordered:
            expiry_ms = self._expiry_ms(self._plan.ordered_expiry_seconds)
            entry = self._encode(payload, expiry_ms, order=order, queue=_FRAMES)
            turn.frame(Frame(place, local, order, entry, done, ordered=True))
            self._wake()
            return
        if not turn.has_frames:
            self._frames_expiry_ms = self._expiry_ms(self._plan.expiry_seconds)
            self._wake()
        entry = self._encode(payload, self._frames_expiry_ms, queue=_FRAMES)
        turn.frame(Frame(place, local, order, entry, done))

    def ask_level(self, channel: str) -> None:
        sent, waiting = self._plan.level(channel)
        answers: list[Any] = []

        def answered(answer: Any) -> None:
            answers.append(answer)
            if len(answers) == 2 and not any(isinstance(one, Exception) for one in answers):
                self._tell_level(channel, Level(*answers), self._plan.capacities.of(channel))

        self._executor.ask(sent, answered)
        self._executor.ask(waiting, answered)

    def disconnect(self, local: str, message: Message, order: int, done: Done) -> None:
        self._gather()  # frames of this turn come before the disconnect
        entry = self._encode(pack_message(message), order=order, queue=_DISCONNECTS)
        self._end(local, message["path"], lambda socket: self._plan.disconnect(socket, order, entry), done)

    def forget(self, local: str) -> None:
        self._end(local, None, self._plan.forget, lambda outcome: None)

    def leave_groups(self, local: str) -> None:
        if local in self._groups.joined:
            self._groups.close(local)

    def _end(self, local: str, path: str | None, plan: Callable[[str], RedisCommand], done: Done) -> None:
        """Unregister a socket, whatever it takes."""
        self._groups.close(local)
        self._open.ending[local] = path

        def finished(outcome: Any) -> None:
            # Redis takes these scripts even when its memory is full.
            self._open.ending.pop(local, None)
            done(outcome)

        self._executor.insist(plan(self._open.former.pop(local, self.process) + local), finished)

    def _packed(self, message: Message, done: Done) -> bytes | None:
        """The message as bytes; None if it cannot be sent, which `done` learns."""
        if self._stopping:
            self._reactor.callLater(0, done, Outcome.UNAVAILABLE)
            return None
        try:
            return pack_message(message, self._max_message_bytes)
        except (MessageTooLarge, TypeError) as error:
            self.counters["unsendable"] += 1
            log.error("A message cannot be sent, its client is refused: %s", error)
            self._reactor.callLater(0, done, Outcome.UNSENDABLE)
            return None

    def _wait(self, again: Callable[[], None], done: Done) -> None:
        """Send it in a moment, if everything is just being registered again; else it cannot be sent."""
        if self._known.up and self._registration.is_coming:
            self._open.gone.append((again, done))
        else:
            self._reactor.callLater(0, done, Outcome.UNAVAILABLE)

    def _expiry_ms(self, seconds: float) -> int:
        return 0 if seconds == math.inf else self._clock.now_ms() + int(seconds * 1000)

    def _wake(self) -> None:
        for link in self._links.values():
            link.wake()

    def _gather(self) -> None:
        """Ask for what this turn gathered; the link calls this before it writes."""
        if self._turn.empty:
            return
        for batch in self._turn.batches(self.process):
            self._executor.ask(batch.command, partial(self._answered, batch))

    def _answered(self, batch: Batch, answer: Any) -> None:
        outcomes = (
            self._leveled(answer) if isinstance(answer, Accepted) else outcomes_of(answer, len(batch.dones))
        )
        if Outcome.GONE in outcomes and not batch.frames:
            # No message of it was sent: Redis does not know the process, and said so before anything else.
            self._told(Outcome.GONE, partial(self._repeat_sends, batch), partial(_tell_unsent, batch))
        elif Outcome.GONE in outcomes or None in outcomes:
            for frame, outcome in zip(batch.frames, outcomes, strict=True):
                self._frame_answered(frame, outcome)
        else:
            _tell(batch, [one for one in outcomes if one is not None])

    def _frame_answered(self, frame: Frame, outcome: Outcome | None) -> None:
        """Tell what became of a frame, or ask once more."""
        if outcome is None:
            command = self._plan.frame_ordered(self.process + frame.local, frame.order, frame.entry)
            self._executor.ask(command, partial(self._answered, Batch(command, [frame.done], [frame])))
        elif frame.again:
            frame.done(outcome)
        else:
            self._told(outcome, partial(self._turn.frame, replace(frame, again=True)), frame.done)

    def _repeat_sends(self, batch: Batch) -> None:
        """Ask once more; a process that is forgotten twice in a moment sends nothing for now."""

        def answered(answer: Any) -> None:
            outcomes = outcomes_of(answer, len(batch.dones))
            if Outcome.GONE in outcomes:
                outcomes = [Outcome.UNAVAILABLE] * len(outcomes)
            _tell(batch, outcomes)

        self._executor.ask(batch.command, answered)

    def _leveled(self, answer: Accepted) -> Sequence[Outcome | None]:
        """The outcomes of frames; how full their channel is was told before."""
        if answer.level is not None:
            self._tell_level(messages.WEBSOCKET_RECEIVE.channel, answer.level, self._plan.frame_capacity)
        return answer.outcomes

    def _tell_level(self, channel: str, level: Level, capacity: int) -> None:
        try:
            self._receiver.level(channel, level.sent, level.waiting, capacity)
        except Exception:
            log.exception("Telling how full %s is failed; going on", channel)

    # Not registered: told by somebody else, declared dead, or forgotten by Redis?

    def _ask_registered(
        self, ask: Callable[[RedisCommand, Done], None], command: RedisCommand, done: Done
    ) -> None:
        """Ask what Redis answers with GONE if it does not know the process or socket."""

        def repeat() -> None:
            ask(command, lambda answer: done(_outcome(answer)))

        ask(command, lambda answer: self._told(_outcome(answer), repeat, done))

    def _told(self, outcome: Outcome, repeat: Callable[[], None], done: Done) -> None:
        """Pass an outcome on; a first GONE waits for a beat, and is asked again if Redis lost its data."""
        if outcome is not Outcome.GONE:
            done(outcome)
            return
        self._open.gone.append((repeat, done))
        self._registration.beat()

    def _settle(self, outcome: Outcome | None) -> None:
        """End the wait of what was GONE: with this outcome, or by asking again."""
        gone, self._open.gone = self._open.gone, []
        for repeat, done in gone:
            if outcome is None:
                repeat()
            else:
                done(outcome)
        if not self._turn.empty:
            self._wake()

    # The registration's owner

    def sockets_to_register(self, data_lost: bool) -> Iterable[OpenSocket]:
        sockets = [
            socket
            for socket in self._receiver.open_sockets()
            if socket.local not in self._open.connecting
            and socket.local not in self._open.ending
            and socket.local not in self._open.former
        ]
        if data_lost:
            # Only for their disconnect, which asks no number.
            sockets += [
                OpenSocket(local, path)
                for local, path in self._open.ending.items()
                if path is not None and local not in self._open.former
            ]
        return sockets

    def registered(self, sockets: Mapping[str, str]) -> None:
        known = (
            {socket.local for socket in self._receiver.open_sockets()}
            | self._open.connecting
            | self._open.ending.keys()
        )
        for local, path in sockets.items():
            if local in known:
                continue
            self.counters["strays"] += 1
            tell = partial(self._plan.lost_disconnect, path=path)
            self._end(local, path, tell, lambda outcome: None)

    def data_lost(self) -> None:
        self._receiver.data_lost()

    def flushed(self) -> None:
        self._reader.flushed()

    def renamed(self) -> None:
        former, self.process = self.process, self._registration.process
        for local, *_ in self._receiver.open_sockets():
            if local not in self._open.connecting:  # those learn now that they are GONE
                self._open.former.setdefault(local, former)
        self._settle(Outcome.GONE)
        self._take_link.drop(LayerUnavailable("the process has a new name"))
        self._receiver.fenced()

    def here(self) -> None:
        self._reader.compares = True  # Redis may have begun to count anew
        self._executor.resume()
        self._settle(None)
        self._groups.changed()
        self._tell_up()

    def beaten(self) -> None:
        self._settle(Outcome.GONE)
        self._executor.resume()
        self._groups.remove_stale_members()
        self._say_versions()
        for place in self._plan.places.names:
            command = self._plan.overdue(place, self._clock.now_ms())
            self._executor.ask(command, partial(self._kick, place))

    def _say_versions(self) -> None:
        self._executor.ask(self._plan.versions.say(), self._versions_heard)

    def _versions_heard(self, agreed: Any) -> None:
        if not isinstance(agreed, Exception):
            heard_versions(self._plan, agreed, self.label)
            self._encode = self._plan.codec.encode

    def _kick(self, place: str, sockets: Any) -> None:
        """Move on mailboxes whose lease has lapsed; harmless if others do it too.

        Whoever a message was lost of is told first: the process of the socket, which may be another one.
        """
        if isinstance(sockets, Exception):
            return
        for socket in sockets:
            kicked = partial(self._kicked, place, socket)
            self._executor.ask(self._plan.kick(socket, place, told=False), kicked)

    def _kicked(self, place: str, socket: str, answer: Any) -> None:
        if answer == Outcome.LAPSED:
            log.warning(
                "A message of the ordered socket %s was lost with its worker; its process is told", socket
            )
            self._executor.ask(self._plan.lapsed(socket), partial(self._told_lapse, place, socket))

    def _told_lapse(self, place: str, socket: str, answer: Any) -> None:
        # Not told: the next beat finds the mailbox as it is, and tells again.
        if not isinstance(answer, Exception):
            self._executor.ask(self._plan.kick(socket, place, told=True), lambda answer: None)

    def _tell_members(self, channel: str, members: tuple[str, ...], only_count: bool) -> None:
        body: Message
        if only_count:
            body = {"count": len(members)}
        else:
            body = {"members": [self.process + local for local in members]}
        self.send(channel, body, MEMBERS_EXPIRY_SECONDS, lambda outcome: None)

    # Connections

    def _link_up(self) -> None:
        if not all(link.is_open for link in self._links.values()):
            return
        for link in self._links.values():
            if link.advice and link.advice not in self._known.advice:
                self._known.advice.add(link.advice)
                log.warning("%s", link.advice)
        self._registration.connected()

    def _link_down(self, error: LayerUnavailable) -> None:
        if not all(link.is_open for link in self._links.values()):
            self._registration.disconnected()
            self._settle(Outcome.UNAVAILABLE)
        refused = isinstance(error, LayerRefused)
        if self._known.up is not False:
            self._known.up, self._known.refused = False, refused
            self._receiver.layer_lost(str(error))
        elif refused and not self._known.refused:
            self._known.refused = True
            log.error("The channel layer refuses us (%s); trying again until that is put right", error)

    def _tell_up(self) -> None:
        if self._known.up is not True and self._registration.is_here and self._take_link.is_open:
            self._known.up = True
            self._receiver.layer_back()

    # Hearing

    def _take_up(self) -> None:
        self._take_limit = 0
        self._limit_take(TAKE_LIMIT)
        self._reader.compares = True
        self._take()
        self._tell_up()

    def _compare(self, queued: RedisCommand, answer: Any) -> None:
        """How much was lost with the connection before is known to the last entry."""
        if isinstance(answer, Exception):
            return
        count = self._reader.lost(*queued.read(answer))
        if count:
            self.counters["entries_lost"] += count
            self._receiver.entries_lost(count)

    def _limit_take(self, limit: int) -> None:
        if limit != self._take_limit:
            self._take_limit = limit
            self._take_command = self._plan.take(self._plan.places.home, [self.process], limit, TAKE_SECONDS)
            self._take_packed = pack(self._take_command.args)

    def _take(self) -> None:
        if self._image.leaves and self._reader.woken:
            return
        if self._reader.compares:
            # Before a take nothing is on its way here: a connection that broke was ended by the next one.
            self._reader.compares = False
            queued = self._plan.queued(self.process)
            self._take_link.send(queued.whole().args, partial(self._compare, queued))
        self._take_link.send_now(self._take_packed, self._taken)

    def _taken(self, answer: Any) -> None:
        if isinstance(answer, ReplyError):
            self._take_refused(answer)
        elif not isinstance(answer, Exception):
            taken = self._take_command.read(answer)
            if taken is not None:
                entries = taken[1]
                self._reader.read(entries)
                entry_bytes = sum(map(len, entries)) // len(entries)
                if entry_bytes > _LIGHT_BYTES or self._take_limit != TAKE_LIMIT:
                    self._limit_take(max(1, min(TAKE_LIMIT, TAKE_BYTES // max(entry_bytes, 1))))
            self._take()

    def _take_refused(self, answer: ReplyError) -> None:
        error = refusal_of(answer, self._take_command, self._take_link.address.label).error
        if isinstance(error, KeySpoilt):
            # Nobody else may write there, and nobody but us ever deletes it.
            self._executor.ask(self._plan.empty_queue(self.process), lambda answer: None)
        self._take_link.drop(error if isinstance(error, LayerUnavailable) else LayerUnavailable(str(error)))

    # Another image of the process goes on

    def hand_over(self, done: Callable[[Message | None], None], seconds: float) -> None:
        if not self._known.up:
            self._reactor.callLater(0, done, None)
            return
        self._image.leaves, self._reader.woken = True, False
        # Redis would hold a take for long that waits: this ends it, behind all that was pushed before.
        wake = self._plan.note(self.process, control.note(control.WAKE))
        self._executor.ask(wake, lambda answer: None)
        self._reactor.callLater(0, self._hand_over, done, self._monotonic() + seconds)

    def _hand_over(self, done: Callable[[Message | None], None], deadline: float) -> None:
        self._gather()
        if not self._known.up or self._monotonic() >= deadline:
            self.go_on()
            done(None)
        elif self._is_quiet:
            done(
                {
                    "process": self.process,
                    "read": self._reader.read_count,
                    "groups": self._groups.membership.as_plain(),
                }
            )
        else:
            self._reactor.callLater(STOP_LOOK_SECONDS, self._hand_over, done, deadline)

    @property
    def _is_quiet(self) -> bool:
        """Whether nothing is on its way to Redis or from it, and no answer is owed to anybody."""
        owed = self._open
        return not (
            self._executor.busy
            or self._take_link.unanswered
            or owed.connecting
            or owed.ending
            or owed.gone
            or owed.former
            or not self._groups.membership.is_settled
        )

    def go_on(self) -> None:
        if self._image.leaves:
            self._image.leaves = False
            if self._take_link.is_open and not self._take_link.unanswered:
                self._take()

    def take_over(self, handed_over: Message) -> None:
        process, read, groups = (handed_over.get(name) for name in ("process", "read", "groups"))
        if not isinstance(process, str) or not is_process_queue(process) or not isinstance(groups, dict):
            raise ValueError("this is not what an interface port hands over")
        self._registration.resume(process)
        self.process = process
        self._image.read_before = read
        self._groups.membership.restore(groups, self._monotonic())

    # The end

    def stop(self, done: Callable[[], None], seconds: float = STOP_SECONDS) -> None:
        self._stopping = True
        withdraw_seconds = min(WITHDRAW_SECONDS, seconds / 2)
        self._wind_up(self._monotonic() + seconds - withdraw_seconds, withdraw_seconds, done)

    def _wind_up(self, deadline: float, withdraw_seconds: float, done: Callable[[], None]) -> None:
        """Wait for the answers that are due, and for sockets whose last frames are on their way."""
        self._gather()
        owed = any(True for _ in self._receiver.open_sockets())
        if (self._executor.busy or owed) and self._monotonic() < deadline:
            self._reactor.callLater(STOP_LOOK_SECONDS, self._wind_up, deadline, withdraw_seconds, done)
            return
        self._registration.stop()
        self._groups.stop()
        if owed or not self._executor.open or self._executor.holds:
            self._close(done)  # what is still owed stays registered, for others to tell
            return
        last = self._reactor.callLater(withdraw_seconds, self._close, done)
        withdraw(self._plan, self._executor, self.process, lambda: last.active() and last.reset(0))

    def _close(self, done: Callable[[], None]) -> None:
        for link in (*self._links.values(), self._take_link):
            link.stop()
        done()


def _tell(batch: Batch, outcomes: Sequence[Outcome]) -> None:
    for done, outcome in zip(batch.dones, outcomes, strict=True):
        try:
            done(outcome)
        except Exception:  # one client's failure must not keep the others of the batch from their answers
            log.exception("Telling a client what became of its message failed; going on with the next")


def _tell_unsent(batch: Batch, why: Outcome) -> None:
    """Whether the connection broke or the process has a new name: nothing was executed."""
    _tell(batch, [Outcome.UNAVAILABLE] * len(batch.dones))


def _outcome(answer: Any) -> Outcome:
    return answer if isinstance(answer, Outcome) else outcomes_of(answer, 1)[0]

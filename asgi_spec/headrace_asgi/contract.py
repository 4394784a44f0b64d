"""The contract of a channel layer: what every layer does, and the two faces that our own tiers use.

`ChannelLayer` is what user code and foreign programs see: ASGI 0.x (`send`, `receive`, `new_channel`, groups,
flush, statistics) plus batches, and the same for coroutines. `WorkerPort` is how a worker thread takes,
answers and finishes in one write. `InterfacePort` is how an interface server, inside its reactor, sends and
hears. `conformance` holds the same contract as tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from typing import Any, NamedTuple, Protocol

from .accounting import DONE
from .acknowledgement import Claim, DeadLetter
from .coroutines import AsyncReceiver
from .enums import quick
from .envelope import Message
from .errors import ChannelFull, ConfigurationError, HeadraceError, MessageTooLarge
from .later import IDLE_MOVER_SECONDS, Delay, Due, Moment
from .limits import COUNTS_SECONDS, MAX_MESSAGE_BYTES, RECEIVE_SECONDS, STOP_SECONDS, Capacities
from .names import new_single_reader, require_group_names
from .tally import Tally

__all__ = [
    "Acknowledge",
    "ChannelLayer",
    "Control",
    "Delivery",
    "Finish",
    "InterfacePort",
    "InterfaceReceiver",
    "OpenSocket",
    "Out",
    "Outcome",
    "Send",
    "SendLater",
    "WorkerPort",
    "ends_of",
]


@quick
class Outcome(IntEnum):
    """What became of something asked of the layer. The numbers are those that the Lua scripts answer."""

    #: Whether the message is where it should be, by this call or an earlier try of it.
    accepted: bool

    SENT = 1, True
    #: Waits in the mailbox of its socket.
    BOXED = 2, True
    #: At capacity: nothing was sent.
    FULL = 0
    #: The process or socket this is about is not registered any more, and never will be.
    GONE = -1
    #: A connect that was registered, or a frame whose number was accepted: an earlier try of the call worked.
    DUPLICATE = -2, True
    #: A disconnect that somebody told already.
    TOLD = -3, True
    #: The order number is not the one in flight: somebody moved on.
    STALE = -4
    #: The lease of the message in flight lapsed before a finish: that message is lost. Nothing was sent.
    LAPSED = -7
    #: Nothing was executed: no connection.
    UNAVAILABLE = -8
    #: The connection broke before the answer.
    UNKNOWN = -9
    #: The process is not registered, though nobody took it out: Redis lost its data, and the process is about
    #: to make itself known again. Nothing was sent; try again for up to `FORGOTTEN_SECONDS`.
    FORGOTTEN = -10
    #: Larger than the layer carries, or of a type that it does not: nothing was sent, and never will be.
    UNSENDABLE = -11

    def __new__(cls, number: int, accepted: bool = False) -> Outcome:
        """An attribute of each member: it is asked of every message, and a property is a call."""
        outcome = int.__new__(cls, number)
        outcome._value_ = number
        outcome.accepted = accepted
        return outcome


class ChannelLayer(ABC):
    """A channel layer as consumers, views, commands and foreign programs use it.

    All methods are synchronous and thread-safe. An instance must be used in the process that opened it; one
    that finds itself in a forked child opens connections of its own. Names are checked (TypeError).
    """

    extensions: tuple[str, ...] = ()
    #: Whether messages never leave this process: then no interface server can be on the other side.
    local_only = False
    ChannelFull = ChannelFull
    MessageTooLarge = MessageTooLarge

    expiry: float
    group_expiry: float
    capacities: Capacities
    #: Bytes of a packed message, at most.
    max_message_bytes: int = MAX_MESSAGE_BYTES
    #: Where the layer is, for people: "redis://127.0.0.1:6379/0, prefix 'x'". No password.
    label: str = ""

    @abstractmethod
    def send(self, channel: str, message: Message) -> None:
        """Put a message on a channel and wait for the layer's answer (never for capacity).

        At most once; in order for one sender and one single-reader or process channel. Raises ChannelFull,
        MessageTooLarge, TypeError for what cannot be packed, LayerUnavailable (not sent), OutcomeUnknown.
        A process that the layer has forgotten is waited for, up to `FORGOTTEN_SECONDS`; a message for one
        that is gone is dropped.
        The caller's dict is not changed and may be changed afterwards.
        """

    def receive(
        self, channels: Iterable[str], block: bool = False
    ) -> tuple[str, Message] | tuple[None, None]:
        """Take one message from any of the channels; `(None, None)` if there was none.

        With `block`, waits up to 5 s. The order of `channels` is no priority: a busy one never hides another.
        Process channels are received by their name up to `!`; the full name is returned. Expired messages are
        dropped. Raises LayerUnavailable.
        """
        received = self.receive_many(channels, 1, RECEIVE_SECONDS if block else 0)
        return received[0] if received else (None, None)

    @abstractmethod
    def new_channel(self, pattern: str) -> str:
        """A channel name never used before, for a pattern that ends with `?` or `!`. Does not block."""

    def new_channel_beside(self, pattern: str, channel: str) -> str:
        """`new_channel`, for messages from whoever reads `channel`: where it lies, the new one lies too.

        An interface server reaches the place of its own process queue only, if a layer has several.
        """
        return self.new_channel(pattern)

    @abstractmethod
    def send_many(self, messages: Sequence[tuple[str, Message]]) -> list[Outcome]:
        """Send several messages in one round trip, in order; one Outcome each, and no ChannelFull.

        A `batch` of messages is not atomic. What is FORGOTTEN may be sent again in a moment. Raises
        MessageTooLarge or TypeError before anything is sent.
        """

    @abstractmethod
    def receive_many(
        self, channels: Iterable[str], limit: int = 1, timeout_seconds: float = 0
    ) -> list[tuple[str, Message]]:
        """Take up to `limit` messages, waiting up to `timeout_seconds` for the first one."""

    @abstractmethod
    def group_add(self, group: str, channel: str) -> None:
        """Make a channel a member. Idempotent; when it has returned, any later `send_group` reaches it."""

    @abstractmethod
    def group_discard(self, group: str, channel: str) -> None:
        """End a membership. Idempotent; no error if there was none."""

    @abstractmethod
    def group_channels(self, group: str) -> list[str]:
        """Full names of the members, asked of the processes that have some (up to 2 s)."""

    def group_count(self, group: str) -> int:
        """How many members a group has: as many as `group_channels` would name, which it asks likewise."""
        return len(self.group_channels(group))

    @abstractmethod
    def send_group(self, group: str, message: Message) -> None:
        """Send a copy to every member. Never raises ChannelFull: copies for full channels are dropped."""

    def send_groups(self, groups: Iterable[str], message: Message) -> None:
        """Send a copy to every member of several groups: one to who is in several of them.

        Otherwise as `send_group`, and as many round trips as for one group. A layer that does not do it in
        one call calls `send_group` for each: then who is in several of them gets as many copies.
        """
        for group in require_group_names(groups):
            self.send_group(group, message)

    # Later (extension "delay")

    def send_later(
        self,
        channel: str,
        message: Message,
        delay: Delay | None = None,
        at: Moment | None = None,
        message_id: str | None = None,
    ) -> str:
        """Send a message when it is due: after `delay` seconds, or `at` a time; the id to `cancel` it by.

        `at` is a datetime with a time zone, or seconds since 1970; what is past is due at once. Times are
        those of the layer's clock. The message takes room of its channel when it is due, and expires from
        then on. It is moved by any worker process that runs, within milliseconds. Who must know the id before
        makes it with `new_message_id`. Raises what `send` raises, but ChannelFull only for a layer that is
        out of memory; TypeError or ValueError for a wrong time.
        """
        raise _lacking(self, "delay")

    def new_message_id(self, channel: str) -> str:
        """An id for a message that will be sent to a channel: for later, or to an acknowledged one.

        Does not block. Raises TypeError.
        """
        raise _lacking(self, "delay")

    def cancel(self, message_id: str) -> bool:
        """Take a message back that was sent for later; whether that was in time. Raises LayerUnavailable."""
        raise _lacking(self, "delay")

    def move_due(self, channels: Iterable[str] = ()) -> float:
        """Move what is due to its channels; the seconds until this has to be asked again.

        Of `channels`, those that are acknowledged have their takers woken where that was missed: name those
        that this process takes. Somebody who lives asks this as often as it says, and whenever something is
        received from the channel `later.DUE_CHANNEL`; several at once do no harm. Two round trips, and more
        where much is due. Raises LayerUnavailable.
        """
        return IDLE_MOVER_SECONDS

    # Acknowledged channels (extension "acknowledge")

    def is_acknowledged(self, channel: str) -> bool:
        """Whether the messages of a channel are kept until a worker has acknowledged them. Does not block."""
        return False

    def rouse(self, channels: Iterable[str] = ()) -> None:  # noqa: B027
        """A worker died: have what it was about to take or to move taken and moved by others, at once.

        Of `channels` this is about those that are acknowledged. One round trip. Raises LayerUnavailable.
        """

    def dead_letters(self, channel: str, limit: int = 100) -> list[DeadLetter]:
        """Messages of an acknowledged channel that nobody tries any more, oldest first.

        Two round trips. Raises LayerUnavailable.
        """
        raise _lacking(self, "acknowledge")

    def replay(self, channel: str, message_ids: Iterable[str] | None = None) -> int:
        """Put dead letters back on their channel, all of them or those with these ids, as if never tried.

        How many there were. Raises LayerUnavailable.
        """
        raise _lacking(self, "acknowledge")

    def drop_dead_letters(self, channel: str, message_ids: Iterable[str] | None = None) -> int:
        """Remove dead letters, all of them or those with these ids; how many there were.

        Raises LayerUnavailable.
        """
        raise _lacking(self, "acknowledge")

    # For coroutines

    async def asend(self, channel: str, message: Message) -> None:
        """`send` for a coroutine: in a thread, while the event loop goes on. Raises the same.

        One that is cancelled may have been sent or not, as with any call whose answer is not awaited.
        """
        await asyncio.to_thread(self.send, channel, message)

    async def areceive(
        self, channels: Iterable[str], block: bool = False
    ) -> tuple[str, Message] | tuple[None, None]:
        """`receive` for a coroutine: see `areceive_many`."""
        received = await self.areceive_many(channels, 1, RECEIVE_SECONDS if block else 0)
        return received[0] if received else (None, None)

    async def areceive_many(
        self, channels: Iterable[str], limit: int = 1, timeout_seconds: float = 0
    ) -> list[tuple[str, Message]]:
        """`receive_many` for a coroutine: on a worker's port, in a thread, while the event loop goes on.

        May be cancelled at any time: the wait ends, and what was taken meanwhile goes back to the head of its
        channel. Up to `MOST_WAITING_COROUTINES` of a process wait at once, further ones until one of them has
        ended. Raises what `receive_many` does.
        """
        return await self._async_receiver.receive(channels, limit, timeout_seconds)

    async def agroup_add(self, group: str, channel: str) -> None:
        """`group_add` for a coroutine: in a thread. Raises the same."""
        await asyncio.to_thread(self.group_add, group, channel)

    async def agroup_discard(self, group: str, channel: str) -> None:
        """`group_discard` for a coroutine: in a thread. Raises the same."""
        await asyncio.to_thread(self.group_discard, group, channel)

    async def asend_group(self, group: str, message: Message) -> None:
        """`send_group` for a coroutine: in a thread. Raises the same."""
        await asyncio.to_thread(self.send_group, group, message)

    async def asend_groups(self, groups: Iterable[str], message: Message) -> None:
        """`send_groups` for a coroutine: in a thread. Raises the same."""
        await asyncio.to_thread(self.send_groups, groups, message)

    @cached_property
    def _async_receiver(self) -> AsyncReceiver:
        return AsyncReceiver(lambda: self.open_worker_port(_ignore), self._ends_of)

    def _ends_of(self, taken: Sequence[Delivery]) -> Sequence[Out]:
        """What is owed for messages that nobody runs: who receives them is done with them."""
        for one in taken:
            if one.claim is None:
                self.count(one.channel, DONE)
        return ends_of(taken)

    # Upkeep

    @abstractmethod
    def flush(self) -> None:
        """Remove all messages, mailboxes and groups of this layer's prefix, not the processes."""

    @abstractmethod
    def statistics(self, channel: str) -> dict[str, int]:
        """Counters of one shared channel since it was first used, and `pending`, the messages in it now.

        See `accounting`: how many of each kind a layer counts, and what they come to. Writes first what this
        process has counted; other processes do so every `COUNTS_SECONDS`.
        """

    @cached_property
    def tally(self) -> Tally:
        """What this process counts of messages, until the layer knows it."""
        return Tally()

    def use_tally(self, tally: Tally) -> None:
        """Count there from now on; before anything is taken."""
        self.__dict__["tally"] = tally

    def count(self, channel: str, what: str, number: int = 1) -> None:
        """Count something of a shared channel (`accounting`). An addition in memory."""
        self.tally.add(channel, what, number)

    def write_counts(self, tally: Tally | None = None, last: bool = False) -> None:  # noqa: B027
        """Have the layer add up what this process has counted, or what `tally` has.

        Nothing is asked if nothing was counted; else one round trip, with `last` two. `last` says that this
        tally counts no more. Raises LayerUnavailable or OutcomeUnknown; then call again, nothing is added
        twice. A layer that does not account for messages has nothing to do.
        """

    def write_counts_if_due(self) -> None:
        """The same, if it was not done for `COUNTS_SECONDS`, for who receives without a worker. No errors."""
        now = time.monotonic()
        if now >= self.__dict__.get("_counts_due", 0.0):
            self.__dict__["_counts_due"] = now + COUNTS_SECONDS
            with contextlib.suppress(HeadraceError):
                self.write_counts()

    def write_last_counts(self) -> None:
        """The same, if the layer does not know everything, before it is closed. No errors."""
        if not self.tally.is_known:
            with contextlib.suppress(HeadraceError):
                self.write_counts(last=True)

    @abstractmethod
    def announce(self, channels: Iterable[str]) -> None:
        """Say that a worker takes these shared channels; interface servers learn it within some seconds.

        One round trip. The word counts for `ANNOUNCED_SECONDS`; say it again every `ANNOUNCE_SECONDS`. Works
        when the layer is full. Raises LayerUnavailable.
        """

    @abstractmethod
    def takers(self) -> dict[str, float]:
        """The channels that workers announced, each with the seconds since one did so last.

        One older than `ANNOUNCED_SECONDS` is not taken now; each is remembered for
        `TAKERS_REMEMBERED_SECONDS`. One round trip. Raises LayerUnavailable.
        """

    def reap(self) -> None:  # noqa: B027
        """Look for interface servers that died without a word, and end what they left behind.

        Each of their sockets gets its one `websocket.disconnect` (1006) and leaves its groups. Call it every
        `REAP_SECONDS` in some process that lives; in several it does no harm, and in one after a pause
        neither. One round trip; 100 sockets more with each further one where somebody died. Raises
        LayerUnavailable; then go on with the next. A layer whose processes end with it has nothing to do.
        """

    def ensure_usable(self) -> None:  # noqa: B027
        """See at a start whether the layer can ever work as it is configured.

        Connects once, which may block for some seconds. Raises ConfigurationError for what only a change of
        the settings or of the server's can mend: a wrong password, a database that does not exist, a server
        that is too old. Returns quietly where the layer works, or is merely away.
        """

    @abstractmethod
    def open_worker_port(self, on_refused: RefusedHandler) -> WorkerPort:
        """A line for one taking worker thread. Raises LayerUnavailable if there is no connection yet."""

    def open_interface_port(self, reactor: Any, version_label: str = "") -> InterfacePort | None:
        """A port for one interface server, inside its Twisted `reactor`; None if the layer has none.

        Connects to nothing before `InterfacePort.start`, and knows no process of the server's before; each
        call makes another process. `version_label` stands in the layer's table of processes, if it has one.
        May block for some seconds while what the layer needs is started. Raises ConfigurationError where an
        interface server cannot use the layer at all, such as for a package that is not installed.

        For a layer without one, `layers.threaded_port` asks the blocking methods in two threads, and says
        what it cannot promise.
        """
        return None

    def open_interface_ports(self, reactor: Any, version_label: str = "") -> Sequence[InterfacePort]:
        """The ports of one interface server: one for each place of the layer, each on its own.

        None of them, if the layer has no port of its own kind. Otherwise as `open_interface_port`.
        """
        port = self.open_interface_port(reactor, version_label)
        return [] if port is None else [port]

    @abstractmethod
    def close(self) -> None:
        """Close this process's connections; using the layer again opens new ones.

        A layer closes its own and calls this one, which closes those of coroutines.
        """
        if "_async_receiver" in self.__dict__:
            self._async_receiver.close()


@dataclass(slots=True)
class Delivery:
    """A message that a worker took.

    `order` is its ordering token: a delivery that has one must be finished by whoever took it. `place` is
    where it was taken from, and where it is finished or given back.
    """

    channel: str
    message: Message
    entry: bytes
    expiry_ms: int
    place: str
    taken_at: float
    order: int | None = None
    retries: int = 0
    #: Of a message of an acknowledged channel: it must be acknowledged by whoever took it.
    claim: Claim | None = None


@dataclass(slots=True)
class Send:
    """A message to put on a channel, said by the consumer of a delivery (`origin`, for log lines)."""

    channel: str
    #: As `envelope.pack_message` packed it when it was said: what becomes of its dict then changes nothing.
    packed: bytes = field(repr=False)
    origin: str = ""
    expiry_seconds: float | None = None
    #: Whether it is (a part of) the response to an HTTP request.
    is_response: bool = False
    #: Whether it changes nothing when it comes twice: a complete response, or one with an `id`.
    is_repeatable: bool = False
    #: Of `ChannelLayer.new_message_id`, if its channel is acknowledged: said again it is there once.
    id: str = ""


@dataclass(slots=True)
class Control:
    """A control entry for the process that holds `reply_channel` (see `control.py`)."""

    reply_channel: str
    body: Message


@dataclass(slots=True)
class Finish:
    """The end of an ordered delivery: the socket's next message may start.

    `drain` moves its whole mailbox out: the socket turned out not to be ordered.
    """

    reply_channel: str
    order: int
    place: str
    drain: bool = False


@dataclass(slots=True)
class SendGroup:
    """A message for every member of a group, or of several: see `ChannelLayer.send_groups`."""

    group: str
    #: As `envelope.pack_message` packed it when it was said.
    packed: bytes = field(repr=False)
    origin: str = ""
    #: Further groups.
    more: tuple[str, ...] = ()

    @property
    def groups(self) -> tuple[str, ...]:
        """All of them."""
        return (self.group, *self.more)


@dataclass(slots=True)
class SendLater:
    """A message to put on a channel when it is due, as `ChannelLayer.send_later` does."""

    channel: str
    #: As `envelope.pack_message` packed it when it was said.
    packed: bytes = field(repr=False)
    #: Of `ChannelLayer.new_message_id`: it can be cancelled from now on.
    id: str
    due: Due
    origin: str = ""
    #: Whether it changes nothing when it is said twice, whenever that is: its channel is acknowledged.
    is_repeatable: bool = False


@dataclass(slots=True)
class Acknowledge:
    """The end of a try of an acknowledged delivery: it is done, or why it has to be tried again."""

    channel: str
    claim: Claim
    place: str
    failure: str | None = None


Out = Send | SendGroup | Control | Finish | SendLater | Acknowledge
RefusedHandler = Callable[[Out, Outcome], None]


def _lacking(layer: ChannelLayer, extension: str) -> ConfigurationError:
    return ConfigurationError(
        f"{type(layer).__name__} has no extension {extension!r}; RedisChannelLayer, IPCChannelLayer and "
        "InMemoryChannelLayer have it"
    )


def ends_of(taken: Sequence[Delivery]) -> list[Finish | Acknowledge]:
    """What whoever takes without a worker owes for what it took: it is done."""
    ends: list[Finish | Acknowledge] = [
        Finish(str(one.message.get("reply_channel")), one.order, one.place)
        for one in taken
        if one.order is not None
    ]
    return ends + [Acknowledge(one.channel, one.claim, one.place) for one in taken if one.claim is not None]


def _ignore(item: Out, outcome: Outcome) -> None:
    """A finish that came too late changes nothing."""


class WorkerPort(ABC):
    """One worker thread's way to the layer. Not thread-safe, except `wake`.

    Whoever opens a port may set `on_said`, which `turn` calls when the layer has answered for all of `out`,
    before it waits for messages: from then on nothing of it, but what is `kept`, is lost with this process.
    """

    on_said: Callable[[], object] | None = None
    #: Whether it may start threads. Who forks sets False before the first turn.
    may_start_threads = True

    @property
    def kept(self) -> Sequence[Out]:
        """What turns were given and the port still has to say, to a part of the layer that is away.

        Copies for groups are not among it. What `close` finds here goes to `on_refused`.
        """
        return ()

    @abstractmethod
    def turn(
        self, out: Sequence[Out], channels: Sequence[str], limit: int, block_seconds: float
    ) -> list[Delivery]:
        """Write `out` and a take of up to `limit` messages at once, and wait for the answers.

        Waits up to `block_seconds` for a first message. Refused `out` items go to `on_refused` before the
        wait; none of them, and no group whose members cannot be read, keeps the rest from being written or
        anything from being taken. Returns at once, with what was taken, after `wake`. Expired messages are
        dropped and counted, unreadable ones counted. For an ordered one the next message of its socket may
        start, and a socket of ours that lost a frame is closed; a connect that no consumer saw takes its
        socket along, so that its disconnect is TOLD. With no `channels` only writes. Raises LayerUnavailable:
        `out` may or may not have been executed; call again, it reconnects.
        """

    @abstractmethod
    def give_back(self, deliveries: Sequence[Delivery]) -> None:
        """Put deliveries that were not started back at the head of their channels, in their order.

        Raises LayerUnavailable if none of them is back, OutcomeUnknown if some may be.
        """

    @abstractmethod
    def requeue(self, delivery: Delivery) -> bool:
        """Put a delivery at the tail of its channel with one retry more (`ConsumeLater`).

        False if that was refused; an ordered delivery keeps its token, so its successors wait.
        """

    @abstractmethod
    def may_start(self, delivery: Delivery, now: float) -> bool:
        """Whether this delivery may still start; ask for each that is not started at once after its take.

        False for one that has expired meanwhile: it is counted and dropped as `turn` drops expired ones, and
        what that owes is said with the next `turn`. False for a late holder of an ordered message, when
        somebody moved on (docs/protocol.md, section 7). Costs a round trip only for one past its expiry, and
        for an ordered one taken over 15 s ago. Raises LayerUnavailable.
        """

    def renew(self, delivery: Delivery) -> bool:
        """Extend the ordering lease, or the claim, of a delivery that runs long; False if it lapsed before.

        One round trip. A layer whose leases never lapse needs nothing here. Raises LayerUnavailable. See
        docs/protocol.md, section 7, and of a claim docs/protocol.md, section 10.
        """
        return True

    @abstractmethod
    def wake(self) -> None:
        """End a waiting `turn`, or the next one. Callable from any thread and from a signal handler."""

    @abstractmethod
    def close(self) -> None:
        """Close the connections."""


class OpenSocket(NamedTuple):
    """What a layer must know of a socket whose connect was sent and whose disconnect is still owed."""

    local: str
    path: str
    #: Order number of the last message that is known to have been accepted.
    order: int = 0
    #: Whether its messages start in order, one at a time.
    ordered: bool = False


class InterfaceReceiver(Protocol):
    """What an interface port calls, in the reactor's thread. None of these may raise."""

    def reply(self, local: str, message: Message) -> None:
        """A message for one client; an unknown `local` is the receiver's to count as discarded."""

    def group_message(self, group: str, members: Sequence[str], message: Message) -> None:
        """A message for these clients, one and the same for all of them."""

    def control(self, kind: str, local: str, body: Message) -> None:
        """A note about one client (`control` lists them); unknown kinds are ignored."""

    def level(self, channel: str, sent: int, waiting: int, capacity: int) -> None:
        """How full a shared channel is, learnt from the answer to a frame, before the `done` of that frame.

        `sent` messages were ever put on it, by anybody, and `waiting` of them are still there: so the first
        `sent - waiting` were taken. A smaller `sent` than before means that the counting began anew.
        """

    def data_lost(self) -> None:
        """The layer came back empty: messages that no worker had taken are gone. Before `layer_back`."""

    def entries_lost(self, count: int) -> None:
        """So many replies, group messages and notes were lost on their way here; whose is not known.

        Those of an ordered socket would have a gap: close each of these (1013).
        """

    def layer_lost(self, reason: str) -> None:
        """The layer cannot be reached; the port goes on trying."""

    def layer_back(self) -> None:
        """The layer is reachable and everything this process owns is registered again."""

    def fenced(self) -> None:
        """Others declared this process dead: close every socket (1012). The port has taken a new name."""

    def is_open(self, local: str) -> bool:
        """Whether this client, a socket or a waiting request, is still there; else it can join no group."""

    def open_sockets(self) -> Iterable[OpenSocket]:
        """Every socket whose connect was sent and whose disconnect is still owed."""


Done = Callable[[Outcome], None]


_NOT_HANDED_OVER = "a port of this layer cannot be handed over"


class InterfacePort(Protocol):
    """An interface server's way to the layer, inside its reactor. No call blocks or raises.

    `done` is called exactly once, later, in the reactor's thread. Everything asked in one reactor turn leaves
    in one write.
    """

    #: Name of this process's queue, `hr1.<place>.<random>!`; a reply channel is `process + local`.
    process: str
    #: Where the layer is, for people: "redis://127.0.0.1:6379/0, prefix 'x'". No password.
    label: str
    #: Whether another image of the process can go on: `hand_over`, `go_on` and `take_over` are there.
    hands_over: bool = False

    @property
    def taken_channels(self) -> frozenset[str]:
        """Channels that some worker takes, as workers said lately (`ChannelLayer.announce`).

        Learnt with each beat of the process, so some seconds late; empty before the first. Does not block.
        """
        raise NotImplementedError

    def new_channel(self, pattern: str) -> str:
        """A single-reader channel that `send` reaches, never used before; `pattern` ends with `?`."""
        return new_single_reader(pattern)

    def start(self, receiver: InterfaceReceiver) -> None:
        """Connect, register and begin to hear; `layer_back` follows, or `layer_lost` until it can."""

    def stop(self, done: Callable[[], None], seconds: float = STOP_SECONDS) -> None:
        """Withdraw the registration once everything sent has been answered, then disconnect.

        `done` is called within `seconds`, whether the layer answers or not.
        """

    def send(self, channel: str, message: Message, expiry_seconds: float, done: Done) -> None:
        """Put a message on a shared or single-reader channel; `math.inf` seconds is without an expiry.

        Never GONE: where the layer has forgotten this process, the message is sent when it is known again.
        """

    def connect(self, local: str, path: str, message: Message, expiry_seconds: float, done: Done) -> None:
        """Register a socket and send its `websocket.connect` (order 0)."""

    def frame(self, local: str, message: Message, order: int, ordered: bool, done: Done) -> None:
        """Send a `websocket.receive`; `ordered` sends it through the socket's mailbox.

        The caller keeps one call per ordered socket outstanding, and for a plain one the calls of one reactor
        turn: behind a frame that was not accepted nothing may be. What was not accepted, or has an unknown
        outcome, may be sent again in order with the same numbers: what Redis has is DUPLICATE. See
        docs/protocol.md, section 6.
        """

    def ask_level(self, channel: str) -> None:
        """Ask how full a shared channel is: `level` follows, with the next answers.

        Nothing follows if the layer cannot be reached; ask again when you need it.
        """

    def disconnect(self, local: str, message: Message, order: int, done: Done) -> None:
        """Unregister a socket, leave its groups and send its `websocket.disconnect`, exactly once.

        Never refused for capacity, never expires; repeated after an outage until it is told.
        """

    def leave_groups(self, local: str) -> None:
        """End the memberships of a client that is not a socket and has ended; free if it has none."""

    def forget(self, local: str) -> None:
        """Unregister a socket that the application itself refused: it is owed no disconnect."""

    def hand_over(self, done: Callable[[Message | None], None], seconds: float) -> None:
        """Stop hearing, and give what another image of this process needs to go on as this one.

        `done` gets it as plain values once nothing is on its way to the layer or from it, or None if that was
        not so within `seconds`, or the layer is away: then everything is as before. It is
        called in a later turn. Until then everything may be asked; afterwards nothing, before `go_on`.
        """
        raise TypeError(_NOT_HANDED_OVER)

    def go_on(self) -> None:
        """Hear on: what was handed over is not used."""
        raise TypeError(_NOT_HANDED_OVER)

    def take_over(self, handed_over: Message) -> None:
        """Be the process that another image was, from the `start` that follows on.

        The receiver has its sockets by then. Raises ValueError for what `hand_over` never gave.
        """
        raise TypeError(_NOT_HANDED_OVER)

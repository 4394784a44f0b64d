"""Taking from channels: fair among them, and what is read of the entries that come."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from headrace_asgi.accounting import EXPIRED, TAKEN, UNREADABLE
from headrace_asgi.close_codes import SERVER_ERROR
from headrace_asgi.contract import Delivery
from headrace_asgi.control import BELL, CLOSE, FAILED, note
from headrace_asgi.envelope import Entry, Message, reply_channel_of, require_place_on, unpack_message
from headrace_asgi.errors import UnknownVersion, UnreadableEntry
from headrace_asgi.later import DUE_CHANNEL
from headrace_asgi.messages import HTTP_REQUEST, WEBSOCKET_CONNECT, WEBSOCKET_RECEIVE
from headrace_asgi.names import is_process_queue, local_part, non_local_name, require_channel_names

from ..plan.plan import Plan, RedisCommand
from ..plan.resp import pack
from .executor import RedisExecutor

__all__ = ["ChannelReader", "TakenEntry"]

log = logging.getLogger("headrace.layer")

#: Different takes (channels in their order, limit, wait) that are kept ready, and lists whose order is kept.
TAKES_KEPT = 1000
#: Seconds between two log lines about unreadable entries of one reader.
COMPLAINT_SECONDS = 60.0
_UNREADABLE = "the message could not be read where it was taken"
#: What a client is told whose message cannot be read, by the channel that it was taken from.
_ERRORS = {
    HTTP_REQUEST.channel: note(FAILED, status=500, reason=_UNREADABLE),
    WEBSOCKET_CONNECT.channel: note(FAILED, status=500, reason=_UNREADABLE),
    WEBSOCKET_RECEIVE.channel: note(CLOSE, code=SERVER_ERROR),
}
#: Seconds for which a channel is left out whose key holds no messages.
LEFT_OUT_SECONDS = 30.0


@dataclass(slots=True)
class TakenEntry:
    """What came of one take: messages to deliver, and what is owed for ordered ones that were dropped.

    For each of the `bells` there was a message to claim, unless somebody else did.
    """

    alive: list[Delivery] = field(default_factory=list)
    owed: list[RedisCommand] = field(default_factory=list)
    bells: int = 0


#: Hears of a channel, what is counted of it, and how many.
Count = Callable[[str, str, int], object]


def _not_counted(channel: str, what: str, number: int) -> None:
    """Nobody adds it up."""


class ChannelReader:
    """Asks one place for entries and reads them.

    Redis serves the first channel that is not empty. The one served last goes to the end of the next take, so
    busy channels take turns, however many idle ones stand between, and K takes bound the wait of any of K.
    """

    def __init__(self, plan: Plan, place: str, executor: RedisExecutor, count: Count = _not_counted) -> None:
        """`executor` is that of the place; its clock says what has expired. `count` hears what is taken."""
        self._count = count
        self._plan = plan
        self._place = place
        self._decode = plan.codec.decode
        self._executor = executor
        self._orders: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._takes: dict[tuple[object, ...], tuple[RedisCommand, bytes]] = {}
        self._complained = -COMPLAINT_SECONDS
        #: Channels whose key holds something else than messages, and until when they are left out.
        self._spoilt: frozenset[str] = frozenset()
        self._left_out_until = 0.0
        #: Entries by "<channel>|taken", "…|expired" and "…|unreadable".
        self.counters: Counter[str] = Counter()

    def take(
        self, channels: Sequence[str], limit: int, block_seconds: float | None
    ) -> tuple[RedisCommand, bytes]:
        """The next take, and its bytes; it waits up to `block_seconds` for an entry, not at all for None.

        Raises TypeError for a name that is none; names that made a take before are not looked at again.
        """
        if self._spoilt and time.monotonic() >= self._left_out_until:
            self._forget_spoilt()
        asked = tuple(channels)
        order = self._orders.get(asked)
        if order is None:
            require_channel_names(asked)
            if len(self._orders) >= TAKES_KEPT:
                self._orders.clear()
            order = tuple(channel for channel in asked if channel not in self._spoilt) or asked
            self._orders[asked] = order
        key = (order, limit, block_seconds)
        take = self._takes.get(key)
        if take is None:
            if len(self._takes) >= TAKES_KEPT:
                self._takes.clear()
            command = self._plan.take(self._place, order, limit, block_seconds)
            take = self._takes[key] = (command, pack(command.args))
        return take

    def leave_out_spoilt(self, channels: Sequence[str]) -> bool:
        """Leave out, for a while, those of `channels` whose key holds something else than messages.

        For a take that Redis refused with KeySpoilt: one such key would keep the others from being taken. One
        round trip. Whether there is anything left to be taken from.
        """
        asked = list(dict.fromkeys(channels))
        kinds = self._executor.run([self._plan.kind(self._place, channel) for channel in asked])
        spoilt = {
            channel: kind
            for channel, kind in zip(asked, kinds, strict=True)
            if isinstance(kind, str) and kind not in ("list", "none")
        }
        if not spoilt or len(spoilt) == len(asked):
            return False
        for channel, kind in spoilt.items():
            log.error(
                "Nothing is taken from %s: its key %s at Redis holds a %s, which something else wrote; "
                "delete it. The next look is in %.0f s",
                channel,
                self._plan.queue_key(self._place, channel),
                kind,
                LEFT_OUT_SECONDS,
            )
        self._orders.clear()
        self._spoilt |= spoilt.keys()
        self._left_out_until = time.monotonic() + LEFT_OUT_SECONDS
        return True

    def _forget_spoilt(self) -> None:
        self._spoilt = frozenset()
        self._orders.clear()

    def served(self, channels: Sequence[str], channel: str) -> None:
        """A take from `channels` found something in `channel`."""
        asked = tuple(channels)
        order = self._orders.get(asked, asked)
        if order[-1] != channel:
            at = order.index(channel)
            self._orders[asked] = (*order[:at], *order[at + 1 :], channel)

    def read(self, channel: str, entries: Sequence[bytes]) -> TakenEntry:
        """Read entries taken from `channel`; expired and unreadable ones are dropped and counted."""
        taken, decode = TakenEntry(), self._decode
        counted = _counted(channel)
        now, now_ms = time.monotonic(), self._executor.clock.now_ms()
        self.counters[f"{counted}|taken"] += len(entries)
        for raw in entries:
            entry: Entry | None = None
            try:
                entry = decode(raw, channel)
                message = unpack_message(entry.payload)
                if entry.control and _is_bell(message, channel):
                    taken.bells += 1
                    continue
                if entry.channel is not None or entry.order is not None:
                    require_place_on(channel, entry, message)
            except UnreadableEntry as error:
                self._unreadable(counted, error)
                taken.owed += self._owed_for(channel, entry or error.entry, isinstance(error, UnknownVersion))
                continue
            if 0 < entry.expiry_ms < now_ms and self._executor.is_expired(entry.expiry_ms):
                taken.owed += self._expired(channel, message, entry.order, entry.retries)
                continue
            taken.alive.append(
                Delivery(
                    entry.channel or channel,
                    message,
                    raw,
                    entry.expiry_ms,
                    self._place,
                    now,
                    entry.order,
                    entry.retries,
                )
            )
        if channel != DUE_CHANNEL and len(entries) > taken.bells:
            self._count(channel, TAKEN, len(entries) - taken.bells)
        return taken

    def drop(self, delivery: Delivery) -> list[RedisCommand]:
        """Count a delivery that expired before it was started; the answer is what is owed for it."""
        channel = non_local_name(delivery.channel)
        return self._expired(channel, delivery.message, delivery.order, delivery.retries)

    def _expired(self, channel: str, message: Message, order: int | None, retries: int) -> list[RedisCommand]:
        self.counters[f"{_counted(channel)}|expired"] += 1
        self._count(channel, EXPIRED, 1)
        if order is None:
            return []
        return self._plan.dropped(str(message.get("reply_channel")), order, retries, self._place)

    def _owed_for(self, channel: str, entry: Entry | None, newer: bool) -> list[RedisCommand]:
        """What is owed for an unreadable entry of `channel`: the next message of an ordered socket, and an
        error for whoever waits for an answer to a `newer` one; nothing if it does not say whose it is."""
        client = "" if entry is None else reply_channel_of(entry)
        if entry is None or not client:
            return []
        owed, process = [], non_local_name(client)
        if newer and channel in _ERRORS and is_process_queue(process):
            owed.append(self._plan.note(process, {**_ERRORS[channel], "local": local_part(client)}))
        if entry.order is not None:
            owed += self._plan.dropped(client, entry.order, entry.retries, self._place)
        return owed

    def _unreadable(self, channel: str, error: UnreadableEntry) -> None:
        self.counters[f"{channel}|unreadable"] += 1
        self._count(channel, UNREADABLE, 1)
        now = time.monotonic()
        if now - self._complained >= COMPLAINT_SECONDS:
            self._complained = now
            log.error("Dropped from %s: %s", channel, error)


def _is_bell(message: Message, channel: str) -> bool:
    """Whether a note says that a message of its channel may be claimed; those for movers are messages.

    Raises UnreadableEntry for any other note.
    """
    if message.get("control") != BELL:
        raise UnreadableEntry("a note between processes lies where messages are")
    return channel != DUE_CHANNEL


def _counted(channel: str) -> str:
    """What a channel is counted under: those with one reader have random names, which fill the memory."""
    return channel[: channel.find("?") + 1] or channel

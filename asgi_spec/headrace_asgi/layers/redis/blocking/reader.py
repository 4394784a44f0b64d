"""Taking from channels: fair among them, and what is read of the entries that come."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from headrace_asgi.contract import Delivery
from headrace_asgi.envelope import Entry, require_place_on, unpack_message
from headrace_asgi.errors import UnreadableEntry
from headrace_asgi.names import non_local_name, require_channel_names

from ..plan.plan import Plan, RedisCommand
from ..plan.resp import pack
from .executor import RedisExecutor

__all__ = ["ChannelReader", "TakenEntry"]

log = logging.getLogger("headrace.layer")

#: Different takes (channels in their order, limit, wait) that are kept ready, and lists whose order is kept.
TAKES_KEPT = 1000
#: Seconds between two log lines about unreadable entries of one reader.
COMPLAINT_SECONDS = 60.0
#: Seconds for which a channel is left out whose key holds no messages.
LEFT_OUT_SECONDS = 30.0


@dataclass(slots=True)
class TakenEntry:
    """What came of one take: messages to deliver, and what is owed for ordered ones that were dropped."""

    alive: list[Delivery] = field(default_factory=list)
    owed: list[RedisCommand] = field(default_factory=list)


class ChannelReader:
    """Asks one place for entries and reads them.

    Redis serves the first channel that is not empty. The one served last goes to the end of the next take, so
    busy channels take turns, however many idle ones stand between, and K takes bound the wait of any of K.
    """

    def __init__(self, plan: Plan, place: str, executor: RedisExecutor) -> None:
        """`executor` is that of the place; its clock says what has expired."""
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
        now = time.monotonic()
        now_ms = self._executor.clock.now_ms()
        self.counters[f"{counted}|taken"] += len(entries)
        for raw in entries:
            entry: Entry | None = None
            try:
                entry = decode(raw, channel)
                if entry.control:
                    raise UnreadableEntry("a note between processes lies where messages are")
                message = unpack_message(entry.payload)
                if entry.channel is not None or entry.order is not None:
                    require_place_on(channel, entry, message)
            except UnreadableEntry as error:
                self._unreadable(counted, error)
                entry = entry or error.entry
                if entry is not None and entry.order is not None and entry.channel is not None:
                    taken.owed += self._plan.dropped(entry.channel, entry.order, entry.retries, self._place)
                continue
            if 0 < entry.expiry_ms < now_ms and self._executor.is_expired(entry.expiry_ms):
                self.counters[f"{counted}|expired"] += 1
                if entry.order is not None:
                    socket = str(message.get("reply_channel"))
                    taken.owed += self._plan.dropped(socket, entry.order, entry.retries, self._place)
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
        return taken

    def drop(self, delivery: Delivery) -> list[RedisCommand]:
        """Count a delivery that expired before it was started; the answer is what is owed for it."""
        self.counters[f"{_counted(non_local_name(delivery.channel))}|expired"] += 1
        if delivery.order is None:
            return []
        socket = str(delivery.message.get("reply_channel"))
        return self._plan.dropped(socket, delivery.order, delivery.retries, delivery.place)

    def _unreadable(self, channel: str, error: UnreadableEntry) -> None:
        self.counters[f"{channel}|unreadable"] += 1
        now = time.monotonic()
        if now - self._complained >= COMPLAINT_SECONDS:
            self._complained = now
            log.error("Dropped from %s: %s", channel, error)


def _counted(channel: str) -> str:
    """What a channel is counted under: those with one reader have random names, which fill the memory."""
    return channel[: channel.find("?") + 1] or channel

"""The channel layer of one process: for tests, and for trying things out.

It stores encoded envelopes and enforces the real limits, so that what passes on it passes on Redis.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from headrace_asgi.accounting import DONE
from headrace_asgi.acknowledgement import (
    DEFAULT_ATTEMPTS,
    REPAIR_SECONDS,
    AcknowledgedChannels,
    DeadLetter,
)
from headrace_asgi.contract import ChannelLayer, Outcome, RefusedHandler, SendLater
from headrace_asgi.envelope import Message, decode, pack_message, unpack_message
from headrace_asgi.errors import ChannelFull
from headrace_asgi.later import IDLE_MOVER_SECONDS, Delay, Moment, due, new_message_id
from headrace_asgi.limits import (
    DEFAULT_CAPACITY,
    DEFAULT_EXPIRY_SECONDS,
    DEFAULT_GROUP_EXPIRY_SECONDS,
    LEASE_MARGIN_SECONDS,
    MAX_MESSAGE_BYTES,
    Capacities,
)
from headrace_asgi.names import (
    new_single_reader,
    require_channel_name,
    require_channel_names,
    require_group_name,
    require_group_names,
)
from headrace_asgi.tally import Tally

from ..options import number_option, seconds_option
from .hub import Hub
from .interface_port import MemoryInterfacePort
from .process import MemoryProcess
from .store import Store, TakenMessage
from .worker_port import MemoryWorkerPort, keep_for

__all__ = ["InMemoryChannelLayer"]


class InMemoryChannelLayer(ChannelLayer):
    """A channel layer whose messages never leave this process.

    Thread-safe. It keeps its messages for as long as the object lives, whatever `close` says. A forked child
    that uses it gets ConfigurationError from every method.
    """

    extensions = ("groups", "flush", "statistics", "batch", "ordering", "delay", "acknowledge")
    local_only = True
    label = "memory"

    def __init__(
        self,
        expiry: float = DEFAULT_EXPIRY_SECONDS,
        group_expiry: float = DEFAULT_GROUP_EXPIRY_SECONDS,
        capacity: int = DEFAULT_CAPACITY,
        channel_capacity: Mapping[Any, int] | None = None,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        ordering_lease_seconds: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        acknowledged: Sequence[str] | None = None,
        acknowledged_attempts: int = DEFAULT_ATTEMPTS,
    ) -> None:
        """Take the limits, in seconds, messages and bytes. Messages and memberships expire on `clock`.

        Messages of channels that match a glob of `acknowledged` are kept until a worker has said that it is
        done with them, and tried up to `acknowledged_attempts` times.

        Raises ConfigurationError for a limit that cannot work.
        """
        self.expiry = seconds_option("expiry", expiry)
        self.group_expiry = seconds_option("group_expiry", group_expiry)
        self.capacities = Capacities(capacity, channel_capacity)
        self.max_message_bytes = number_option("max_message_bytes", max_message_bytes)
        lease = seconds_option(
            "ordering_lease_seconds",
            max(expiry + LEASE_MARGIN_SECONDS, expiry * 1.5)
            if ordering_lease_seconds is None
            else ordering_lease_seconds,
        )
        store = Store(
            self.capacities,
            int(expiry * 1000),
            int(group_expiry * 1000),
            int(lease * 1000),
            AcknowledgedChannels(acknowledged),
            number_option("acknowledged_attempts", acknowledged_attempts),
        )
        self._hub = Hub(store, clock)

    def send(self, channel: str, message: Message) -> None:
        """Put a message on a channel. Never blocks. One for a process that is gone is dropped."""
        if self.send_many([(channel, message)]) == [Outcome.FULL]:
            raise ChannelFull(
                f"Channel {channel} holds {self.capacities.of(channel)} messages, as many as it may"
            )

    def send_many(self, messages: Sequence[tuple[str, Message]]) -> list[Outcome]:
        """Send several messages, one Outcome each. Never blocks."""
        packed = [
            (require_channel_name(channel), pack_message(message, self.max_message_bytes))
            for channel, message in messages
        ]
        with self._hub as store:
            expiry_ms = self._expiry_ms()
            return [store.send(channel, payload, expiry_ms) for channel, payload in packed]

    def receive_many(
        self, channels: Iterable[str], limit: int = 1, timeout_seconds: float = 0
    ) -> list[tuple[str, Message]]:
        """Take up to `limit` messages, waiting up to `timeout_seconds` for the first; all of one channel."""
        taken = self._hub.take(require_channel_names(channels), limit, timeout_seconds)
        if taken:
            self._finish(taken)
        return [(one.channel, message) for one, message in taken]

    def _finish(self, taken: Sequence[tuple[TakenMessage, Message]]) -> None:
        """Let the next message of each socket go: who takes without a port is done with it."""
        with self._hub as store:
            for one, message in taken:
                if one.claim is not None:
                    store.acknowledged.finish(one.claim)
                    continue
                store.add_up({f"{one.queue}|{DONE}": 1})
                if one.entry.order is not None:
                    socket = str(message.get("reply_channel"))
                    store.finish(socket, one.entry.order, False, self._hub.now_ms())

    def send_later(
        self,
        channel: str,
        message: Message,
        delay: Delay | None = None,
        at: Moment | None = None,
        message_id: str | None = None,
    ) -> str:
        """Send a message when it is due. Never blocks. `at` follows the clock of this machine."""
        require_channel_name(channel)
        when, payload = due(delay, at), pack_message(message, self.max_message_bytes)
        message_id = message_id or new_message_id("0")
        with self._hub as store:
            keep_for(store, self._hub.now_ms(), self.expiry, SendLater(channel, payload, message_id, when))
        return message_id

    def new_message_id(self, channel: str) -> str:
        """An id for a message that will be sent for later. Raises TypeError."""
        require_channel_name(channel)
        return new_message_id("0")

    def cancel(self, message_id: str) -> bool:
        """Take a message back; whether that was in time."""
        with self._hub as store:
            return store.cancel(message_id)

    def move_due(self, channels: Iterable[str] = ()) -> float:
        """Move what is due. Who receives does so too, so a bare layer needs nobody who does."""
        with self._hub as store:
            next_ms = store.move_due(self._hub.now_ms())
            kept = [one for one in channels if store.acknowledged_channels.has(one)]
            store.ring_missed(kept)
        longest = REPAIR_SECONDS if kept else IDLE_MOVER_SECONDS
        return longest if next_ms is None else min(longest, next_ms / 1000)

    def is_acknowledged(self, channel: str) -> bool:
        """Whether the messages of a channel are kept until they are acknowledged."""
        with self._hub as store:
            return store.acknowledged_channels.has(channel)

    def rouse(self, channels: Iterable[str] = ()) -> None:
        """Have others look for what a dead worker was about to take."""
        with self._hub as store:
            store.ring_missed(one for one in channels if store.acknowledged_channels.has(one))

    def dead_letters(self, channel: str, limit: int = 100) -> list[DeadLetter]:
        """Messages of an acknowledged channel that nobody tries any more, oldest first."""
        require_channel_name(channel)
        with self._hub as store:
            dead = store.acknowledged.dead(channel)[:limit]
        return [
            DeadLetter(one, channel, unpack_message(decode(kept.entry).payload), kept.tries, kept.why)
            for one, kept in dead
        ]

    def replay(self, channel: str, message_ids: Iterable[str] | None = None) -> int:
        """Put dead letters back on their channel; how many there were."""
        require_channel_name(channel)
        with self._hub as store:
            return store.acknowledged.replay(channel, _chosen(store, channel, message_ids))

    def drop_dead_letters(self, channel: str, message_ids: Iterable[str] | None = None) -> int:
        """Remove dead letters; how many there were."""
        require_channel_name(channel)
        with self._hub as store:
            return store.acknowledged.drop(channel, _chosen(store, channel, message_ids))

    def new_channel(self, pattern: str) -> str:
        """A channel name never used before, for a pattern that ends with `?` or `!`."""
        return new_single_reader(pattern)

    def group_add(self, group: str, channel: str) -> None:
        """Make a channel a member; ignored for a channel of a process that is gone."""
        require_group_name(group)
        require_channel_name(channel)
        with self._hub as store:
            store.join(group, channel, self._hub.now_ms())

    def group_discard(self, group: str, channel: str) -> None:
        """End a membership, if there is one."""
        require_group_name(group)
        require_channel_name(channel)
        with self._hub as store:
            store.leave(group, channel)

    def group_channels(self, group: str) -> list[str]:
        """Full names of the members, in the order they joined."""
        require_group_name(group)
        with self._hub as store:
            return store.members(group, self._hub.now_ms())

    def send_group(self, group: str, message: Message) -> None:
        """Send a copy to every member; copies for full channels are dropped."""
        self.send_groups([group], message)

    def send_groups(self, groups: Iterable[str], message: Message) -> None:
        """Send a copy to every member of these groups, each once; copies for full channels are dropped."""
        listed = require_group_names(groups)
        payload = pack_message(message, self.max_message_bytes)
        with self._hub as store:
            store.send_groups(listed, payload, self._expiry_ms(), self._hub.now_ms())

    def flush(self) -> None:
        """Remove all messages, mailboxes, groups and counters, not the processes."""
        self.write_counts()
        with self._hub as store:
            store.clear()

    def statistics(self, channel: str) -> dict[str, int]:
        """Counters of one shared channel, and what they come to: see `accounting`."""
        require_channel_name(channel)
        self.write_counts()
        with self._hub as store:
            return store.counted(channel)

    def write_counts(self, tally: Tally | None = None, last: bool = False) -> None:
        """Add up what was counted beside the layer. Never blocks."""
        tally = tally or self.tally
        with tally.writing:
            batch = tally.unwritten()
            if batch is not None:
                with self._hub as store:
                    store.add_up(batch.amounts)
                tally.written()

    def announce(self, channels: Iterable[str]) -> None:
        """Say that a worker takes these channels: `MemoryProcess.taken_channels` tells."""
        listed = [require_channel_name(channel) for channel in channels]
        with self._hub as store:
            store.announce(listed, self._hub.now_ms())

    def takers(self) -> dict[str, float]:
        """The channels that workers announced, each with the seconds since one did so last."""
        with self._hub as store:
            return store.announced(self._hub.now_ms())

    def open_worker_port(self, on_refused: RefusedHandler) -> MemoryWorkerPort:
        """A line for one worker thread of this process."""
        return MemoryWorkerPort(self._hub, on_refused, self.expiry, self.max_message_bytes)

    def open_interface_port(self, reactor: Any, version_label: str = "") -> MemoryInterfacePort:
        """A line for an interface server in this process, such as one that a test drives.

        `reactor` may be a `twisted.internet.task.Clock` if workers run in its thread.
        """
        return MemoryInterfacePort(self._hub, reactor, self.max_message_bytes, self.label)

    def lose_data(self) -> None:
        """Forget everything, the processes too, as Redis does that comes back empty; for tests."""
        with self._hub as store:
            store.lose_data()

    def open_process(self) -> MemoryProcess:
        """Play an interface process, in a test: register sockets, send their frames, hear the replies."""
        return MemoryProcess(self._hub)

    def put_raw(self, channel: str, entry: bytes) -> None:
        """Put bytes on a channel as they are, in a test of how rubbish is met."""
        with self._hub as store:
            store.push(channel, entry)

    def close(self) -> None:
        """Close what coroutines used. The messages live as long as the layer."""
        super().close()

    def _expiry_ms(self) -> int:
        return self._hub.now_ms() + int(self.expiry * 1000)


def _chosen(store: Store, channel: str, message_ids: Iterable[str] | None) -> list[str]:
    """The dead letters that are meant: all of them for None."""
    if message_ids is not None:
        return list(message_ids)
    return [one for one, _ in store.acknowledged.dead(channel)]

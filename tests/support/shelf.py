"""A channel layer for the threads of one process, as small as one can be: the example of docs/layers.md."""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from headrace_asgi import ChannelFull, ChannelLayer, Outcome
from headrace_asgi.envelope import Message, pack_message, unpack_message
from headrace_asgi.limits import Capacities
from headrace_asgi.names import (
    new_single_reader,
    non_local_name,
    require_channel_name,
    require_channel_names,
    require_group_name,
)

__all__ = ["ShelfLayer"]


class ShelfLayer(ChannelLayer):
    """Messages wait on shelves, one for each channel, or for all channels of a process."""

    extensions = ("groups", "batch", "flush")
    local_only = True
    label = "a shelf"

    def __init__(self, expiry: float = 60, group_expiry: float = 86_400, capacity: int = 100) -> None:
        """Take seconds, seconds, and messages of a channel."""
        self.expiry = expiry
        self.group_expiry = group_expiry
        self.capacities = Capacities(capacity)
        self._changed = threading.Condition()
        #: (expires at, channel, packed message) of each queue.
        self._shelves: defaultdict[str, deque[tuple[float, str, bytes]]] = defaultdict(deque)
        #: When each member of a group was added.
        self._groups: defaultdict[str, dict[str, float]] = defaultdict(dict)
        self._takers: dict[str, float] = {}

    def send(self, channel: str, message: Message) -> None:
        if self.send_many([(channel, message)]) == [Outcome.FULL]:
            raise ChannelFull(f"the channel {channel} is full")

    def send_many(self, messages: Sequence[tuple[str, Message]]) -> list[Outcome]:
        packed = [
            (require_channel_name(channel), pack_message(message, self.max_message_bytes))
            for channel, message in messages
        ]
        with self._changed:
            self._changed.notify_all()
            return [self._put(channel, payload) for channel, payload in packed]

    def _put(self, channel: str, payload: bytes) -> Outcome:
        shelf = self._shelves[non_local_name(channel)]
        while shelf and shelf[0][0] < time.monotonic():
            shelf.popleft()
        if len(shelf) >= self.capacities.of(channel):
            return Outcome.FULL
        shelf.append((time.monotonic() + self.expiry, channel, payload))
        return Outcome.SENT

    def receive_many(
        self, channels: Iterable[str], limit: int = 1, timeout_seconds: float = 0
    ) -> list[tuple[str, Message]]:
        names = require_channel_names(channels)
        give_up = time.monotonic() + timeout_seconds
        with self._changed:
            while not (taken := self._take(names, limit)):
                if (left := give_up - time.monotonic()) <= 0:
                    break
                self._changed.wait(left)
        return [(channel, unpack_message(payload)) for channel, payload in taken]

    def _take(self, names: list[str], limit: int) -> list[tuple[str, bytes]]:
        taken = []
        # Always in another order: a busy channel must not hide a quiet one.
        for name in random.sample(names, len(names)):
            shelf = self._shelves[name]
            while shelf and len(taken) < limit:
                expires_at, channel, payload = shelf.popleft()
                if expires_at >= time.monotonic():
                    taken.append((channel, payload))
        return taken

    def new_channel(self, pattern: str) -> str:
        return new_single_reader(pattern)

    def group_add(self, group: str, channel: str) -> None:
        require_group_name(group)
        require_channel_name(channel)
        with self._changed:
            self._groups[group][channel] = time.monotonic()

    def group_discard(self, group: str, channel: str) -> None:
        require_group_name(group)
        require_channel_name(channel)
        with self._changed:
            self._groups[group].pop(channel, None)

    def group_channels(self, group: str) -> list[str]:
        require_group_name(group)
        oldest = time.monotonic() - self.group_expiry
        with self._changed:
            return [channel for channel, added_at in self._groups[group].items() if added_at >= oldest]

    def send_group(self, group: str, message: Message) -> None:
        self.send_many([(channel, message) for channel in self.group_channels(group)])

    def flush(self) -> None:
        with self._changed:
            self._shelves.clear()
            self._groups.clear()

    def announce(self, channels: Iterable[str]) -> None:
        named = [require_channel_name(channel) for channel in channels]
        with self._changed:
            self._takers.update(dict.fromkeys(named, time.monotonic()))

    def takers(self) -> dict[str, float]:
        with self._changed:
            return {channel: time.monotonic() - since for channel, since in self._takers.items()}

    def statistics(self, channel: str) -> NoReturn:
        raise NotImplementedError("a shelf counts nothing")

    def open_worker_port(self, on_refused: Any) -> NoReturn:
        raise NotImplementedError("no worker takes from a shelf")

    def close(self) -> None:
        super().close()

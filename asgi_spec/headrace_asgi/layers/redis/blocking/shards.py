"""A layer over one or several Redis: a layer for each, and who asks which of them.

Each Redis is a world of its own. An interface server has a process queue at each, and a client's messages,
mailbox, registration and groups lie where its process queue does; so what one Redis breaks, breaks for its
own clients only. Shared channels have a list at each: senders take turns, workers take from all.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from headrace_asgi import names
from headrace_asgi.acknowledgement import DEFAULT_ATTEMPTS, DeadLetter
from headrace_asgi.contract import (
    ChannelLayer,
    InterfacePort,
    Outcome,
    RefusedHandler,
    WorkerPort,
)
from headrace_asgi.envelope import Message, pack_message
from headrace_asgi.errors import (
    ChannelFull,
    ConfigurationError,
    HeadraceError,
    KeySpoilt,
    LayerUnavailable,
    OutcomeUnknown,
)
from headrace_asgi.later import Delay, Moment, place_of_id
from headrace_asgi.layers.options import Host, hosts_option, mapping_option
from headrace_asgi.limits import (
    DEFAULT_CAPACITY,
    DEFAULT_EXPIRY_SECONDS,
    DEFAULT_GROUP_EXPIRY_SECONDS,
    MAX_MESSAGE_BYTES,
    Capacities,
)
from headrace_asgi.log_limit import LogLimit, left_out_note
from headrace_asgi.tally import Tally

from ..address import ServerAddress, parse_address
from ..plan.buckets import bucket_names
from ..plan.places import Places
from ..plan.shard_map import ShardMap
from .layer import RedisPlaceLayer
from .shards_worker_port import ShardsWorkerPort

__all__ = ["RedisChannelLayer", "Shard"]

log = logging.getLogger("headrace.layer")

#: Seconds for which a Redis that could not be reached is asked last, and for nothing that can wait.
AWAY_SECONDS = 1.0

T = TypeVar("T")


class Shard(RedisPlaceLayer):
    """One of several Redis, or buckets of a Cluster, of which each has its part of every shared channel."""

    def __init__(self, place: str, where: ShardMap, **options: Any) -> None:
        """Take its place in the map, and the options of RedisPlaceLayer with one host."""
        self._place_name = self.place = place
        self._parts = len(where.places)
        self._fingerprint = where.fingerprint
        super().__init__(**options)

    def _own_capacities(self, whole: Capacities) -> Capacities:
        return whole.shared(self._parts)

    def write_counts(self, tally: Tally | None = None, last: bool = False) -> None:
        # The layer of all says what was counted, at one place: said at two, it would be added twice.
        if tally is not None:
            super().write_counts(tally, last)

    def announce(self, channels: Iterable[str]) -> None:
        super().announce(channels)
        if self._fingerprint:
            self.ask(self.plan.hosts(self._fingerprint))


class RedisChannelLayer(ChannelLayer):
    """A channel layer over one or several Redis (7.0 or later) or Valkey (7.2 or later)."""

    extensions = RedisPlaceLayer.extensions

    def __init__(
        self,
        hosts: Sequence[str | tuple[str, int] | Mapping[str, Any]] = ("redis://127.0.0.1:6379/0",),
        prefix: str = "",
        expiry: float = DEFAULT_EXPIRY_SECONDS,
        group_expiry: float = DEFAULT_GROUP_EXPIRY_SECONDS,
        capacity: int = DEFAULT_CAPACITY,
        channel_capacity: Mapping[Any, int] | None = None,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        ordering_lease_seconds: float | None = None,
        connection_kwargs: Mapping[str, Any] | None = None,
        symmetric_encryption_keys: Sequence[str | bytes] | None = None,
        acknowledged: Sequence[str] | None = None,
        acknowledged_attempts: int = DEFAULT_ATTEMPTS,
    ) -> None:
        """Take where Redis is and the limits; nothing is connected before the first use.

        `hosts` holds one Redis or several: each a URL (redis://, rediss://, unix://; its `?prefix=` counts if
        there is no `prefix`), (host, port), or a dict. Several share the load; every process needs the same
        ones, in any order, by the same names. A Redis Cluster is one entry
        (redis+cluster://). `expiry` and `group_expiry` are seconds, `capacity` is messages
        per channel and `channel_capacity` its exceptions by glob or compiled pattern; several Redis share it.
        `connection_kwargs` are options of redis-py for each host and win over its URL.
        `symmetric_encryption_keys` encrypt what lies in Redis: the first one encrypts, all decrypt; every
        process needs them. Messages of channels that match a glob of `acknowledged` are kept until a worker
        has said that it is done with them, and tried up to `acknowledged_attempts` times. Raises
        ConfigurationError for a value that cannot work.
        """
        options = {
            "expiry": expiry,
            "group_expiry": group_expiry,
            "capacity": capacity,
            "channel_capacity": channel_capacity,
            "max_message_bytes": max_message_bytes,
            "ordering_lease_seconds": ordering_lease_seconds,
            "connection_kwargs": connection_kwargs,
            "symmetric_encryption_keys": symmetric_encryption_keys,
            "acknowledged": acknowledged,
            "acknowledged_attempts": acknowledged_attempts,
        }
        #: Of each channel at all places together.
        self.capacities = Capacities(capacity, channel_capacity)
        self._divide(*hosts_option(hosts, prefix), options)
        self.use_tally(Tally())
        self._turns = itertools.count()
        self._away_until = dict.fromkeys(self.shards, 0.0)
        #: Ports that `receive_many` keeps for its next calls: each serves one of them at a time.
        self._takers: deque[ShardsWorkerPort] = deque()
        self._is_closed = False
        self._pid = os.getpid()
        self._complaints = LogLimit()

    def _divide(self, hosts: Sequence[Host], prefix: str, options: Mapping[str, Any]) -> None:
        """Make a layer for each host."""
        common = mapping_option("connection_kwargs", options["connection_kwargs"])
        found = [parse_address(one.url, {**common, **one.options}, True) for one in hosts]
        called = [one.label for one in found]
        self.map = _cluster_map(found, prefix) or ShardMap(called)
        self.shards = {
            place: Shard(
                place,
                self.map,
                hosts=[hosts[0 if self.map.is_cluster else called.index(label)]],
                prefix=prefix,
                **options,
            )
            for place, label in self.map.labels.items()
        }
        some = next(iter(self.shards.values()))
        self.expiry, self.group_expiry = some.expiry, some.group_expiry
        self.max_message_bytes = some.max_message_bytes
        self.label = some.places.label(", ".join(sorted(called)))

    # Which of them

    def shard_of(self, channel: str) -> Shard:
        """The shard where a channel lies that has only one list."""
        return self.shards[self.map.of(channel)]

    def in_turn(self) -> list[Shard]:
        """All shards, for what may go to any: beginning with another one each time, those away last."""
        listed, turn = list(self.shards.values()), next(self._turns) % len(self.shards)
        return sorted(listed[turn:] + listed[:turn], key=lambda one: self.is_away(one.place))

    def is_away(self, place: str) -> bool:
        """Whether a shard could not be reached a moment ago."""
        return self._away_until[place] > time.monotonic()

    def note_away(self, place: str, seconds: float = AWAY_SECONDS) -> None:
        """A shard could not be reached just now: that counts for so many seconds, or until `note_back`."""
        self._away_until[place] = max(self._away_until[place], time.monotonic() + seconds)

    def note_back(self, place: str) -> None:
        """A shard was reached just now."""
        self._away_until[place] = 0.0

    def _there(self) -> list[Shard]:
        """Those that are not away, or all if all are: for what is repeated, which one that hangs holds up."""
        listed = list(self.shards.values())
        return [shard for shard in listed if not self.is_away(shard.place)] or listed

    @property
    def _first(self) -> Shard:
        return next(iter(self.shards.values()))

    def _everywhere(self, ask: Callable[[Shard], T], shards: Sequence[Shard] = ()) -> list[T]:
        """What each shard answers, or each of those given. Raises LayerUnavailable if none can be reached."""
        answers: list[T] = []
        errors: list[LayerUnavailable] = []
        for shard in shards or self.shards.values():
            try:
                answers.append(ask(shard))
            except LayerUnavailable as error:
                if not isinstance(error, KeySpoilt):
                    self.note_away(shard.place)
                errors.append(error)
        if not answers:
            raise errors[0]
        for away in errors:
            left_out = self._complaints.ask(str(away))
            if left_out is not None:
                log.warning("One of several Redis is left out: %s%s", away, left_out_note(left_out))
        return answers

    # Sending

    def send(self, channel: str, message: Message) -> None:
        names.require_channel_name(channel)
        if not self.map.is_spread(channel):
            self.shard_of(channel).send(channel, message)
            return
        errors: list[HeadraceError] = []
        refused: Shard | None = None
        for shard in self.in_turn():
            if refused is not None:
                self._not_shed(refused, [channel])
            refused = None
            try:
                shard.send(channel, message)
                return
            except OutcomeUnknown:
                raise
            except LayerUnavailable as error:
                self.note_away(shard.place)
                errors.append(error)
            except ChannelFull as error:
                refused = shard
                errors.insert(0, error)
        raise errors[0]

    def send_many(self, messages: Sequence[tuple[str, Message]]) -> list[Outcome]:
        placed: dict[Shard, list[int]] = {}
        spread = []
        for index, (channel, message) in enumerate(messages):
            names.require_channel_name(channel)
            if len(self.shards) > 1:
                pack_message(message, self.max_message_bytes)  # before anything is sent
            if self.map.is_spread(channel):
                spread.append(index)
            else:
                placed.setdefault(self.shard_of(channel), []).append(index)
        outcomes = [Outcome.UNAVAILABLE] * len(messages)

        def send(shard: Shard, indexes: Sequence[int]) -> None:
            answers = shard.send_many([messages[index] for index in indexes])
            for index, outcome in zip(indexes, answers, strict=True):
                outcomes[index] = outcome

        for shard, indexes in placed.items():
            send(shard, indexes)
        before: Shard | None = None
        for shard in self.in_turn():
            if not spread:
                break
            if before is not None:
                self._not_shed(before, [messages[at][0] for at in spread if outcomes[at] is Outcome.FULL])
            send(shard, spread)
            before = shard
            spread = [at for at in spread if outcomes[at] in (Outcome.FULL, Outcome.UNAVAILABLE)]
        return outcomes

    def _not_shed(self, shard: Shard, channels: Sequence[str]) -> None:
        """Another one is asked for what this one refused, and counts it if it is refused there too."""
        shard.run([shard.plan.not_shed(channel, count) for channel, count in Counter(channels).items()])

    def new_channel(self, pattern: str) -> str:
        return self.in_turn()[0].new_channel(pattern)

    def new_channel_beside(self, pattern: str, channel: str) -> str:
        return self.shard_of(channel).new_channel(pattern)

    # Receiving

    def receive_many(
        self, channels: Iterable[str], limit: int = 1, timeout_seconds: float = 0
    ) -> list[tuple[str, Message]]:
        listed = names.require_channel_names(channels)
        spread = [channel for channel in listed if self.map.is_spread(channel)]
        shards = {self.shard_of(channel) for channel in listed if channel not in spread}
        if not spread and len(shards) == 1:
            received = shards.pop().receive_many(listed, limit, timeout_seconds)
            self.write_counts_if_due()
            return received
        port = self._taker()
        try:
            taken = port.turn((), listed, limit, timeout_seconds)
            if ends := self._ends_of(taken):
                port.turn(ends, (), 0, 0)
        finally:
            self._takers.append(port)
            if self._is_closed:
                self._close_takers()
        self.write_counts_if_due()
        return [(one.channel, one.message) for one in taken]

    def _taker(self) -> ShardsWorkerPort:
        self._is_closed = False
        if self._pid != os.getpid():
            self._pid, self._takers = os.getpid(), deque()  # the parent's connections
        try:
            return self._takers.popleft()
        except IndexError:
            return ShardsWorkerPort(self, _ignore)

    # Groups: a member is noted where its channel lies

    def group_add(self, group: str, channel: str) -> None:
        self.shard_of(names.require_channel_name(channel)).group_add(group, channel)

    def group_discard(self, group: str, channel: str) -> None:
        self.shard_of(names.require_channel_name(channel)).group_discard(group, channel)

    def group_channels(self, group: str) -> list[str]:
        names.require_group_name(group)
        return [
            name for found in self._everywhere(lambda shard: shard.group_channels(group)) for name in found
        ]

    def group_count(self, group: str) -> int:
        names.require_group_name(group)
        return sum(self._everywhere(lambda shard: shard.group_count(group)))

    def send_group(self, group: str, message: Message) -> None:
        self.send_groups([group], message)

    def send_groups(self, groups: Iterable[str], message: Message) -> None:
        listed = names.require_group_names(groups)
        self._everywhere(lambda shard: shard.send_groups(listed, message))

    # Later, and acknowledged channels: an id says where its message is

    def new_message_id(self, channel: str) -> str:
        names.require_channel_name(channel)
        shard = self.in_turn()[0] if self.map.is_spread(channel) else self.shard_of(channel)
        return shard.new_message_id(channel)

    def send_later(
        self,
        channel: str,
        message: Message,
        delay: Delay | None = None,
        at: Moment | None = None,
        message_id: str | None = None,
    ) -> str:
        names.require_channel_name(channel)
        chosen = self.new_message_id(channel) if message_id is None else message_id
        return self._keeper(chosen).send_later(channel, message, delay, at, chosen)

    def cancel(self, message_id: str) -> bool:
        return self._keeper(message_id).cancel(message_id)

    def _keeper(self, message_id: str) -> Shard:
        shard = self.shards.get(place_of_id(message_id))
        if shard is None:
            raise ValueError(f"{message_id!r} is no id of a message of this layer")
        return shard

    def move_due(self, channels: Iterable[str] = ()) -> float:
        listed = list(channels)
        return min(self._everywhere(lambda shard: shard.move_due(listed), self._there()))

    def is_acknowledged(self, channel: str) -> bool:
        return next(iter(self.shards.values())).is_acknowledged(channel)

    def rouse(self, channels: Iterable[str] = ()) -> None:
        listed = list(channels)
        self._everywhere(lambda shard: shard.rouse(listed))

    def dead_letters(self, channel: str, limit: int = 100) -> list[DeadLetter]:
        found = self._everywhere(lambda shard: shard.dead_letters(channel, limit))
        return [letter for letters in found for letter in letters][:limit]

    def replay(self, channel: str, message_ids: Iterable[str] | None = None) -> int:
        wanted = None if message_ids is None else list(message_ids)
        return sum(self._everywhere(lambda shard: shard.replay(channel, wanted)))

    def drop_dead_letters(self, channel: str, message_ids: Iterable[str] | None = None) -> int:
        wanted = None if message_ids is None else list(message_ids)
        return sum(self._everywhere(lambda shard: shard.drop_dead_letters(channel, wanted)))

    # Upkeep

    def flush(self) -> None:
        self.write_counts()
        for shard in self.shards.values():
            shard.flush()

    def use_tally(self, tally: Tally) -> None:
        super().use_tally(tally)
        for shard in self.shards.values():
            shard.use_tally(tally)

    def write_counts(self, tally: Tally | None = None, last: bool = False) -> None:
        # At the first place, always: it knows what was said before. The sums are over all places.
        first = self._first
        if not last and self.is_away(first.place):
            raise LayerUnavailable(f"{first.label} did not answer a moment ago")
        try:
            first.write_counts(tally or self.tally, last)
        except KeySpoilt:
            raise
        except LayerUnavailable:
            self.note_away(first.place)
            raise

    def statistics(self, channel: str) -> dict[str, int]:
        names.require_channel_name(channel)
        with contextlib.suppress(LayerUnavailable):  # asked below, where others that are there answer
            self.write_counts()
        if not self.map.is_spread(channel):
            return self.shard_of(channel).statistics(channel)
        found = self._everywhere(lambda shard: shard.statistics(channel))
        return {name: sum(one[name] for one in found) for name in found[0]}

    def announce(self, channels: Iterable[str]) -> None:
        listed = list(channels)
        self._everywhere(lambda shard: shard.announce(listed), self._there())

    def takers(self) -> dict[str, float]:
        latest: dict[str, float] = {}
        for found in self._everywhere(lambda shard: shard.takers(), self._there()):
            for channel, seconds in found.items():
                latest[channel] = min(seconds, latest.get(channel, seconds))
        return latest

    def reap(self) -> None:
        self._everywhere(lambda shard: shard.reap(), self._there())

    def ensure_usable(self) -> None:
        for shard in self.shards.values():
            shard.ensure_usable()

    def open_worker_port(self, on_refused: RefusedHandler) -> WorkerPort:
        if len(self.shards) == 1:
            (only,) = self.shards.values()
            return only.open_worker_port(on_refused)
        return ShardsWorkerPort(self, on_refused)

    def open_interface_port(self, reactor: Any, version_label: str = "") -> InterfacePort | None:
        """The port to the only Redis; None where there are several: see `open_interface_ports`."""
        ports = self.open_interface_ports(reactor, version_label) if len(self.shards) == 1 else [None]
        return ports[0]

    def open_interface_ports(self, reactor: Any, version_label: str = "") -> list[InterfacePort]:
        return [shard.open_interface_port(reactor, version_label) for shard in self.shards.values()]

    def close(self) -> None:
        super().close()
        self._is_closed = True
        self._close_takers()
        self.write_last_counts()
        for shard in self.shards.values():
            shard.close()

    def _close_takers(self) -> None:
        with contextlib.suppress(IndexError):
            while True:
                self._takers.pop().close()


def _cluster_map(hosts: Sequence[ServerAddress], prefix: str) -> ShardMap | None:
    """The map of a Cluster, if that is the host. Raises ConfigurationError for one beside others."""
    clusters = [one for one in hosts if one.cluster is not None]
    if not clusters:
        return None
    if len(hosts) > 1:
        raise ConfigurationError(
            "hosts must name one Redis Cluster and nothing beside it: put its nodes into one entry, as in "
            "redis+cluster://host1:7000,host2:7000/"
        )
    (address,) = clusters
    count = address.cluster.buckets if address.cluster else 0
    Places([""], prefix)
    return ShardMap.over_buckets(bucket_names(prefix, count), address.label)


def _ignore(item: object, outcome: Outcome) -> None:
    """A finish that came too late changes nothing."""

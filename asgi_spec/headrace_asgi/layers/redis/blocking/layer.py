"""The Redis layer with blocking calls: for workers, views, commands, threads, and foreign programs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from headrace_asgi import control, names
from headrace_asgi.accounting import DONE, account
from headrace_asgi.acknowledgement import DEFAULT_ATTEMPTS, AcknowledgedChannels
from headrace_asgi.contract import (
    ChannelLayer,
    InterfacePort,
    Outcome,
    RefusedHandler,
    WorkerPort,
    ends_of,
)
from headrace_asgi.envelope import Message, pack_message
from headrace_asgi.errors import (
    ChannelFull,
    ConfigurationError,
    HeadraceError,
    KeySpoilt,
    LayerUnavailable,
)
from headrace_asgi.layers.encryption_keys import codec_option
from headrace_asgi.layers.options import (
    CLUSTER_SCHEMES,
    Host,
    hosts_option,
    mapping_option,
    number_option,
    optional_seconds_option,
    seconds_option,
)
from headrace_asgi.limits import (
    ANNOUNCED_SECONDS,
    DEFAULT_CAPACITY,
    DEFAULT_EXPIRY_SECONDS,
    DEFAULT_GROUP_EXPIRY_SECONDS,
    FORGOTTEN_PAUSE_SECONDS,
    FORGOTTEN_SECONDS,
    MAX_MESSAGE_BYTES,
    Capacities,
)
from headrace_asgi.tally import Tally

from ..address import ServerAddress, at_bucket, parse_address
from ..agreed_version import heard_versions
from ..plan.clock import RedisClock
from ..plan.command import RedisCommand, as_is, text
from ..plan.ends import end_commands
from ..plan.outgoing import Outgoing, group_copies, members_of_all, message_entry, outcomes_of
from ..plan.places import ONLY_PLACE, Places
from ..plan.plan import Plan
from .acknowledged import AcknowledgedMethods, claim_messages
from .executor import RedisExecutor
from .finder import whereabouts
from .later import LaterMethods
from .other_versions import refuse_other_versions
from .reader import ChannelReader
from .reaper import Reaper
from .silence import ANSWER_SECONDS

__all__ = ["RedisPlaceLayer"]

_OF_CLUSTERS = tuple(f"{scheme}://" for scheme in CLUSTER_SCHEMES)
#: Seconds that the processes of a group have to name their members.
MEMBERS_SECONDS = 2.0


class RedisPlaceLayer(LaterMethods, AcknowledgedMethods, ChannelLayer):
    """A channel layer at one place: over one Redis, alone or as one of several."""

    extensions = ("groups", "flush", "statistics", "batch", "ordering", "delay", "acknowledge")
    #: The place of this layer; each of several that make up one has its own.
    _place_name = ONLY_PLACE

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

        `hosts` holds one Redis: a URL (redis://, rediss://, unix://, redis+sentinel://; its `?prefix=` counts
        if there is no `prefix`), (host, port), or a dict. All other options are those of RedisChannelLayer.
        Raises ConfigurationError for a value that cannot work.
        """
        given, prefix = hosts_option(hosts, prefix)
        self.expiry = seconds_option("expiry", expiry)
        self.group_expiry = seconds_option("group_expiry", group_expiry)
        self.capacities = self._own_capacities(Capacities(capacity, channel_capacity))
        self.max_message_bytes = number_option("max_message_bytes", max_message_bytes)
        lease = optional_seconds_option("ordering_lease_seconds", ordering_lease_seconds)
        #: Whether the place is a bucket of a Redis Cluster.
        self._is_bucket = any(host.url.startswith(_OF_CLUSTERS) for host in given)
        self.places = Places([host.url for host in given], prefix, self._place_name, self._is_bucket)
        common = mapping_option("connection_kwargs", connection_kwargs)
        self._hosts = {
            place: Host(host.url, {**common, **host.options})
            for place, host in zip(self.places.names, given, strict=True)
        }
        limits = (self.capacities, self.expiry, self.group_expiry, lease)
        codec, kept = codec_option(symmetric_encryption_keys), AcknowledgedChannels(acknowledged)
        attempts = number_option("acknowledged_attempts", acknowledged_attempts)
        self.plan = Plan(self.places, *limits, codec, kept, attempts)
        self._executors = {place: self._new_executor(place, host) for place, host in self._hosts.items()}
        self.label = self.places.label(self._server_label())
        self._readers = {place: self._new_reader(place) for place in self._executors}
        self._reaper = Reaper(self.plan, self, time.monotonic)

    def _new_reader(self, place: str) -> ChannelReader:
        return ChannelReader(self.plan, place, self._executors[place], self.count)

    def _own_capacities(self, whole: Capacities) -> Capacities:
        """How much lies here of what a channel may hold: all of it, if there is no other place."""
        return whole

    def _new_executor(self, place: str, host: Host) -> RedisExecutor:
        where = whereabouts(host.url, host.options, place, self.places.tag(place))
        return RedisExecutor(where, RedisClock(self.expiry), self.prepare)

    def _address(self, place: str, host: Host) -> ServerAddress:
        """Where the interface server finds the Redis of a place."""
        return at_bucket(parse_address(host.url, host.options), place, self.places.tag(place))

    def _server_label(self) -> str:
        return self._executors[self.places.home].address.label

    def prepare(self) -> None:
        """See to it that there is a Redis. Nothing to do here; the embedded layer starts one."""

    def executor(self, place: str) -> RedisExecutor:
        """What carries out commands at a place."""
        return self._executors[place]

    def ask(self, command: RedisCommand, answer_seconds: float = ANSWER_SECONDS) -> Any:
        """Carry out one command. Raises LayerUnavailable, OutcomeUnknown or ChannelFull (out of memory)."""
        return self._executors[command.place].ask(command, answer_seconds)

    def run(self, commands: Sequence[RedisCommand]) -> list[Any]:
        """Carry out commands of one place, in one write; an error takes the place of an answer."""
        return self._executors[commands[0].place].run(commands) if commands else []

    def now_ms(self, place: str) -> int:
        """The clock of the Redis at a place. Connects if there was no connection yet."""
        executor = self._executors[place]
        try:
            return executor.clock.now_ms()
        except RuntimeError:
            executor.sample_clock()
            return executor.clock.now_ms()

    def expiry_ms(self, place: str, seconds: float | None = None) -> int:
        """When a message sent now expires, on the Redis clock."""
        return self.now_ms(place) + int((self.expiry if seconds is None else seconds) * 1000)

    # Sending

    def send(self, channel: str, message: Message) -> None:
        names.require_channel_name(channel)
        payload = pack_message(message, self.max_message_bytes)
        give_up = time.monotonic() + FORGOTTEN_SECONDS
        while True:
            (outcome,) = self._send([(channel, payload)], raises=True)
            if outcome is not Outcome.FORGOTTEN or time.monotonic() > give_up:
                break
            time.sleep(FORGOTTEN_PAUSE_SECONDS)
        if outcome is Outcome.FULL:
            raise ChannelFull(
                f"the channel {channel} is full: {self.capacities.of(channel)} messages wait in it"
            )

    def send_many(self, messages: Sequence[tuple[str, Message]]) -> list[Outcome]:
        packed = [
            (names.require_channel_name(channel), pack_message(message, self.max_message_bytes))
            for channel, message in messages
        ]
        return self._send(packed)

    def _send(self, packed: Sequence[tuple[str, bytes]], raises: bool = False) -> list[Outcome]:
        outcomes = [Outcome.UNAVAILABLE] * len(packed)
        outgoing: Outgoing[int] = Outgoing(self.plan)
        encode = self.plan.codec.encode
        try:
            expiry_ms = self.expiry_ms(self.places.home)
        except LayerUnavailable:
            if raises:
                raise
            return outcomes
        for index, (channel, payload) in enumerate(packed):
            outgoing.add(channel, message_entry(encode, channel, payload, expiry_ms), index)
        commands = outgoing.commands()
        for (_, indices), answer in zip(
            commands, self.run([command for command, _ in commands]), strict=True
        ):
            if raises and isinstance(answer, HeadraceError):
                raise answer
            for index, outcome in zip(indices, outcomes_of(answer, len(indices)), strict=True):
                outcomes[index] = outcome
        if Outcome.GONE in outcomes:
            missed = {
                index: names.non_local_name(packed[index][0])
                for index, outcome in enumerate(outcomes)
                if outcome is Outcome.GONE
            }
            fate = self.fates(missed.values())
            for index, process in missed.items():
                outcomes[index] = fate[process]
        return outcomes

    def fates(self, processes: Iterable[str]) -> dict[str, Outcome]:
        """Of processes that are not registered: GONE for those that ended, FORGOTTEN for the others."""
        wanted = list(dict.fromkeys(processes))
        ended = self.run([self.plan.is_fenced(process) for process in wanted])
        return {
            process: Outcome.GONE if answer is True else Outcome.FORGOTTEN
            for process, answer in zip(wanted, ended, strict=True)
        }

    def new_channel(self, pattern: str) -> str:
        return names.new_single_reader(pattern, self.places.written)

    # Receiving

    def receive_many(
        self, channels: Iterable[str], limit: int = 1, timeout_seconds: float = 0
    ) -> list[tuple[str, Message]]:
        listed = names.require_channel_names(channels)
        deadline = time.monotonic() + timeout_seconds
        place = self.places.home
        while True:
            left = deadline - time.monotonic() if timeout_seconds > 0 else 0
            block_seconds = left if left > 0 else None
            command, _ = self._readers[place].take(listed, limit, block_seconds)
            try:
                taken = self.ask(command, (block_seconds or 0) + ANSWER_SECONDS)
            except KeySpoilt:
                if not self._readers[place].leave_out_spoilt(listed):
                    raise
                continue
            if taken is None:
                if block_seconds is None or time.monotonic() >= deadline:
                    return []
                continue
            self._readers[place].served(listed, taken[0])
            received = self._received(place, *taken)
            if received:
                return received

    def _received(self, place: str, channel: str, entries: Sequence[bytes]) -> list[tuple[str, Message]]:
        """The messages among entries that were taken. Ordered ones are finished: nobody else will."""
        taken = self._readers[place].read(channel, entries)
        claimed = claim_messages(self, place, channel, taken.bells) if taken.bells else []
        ends = end_commands(self.plan, ends_of([*taken.alive, *claimed]))
        self.run([*(command for command, _ in ends), *taken.owed])
        if taken.alive:
            self.count(channel, DONE, len(taken.alive))
        self.write_counts_if_due()
        return [(one.channel, one.message) for one in taken.alive + claimed]

    # Groups

    def group_add(self, group: str, channel: str) -> None:
        names.require_group_name(group)
        names.require_channel_name(channel)
        if not names.is_process_queue(channel):
            self.ask(self.plan.group_join_plain(group, channel))
            return
        process = names.non_local_name(channel)
        self._until_known(process, lambda: self._join(group, process, channel))

    def _until_known(self, process: str, reached: Callable[[], bool]) -> None:
        """Try to reach a process while Redis has forgotten it, not when it ended."""
        give_up = time.monotonic() + FORGOTTEN_SECONDS
        while not reached():
            if self.ask(self.plan.is_fenced(process)) or time.monotonic() > give_up:
                return
            time.sleep(FORGOTTEN_PAUSE_SECONDS)

    def _join(self, group: str, process: str, channel: str) -> bool:
        """Register the process, then tell it of its member: in this order, over one connection."""
        add = control.note(control.ADD, group=group, local=names.local_part(channel))
        # Refused together when Redis is out of memory: a process counts what it is told.
        told_of = self.plan.push_spare(process, [self.plan.note_entry(process, add)], [True])
        registered, told = self.run([self.plan.group_add(group, process), told_of])
        for answer in (registered, told):
            if isinstance(answer, HeadraceError):
                raise answer
        return registered != Outcome.GONE and told[0] is not Outcome.GONE

    def group_discard(self, group: str, channel: str) -> None:
        names.require_group_name(group)
        names.require_channel_name(channel)
        if not names.is_process_queue(channel):
            self.ask(self.plan.group_leave_plain(group, channel))
            return
        process = names.non_local_name(channel)
        note = control.note(control.DISCARD, group=group, local=names.local_part(channel))
        command = self.plan.note(process, note)
        self._until_known(process, lambda: self.ask(command) != [Outcome.GONE])

    def group_channels(self, group: str) -> list[str]:
        plain, answers = self._ask_members(group)
        members = list(plain)
        for answer in answers:
            listed = answer.get("members")
            members += filter(names.is_channel_name, listed if isinstance(listed, list) else ())
        return members

    def group_count(self, group: str) -> int:
        plain, answers = self._ask_members(group, count=True)
        counts = [answer.get("count") for answer in answers]
        return len(plain) + sum(count for count in counts if isinstance(count, int))

    def _ask_members(self, group: str, **more: Any) -> tuple[list[str], list[Message]]:
        """The plain members of a group, and what those processes answered that have some."""
        names.require_group_name(group)
        processes, plain = self.ask(self.plan.group_read(group))
        answers: list[Message] = []
        if not processes:
            return plain, answers
        answer_to = self.new_channel("headrace.members?")
        note = control.note(control.MEMBERS, group=group, answer=answer_to, **more)
        asked = self.run([self.plan.note(process, note) for process in processes])
        awaited = sum(answer == [Outcome.SENT] for answer in asked)
        deadline = time.monotonic() + MEMBERS_SECONDS
        while len(answers) < awaited and (left := deadline - time.monotonic()) > 0:
            received = self.receive_many([answer_to], awaited - len(answers), left)
            answers += [message for _, message in received]
        return plain, answers

    def send_group(self, group: str, message: Message) -> None:
        self.send_groups([group], message)

    def send_groups(self, groups: Iterable[str], message: Message) -> None:
        listed = names.require_group_names(groups)
        payload = pack_message(message, self.max_message_bytes)
        found = self.run([self.plan.group_read(group) for group in listed])
        for answer in found:
            if isinstance(answer, HeadraceError):
                raise answer
        members = members_of_all(found)
        outgoing: Outgoing[None] = Outgoing(self.plan)
        expiry_ms = self.expiry_ms(self.places.home)
        for channel, entry in group_copies(self.plan.codec, listed, payload, members, expiry_ms):
            outgoing.add_copy(channel, entry, None)
        for answer in self.run([command for command, _ in outgoing.commands()]):
            if isinstance(answer, HeadraceError) and not isinstance(answer, ChannelFull):
                raise answer

    # Upkeep

    def flush(self) -> None:
        self.write_counts()
        for place in self.places.names:
            # A glob such as "…:c:*" or the name of one key: its start says enough to choose among the found.
            starts = tuple(pattern.rstrip("*") for pattern in self.plan.flushed_patterns(place))
            sockets = self.plan.flushed_sockets(place).rstrip("*")
            cursor: bytes = b"0"
            while True:
                args = (b"SCAN", cursor, b"MATCH", self.places.tag(place) + "*", b"COUNT", 1000)
                cursor, keys = self.ask(RedisCommand(place, args, as_is, repeat=True))
                found = [text(key) for key in keys]
                doomed = [key for key in found if key.startswith(starts)]
                if doomed:
                    self.ask(RedisCommand(place, (b"UNLINK", *doomed), as_is, repeat=True))
                in_flight = [key for key in found if key.startswith(sockets)]
                if in_flight:
                    self.ask(self.plan.settle(place, in_flight))
                if cursor == b"0":
                    break
        self.ask(self.plan.flushed())

    def statistics(self, channel: str) -> dict[str, int]:
        names.require_channel_name(channel)
        queue = names.non_local_name(channel)
        self.write_counts()
        answers = self.run(self.plan.statistics(queue))
        for answer in answers:
            if isinstance(answer, HeadraceError):
                raise answer
        counted, pending = answers
        return account(counted, pending, self.is_acknowledged(queue))

    def write_counts(self, tally: Tally | None = None, last: bool = False) -> None:
        tally = tally or self.tally
        with tally.writing:
            while (batch := tally.unwritten()) is not None:
                self.ask(self.plan.add_up(batch))
                tally.written()
            if last:
                self.ask(self.plan.forget_tally(tally.id))

    def announce(self, channels: Iterable[str]) -> None:
        listed = [names.require_channel_name(channel) for channel in channels]
        announced, agreed = self.run([self.plan.announce(listed), self.plan.versions.say()])
        for answer in (announced, agreed):
            if isinstance(answer, HeadraceError):
                raise answer
        heard_versions(self.plan, agreed, self.label)

    def takers(self) -> dict[str, float]:
        announced_ms = self.ask(self.plan.takers())
        now_ms = self.now_ms(self.places.home)
        return {channel: max((now_ms - at_ms) / 1000, 0.0) for channel, at_ms in announced_ms.items()}

    def reap(self) -> None:
        self._reaper.look()

    def ensure_usable(self) -> None:
        try:
            self._look_at_hosts()
            refuse_other_versions(self)
        except ConfigurationError:
            raise
        except HeadraceError:
            return

    #: What all processes must agree on, if this is one of several Redis that make up a layer.
    _fingerprint = ""

    def _look_at_hosts(self) -> None:
        """Say which hosts make up the layer. Raises ConfigurationError if others say something else."""
        for said in self.ask(self.plan.hosts(self._fingerprint)):
            if said != self._fingerprint:
                raise ConfigurationError(self._differs(said))

    def _differs(self, said: str) -> str:
        """What people are told when another process names other hosts, or more or fewer buckets."""
        name = "buckets" if self._is_bucket else "hosts"
        same = "number of buckets" if self._is_bucket else "hosts by the same names"
        return (
            f"{name} differ between processes that share {self._server_label()} by prefix "
            f"{self.places.prefix!r}: here {self._fingerprint or self._server_label()}, elsewhere {said}. "
            f"Give every process the same {same}; one that ended counts for {ANNOUNCED_SECONDS:.0f} s more"
        )

    def open_worker_port(self, on_refused: RefusedHandler) -> WorkerPort:
        from .worker_port import RedisWorkerPort

        return RedisWorkerPort(self, on_refused)

    def open_interface_port(self, reactor: Any, version_label: str = "") -> InterfacePort:
        try:
            from ..twisted.interface_port import RedisInterfacePort
        except ImportError as error:
            raise ConfigurationError(
                f"an interface server needs a package that is not installed ({error.name}); "
                "pip install headrace[interface]"
            ) from error
        self.prepare()
        return RedisInterfacePort(
            self.plan,
            {place: self._address(place, host) for place, host in self._hosts.items()},
            reactor,
            max_message_bytes=self.max_message_bytes,
            version_label=version_label,
            label=self.label,
        )

    def close(self) -> None:
        super().close()
        self.write_last_counts()
        for executor in self._executors.values():
            executor.close()

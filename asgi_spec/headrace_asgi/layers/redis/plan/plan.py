"""What to ask of Redis: keys, scripts, arguments, and how to read each answer.

This is pure; `blocking` and `twisted` carry it out.

Key layout (docs/protocol.md, section 1), each key behind the tag of its place, `hr1:{place}:`

    c:<channel>   list    entries of a shared or single-reader channel, or of a foreign process's queue
    q:<process>   list    queue of one of our processes       up:<process>  hash  the process lives here
    s:<process>   hash    its registered sockets: local part -> path
    f:<process>   hash    local part -> number of the socket's last message that was accepted
    o:<socket>    string  order number in flight, with its lease, or "done"   m:<socket>  list  mailbox
    w             zset    sockets whose mailbox is not empty, by when the lease in front ends
    g:<group>     hash    process -> number of adds           gq:<process>  set  its groups
    gp:<group>    zset    members that are plain channels, by join time
    n             hash    counters "<channel>|sent" and so on: see `accounting`
    tally:<id>    string  number of the last batch of counts that a process has said (an hour)
    procs, beat   hashes  process -> description, -> heartbeat counter (at the home place only)
    takers        zset    channels that workers take, by when one said so (at the home place only)
    versions      hash    which version of entries is written, and which ones are read; see `versions`
    dead          hash    process -> description, of those that are to be cleaned up after (at home only)
    fenced:<process>, flushes, reaper
    hosts         zset    which hosts make up a layer, by when one said so (one key for all its places)
    due, body, tries, why, r:<channel>, x:<channel>, fin:<id>   see `later` and `acknowledged`
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from headrace_asgi.accounting import COUNTED as COUNTERS
from headrace_asgi.acknowledgement import DEFAULT_ATTEMPTS, AcknowledgedChannels
from headrace_asgi.close_codes import ABNORMAL, TRY_AGAIN_LATER
from headrace_asgi.contract import OpenSocket, Outcome
from headrace_asgi.control import CLOSE, FORGOTTEN_ENTRY, LAPSED, note
from headrace_asgi.envelope import COUNTED, Codec, Message, pack_message, plain_codec
from headrace_asgi.limits import (
    ANNOUNCED_SECONDS,
    LEASE_MARGIN_SECONDS,
    MAILBOX_CAPACITY,
    PROCESS_QUEUE_CAPACITY,
    TAKERS_REMEMBERED_SECONDS,
    Capacities,
)
from headrace_asgi.messages import WEBSOCKET_DISCONNECT
from headrace_asgi.names import (
    is_channel_name,
    is_process_name,
    is_process_queue,
    local_part,
    non_local_name,
    place_of_process,
)
from headrace_asgi.tally import TallyBatch

from .acknowledged import AcknowledgedPlan
from .command import (
    ALIVE,
    Accepted,
    Argument,
    BeatAnswer,
    Level,
    OrderedFrame,
    RedisCommand,
    as_is,
    first_outcome,
    names,
    no_answer,
    number,
    outcome,
    outcomes_or_none,
    text,
)
from .later import LaterPlan
from .places import Places
from .scripts import script
from .versions import Versions

__all__ = ["ENTRIES_PER_COMMAND", "ORDERED_CHANNELS", "BeatAnswer", "Plan", "RedisCommand"]

#: The lists that messages of an ordered socket go to; the scripts know them by number, from 1.
ORDERED_CHANNELS = ("websocket.connect", "websocket.receive", "websocket.disconnect")
#: Entries in one command; Lua unpacks them on its stack, which ends at some 8,000.
ENTRIES_PER_COMMAND = 1000
#: Seconds after which Redis may forget what nobody refreshes: rubbish collection, no protocol depends on it.
RUBBISH_SECONDS = 86_400
#: Seconds for which Redis remembers the last batch of counts that a process has said: after an outage it is
#: said again, if its answer was lost.
_BATCH_SECONDS = 3600
_ANNOUNCED_MS = int(ANNOUNCED_SECONDS * 1000)
_REMEMBERED_MS = int(TAKERS_REMEMBERED_SECONDS * 1000)
#: How long one observer of heartbeats is the only one, without a word of it: three looks.
_OBSERVER_MS = 15_000
#: Order number of a disconnect for a socket of which nothing else is known.
_LAST_ORDER = 2**31 - 1


class Plan:
    """Builds the commands of one layer."""

    def __init__(
        self,
        places: Places,
        capacities: Capacities,
        expiry_seconds: float,
        group_expiry_seconds: float,
        ordering_lease_seconds: float | None = None,
        codec: Codec | None = None,
        acknowledged: AcknowledgedChannels | None = None,
        attempts: int = DEFAULT_ATTEMPTS,
    ) -> None:
        """Take the places and limits of the layer, and how it makes and reads entries.

        `ordering_lease_seconds` is how long the message in flight of an ordered socket may be queued and
        running without a sign of life; at least 1.5 times as long as such a message may be queued. Messages
        of `acknowledged` channels get so many `attempts`.
        """
        self.places = places
        self.codec = codec or plain_codec()
        self.capacities = capacities
        self.expiry_seconds = expiry_seconds
        self.group_expiry_ms = int(group_expiry_seconds * 1000)
        lease = ordering_lease_seconds or max(expiry_seconds + LEASE_MARGIN_SECONDS, expiry_seconds * 1.5)
        self.lease_ms = int(lease * 1000)
        #: Seconds an ordered message may be queued: what the lease leaves for running, see `_mailbox.lua`.
        self.ordered_expiry_seconds = min(expiry_seconds, lease * 2 / 3)
        self._tags = {place: places.tag(place) for place in (*places.names, places.for_hosts)}
        self._lists = {place: self._ordered_lists(place) for place in places.names}
        #: How many frames their list may hold.
        self.frame_capacity = capacities.of(ORDERED_CHANNELS[1])
        self.acknowledged = AcknowledgedPlan(
            self, self._scripted, acknowledged or AcknowledgedChannels(), attempts
        )
        #: Asked for every send: whether there is any acknowledged channel.
        self._acknowledges = bool(acknowledged)
        self.later = LaterPlan(self, self._scripted, self.acknowledged)
        self.versions = Versions(self, self._scripted)
        self._frame_lists = {place: (self._lists[place][1], self.key(place, "n")) for place in places.names}

    def key(self, place: str, kind: str, name: str = "") -> str:
        """A key: `kind` is its letter, `name` what it is of."""
        return f"{self._tags[place]}{kind}:{name}" if name else self._tags[place] + kind

    def _ordered_lists(self, place: str) -> tuple[str, ...]:
        return tuple(self.key(place, "c", channel) for channel in ORDERED_CHANNELS)

    def _scripted(
        self,
        name: str,
        place: str,
        keys: Sequence[str],
        args: Sequence[Argument],
        read: Callable[[Any], Any] = outcome,
        repeat: bool = False,
    ) -> RedisCommand:
        chosen = script(name)
        return RedisCommand(place, (b"EVALSHA", chosen.sha, len(keys), *keys, *args), read, chosen, repeat)

    # Sending to channels

    def send(
        self,
        channel: str,
        entries: Sequence[bytes],
        place: str | None = None,
        sender: str = "",
        ids: Sequence[str] = (),
    ) -> RedisCommand:
        """Put entries on a shared, single-reader or foreign process channel; one Outcome each.

        An interface process names itself as the `sender`: GONE, if it is not registered. `ids` count on an
        acknowledged channel only: see `AcknowledgedPlan.send`.
        """
        queue = non_local_name(channel)
        shared = "?" not in queue and "!" not in queue
        if place is None:
            place = self.places.any() if shared else self.places.of(queue)
        if self._acknowledges and shared and self.acknowledged.channels.has(queue):
            return self.acknowledged.send(place, queue, entries, ids)
        ttl = 0 if shared else int(self.expiry_seconds) + LEASE_MARGIN_SECONDS
        keys: tuple[str, ...] = (self.key(place, "c", queue), self.key(place, "n"))
        if sender:
            keys += (self.key(place, "up", sender),)
        capacity = self.capacities.of(queue)

        def read(sent: Any) -> list[Outcome]:
            if sent < 0:
                return [Outcome.GONE] * len(entries)
            return [Outcome.SENT] * sent + [Outcome.FULL] * (len(entries) - sent)

        return self._scripted("send", place, keys, (capacity, ttl, queue if shared else "", *entries), read)

    def not_shed(self, channel: str, count: int) -> RedisCommand:
        """Of the messages counted as refused here, so many are sent elsewhere."""
        place = self.places.home
        args = (b"HINCRBY", self.key(place, "n"), f"{channel}|shed", -count)
        return RedisCommand(place, args, no_answer)

    def push(self, process: str, entries: Sequence[bytes], controls: Sequence[bool]) -> RedisCommand:
        """Put entries on a process queue; `controls` says which ignore its capacity. One Outcome each.

        GONE, if the process is not registered; it is told that it is not, if it should still be there.
        """
        return self._push("push", process, entries, controls)

    def push_spare(self, process: str, entries: Sequence[bytes], controls: Sequence[bool]) -> RedisCommand:
        """The same, refused when Redis is out of memory."""
        return self._push("push_spare", process, entries, controls)

    def push_with_copies(
        self, process: str, entries: Sequence[bytes], controls: Sequence[bool]
    ) -> RedisCommand:
        """The same, where entries that are group messages wait for memory and the others do not."""
        command = self.push_spare(process, entries, controls)
        copies = [bool(entry[1] & COUNTED) for entry in entries]
        others = [at for at, copy in enumerate(copies) if not copy]
        if not others:
            return command
        lean = self.push(process, [entries[at] for at in others], [controls[at] for at in others])
        read = lean.read

        def read_all(answer: Any) -> list[Outcome]:
            outcomes = iter(read(answer))
            return [Outcome.FULL if copy else next(outcomes) for copy in copies]

        lean.read = read_all
        command.lean = lean
        return command

    def _push(
        self, name: str, process: str, entries: Sequence[bytes], controls: Sequence[bool]
    ) -> RedisCommand:
        place = self.place_of_process(process)
        keys = (self.key(place, "q", process), self.key(place, "up", process))

        def read(messages: Any) -> list[Outcome]:
            if messages < 0:
                return [Outcome.GONE] * len(entries)
            outcomes = []
            for is_control in controls:
                accepted = is_control or messages > 0
                messages -= not is_control
                outcomes.append(Outcome.SENT if accepted else Outcome.FULL)
            return outcomes

        return self._scripted(name, place, keys, (PROCESS_QUEUE_CAPACITY, FORGOTTEN_ENTRY, *entries), read)

    def queued(self, process: str) -> RedisCommand:
        """How many entries were ever pushed to a process, and how many of them wait."""
        place = self.place_of_process(process)
        keys = (self.key(place, "up", process), self.key(place, "q", process))
        return self._scripted("queued", place, keys, (), tuple, repeat=True)

    def place_of_process(self, process: str) -> str:
        """The place written in a process queue's name; the home place if this layer has no such place."""
        place = place_of_process(process)
        return place if place in self.places.names else self.places.home

    # Sockets

    def connect(self, socket: str, path: str, entry: bytes) -> RedisCommand:
        """Register a socket and send its connect (order 0)."""
        place, process = self.places.of(socket), non_local_name(socket)
        channel = ORDERED_CHANNELS[0]
        keys = (
            self.key(place, "up", process),
            self.key(place, "s", process),
            self.key(place, "f", process),
            self.key(place, "o", socket),
            self.key(place, "c", channel),
            self.key(place, "n"),
        )
        capacity = self.capacities.of(channel)
        args = (local_part(socket), path, capacity, self.lease_ms, channel, entry)
        return self._scripted("connect", place, keys, args, repeat=True)

    def frames(self, place: str, process: str, frames: Sequence[Argument]) -> RedisCommand:
        """Send frames of unordered sockets of one process at one place: local, order, entry, local, order…

        Those of one socket in order, and all that one turn has in one command: then behind a frame that was
        refused no later one of its socket is accepted. The answer is `Accepted`.
        """
        keys = (self.key(place, "f", process), *self._frame_lists[place])
        count = len(frames) // 3

        def read(answer: Any) -> Accepted:
            outcomes, sent, waiting = answer
            if isinstance(outcomes, int):
                return Accepted([Outcome.SENT] * count, Level(sent, waiting))
            return Accepted([Outcome(one) for one in outcomes], Level(sent, waiting))

        args = (self.frame_capacity, ORDERED_CHANNELS[1], *frames)
        return self._scripted("frames", place, keys, args, read, repeat=True)

    def frames_ordered(self, place: str, process: str, frames: Sequence[OrderedFrame]) -> RedisCommand:
        """Send frames through the mailboxes of sockets of one process at one place; those of one in order.

        At most a thousand. The answer is `Accepted`.
        """
        shared = ("f", process), ("w", ""), ("n", ""), ("c", ORDERED_CHANNELS[1])
        keys = [self.key(place, kind, name) for kind, name in shared]
        args: list[Argument] = [
            process, 2, self.lease_ms, self.frame_capacity, MAILBOX_CAPACITY, ORDERED_CHANNELS[1],
        ]  # fmt: skip
        for frame in frames:
            socket = process + frame[0]
            keys += (self.key(place, "o", socket), self.key(place, "m", socket))
            args += frame

        def read(answer: Any) -> Accepted:
            outcomes, *level = answer
            return Accepted(outcomes_or_none(outcomes), Level(*level) if level else None)

        return self._scripted("frames_ordered", place, keys, args, read, repeat=True)

    def frame_ordered(self, socket: str, order: int, entry: bytes) -> RedisCommand:
        """The same for one frame: a key that something else wrote over is an error."""
        process = non_local_name(socket)
        return self.frames_ordered(self.places.of(socket), process, [(local_part(socket), order, entry)])

    def level(self, channel: str) -> list[RedisCommand]:
        """How full a shared channel is: how many messages were ever put on it, and how many are there.

        In this order: what comes in between makes it look fuller than it is, never emptier.
        """
        place = self.places.home
        sent = (b"HGET", self.key(place, "n"), f"{channel}|sent")
        return [
            RedisCommand(place, sent, number, repeat=True),
            RedisCommand(place, (b"LLEN", self.key(place, "c", channel)), as_is, repeat=True),
        ]

    def disconnect(self, socket: str, order: int, entry: bytes) -> RedisCommand:
        """Unregister a socket and send its disconnect, exactly once whoever asks."""
        place = self.places.of(socket)
        args = (socket, local_part(socket), order, 3, self.lease_ms, entry)
        return self._scripted("disconnect", place, self._socket_keys(place, socket), args, repeat=True)

    def forget(self, socket: str) -> RedisCommand:
        """Unregister a socket that is owed no disconnect."""
        place = self.places.of(socket)
        keys = (*self._registry_keys(place, socket), self.key(place, "o", socket))
        return self._scripted("forget", place, keys, (local_part(socket),), no_answer, repeat=True)

    def _registry_keys(self, place: str, socket: str) -> tuple[str, str]:
        process = non_local_name(socket)
        return self.key(place, "s", process), self.key(place, "f", process)

    def _mailbox_keys(self, place: str, socket: str) -> tuple[str, ...]:
        mailbox = (self.key(place, "o", socket), self.key(place, "m", socket), self.key(place, "w"))
        return (*mailbox, self.key(place, "n"), *self._lists[place])

    def _socket_keys(self, place: str, socket: str) -> tuple[str, ...]:
        return (*self._registry_keys(place, socket), *self._mailbox_keys(place, socket))

    # Ordering: what workers say of a message they took

    def finish(self, socket: str, order: int, place: str, drain: bool = False) -> RedisCommand:
        """End the message in flight; `drain` empties the mailbox of a socket that is not ordered."""
        command = self.finish_several(place, [(socket, order, drain)])
        command.read = first_outcome
        return command

    def finish_several(self, place: str, finishes: Sequence[tuple[str, int, bool]]) -> RedisCommand:
        """The same for several sockets, each with its order number and `drain`, in one command.

        The answer is an Outcome of each; None for one whose keys something else wrote over: `finish` alone
        tells the error.
        """
        keys = [self.key(place, "w"), self.key(place, "n"), *self._lists[place]]
        args: list[Argument] = [self.lease_ms, len(ORDERED_CHANNELS)]
        for socket, order, drain in finishes:
            keys += (
                self.key(place, "s", non_local_name(socket)),
                self.key(place, "o", socket),
                self.key(place, "m", socket),
            )
            args += (socket, local_part(socket), order, int(drain))
        return self._scripted("finish", place, keys, args, outcomes_or_none, repeat=True)

    def drop_connect(self, socket: str, place: str) -> RedisCommand:
        """Drop a connect that no consumer saw, with everything that is known of its socket."""
        args = (socket, local_part(socket))
        return self._scripted("drop_connect", place, self._socket_keys(place, socket), args, repeat=True)

    def dropped(self, socket: str, order: int, retries: int, place: str) -> list[RedisCommand]:
        """What is owed for an ordered message that was taken and dropped: it expired, or is unreadable.

        A connect that no consumer saw takes its socket along. Else the next message may start, and a socket
        of ours that lost a frame is closed: it never skips one in silence (docs/protocol.md, section 7).
        """
        if order == 0 and not retries:
            return [self.drop_connect(socket, place)]
        finish = self.finish(socket, order, place)
        if not order or not is_process_queue(non_local_name(socket)):
            return [finish]
        close = note(CLOSE, local=local_part(socket), code=TRY_AGAIN_LATER)
        return [self.note(non_local_name(socket), close), finish]

    def lapsed(self, socket: str) -> RedisCommand:
        """Tell the process of a socket that the message in flight was lost with whoever held it."""
        return self.note(non_local_name(socket), note(LAPSED, local=local_part(socket)))

    def note(self, process: str, body: Message) -> RedisCommand:
        """Push a note to a process."""
        return self.push(process, [self.note_entry(process, body)], [True])

    def note_entry(self, process: str, body: Message) -> bytes:
        """A note for a process as an entry of its queue."""
        return self.codec.encode(pack_message(body), control=True, queue=process)

    def renew(self, socket: str, order: int, place: str) -> RedisCommand:
        """Renew the lease of the message in flight, or learn that it is STALE."""
        args = (order, self.lease_ms)
        return self._scripted("renew", place, (self.key(place, "o", socket),), args, repeat=True)

    def back(
        self, socket: str, order: int, place: str, channel: str, entry: bytes, head: bool
    ) -> RedisCommand:
        """Put an ordered message back on its list, at the head if it was not started."""
        keys = (self.key(place, "o", socket), self.key(place, "c", channel))
        return self._scripted(
            "back", place, keys, (order, self.lease_ms, "LPUSH" if head else "RPUSH", entry)
        )

    def back_plain(self, channel: str, place: str, entries: Sequence[bytes], head: bool) -> RedisCommand:
        """Put unordered messages back, whatever the capacity: they were accepted. Entries in queue order."""
        args: tuple[Argument, ...] = ("LPUSH", *reversed(entries)) if head else ("RPUSH", *entries)
        return self._scripted("back_plain", place, (self.key(place, "c", channel),), args, no_answer)

    def overdue(self, place: str, now_ms: int) -> RedisCommand:
        """Sockets whose mailbox waits behind a lapsed lease, up to 100."""
        args = (b"ZRANGEBYSCORE", self.key(place, "w"), b"-inf", now_ms, b"LIMIT", 0, 100)
        return RedisCommand(place, args, names, repeat=True)

    def kick(self, socket: str, place: str, told: bool) -> RedisCommand:
        """Move on a mailbox whose lease lapsed, if the process of its socket was told; the answer is 1 if so.

        LAPSED asks for that: see `lapsed`, then kick again.
        """
        args = (socket, self.lease_ms, int(told))
        return self._scripted("kick", place, self._mailbox_keys(place, socket), args, as_is, repeat=True)

    # Taking

    def take(
        self, place: str, channels: Sequence[str], limit: int, block_seconds: float | None
    ) -> RedisCommand:
        """Take up to `limit` entries from the first of `channels` that has some.

        Waits up to `block_seconds`; not at all for None. The answer is (channel, entries) or None.
        """
        head = f"{self._tags[place]}c:"
        keys = [self.queue_key(place, channel) for channel in channels]
        command: tuple[Argument, ...] = (
            (b"LMPOP",) if block_seconds is None else (b"BLMPOP", str(block_seconds))
        )

        def read(answer: Any) -> tuple[str, list[bytes]] | None:
            if answer is None:
                return None
            key = text(answer[0])
            return key[len(head) :], answer[1]

        return RedisCommand(place, (*command, len(keys), *keys, b"LEFT", b"COUNT", limit), read)

    def kind(self, place: str, channel: str) -> RedisCommand:
        """What the key of a channel holds, as Redis calls it: "list", or "none" if nothing waits."""
        return RedisCommand(place, (b"TYPE", self.queue_key(place, channel)), text, repeat=True)

    def empty_queue(self, process: str) -> RedisCommand:
        """Remove what stands where the queue of a process should be."""
        place = self.place_of_process(process)
        return RedisCommand(place, (b"UNLINK", self.key(place, "q", process)), no_answer, repeat=True)

    def queue_key(self, place: str, channel: str) -> str:
        """The list that a channel is received from (`q:` and `c:` keys have tags of one length)."""
        return self.key(place, "q" if is_process_queue(channel) else "c", channel)

    # Groups

    def group_add(self, group: str, process: str) -> RedisCommand:
        """Register a process for a group; the answer is the number of adds, or -1 if it is gone."""
        place = self.places.of(group)
        keys = (self.key(place, "up", process), self.key(place, "g", group), self.key(place, "gq", process))
        return self._scripted("group_add", place, keys, (process, group), as_is)

    def group_reassert(self, group: str, process: str) -> RedisCommand:
        """Register a process for a group unless it is; the answer is (1 | 0 it was | -1 GONE, adds)."""
        place = self.places.of(group)
        keys = (self.key(place, "up", process), self.key(place, "g", group), self.key(place, "gq", process))
        return self._scripted("group_reassert", place, keys, (process, group), as_is, repeat=True)

    def group_leave(self, group: str, process: str, processed: int) -> RedisCommand:
        """Withdraw a process that has seen `processed` adds; the answer is whether it left."""
        place = self.places.of(group)
        keys = (self.key(place, "g", group), self.key(place, "gq", process))
        return self._scripted("group_leave", place, keys, (process, group, processed), bool, repeat=True)

    def group_adds(self, group: str, process: str) -> RedisCommand:
        """The number of adds that Redis counts for a process: None if it is not registered."""
        place = self.places.of(group)
        args = (b"HGET", self.key(place, "g", group), process)
        return RedisCommand(place, args, lambda answer: None if answer is None else int(answer), repeat=True)

    def group_join_plain(self, group: str, channel: str) -> RedisCommand:
        """Make a channel that no process of ours holds a member."""
        place = self.places.of(group)
        keys = (self.key(place, "gp", group),)
        return self._scripted("group_join_plain", place, keys, (channel,), as_is, repeat=True)

    def group_leave_plain(self, group: str, channel: str) -> RedisCommand:
        """End the membership of such a channel."""
        place = self.places.of(group)
        return RedisCommand(place, (b"ZREM", self.key(place, "gp", group), channel), no_answer, repeat=True)

    def group_read(self, group: str) -> RedisCommand:
        """Who is in a group; the answer is (processes, plain channels)."""
        place = self.places.of(group)
        keys = (self.key(place, "g", group), self.key(place, "gp", group))

        def read(answer: Any) -> tuple[list[str], list[str]]:
            return [name for name in names(answer[0]) if is_process_queue(name)], names(answer[1])

        return self._scripted("group_read", place, keys, (self.group_expiry_ms,), read, repeat=True)

    # Processes

    def register(self, process: str, description: str) -> list[RedisCommand]:
        """Make a process known: in the table at home, and alive at every place.

        The answers are whether it is; not at home, if others declared it dead.
        """
        commands = []
        for place in self.places.names:
            keys: tuple[str, ...] = (self.key(place, "up", process), self.key(place, "q", process))
            if place == self.places.home:
                keys += (
                    self.key(place, "procs"),
                    self.key(place, "beat"),
                    self.key(place, "fenced", process),
                )
            args = (process, description, RUBBISH_SECONDS)
            commands.append(
                self._scripted("register", place, keys, args, lambda answer: answer == ALIVE, repeat=True)
            )
        return commands

    def keep(self, process: str) -> list[RedisCommand]:
        """Keep the marks of a living process from rubbish collection; once an hour is plenty."""
        return [
            RedisCommand(
                place, (b"EXPIRE", self.key(place, "up", process), RUBBISH_SECONDS), no_answer, repeat=True
            )
            for place in self.places.names
        ]

    def beat(self, process: str) -> RedisCommand:
        """One heartbeat."""
        home = self.places.home
        keys = (
            self.key(home, "procs"),
            self.key(home, "beat"),
            self.key(home, "fenced", process),
            self.key(home, "flushes"),
            self.key(home, "up", process),
            self.key(home, "takers"),
        )

        def read(answer: Any) -> BeatAnswer:
            status, now_ms, flushes, taken = answer
            return BeatAnswer(status, now_ms, flushes, frozenset(names(taken)))

        return self._scripted("beat", home, keys, (process, _ANNOUNCED_MS), read, repeat=True)

    def takers(self) -> RedisCommand:
        """The channels that workers announced, each with the ms on the clock of home when one did so last."""
        home = self.places.home

        def read(answer: Any) -> dict[str, float]:
            return dict(zip(names(answer[::2]), map(float, answer[1::2]), strict=True))

        args = (b"ZRANGE", self.key(home, "takers"), 0, -1, b"WITHSCORES")
        return RedisCommand(home, args, read, repeat=True)

    def announce(self, channels: Sequence[str]) -> RedisCommand:
        """Say that a worker takes these channels."""
        home = self.places.home
        args: tuple[Argument, ...] = (_REMEMBERED_MS, *channels)
        return self._scripted("announce", home, (self.key(home, "takers"),), args, no_answer, repeat=True)

    def hosts(self, fingerprint: str) -> RedisCommand:
        """Say which hosts make up this layer; the answer is what all say, by the same words or others.

        An empty `fingerprint` only asks.
        """
        keys = (self.key(self.places.for_hosts, "hosts"),)
        args = (fingerprint, _ANNOUNCED_MS)
        return self._scripted("hosts", self.places.home, keys, args, names, repeat=True)

    def withdraw(self, process: str) -> list[RedisCommand]:
        """Take a process that ends out of the tables; its sockets were told before."""
        home = self.places.home
        commands = [
            RedisCommand(
                place,
                (b"DEL", *(self.key(place, kind, process) for kind in ("up", "q", "s", "f", "gq"))),
                no_answer,
                repeat=True,
            )
            for place in self.places.names
        ]
        keys = (self.key(home, "procs"), self.key(home, "beat"), self.key(home, "fenced", process))
        commands.append(
            self._scripted("withdraw", home, keys, (process, RUBBISH_SECONDS), no_answer, repeat=True)
        )
        return commands

    def is_fenced(self, process: str) -> RedisCommand:
        """Whether a process ended, or was declared dead: it will never be known again."""
        home = self.places.home
        return RedisCommand(home, (b"EXISTS", self.key(home, "fenced", process)), bool, repeat=True)

    # Processes that died

    def look_after(self, observer: str) -> RedisCommand:
        """The heartbeat counters by process, and the dead ones; None while another observer looks."""
        home = self.places.home
        keys = (self.key(home, "reaper"), self.key(home, "beat"), self.key(home, "dead"))

        def read(answer: Any) -> tuple[dict[str, str], list[str]] | None:
            if answer is None:
                return None
            counters, dead = answer
            beating = dict(zip(names(counters[::2]), names(counters[1::2]), strict=True))
            return (
                {name: counter for name, counter in beating.items() if is_process_name(name)},
                [name for name in names(dead) if is_process_name(name)],
            )

        return self._scripted("look_after", home, keys, (observer, _OBSERVER_MS), read, repeat=True)

    def fence(self, process: str, counter: str) -> RedisCommand:
        """Declare a process dead whose counter still stands there; the answer is whether it does."""
        home = self.places.home
        keys = (
            self.key(home, "procs"),
            self.key(home, "beat"),
            self.key(home, "dead"),
            self.key(home, "fenced", process),
        )
        return self._scripted("fence", home, keys, (process, counter, RUBBISH_SECONDS), bool, repeat=True)

    def unmark(self, process: str) -> list[RedisCommand]:
        """See to it, place by place, that nobody can register or push anything for a dead process."""
        return [
            RedisCommand(place, (b"DEL", self.key(place, "up", process)), no_answer, repeat=True)
            for place in self.places.names
        ]

    def some_sockets(self, place: str, process: str, cursor: int) -> RedisCommand:
        """About 100 registered sockets of a process, from a cursor on; 0 begins, and says that it was all."""

        def read(answer: Any) -> tuple[int, dict[str, str]]:
            following, found = answer
            return int(following), _sockets(process, found)

        args = (b"HSCAN", self.key(place, "s", process), cursor, b"COUNT", 100)
        return RedisCommand(place, args, read, repeat=True)

    def lost_disconnect(self, socket: str, path: str) -> RedisCommand:
        """Tell the disconnect of a socket of which nothing else is known."""
        message = WEBSOCKET_DISCONNECT.build(
            reply_channel=socket, code=ABNORMAL, path=path, order=_LAST_ORDER
        )
        entry = self.codec.encode(pack_message(message), order=_LAST_ORDER, queue=ORDERED_CHANNELS[2])
        return self.disconnect(socket, _LAST_ORDER, entry)

    def remove_rest(self, place: str, process: str) -> list[RedisCommand]:
        """Remove what is left of a dead process at a place; the answers are numbers of unread entries."""
        queue = self.key(place, "q", process)
        rest = (self.key(place, kind, process) for kind in ("s", "f", "gq"))
        return [
            RedisCommand(place, (b"LLEN", queue), as_is, repeat=True),
            RedisCommand(place, (b"UNLINK", queue, *rest), lambda answer: 0, repeat=True),
        ]

    def buried(self, process: str) -> RedisCommand:
        """All is cleaned up after a dead process."""
        home = self.places.home
        return RedisCommand(home, (b"HDEL", self.key(home, "dead"), process), no_answer, repeat=True)

    # What a process has registered

    def register_sockets(self, place: str, process: str, sockets: Sequence[OpenSocket]) -> RedisCommand:
        """Register open sockets again, at most 1,000; what Redis still knows of them stays as it is."""
        ordered_first = sorted(sockets, key=lambda socket: not socket.ordered)
        keys = [self.key(place, "s", process), self.key(place, "f", process)]
        keys += [self.key(place, "o", process + socket.local) for socket in ordered_first if socket.ordered]
        args = [part for socket in ordered_first for part in socket[:3]]
        return self._scripted("reassert", place, keys, args, as_is, repeat=True)

    def registered_sockets(self, place: str, process: str) -> RedisCommand:
        """The sockets that are registered at a place: local part -> path."""

        def read(answer: Any) -> dict[str, str]:
            return _sockets(process, answer)

        return RedisCommand(place, (b"HGETALL", self.key(place, "s", process)), read, repeat=True)

    def groups_of(self, place: str, process: str) -> RedisCommand:
        """The groups at a place that a process is registered for."""
        return RedisCommand(place, (b"SMEMBERS", self.key(place, "gq", process)), names, repeat=True)

    def group_forget(self, group: str, process: str) -> RedisCommand:
        """Take a process that ended out of a group, whatever it has seen. Only when its `up` is gone."""
        place = self.places.of(group)
        return RedisCommand(place, (b"HDEL", self.key(place, "g", group), process), no_answer, repeat=True)

    # Clock, statistics, flush

    def time(self, place: str) -> RedisCommand:
        """The Redis clock in ms."""

        def read(answer: Any) -> int:
            return int(answer[0]) * 1000 + int(answer[1]) // 1000

        return RedisCommand(place, (b"TIME",), read, repeat=True)

    def statistics(self, channel: str) -> list[RedisCommand]:
        """Per place: counters of a channel by what they count, then the number of its entries."""

        def read(answer: Any) -> dict[str, int]:
            return dict(zip(COUNTERS, map(number, answer), strict=True))

        commands = []
        for place in self.places.names:
            fields = [f"{channel}|{counter}" for counter in COUNTERS]
            commands.append(RedisCommand(place, (b"HMGET", self.key(place, "n"), *fields), read, repeat=True))
            waiting = self.acknowledged.waiting_key(place, channel) or self.queue_key(place, channel)
            commands.append(RedisCommand(place, (b"LLEN", waiting), as_is, repeat=True))
        return commands

    def add_up(self, batch: TallyBatch) -> RedisCommand:
        """Add what a process has counted; the same batch again adds nothing."""
        place = self.places.home
        keys = (self.key(place, "n"), self.key(place, "tally", batch.tally))
        amounts = [part for field in batch.amounts.items() for part in field]
        return self._scripted("add_up", place, keys, (batch.number, _BATCH_SECONDS, *amounts), repeat=True)

    def forget_tally(self, tally: str) -> RedisCommand:
        """A tally that is at its end has said everything."""
        place = self.places.home
        return RedisCommand(place, (b"DEL", self.key(place, "tally", tally)), no_answer, repeat=True)

    def flushed_patterns(self, place: str) -> list[str]:
        """Globs of the keys that `flush` removes: everything but processes and their sockets."""
        tag = self._tags[place]
        kinds = ("c:*", "q:*", "m:*", "w", "g:*", "gq:*", "gp:*", "n")
        kept = ("due", "body", "tries", "why", "r:*", "x:*", "fin:*", "versions")
        return [tag + kind for kind in kinds + kept]

    def flushed_sockets(self, place: str) -> str:
        """Glob of the keys that `settle` is for."""
        return self._tags[place] + "o:*"

    def settle(self, place: str, keys: Sequence[str]) -> RedisCommand:
        """Forget messages in flight, by their keys, but not that the last one of a socket was done."""
        return self._scripted("settle", place, keys, (), as_is, repeat=True)

    def flushed(self) -> RedisCommand:
        """Count a flush, so that every process registers its groups again at its next beat.

        A command that needs memory: it comes when everything else was removed.
        """
        home = self.places.home
        return RedisCommand(home, (b"INCR", self.key(home, "flushes")), as_is)


def _sockets(process: str, answer: Sequence[Any]) -> dict[str, str]:
    """The sockets in a registry, local part -> path, without what no socket can be called."""
    return {
        local: path.decode(errors="replace")
        for local, path in zip(names(answer[::2]), answer[1::2], strict=True)
        if local and is_channel_name(process + local)
    }

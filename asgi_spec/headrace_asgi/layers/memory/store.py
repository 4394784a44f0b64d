"""What the memory layer holds: queues, mailboxes, groups, registered processes and counters.

Pure and not thread-safe: time is an argument in milliseconds, and the layer holds a lock around every call.
It does what the scripts of the Redis layer do, so the same names stand for the same things.
"""

from __future__ import annotations

import sys
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from headrace_asgi.accounting import COUNTED, EXPIRED, STALE, TAKEN, UNREADABLE, account
from headrace_asgi.acknowledgement import DEFAULT_ATTEMPTS, AcknowledgedChannels, Claim
from headrace_asgi.close_codes import TRY_AGAIN_LATER
from headrace_asgi.contract import OpenSocket, Outcome
from headrace_asgi.control import ADD, BELL, CLOSE, GROUP, LAPSED, note
from headrace_asgi.envelope import Entry, Message, decode, encode, pack_message, unpack_message
from headrace_asgi.errors import UnreadableEntry
from headrace_asgi.later import DUE_CHANNEL
from headrace_asgi.limits import (
    ANNOUNCED_SECONDS,
    MAILBOX_CAPACITY,
    PROCESS_QUEUE_CAPACITY,
    TAKERS_REMEMBERED_SECONDS,
    Capacities,
)
from headrace_asgi.names import is_process_queue, local_part, non_local_name

from .kept import Acknowledged, Later

__all__ = ["Store", "TakenMessage"]

#: Queues whose last turn is remembered for fairness; names with random parts would be unlimited.
_REMEMBERED = 10_000
#: Pause before a message is tried again whose channel was full when it was due.
_FULL_PAUSE_MS = 1000
_BELL = encode(pack_message(note(BELL)), control=True)


@dataclass(slots=True)
class TakenMessage:
    """An entry that left its queue."""

    queue: str
    channel: str
    entry: Entry
    raw: bytes
    claim: Claim | None = None


@dataclass(slots=True)
class _Boxed:
    """An ordered message that waits in the mailbox of its socket, or is about to leave it."""

    channel: str
    payload: bytes
    order: int
    #: How long it may lie in its queue, in milliseconds; 0 is without an end.
    expiry_ms: int


@dataclass(slots=True)
class _InFlight:
    """The ordered message of a socket that is queued or running."""

    order: int
    lease_ends_ms: int


@dataclass(slots=True)
class _Socket:
    """A registered socket; `order` is the number of its last message that was accepted."""

    path: str
    order: int = 0


class Store:
    """All state of one memory layer."""

    def __init__(
        self,
        capacities: Capacities,
        expiry_ms: int,
        group_expiry_ms: int,
        lease_ms: int,
        acknowledged: AcknowledgedChannels | None = None,
        attempts: int = DEFAULT_ATTEMPTS,
    ) -> None:
        """Take the limits; `lease_ms` is how long the ordered message in flight may show no sign of life.

        Messages of `acknowledged` channels get so many `attempts`.
        """
        self.acknowledged_channels = acknowledged or AcknowledgedChannels()
        self._acknowledges = bool(acknowledged)
        self.attempts = attempts
        self.capacities = capacities
        self.expiry_ms = expiry_ms
        self.group_expiry_ms = group_expiry_ms
        self.lease_ms = lease_ms
        # What is still queued when its lease ends must not start: it expires well before.
        self._ordered_expiry_ms = min(expiry_ms, lease_ms * 2 // 3)
        #: Registered processes, each with its sockets by local part.
        self.processes: dict[str, dict[str, _Socket]] = {}
        #: Sockets whose last message is done; one that is neither here nor in flight has lost a message.
        self._idle: set[str] = set()
        self._takers: dict[str, int] = {}
        self.clear()

    def clear(self) -> None:
        """Forget messages, mailboxes, groups and counters; the processes and their sockets stay."""
        self._queues: dict[str, deque[bytes]] = {}
        self._served: dict[str, int] = {}
        self._turn = 0
        self._in_flight: dict[str, _InFlight] = {}
        self._mailboxes: dict[str, deque[_Boxed]] = {}
        self._groups: dict[str, dict[str, int]] = {}
        self._counters: Counter[tuple[str, str]] = Counter()
        self.later = Later()
        self.acknowledged = Acknowledged(self.attempts, self._ring, self._count)

    # Queues

    def push(self, channel: str, entry: bytes, is_control: bool = False) -> Outcome:
        """Put an entry at the tail of its channel's queue: SENT, FULL or GONE."""
        name = non_local_name(channel)
        if is_process_queue(name):
            if name not in self.processes:
                return Outcome.GONE
            capacity = PROCESS_QUEUE_CAPACITY
        else:
            capacity = self.capacities.of(name)
        if self.pending(name) >= capacity and not is_control:
            self._count(name, "shed")
            return Outcome.FULL
        self._append(name, entry)
        self._count(name, "sent")
        return Outcome.SENT

    def send(self, channel: str, payload: bytes, expiry_ms: int) -> Outcome:
        """Put a packed message on a channel; its full name goes along where the queue's name is shorter."""
        entry = encode(payload, expiry_ms, channel=channel if "!" in channel else None)
        if self._acknowledges and self.acknowledged_channels.has(channel):
            return self._send_acknowledged(channel, entry)
        return self.push(channel, entry)

    def _send_acknowledged(self, channel: str, entry: bytes) -> Outcome:
        if self.acknowledged.waiting(channel) >= self.capacities.of(channel):
            self._count(channel, "shed")
            return Outcome.FULL
        self.acknowledged.send(channel, entry)
        self._count(channel, "sent")
        return Outcome.SENT

    def _append(self, name: str, entry: bytes) -> None:
        self._queues.setdefault(name, deque()).append(entry)

    def level(self, name: str) -> tuple[int, int]:
        """How many messages were ever put on a shared channel, and how many are there now."""
        return self._counters[name, "sent"], self.pending(name)

    def pending(self, name: str) -> int:
        """Entries in a queue, expired ones included."""
        return len(self._queues.get(name, ()))

    def take(self, names: Sequence[str], limit: int, now_ms: int) -> list[TakenMessage]:
        """Up to `limit` entries of the queue that was served longest ago, so that none is ever hidden."""
        self._kick(now_ms)
        self.move_due(now_ms)
        while True:
            waiting = [name for name in names if name in self._queues]
            if not waiting:
                return []
            name = min(waiting, key=lambda one: self._served.get(one, -1))
            if len(self._served) > _REMEMBERED:
                self._served.clear()
            self._turn += 1
            self._served[name] = self._turn
            taken = self._take_from(name, limit, now_ms)
            if taken:
                return taken

    def _take_from(self, name: str, limit: int, now_ms: int) -> list[TakenMessage]:
        queue = self._queues[name]
        taken: list[TakenMessage] = []
        while queue and len(taken) < limit:
            raw = queue.popleft()
            try:
                entry = decode(raw)
            except UnreadableEntry:
                self._count(name, TAKEN)
                self._count(name, UNREADABLE)
                continue
            self._count(name, TAKEN)
            if entry.expiry_ms and entry.expiry_ms <= now_ms:
                self._drop_expired(name, entry, now_ms)
                continue
            taken.append(TakenMessage(name, entry.channel or name, entry, raw))
        # Finishing an expired entry may have put its successor on this very queue.
        if not queue and self._queues.get(name) is queue:
            del self._queues[name]
        return taken

    def take_all(self, name: str) -> list[bytes]:
        """All raw entries of a queue, expired ones included."""
        return list(self._queues.pop(name, ()))

    def _drop_expired(self, name: str, entry: Entry, now_ms: int) -> None:
        message: Message = {}
        if entry.order is not None:
            try:
                message = unpack_message(entry.payload)
            except UnreadableEntry:
                self._count(name, UNREADABLE)
                return
        self.drop(name, str(message.get("reply_channel")), entry.order, entry.retries, now_ms)

    def drop(self, channel: str, socket: str, order: int | None, retries: int, now_ms: int) -> None:
        """Count a message that expired; do what is owed for an ordered one (order number not None).

        A connect that no consumer saw takes its socket along. Else the next message may start, and a socket
        of ours that lost a frame is closed.
        """
        self._count(non_local_name(channel), EXPIRED)
        if order is None:
            return
        if order == 0 and not retries:
            self._drop_connect(socket, now_ms)
            return
        if order:
            self._tell(socket, note(CLOSE, local=local_part(socket), code=TRY_AGAIN_LATER))
        self.finish(socket, order, False, now_ms)

    def _drop_connect(self, socket: str, now_ms: int) -> None:
        if self._fenced(socket, 0, now_ms):
            return
        self.forget(socket)
        del self._in_flight[socket]
        for waiting in self._mailboxes.pop(socket, ()):
            self._count(waiting.channel, "dropped")

    def _tell(self, socket: str, body: Message) -> None:
        """Push a note for the process of a socket, if it is one of ours."""
        if is_process_queue(non_local_name(socket)):
            self.push(socket, encode(pack_message(body), channel=socket, control=True), is_control=True)

    def put_back(self, channel: str, raw: bytes) -> None:
        """Put an entry that was taken and not started at the head of its queue."""
        name = non_local_name(channel)
        self._queues.setdefault(name, deque()).appendleft(raw)
        self._count(name, TAKEN, -1)

    def put_again(self, channel: str, raw: bytes) -> None:
        """Put an entry that was taken at the tail of its queue; it was accepted, so it ignores capacity."""
        name = non_local_name(channel)
        self._append(name, raw)
        self._count(name, TAKEN, -1)

    def _count(self, name: str, what: str, number: int = 1) -> None:
        # Names of other channels hold random parts: counting them would grow without end.
        if "?" not in name and "!" not in name:
            self._counters[name, what] += number

    def count_unreadable(self, name: str) -> None:
        """Count an entry that was taken from this queue and turned out to hold no message for it."""
        self._count(name, UNREADABLE)

    def counted(self, name: str) -> dict[str, int]:
        """The counters of a shared channel, `pending`, and what they come to."""
        counted = {kind: self._counters[name, kind] for kind in COUNTED}
        acknowledged = self.acknowledged_channels.has(name)
        pending = self.acknowledged.waiting(name) if acknowledged else self.pending(name)
        return account(counted, pending, acknowledged)

    def add_up(self, amounts: Mapping[str, int]) -> None:
        """Add what somebody counted who took, by "<channel>|<what>"."""
        for field, amount in amounts.items():
            name, what = field.rsplit("|", 1)
            self._count(name, what, amount)

    def count_stale(self, channel: str) -> None:
        """Count a message that was taken, and may not start or go back: somebody moved on."""
        self._count(non_local_name(channel), STALE)

    # What becomes due, and acknowledged channels (docs/protocol.md, section 10)

    def keep(self, message_id: str, channel: str, entry: bytes, due_ms: int) -> Outcome:
        """Keep an entry until it is due."""
        if self.acknowledged_channels.has(channel):
            kept = self.acknowledged.keep(message_id, channel, entry, due_ms)
        else:
            kept = self.later.keep(message_id, channel, entry, due_ms)
        if not kept:
            return Outcome.DUPLICATE
        self._ring_if_missed(DUE_CHANNEL)  # each is told: there is one mover, in this process
        return Outcome.SENT

    def cancel(self, message_id: str) -> bool:
        """Take a message back; whether that was in time."""
        return self.later.forget(message_id) or self.acknowledged.cancel(message_id)

    def fail(self, channel: str, claim: Claim, reason: str, now_ms: int) -> Outcome:
        """A try of a message failed."""
        if not self.acknowledged.fail(channel, claim, reason, now_ms):
            return Outcome.STALE
        self._ring_if_missed(DUE_CHANNEL)
        return Outcome.SENT

    def move_due(self, now_ms: int) -> int | None:
        """Move what is due; ms until the next is, None if nothing is known of."""
        for message_id, channel, entry in self.later.due(now_ms):
            if self._has_room(channel):
                self.later.forget(message_id)
                self.push(channel, entry)
            else:
                self._count(non_local_name(channel), "postponed")
                self.later.postpone(message_id, now_ms + _FULL_PAUSE_MS)
        self.acknowledged.move_due(now_ms)
        known = [at for at in (self.later.next_ms(), self.acknowledged.next_ms()) if at is not None]
        return max(min(known) - now_ms, 0) if known else None

    def _has_room(self, channel: str) -> bool:
        name = non_local_name(channel)
        capacity = PROCESS_QUEUE_CAPACITY if is_process_queue(name) else self.capacities.of(name)
        return self.pending(name) < capacity

    def claim(self, channel: str, now_ms: int) -> TakenMessage | None:
        """Claim a message of an acknowledged channel, after a bell of it was taken."""
        while (found := self.acknowledged.claim(channel, now_ms)) is not None:
            claim, raw = found
            try:
                return TakenMessage(channel, channel, decode(raw), raw, claim)
            except UnreadableEntry as error:
                self.acknowledged.fail(channel, claim, str(error), now_ms)
        return None

    def ring_missed(self, channels: Iterable[str]) -> None:
        """See to it that takers of these channels hear of what waits."""
        for channel in channels:
            if not self.pending(channel):
                for _ in range(self.acknowledged.waiting(channel)):
                    self._ring(channel)

    def _ring(self, channel: str, first: bool = False) -> None:
        if first:
            self._queues.setdefault(channel, deque()).appendleft(_BELL)
        else:
            self._append(channel, _BELL)

    def _ring_if_missed(self, channel: str) -> None:
        if not self.pending(channel):
            self._append(channel, _BELL)

    # Sockets and their mailboxes (docs/protocol.md, section 7)

    def connect(
        self, socket: str, path: str, payload: bytes, now_ms: int, expiry_ms: int | None = None
    ) -> Outcome:
        """Register a socket and put its connect, order 0, on its channel, for `expiry_ms` if given."""
        sockets = self.processes.get(non_local_name(socket))
        if sockets is None:
            return Outcome.GONE
        if local_part(socket) in sockets:
            return Outcome.DUPLICATE
        longest_ms = self._ordered_expiry_ms
        if expiry_ms is not None:
            longest_ms = min(expiry_ms, longest_ms)
        waiting = _Boxed("websocket.connect", payload, 0, longest_ms)
        outcome = self._send_at_once(socket, waiting, now_ms)
        if outcome is Outcome.SENT:
            sockets[local_part(socket)] = _Socket(path)
        return outcome

    def _send_at_once(self, socket: str, waiting: _Boxed, now_ms: int) -> Outcome:
        outcome = self.push(waiting.channel, self._entry(waiting, now_ms))
        if outcome is Outcome.SENT:
            self._idle.discard(socket)
            self._in_flight[socket] = _InFlight(waiting.order, now_ms + self.lease_ms)
        return outcome

    def frame(self, socket: str, payload: bytes, order: int, now_ms: int, ordered: bool = True) -> Outcome:
        """Send a frame, through the mailbox of its socket if `ordered`."""
        registered = self.processes.get(non_local_name(socket), {}).get(local_part(socket))
        if registered is None:
            return Outcome.GONE
        if order <= registered.order:
            return Outcome.DUPLICATE
        if ordered:
            outcome = self._frame_ordered(socket, payload, order, now_ms)
        else:
            outcome = self.send("websocket.receive", payload, now_ms + self.expiry_ms)
        if outcome.accepted:
            registered.order = order
        return outcome

    def _frame_ordered(self, socket: str, payload: bytes, order: int, now_ms: int) -> Outcome:
        flying = self._flying(socket, now_ms)
        if flying is None and socket not in self._idle:
            return Outcome.LAPSED
        waiting = _Boxed("websocket.receive", payload, order, self._ordered_expiry_ms)
        if flying is None:
            return self._send_at_once(socket, waiting, now_ms)
        if len(self._mailboxes.get(socket, ())) >= MAILBOX_CAPACITY:
            self._count(waiting.channel, "shed")
            return Outcome.FULL
        return self._wait(socket, waiting, now_ms)

    def disconnect(self, socket: str, payload: bytes, order: int, now_ms: int) -> Outcome:
        """Unregister a socket, end its memberships and send its disconnect, whatever the capacity."""
        sockets = self.processes.get(non_local_name(socket), {})
        if sockets.pop(local_part(socket), None) is None:
            return Outcome.TOLD
        self.leave_all(socket)
        waiting = _Boxed("websocket.disconnect", payload, order, expiry_ms=0)
        if socket in self._mailboxes or self._flying(socket, now_ms) is not None:
            return self._wait(socket, waiting, now_ms)
        self._append(waiting.channel, self._fly(socket, waiting, now_ms))
        self._count(waiting.channel, "sent")
        return Outcome.SENT

    def forget(self, socket: str) -> None:
        """Unregister a socket that is owed no disconnect, and end its memberships."""
        self._idle.discard(socket)
        self.processes.get(non_local_name(socket), {}).pop(local_part(socket), None)
        self.leave_all(socket)

    def is_registered(self, socket: str) -> bool:
        """Whether the connect of a socket was sent and its disconnect is still owed."""
        return local_part(socket) in self.processes.get(non_local_name(socket), ())

    def finish(self, socket: str, order: int, drain: bool, now_ms: int) -> Outcome:
        """End the message in flight: the next one goes out, or with `drain` all of them."""
        if self._fenced(socket, order, now_ms):
            return Outcome.STALE
        del self._in_flight[socket]
        if not drain:
            self._move(socket, now_ms)
        for waiting in self._mailboxes.pop(socket, ()) if drain else ():
            # Without its token: nothing waits behind it, so it may be given back or start late as any other.
            self._append(waiting.channel, self._entry(waiting, now_ms, with_order=False))
            self._count(waiting.channel, "sent")
        if socket not in self._in_flight and self.is_registered(socket):
            self._idle.add(socket)
        return Outcome.SENT

    def renew(self, socket: str, order: int, now_ms: int) -> bool:
        """Renew the lease of the message in flight; False if somebody moved on."""
        if self._fenced(socket, order, now_ms):
            return False
        self._in_flight[socket].lease_ends_ms = now_ms + self.lease_ms
        return True

    def _fenced(self, socket: str, order: int, now_ms: int) -> bool:
        flying = self._flying(socket, now_ms)
        return flying is None or flying.order != order

    def _flying(self, socket: str, now_ms: int) -> _InFlight | None:
        flying = self._in_flight.get(socket)
        if flying is not None and flying.lease_ends_ms <= now_ms:
            del self._in_flight[socket]
            return None
        return flying

    def _fly(self, socket: str, waiting: _Boxed, now_ms: int) -> bytes:
        self._idle.discard(socket)
        self._in_flight[socket] = _InFlight(waiting.order, now_ms + self.lease_ms)
        return self._entry(waiting, now_ms)

    def _entry(self, waiting: _Boxed, now_ms: int, with_order: bool = True) -> bytes:
        expiry_ms = now_ms + waiting.expiry_ms if waiting.expiry_ms else 0
        return encode(waiting.payload, expiry_ms, waiting.order if with_order else None)

    def _wait(self, socket: str, waiting: _Boxed, now_ms: int) -> Outcome:
        self._mailboxes.setdefault(socket, deque()).append(waiting)
        if self._flying(socket, now_ms) is None:
            self._move(socket, now_ms)
        return Outcome.BOXED

    def _move(self, socket: str, now_ms: int) -> None:
        box = self._mailboxes.get(socket)
        if box is None:
            return
        waiting = box.popleft()
        self._append(waiting.channel, self._fly(socket, waiting, now_ms))
        self._count(waiting.channel, "sent")
        if not box:
            del self._mailboxes[socket]

    def _kick(self, now_ms: int) -> None:
        """Move on the mailboxes whose lease lapsed: whoever held the message in flight is gone."""
        for socket in [one for one in self._mailboxes if self._flying(one, now_ms) is None]:
            self._tell(socket, note(LAPSED, local=local_part(socket)))
            self._move(socket, now_ms)

    # Groups

    def join(self, group: str, channel: str, now_ms: int) -> None:
        """Make a channel a member: until group_expiry from now, or one of our processes until it leaves.

        The process is told, as it may know that this client is gone.
        """
        name = non_local_name(channel)
        if is_process_queue(name):
            if name not in self.processes:
                return
            until = 0
            self._tell(channel, note(ADD, group=group, local=local_part(channel)))
        else:
            until = now_ms + self.group_expiry_ms
        self._groups.setdefault(group, {})[channel] = until

    def leave(self, group: str, channel: str) -> None:
        """End a membership, if there is one."""
        members = self._groups.get(group, {})
        members.pop(channel, None)
        if not members:
            self._groups.pop(group, None)

    def leave_all(self, channel: str) -> None:
        """End all memberships of a channel."""
        for group in [name for name, members in self._groups.items() if channel in members]:
            self.leave(group, channel)

    def members(self, group: str, now_ms: int) -> list[str]:
        """Who is in a group, in the order they joined; expired memberships end here."""
        members = self._groups.get(group, {})
        for channel in [one for one, until in members.items() if until and until <= now_ms]:
            self.leave(group, channel)
        return list(members)

    def send_groups(self, groups: Sequence[str], payload: bytes, expiry_ms: int, now_ms: int) -> None:
        """Put a copy of a packed message on the channel of every member of these groups that is not full.

        A process of ours gets one for all its members.
        """
        ours: dict[str, list[str]] = {}
        for channel in dict.fromkeys(name for group in groups for name in self.members(group, now_ms)):
            if is_process_queue(channel):
                ours.setdefault(non_local_name(channel), []).append(local_part(channel))
            else:
                self.send(channel, payload, expiry_ms)
        for process, members in ours.items():
            body = note(GROUP, group=groups[0], packed=payload, members=members)
            self.push(process, encode(pack_message(body, sys.maxsize), expiry_ms, control=True, counted=True))

    # Processes

    def announce(self, channels: Sequence[str], now_ms: int) -> None:
        """Some worker takes these channels."""
        self._takers.update(dict.fromkeys(channels, now_ms))

    def taken_channels(self, now_ms: int) -> frozenset[str]:
        """What workers said lately that they take."""
        announced = self.announced(now_ms)
        return frozenset(channel for channel, ago in announced.items() if ago <= ANNOUNCED_SECONDS)

    def announced(self, now_ms: int) -> dict[str, float]:
        """What workers ever said that they take, with the seconds since then."""
        oldest = now_ms - int(TAKERS_REMEMBERED_SECONDS * 1000)
        self._takers = {channel: said for channel, said in self._takers.items() if said >= oldest}
        return {channel: (now_ms - said) / 1000 for channel, said in self._takers.items()}

    def register(self, process: str, sockets: Iterable[OpenSocket] = ()) -> None:
        """Make a process known, so that its queue accepts entries; what is known of its sockets stays."""
        known = self.processes.setdefault(process, {})
        for socket in sockets:
            if socket.local not in known:
                known[socket.local] = _Socket(socket.path, socket.order)
                self._idle.add(process + socket.local)

    def lose_data(self) -> None:
        """Forget everything, the processes too: they find out, and register themselves again."""
        self.clear()
        self.processes = {}
        self._idle = set()
        self._takers = {}

    def withdraw(self, process: str) -> None:
        """Remove a process, its queue and its memberships; its sockets were told before."""
        self.processes.pop(process, None)
        self._queues.pop(process, None)
        self._idle = {socket for socket in self._idle if non_local_name(socket) != process}
        for group, members in list(self._groups.items()):
            for channel in [one for one in members if non_local_name(one) == process]:
                self.leave(group, channel)

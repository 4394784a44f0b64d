"""Messages on their way out, gathered so that those for one queue travel in one command. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from headrace_asgi import control
from headrace_asgi.contract import Outcome
from headrace_asgi.envelope import Codec, Encode, pack_message
from headrace_asgi.errors import ChannelFull, OutcomeUnknown
from headrace_asgi.names import is_process_queue, non_local_name

from .plan import ENTRIES_PER_COMMAND, Plan, RedisCommand

__all__ = ["Outgoing", "group_copies", "members_of_all", "message_entry", "outcomes_of"]

#: Bytes that a group entry may have beyond its message: the names in it.
NOTE_BYTES = 1024

T = TypeVar("T")


def message_entry(encode: Encode, channel: str, payload: bytes, expiry_ms: int) -> bytes:
    """The queue entry of a packed message; the full name goes along where the queue's name is shorter."""
    return encode(payload, expiry_ms, None, channel if "!" in channel else None, queue=channel)


def group_copies(
    codec: Codec,
    groups: Sequence[str],
    payload: bytes,
    members: tuple[Sequence[str], Sequence[str]],
    expiry_ms: int,
) -> Iterator[tuple[str, bytes]]:
    """The entries of a group message, one per process and one per plain member, each with its channel.

    `payload` is the message packed when it was said, and is not packed again; `members` are the processes and
    the plain channels of the `groups`, each once.
    """
    processes, plain = members
    if processes:
        note = control.note(control.GROUP, group=groups[0], packed=payload)
        if len(groups) > 1:
            note["more"] = list(groups[1:])
        packed = pack_message(note, len(payload) + NOTE_BYTES * len(groups))
        entry = b""
        for process in processes:
            if codec.bound or not entry:
                entry = codec.encode(packed, expiry_ms, control=True, counted=True, queue=process)
            yield process, entry
    for channel in plain:
        # Clients of ours join in their process. One that stands here was put here by who has no keys.
        if codec.bound and is_process_queue(channel):
            continue
        try:
            copy = message_entry(codec.encode, channel, payload, expiry_ms)
        except ValueError:  # no name of a channel: somebody else made it a member
            continue
        yield channel, copy


def members_of_all(found: Sequence[tuple[Sequence[str], Sequence[str]]]) -> tuple[list[str], list[str]]:
    """The processes and plain channels of several groups, each once."""
    processes, plain = (dict.fromkeys(name for one in found for name in one[which]) for which in (0, 1))
    return list(processes), list(plain)


@dataclass(slots=True)
class _OutgoingQueue(Generic[T]):
    channel: str
    entries: list[bytes] = field(default_factory=list)
    controls: list[bool] = field(default_factory=list)
    senders: list[T] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    has_copies: bool = False


class Outgoing(Generic[T]):
    """Entries by queue, in the order they were added; each has a sender, whatever the caller wants back."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._queues: dict[str, _OutgoingQueue[T]] = {}

    def add(
        self, channel: str, entry: bytes, sender: T, is_control: bool = False, message_id: str = ""
    ) -> None:
        """Put an entry behind those for the same queue."""
        queue = self._queue(channel)
        queue.entries.append(entry)
        queue.controls.append(is_control)
        queue.senders.append(sender)
        queue.ids.append(message_id)

    def add_copy(self, channel: str, entry: bytes, sender: T) -> None:
        """Put a copy of a group message behind the entries for the same queue."""
        self.add(channel, entry, sender)
        self._queue(channel).has_copies = True

    def _queue(self, channel: str) -> _OutgoingQueue[T]:
        name = non_local_name(channel)
        queue = self._queues.get(name)
        if queue is None:
            queue = self._queues[name] = _OutgoingQueue(channel)
        return queue

    def commands(self, process: str = "") -> list[tuple[RedisCommand, list[T]]]:
        """One command per queue (and thousand entries), with the senders of its entries; `add` begins anew.

        An interface `process` that sends learns from the answers whether it is registered.
        """
        queues, self._queues = self._queues, {}
        commands = []
        for name, queue in queues.items():
            for start in range(0, len(queue.entries), ENTRIES_PER_COMMAND):
                end = start + ENTRIES_PER_COMMAND
                entries = queue.entries[start:end]
                if not is_process_queue(name):
                    command = self._plan.send(
                        queue.channel, entries, sender=process, ids=queue.ids[start:end]
                    )
                elif queue.has_copies:
                    command = self._plan.push_with_copies(name, entries, queue.controls[start:end])
                else:
                    command = self._plan.push(name, entries, queue.controls[start:end])
                commands.append((command, queue.senders[start:end]))
        return commands


def outcomes_of(answer: object, count: int) -> list[Outcome]:
    """Outcomes of the entries of one command: its answer, or the error that took its place."""
    if isinstance(answer, list):
        return answer
    if isinstance(answer, ChannelFull):
        return [Outcome.FULL] * count
    if isinstance(answer, OutcomeUnknown):
        return [Outcome.UNKNOWN] * count
    return [Outcome.UNAVAILABLE] * count

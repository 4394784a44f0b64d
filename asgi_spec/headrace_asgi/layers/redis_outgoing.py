"""Messages on their way out, gathered so that those for one queue travel in one script call. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from .. import control
from ..contract import Outcome
from ..envelope import Message, encode, pack_message
from ..errors import ChannelFull, OutcomeUnknown
from ..names import is_process_queue, non_local_name
from .redis_plan import ENTRIES_PER_CALL, Call, Plan

__all__ = ["Outgoing", "group_copies", "message_entry", "outcomes_of"]

#: Bytes that a group entry may have beyond its message: the names in it.
NOTE_BYTES = 1024

T = TypeVar("T")


def message_entry(channel: str, payload: bytes, expiry_ms: int) -> bytes:
    """The queue entry of a packed message; the full name goes along where the queue's name is shorter."""
    return encode(payload, expiry_ms, None, channel if "!" in channel else None)


def group_copies(
    group: str,
    message: Message,
    payload: bytes,
    members: tuple[Sequence[str], Sequence[str]],
    expiry_ms: int,
    limit_bytes: int,
) -> Iterator[tuple[str, bytes]]:
    """The entries of a group message, one per process and one per plain member, each with its channel.

    `payload` is `message` packed; `members` are the processes and the plain channels of the group.
    """
    processes, plain = members
    if processes:
        note = control.note(control.GROUP, group=group, message=message)
        packed = pack_message(note, limit_bytes + NOTE_BYTES)
        entry = encode(packed, expiry_ms, control=True, counted=True)
        for process in processes:
            yield process, entry
    for channel in plain:
        yield channel, message_entry(channel, payload, expiry_ms)


@dataclass(slots=True)
class _Queue(Generic[T]):
    channel: str
    entries: list[bytes] = field(default_factory=list)
    controls: list[bool] = field(default_factory=list)
    senders: list[T] = field(default_factory=list)


class Outgoing(Generic[T]):
    """Entries by queue, in the order they were added; each has a sender, whatever the caller wants back."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._queues: dict[str, _Queue[T]] = {}

    def add(self, channel: str, entry: bytes, sender: T, is_control: bool = False) -> None:
        """Put an entry behind those for the same queue."""
        name = non_local_name(channel)
        queue = self._queues.get(name)
        if queue is None:
            queue = self._queues[name] = _Queue(channel)
        queue.entries.append(entry)
        queue.controls.append(is_control)
        queue.senders.append(sender)

    def calls(self) -> list[tuple[Call, list[T]]]:
        """One call per queue (and thousand entries), with the senders of its entries; `add` begins anew."""
        queues, self._queues = self._queues, {}
        calls = []
        for name, queue in queues.items():
            for start in range(0, len(queue.entries), ENTRIES_PER_CALL):
                end = start + ENTRIES_PER_CALL
                entries = queue.entries[start:end]
                if is_process_queue(name):
                    call = self._plan.push(name, entries, queue.controls[start:end])
                else:
                    call = self._plan.send(queue.channel, entries)
                calls.append((call, queue.senders[start:end]))
        return calls


def outcomes_of(answer: object, count: int) -> list[Outcome]:
    """Outcomes of the entries of one call: its answer, or the error that took its place."""
    if isinstance(answer, ChannelFull):
        return [Outcome.FULL] * count
    if isinstance(answer, OutcomeUnknown):
        return [Outcome.UNKNOWN] * count
    if isinstance(answer, Exception):
        return [Outcome.UNAVAILABLE] * count
    assert isinstance(answer, list)
    return answer

"""Reads the entries of one process queue and gives each to whom it concerns."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from headrace_asgi import control
from headrace_asgi.close_codes import SERVER_ERROR
from headrace_asgi.contract import InterfaceReceiver
from headrace_asgi.envelope import PLAIN, Codec, Entry, Message, unpack_message
from headrace_asgi.errors import UnknownVersion, UnreadableEntry
from headrace_asgi.names import is_channel_name, local_part, non_local_name

from .groups import Groups

__all__ = ["QueueReader"]

log = logging.getLogger("headrace.layer")


class QueueReader:
    """Replies go to the receiver, group notes to the groups, other notes to the receiver.

    Entries are not dropped for their age: the queue is read at once, and a late message is better than a gap.
    """

    def __init__(
        self,
        receiver: InterfaceReceiver,
        groups: Groups,
        tell_members: Callable[[str, tuple[str, ...], bool], None],
        forgotten: Callable[[], None],
        counters: Counter[str],
        codec: Codec = PLAIN,
    ) -> None:
        """`tell_members(channel, locals, only_count)` answers who is in a group, or how many are; `forgotten`
        hears that somebody found this process unregistered."""
        self._receiver = receiver
        self._groups = groups
        self._tell_members = tell_members
        self._counters = counters
        self._decode = codec.decode
        #: Entries that were read, of those that Redis says it pushed; None until it says so.
        self.read_count: int | None = 0
        #: Whether these are to be compared before the next take.
        self.compares = False
        #: Whether the note came that this process sent itself.
        self.woken = False
        self._notes: dict[str, Callable[[Message], None]] = {
            control.ADD: self._add,
            control.DISCARD: self._discard,
            control.GROUP: self._group,
            control.MEMBERS: self._members,
            control.FORGOTTEN: lambda body: self._forgotten(forgotten),
            control.WAKE: lambda body: self._woken(),
        }

    def lost(self, pushed: int, waiting: int) -> int:
        """How many entries came nowhere, of those ever `pushed`, with so many still `waiting`.

        Ask while nothing is on its way here. What is lost is told once.
        """
        before, self.read_count = self.read_count, pushed - waiting
        # More were read than pushed: the counting began anew, or a failover repeated some.
        return 0 if before is None else max(self.read_count - before, 0)

    def flushed(self) -> None:
        """Entries were removed on purpose: they are not lost."""
        self.read_count = None
        self.compares = True

    def read(self, entries: Sequence[bytes]) -> None:
        """Deliver what was taken from the queue. Never raises: one bad entry costs no other."""
        reply, decode = self._receiver.reply, self._decode
        queue = self._groups.process
        if self.read_count is not None:
            self.read_count += len(entries)
        for raw in entries:
            try:
                entry = decode(raw, queue)
                message = unpack_message(entry.payload)
                if entry.control:
                    self._note(message)
                elif entry.channel is not None:
                    reply(local_part(entry.channel), message)
                else:
                    self._count("misdirected", "an entry without a channel name came")
            except UnreadableEntry as error:
                self._count("unreadable", str(error))
                if isinstance(error, UnknownVersion):
                    self._tell_unreadable(queue, error.entry)
            except Exception:
                self._counters["failed"] += 1
                log.exception("Delivering an entry of the process queue failed; going on with the next")

    def _tell_unreadable(self, queue: str, entry: Entry) -> None:
        """A client whose reply only a newer process can read gets an error: there would be a gap."""
        if entry.control or entry.channel is None or non_local_name(entry.channel) != queue:
            return
        local = local_part(entry.channel)
        self._receiver.control(
            control.CLOSE, local, control.note(control.CLOSE, local=local, code=SERVER_ERROR)
        )

    def _note(self, body: Message) -> None:
        kind = body.get("control")
        if not isinstance(kind, str):
            self._count("unreadable", "a control entry does not say its kind")
            return
        handler = self._notes.get(kind)
        try:
            if handler is not None:
                handler(body)
            else:
                self._receiver.control(kind, _named(body, "local"), body)
        except _Incomplete as error:
            self._count("unreadable", f"a control entry {kind!r} has no {error}")

    def _forgotten(self, tell: Callable[[], None]) -> None:
        if self.read_count is not None:
            self.read_count -= 1  # pushed to a process that is not known, so nowhere counted
        tell()

    def _woken(self) -> None:
        self.woken = True

    def _add(self, body: Message) -> None:
        group, local = _named(body, "group"), _named(body, "local")
        self._groups.add(group, local, self._receiver.is_open(local))

    def _discard(self, body: Message) -> None:
        self._groups.discard(_named(body, "group"), _named(body, "local"))

    def _group(self, body: Message) -> None:
        group, packed = _named(body, "group"), body.get("packed")
        if not isinstance(packed, bytes):
            raise _Incomplete("packed")
        members = self._groups.membership.members(group)
        more = body.get("more")
        if more is not None:
            members = self._members_of_all(members, more)
        if members:
            self._receiver.group_message(group, members, unpack_message(packed))
        else:
            self._counters["group_without_members"] += 1
            for each in (group, *(more or ())):
                self._groups.unexpected(each)

    def _members_of_all(self, first: tuple[str, ...], more: object) -> tuple[str, ...]:
        """Who is in one of several groups, each once."""
        if not isinstance(more, list) or not all(isinstance(group, str) for group in more):
            raise _Incomplete("more")
        members = self._groups.membership.members
        return tuple(dict.fromkeys((*first, *(local for group in more for local in members(group)))))

    def _members(self, body: Message) -> None:
        members = self._groups.membership.members(_named(body, "group"))
        answer = _named(body, "answer")
        if "?" not in answer or not is_channel_name(answer):
            raise _Incomplete("answer")
        self._tell_members(answer, members, body.get("count") is True)

    def _count(self, what: str, why: str) -> None:
        """Count something odd; log the first of its kind."""
        self._counters[what] += 1
        if self._counters[what] == 1:
            log.error("Discarded from the process queue, further ones are only counted: %s", why)


class _Incomplete(Exception):
    """A control entry lacks something."""


def _named(body: Message, key: str) -> str:
    value: Any = body.get(key)
    if not isinstance(value, str):
        raise _Incomplete(key)
    return value

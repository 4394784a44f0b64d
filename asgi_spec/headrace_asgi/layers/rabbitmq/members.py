"""Who of a process is in which group, as its reader knows it. Pure: time is an argument, in seconds.

A group's message comes to a process once. Who joins or leaves says so in a note to the reader, which
therefore knows for whom the message is. Notes lie in a queue beside that of the messages: read up to its end
once a message of a group is there, it holds every note that was accepted before that message was sent.
"""

from __future__ import annotations

from collections.abc import Iterator

from headrace_asgi.envelope import Message
from headrace_asgi.names import is_channel_name

__all__ = ["ProcessMembers", "membership_note"]


def membership_note(group: str, channel: str, joins: bool) -> Message:
    """What is written when a channel joins or leaves a group: as a note, and as a record."""
    return {"group": group, "channel": channel, "joins": joins}


class ProcessMembers:
    """The members that notes told of, by process queue and group."""

    def __init__(self, group_expiry_seconds: float) -> None:
        """Take how long a membership lasts that is not renewed."""
        self._group_expiry_seconds = group_expiry_seconds
        #: Process queue -> group -> full name of a member -> when its membership ends.
        self._known: dict[str, dict[str, dict[str, float]]] = {}

    def heard(self, process: str, note: Message, now: float) -> None:
        """Take a note to the reader of `process`; what is none is ignored."""
        group, channel = note.get("group"), note.get("channel")
        if not isinstance(group, str) or not is_channel_name(channel) or not isinstance(channel, str):
            return
        groups = self._known.setdefault(process, {})
        members = groups.setdefault(group, {})
        if note.get("joins") is True:
            # Who joins again keeps the place in which it stands.
            members[channel] = now + self._group_expiry_seconds
        else:
            members.pop(channel, None)
        self._tidy(process, group)

    def of(self, process: str, group: str, now: float) -> list[str]:
        """Full names of the members of a group in this process, in the order they joined."""
        members = self._known.get(process, {}).get(group, {})
        for channel in [one for one, until in members.items() if until <= now]:
            del members[channel]
        found = list(members)
        self._tidy(process, group)
        return found

    def groups(self, process: str) -> Iterator[str]:
        """The groups in which this process has members."""
        return iter(tuple(self._known.get(process, ())))

    def _tidy(self, process: str, group: str) -> None:
        groups = self._known.get(process, {})
        if not groups.get(group, True):
            del groups[group]
        if not groups:
            self._known.pop(process, None)

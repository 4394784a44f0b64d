"""Which clients of one interface process are in which group, and what Redis must be told of it.

Redis knows per group only the processes that have members, each with the number of adds that workers made
for it. The process counts the add entries it has read. Only when both numbers agree is no add on its way, and
only then may the process withdraw: `leaves` says when, and with which number (docs/protocol.md, section 8).

This is pure: times are seconds of the caller's monotonic clock, and the caller does the asking.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["GHOST_DELAY_SECONDS", "LEAVE_DELAY_SECONDS", "Membership"]

#: Seconds a process stays registered after its last member left, so that a page reload does not flap.
LEAVE_DELAY_SECONDS = 1.0
#: Seconds between the two readings of a count that shall prove that no add is on its way.
GHOST_DELAY_SECONDS = 60.0


@dataclass(slots=True)
class _GroupMembers:
    members: dict[str, None] = field(default_factory=dict)
    #: Adds read since the process last withdrew, those for closed clients included.
    processed: int = 0
    #: When to withdraw; None while there are members, or an answer or an add is awaited.
    leave_at: float | None = None
    #: The number that the withdrawal on its way carries.
    leaving: int | None = None
    listed: tuple[str, ...] | None = None


@dataclass(slots=True)
class _Suspect:
    """A group that sends us messages although nobody here is a member."""

    count: int | None = None
    read_again_at: float | None = None


class Membership:
    """The groups of one interface process."""

    def __init__(self) -> None:
        #: The groups that each client is in, of those who are in any.
        self.of_local: dict[str, set[str]] = {}
        self.clear()

    def clear(self) -> None:
        """Forget everything: the process has a new name, which is in no group."""
        self._groups: dict[str, _GroupMembers] = {}
        self.of_local.clear()
        self._leaves: deque[tuple[float, str]] = deque()
        self._suspects: dict[str, _Suspect] = {}

    def members(self, group: str) -> tuple[str, ...]:
        """Local parts of the members, in the order they joined."""
        entry = self._groups.get(group)
        if entry is None:
            return ()
        if entry.listed is None:
            entry.listed = tuple(entry.members)
        return entry.listed

    def groups(self) -> list[str]:
        """Every group this process may be registered for."""
        return list(self._groups)

    def add(self, group: str, local: str, is_open: bool, now: float) -> None:
        """An add entry was read. It counts even if its client is closed by now."""
        entry = self._groups.setdefault(group, _GroupMembers())
        entry.processed += 1
        if is_open:
            entry.members[local] = None
            entry.listed = entry.leave_at = None
            self.of_local.setdefault(local, set()).add(group)
            self._suspects.pop(group, None)
        self._schedule(group, entry, now)

    def discard(self, group: str, local: str, now: float) -> None:
        """A client leaves a group."""
        groups = self.of_local.get(local)
        if groups is None or group not in groups:
            return
        groups.remove(group)
        if not groups:
            del self.of_local[local]
        self._drop(group, local, now)

    def close(self, local: str, now: float) -> None:
        """A client is gone: it is in no group from now on."""
        for group in self.of_local.pop(local, ()):
            self._drop(group, local, now)

    def _drop(self, group: str, local: str, now: float) -> None:
        entry = self._groups[group]
        del entry.members[local]
        entry.listed = None
        self._schedule(group, entry, now)

    def _schedule(self, group: str, entry: _GroupMembers, now: float) -> None:
        """Plan a withdrawal if nobody is left, nothing is planned and no answer is awaited."""
        if entry.members or entry.leaving is not None or entry.leave_at is not None:
            return
        entry.leave_at = now + LEAVE_DELAY_SECONDS
        self._leaves.append((entry.leave_at, group))

    # Another image of the process goes on

    def as_plain(self) -> dict[str, tuple[list[str], int]]:
        """The members of each group, and how many adds were read; while no withdrawal is on its way."""
        return {group: (list(entry.members), entry.processed) for group, entry in self._groups.items()}

    def restore(self, groups: Mapping[str, tuple[Sequence[str], int]], now: float) -> None:
        """Be what `as_plain` said."""
        for group, (members, processed) in groups.items():
            entry = self._groups[group] = _GroupMembers(dict.fromkeys(members), processed)
            for local in members:
                self.of_local.setdefault(local, set()).add(group)
            self._schedule(group, entry, now)

    @property
    def is_settled(self) -> bool:
        """Whether no withdrawal is on its way."""
        return all(entry.leaving is None for entry in self._groups.values())

    # Withdrawing

    def next_leave_at(self) -> float | None:
        """When `leaves` will have something, or None."""
        while self._leaves:
            at, group = self._leaves[0]
            entry = self._groups.get(group)
            if entry is not None and entry.leave_at == at:
                return at
            self._leaves.popleft()
        return None

    def leaves(self, now: float) -> list[tuple[str, int]]:
        """Groups to withdraw from now, with the number of adds to say; `left` takes each answer."""
        due = []
        while (at := self.next_leave_at()) is not None and at <= now:
            group = self._leaves.popleft()[1]
            entry = self._groups[group]
            entry.leave_at, entry.leaving = None, entry.processed
            due.append((group, entry.processed))
        return due

    def left(self, group: str, answer: bool | None, now: float) -> None:
        """The answer to a withdrawal: whether it was done, or None if nobody knows.

        Not done means that an add is on its way: its entry plans the next try. Unknown is settled by
        `reasserted`, which follows every lost connection.
        """
        entry = self._groups.get(group)
        if entry is None or entry.leaving is None or answer is None:
            return
        said, entry.leaving = entry.leaving, None
        if answer:
            entry.processed -= said  # adds may have been read while the withdrawal was on its way
        if entry.processed and (answer or entry.processed != said):
            self._schedule(group, entry, now)
        elif not entry.processed and not entry.members:
            del self._groups[group]

    # After Redis was away

    def reasserted(self, group: str, adds: int, anew: bool, kept: bool, now: float) -> None:
        """The process asked to be registered again: Redis counts `adds` for it.

        It was registered `anew`, with one add of its own; or it still was, and Redis `kept` its data: then
        entries that wait in the queue are among the adds, and are counted when they are read. Where nobody
        knows how many of the adds were read, the least possible number is taken: so no add on its way is
        ever overlooked. If it is too small, what stays after the last member is a ghost, laid as others are.
        """
        entry = self._groups.setdefault(group, _GroupMembers())
        said, entry.leaving = entry.leaving, None
        doubtful = False
        if anew:
            entry.processed = adds
        elif not kept or adds < entry.processed - (said or 0):
            entry.processed, doubtful = 0, True
        elif said is not None:
            entry.processed, doubtful = entry.processed - said, True
        if not doubtful:
            self._schedule(group, entry, now)
        elif not entry.members:
            entry.leave_at = None
            self._suspects[group] = _Suspect(adds, now + GHOST_DELAY_SECONDS)

    # Ghosts: counts that a worker raised before it was killed

    def suspect(self, group: str) -> bool:
        """A message came for a group without members: whether its count should be read now."""
        entry = self._groups.get(group)
        if group in self._suspects or (
            entry is not None and (entry.members or entry.leave_at is not None or entry.leaving is not None)
        ):
            return False
        self._suspects[group] = _Suspect()
        return True

    def suspects_due(self, now: float) -> list[str]:
        """Groups whose count should be read again."""
        due = []
        for group, suspect in self._suspects.items():
            if suspect.read_again_at is not None and suspect.read_again_at <= now:
                suspect.read_again_at = None
                due.append(group)
        return due

    def not_counted(self, group: str, now: float) -> None:
        """The count could not be read: read it again with the next beat."""
        suspect = self._suspects.get(group)
        if suspect is not None:
            suspect.read_again_at = now

    def counted(self, group: str, count: int | None, now: float) -> int | None:
        """The count that Redis holds, None if it holds none; the answer is the number to leave with, if any.

        A count that stood still between two readings has no add on its way. The withdrawal's answer goes to
        `left` as any other.
        """
        suspect = self._suspects.get(group)
        if suspect is None:
            return None
        if count is None:
            del self._suspects[group]
            entry = self._groups.get(group)
            if entry is not None and not entry.members and entry.leaving is None:
                del self._groups[group]
            return None
        if suspect.count != count:
            suspect.count, suspect.read_again_at = count, now + GHOST_DELAY_SECONDS
            return None
        entry = self._groups.setdefault(group, _GroupMembers())
        entry.leave_at, entry.leaving = None, entry.processed
        del self._suspects[group]
        return count

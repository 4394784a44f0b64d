"""Who of a process is in which group, as its reader hears it."""

from __future__ import annotations

from typing import Any

import pytest

from headrace_asgi.layers.rabbitmq.members import ProcessMembers, membership_note

PROCESS = "server!"


@pytest.fixture
def members() -> ProcessMembers:
    return ProcessMembers(60)


def tell(members: ProcessMembers, group: str, local: str, joins: bool = True, now: float = 0) -> None:
    members.heard(PROCESS, membership_note(group, PROCESS + local, joins), now)


def test_who_joined_is_a_member_in_the_order_of_joining_until_it_leaves(members: ProcessMembers) -> None:
    for local in ("b", "a", "b"):
        tell(members, "room", local)
    assert members.of(PROCESS, "room", 1) == ["server!b", "server!a"]
    tell(members, "room", "b", joins=False)
    assert members.of(PROCESS, "room", 1) == ["server!a"]
    assert members.of(PROCESS, "other", 1) == members.of("another!", "room", 1) == []


def test_a_membership_lasts_from_the_last_time_it_was_said(members: ProcessMembers) -> None:
    tell(members, "room", "a", now=0)
    tell(members, "room", "b", now=0)
    tell(members, "room", "a", now=30)
    assert members.of(PROCESS, "room", 59) == ["server!a", "server!b"]
    assert members.of(PROCESS, "room", 60) == ["server!a"]
    assert members.of(PROCESS, "room", 90) == []


def test_the_groups_of_a_process_are_those_with_members(members: ProcessMembers) -> None:
    tell(members, "one", "a")
    tell(members, "two", "a")
    tell(members, "two", "a", joins=False)
    tell(members, "three", "a", joins=False)
    assert list(members.groups(PROCESS)) == ["one"]
    tell(members, "one", "a", joins=False)
    assert list(members.groups(PROCESS)) == []


@pytest.mark.parametrize(
    "note",
    [
        {},
        {"group": 1, "channel": "server!a"},
        {"group": "room", "channel": 2},
        {"group": "room", "channel": "a b"},
    ],
)
def test_what_is_no_note_is_ignored(members: ProcessMembers, note: dict[str, Any]) -> None:
    members.heard(PROCESS, {**note, "joins": True}, 0)
    assert list(members.groups(PROCESS)) == []

"""What a process has in a channel, and who may add to it."""

from __future__ import annotations

import random
from collections import Counter, deque

import pytest

from headrace_interface.settings import InterfaceSettings
from headrace_interface.websocket.shares import QUIET_MESSAGES, Room, Shares

KIB = 1024


def shares(**changes: float) -> Shares:
    new = Shares(InterfaceSettings(**changes))  # type: ignore[arg-type]
    new.level(1_000, 100, 1_000)
    return new


def test_while_there_is_little_nobody_is_looked_at() -> None:
    new = Shares(InterfaceSettings())
    assert new.quiet
    new.level(500, QUIET_MESSAGES - 1, 1_000)
    assert new.quiet
    new.level(501, QUIET_MESSAGES, 1_000)
    assert not new.quiet


def test_what_was_put_is_there_until_as_many_were_taken() -> None:
    new = shares()
    new.put("s", "a", 16, 16 * KIB)
    assert new.room("s", "a", 300) == Room(0, 0)
    new.level(1_400, 401, 1_000)
    assert new.room("s", "a", 300) == Room(0, 0)
    new.level(1_400, 400, 1_000)
    assert new.room("s", "a", 300).messages == 16
    new.level(1_400, 0, 1_000)
    assert new.quiet


def test_counting_that_began_anew_forgets_all() -> None:
    new = shares()
    new.put("s", "a", 16, 16 * KIB)
    new.level(3, 3, 1_000)
    assert new.room("s", "a", 300).messages == 16
    assert new.quiet


def test_a_socket_has_its_share_and_another_of_the_same_address_its_own() -> None:
    new = shares()
    new.put("s", "a", 10, 10 * KIB)
    assert new.room("s", "a", 300) == Room(6, 1024 * KIB - 10 * KIB)
    assert new.room("t", "a", 300) == Room(16, 1024 * KIB)


def test_a_large_message_may_wait_alone_and_only_alone() -> None:
    new = shares()
    assert new.room("s", "a", 4096 * KIB).messages
    new.put("s", "a", 1, 300)
    assert not new.room("s", "a", 4096 * KIB).messages
    assert not new.room("s", "a", 1024 * KIB).messages
    assert new.room("s", "a", 1000 * KIB).messages


def test_beyond_the_share_of_an_address_only_its_quiet_sockets_are_served() -> None:
    new = shares()
    for number in range(24):
        new.put(f"s{number}", "a", 10 if number else 12, KIB)
    assert new.room("s1", "a", 300).messages == 6
    new.put("s24", "a", 8, KIB)
    assert new.room("s0", "a", 300).messages == 0
    assert new.room("s1", "a", 300).messages == 0
    assert new.room("s24", "a", 300).messages == 2
    assert new.room("new", "a", 300).messages == 10
    assert new.room("other", "b", 300).messages == 16


def test_far_beyond_the_share_of_an_address_nobody_of_it_is_served() -> None:
    new = shares()
    for number in range(500):
        new.put(f"s{number}", "a", 1, KIB)
    assert new.room("new", "a", 300) == Room(0, 0)
    assert new.room("new", "b", 300).messages


def test_beyond_the_share_of_the_process_those_with_more_than_the_average_wait() -> None:
    new = shares()
    for number in range(50):
        new.put(f"s{number}", f"a{number}", 15 if number % 2 else 7, KIB)
    assert new.room("s1", "a1", 300).messages == 0
    assert new.room("s0", "a0", 300).messages == 4
    assert new.room("new", "b", 300).messages == 11


def test_bytes_are_bounded_as_messages_are() -> None:
    new = shares()
    for number in range(16):
        new.put(f"s{number}", "a", 1, 512 * KIB)
    assert new.room("s1", "a", 300) == Room(0, 0)
    assert new.room("new", "a", 300) == Room(16, 512 * KIB)
    for number in range(16, 64):
        new.put(f"s{number}", f"a{number}", 1, 512 * KIB)
    assert new.room("s20", "a20", 300) == Room(0, 0)
    assert new.room("new", "b", 300) == Room(16, 512 * KIB)


def test_zero_is_without_a_limit_and_the_smallest_channel_takes_one() -> None:
    new = shares(share_messages=0, share_bytes=0, address_share_bytes=0, process_share_bytes=0)
    new.put("s", "a", 100, 1 << 40)
    assert new.room("s", "a", 300).messages == 150
    new.level(1_100, 100, 1)
    assert new.room("s", "a", 300).messages == 1


@pytest.mark.seeds(30)
def test_what_is_there_is_written_down_but_for_a_few(seed: int) -> None:
    """Against a channel that others use too: each of ours that is still there is counted."""
    rng = random.Random(seed)
    new, queue, total = Shares(InterfaceSettings()), deque[str](), 0
    for _ in range(400):
        who = rng.choice(["other", "s1", "s2", "s3"])
        for _ in range(rng.randrange(20)):
            if queue:
                queue.popleft()
        count = rng.randrange(1, 17)
        if who != "other" and not new.quiet:
            count = min(count, new.room(who, "a", 300).messages)
        queue.extend([who] * count)
        total += count
        if who != "other" and count:
            new.level(total, len(queue), 1_000)
            if not new.quiet:
                new.put(who, "a", count, 300 * count)
            there = Counter(queue)
            for local in ("s1", "s2", "s3"):
                account = new._sockets.get(local)
                assert there[local] < (account.messages if account else 0) + QUIET_MESSAGES
    new.level(total, 0, 1_000)
    assert new.quiet
    assert not new._sockets
    assert not new._addresses
    assert (new._all.messages, new._all.weight, new._all.sockets) == (0, 0, 0)


def test_there_is_room_for_all_until_an_address_could_be_beyond_its_share() -> None:
    new = shares()
    new.level(300, 249, 1_000)
    assert new.roomy
    new.level(301, 250, 1_000)
    assert not new.roomy
    assert (new.sent, new.taken) == (301, 51)
    new.level(302, 249, 1_000)
    assert new.has_room_for_one(53)
    assert not new.has_room_for_one(54)


def test_what_a_client_left_behind_leaves_a_few_at_a_time_also_when_it_is_quiet() -> None:
    new = shares()
    assert new.room("s", "a", 300).messages == 16
    assert new.room("s", "a", 300, departed=True).messages == 4
    new.level(100, 50, 1_000)
    new.put("s", "a", 3, 900)
    assert new.room("s", "a", 300, departed=True).messages == 1

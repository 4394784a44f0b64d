"""The plan's calls, carried out one by one on a real server by nothing but a plain client."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from headrace_asgi import control
from headrace_asgi.contract import OpenSocket, Outcome
from headrace_asgi.envelope import decode, encode, pack_message, unpack_message
from headrace_asgi.layers.redis.plan.command import ALIVE, FENCED, LOST, UNMARKED
from headrace_asgi.layers.redis.plan.places import Places
from headrace_asgi.layers.redis.plan.plan import ENTRIES_PER_COMMAND, ORDERED_CHANNELS, Plan, RedisCommand
from headrace_asgi.limits import ANNOUNCED_SECONDS, TAKERS_REMEMBERED_SECONDS, Capacities
from headrace_asgi.names import new_process_queue
from headrace_asgi.tally import TallyBatch

SENT, BOXED, FULL, GONE = Outcome.SENT, Outcome.BOXED, Outcome.FULL, Outcome.GONE
FAR_MS = 10**13
CONNECT, RECEIVE, DISCONNECT = ORDERED_CHANNELS


class Desk:
    """A plan, and a client that carries its calls out."""

    def __init__(self, url: str) -> None:
        url, _, query = url.partition("?prefix=")
        self.client = redis.Redis.from_url(url, protocol=2)
        self.plan = Plan(Places([url], query), Capacities(5), 60, 86_400)
        self.process = new_process_queue("0")
        for command in self.plan.register(self.process, "{}"):
            self.do(command)

    def do(self, command: RedisCommand) -> Any:
        return command.read(self.client.execute_command(*command.whole().args))

    def own_keys(self) -> set[bytes]:
        """Those of this prefix."""
        return set(self.client.scan_iter(self.plan.key("0", "*")))

    def frame_ordered(self, local: str, order: int) -> list[Outcome]:
        """Send a frame through the mailbox; one outcome."""
        return list(self.do(self.plan.frame_ordered(self.process + local, order, entry(order))).outcomes)

    def frames(self, *frames: tuple[str, int]) -> list[Outcome]:
        """Send frames of plain sockets in one call, each with its number as its message."""
        parts = [part for local, order in frames for part in (local, order, entry(n=order))]
        return list(self.do(self.plan.frames("0", self.process, parts)).outcomes)

    def take(self, *channels: str, limit: int = 20) -> tuple[str, list[Any]] | None:
        found = self.do(self.plan.take("0", channels, limit, None))
        return found and (found[0], [decode(entry) for entry in found[1]])


@pytest.fixture
def desk(any_redis_url: str) -> Iterator[Desk]:
    desk = Desk(any_redis_url)
    yield desk
    desk.client.close()


def entry(order: int | None = None, expiry_ms: int = FAR_MS, **values: Any) -> bytes:
    return encode(pack_message(values), expiry_ms, order)


def counted(desk: Desk, channel: str) -> tuple[int, int, int]:
    found = desk.do(desk.plan.statistics(channel)[0])
    return found["sent"], found["shed"], found["dropped"]


def test_a_channel_takes_what_fits_and_refuses_the_rest_from_the_end(desk: Desk) -> None:
    entries = [entry(n=number) for number in range(7)]
    assert desk.do(desk.plan.send("work", entries)) == [SENT] * 5 + [FULL] * 2
    assert counted(desk, "work") == (5, 2, 0)
    channel, taken = desk.take("idle", "work", limit=3) or ("", [])
    assert channel == "work"
    assert [one.payload for one in taken] == [decode(raw).payload for raw in entries[:3]]


def test_a_single_reader_channel_that_nobody_reads_goes_away_and_is_not_counted(desk: Desk) -> None:
    desk.do(desk.plan.send("body?x", [entry()]))
    assert 60 < desk.client.ttl(desk.plan.key("0", "c", "body?x")) <= 90
    assert desk.client.hlen(desk.plan.key("0", "n")) == 0


def test_a_connect_registers_its_socket_once(desk: Desk) -> None:
    socket = desk.process + "a"
    assert desk.do(desk.plan.connect(socket, "/chat/", entry(0))) is SENT
    assert desk.do(desk.plan.connect(socket, "/chat/", entry(0))) is Outcome.DUPLICATE
    assert desk.do(desk.plan.registered_sockets("0", desk.process)) == {"a": "/chat/"}


def test_nothing_is_registered_for_a_process_that_is_gone(desk: Desk) -> None:
    for command in desk.plan.withdraw(desk.process):
        desk.do(command)
    assert desk.do(desk.plan.connect(desk.process + "a", "/", entry(0))) is GONE
    assert desk.do(desk.plan.push(desk.process, [entry()], [False])) == [GONE]
    assert desk.do(desk.plan.group_add("g", desk.process)) == -1
    assert desk.frame_ordered("a", 1) == [GONE]
    assert desk.take(CONNECT, RECEIVE) is None


def test_frames_of_an_ordered_socket_go_out_one_by_one_and_the_disconnect_last(desk: Desk) -> None:
    socket = desk.process + "a"
    desk.do(desk.plan.connect(socket, "/", entry(0)))
    assert desk.frame_ordered("a", 1) == [BOXED]
    assert desk.frame_ordered("a", 2) == [BOXED]
    assert desk.do(desk.plan.disconnect(socket, 3, entry(3, 0))) is BOXED
    assert desk.do(desk.plan.disconnect(socket, 3, entry(3, 0))) is Outcome.TOLD
    seen = []
    for order in range(4):
        channel, taken = desk.take(*ORDERED_CHANNELS) or ("", [])
        seen.append((channel, [one.order for one in taken]))
        assert desk.do(desk.plan.finish(socket, order, "0")) is SENT
        assert desk.do(desk.plan.finish(socket, order, "0")) is Outcome.STALE
    assert seen == [(CONNECT, [0]), (RECEIVE, [1]), (RECEIVE, [2]), (DISCONNECT, [3])]


def test_frames_of_several_ordered_sockets_travel_in_one_command_each_by_its_own_state(desk: Desk) -> None:
    for local in ("flying", "done", "spoilt"):
        desk.do(desk.plan.connect(desk.process + local, "/", entry(0)))
    desk.do(desk.plan.finish(desk.process + "done", 0, "0"))
    spoilt = desk.plan.key("0", "m", desk.process + "spoilt")
    desk.client.set(spoilt, "no list")
    frames = [
        (local, order, entry(order))
        for local, order in [
            ("flying", 1),
            ("spoilt", 1),
            ("done", 1),
            ("done", 2),
            ("unknown", 1),
            ("flying", 1),
        ]
    ]
    answer = desk.do(desk.plan.frames_ordered("0", desk.process, frames))
    assert answer.outcomes == [BOXED, None, SENT, BOXED, GONE, Outcome.DUPLICATE]
    assert answer.level == (1, 1)
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        desk.frame_ordered("spoilt", 1)


def test_of_ordered_frames_that_come_together_the_last_ones_are_refused(desk: Desk) -> None:
    locals_ = [str(number) for number in range(7)]
    for local in locals_:
        desk.do(desk.plan.connect(desk.process + local, "/", entry(0)))
        desk.take(CONNECT)
        desk.do(desk.plan.finish(desk.process + local, 0, "0"))
    frames = [(local, 1, entry(1)) for local in locals_]
    answer = desk.do(desk.plan.frames_ordered("0", desk.process, frames))
    assert answer == ([SENT] * 5 + [FULL] * 2, (5, 5))
    answer = desk.do(desk.plan.frames_ordered("0", desk.process, frames))
    assert answer == ([Outcome.DUPLICATE] * 5 + [FULL] * 2, (5, 5))
    assert counted(desk, RECEIVE) == (5, 4, 0)


def test_a_thousand_ordered_frames_are_one_command_at_most(any_redis_url: str) -> None:
    url, _, query = any_redis_url.partition("?prefix=")
    desk = Desk(any_redis_url)
    desk.plan = Plan(Places([url], query), Capacities(100_000), 60, 86_400)
    locals_ = [str(number) for number in range(ENTRIES_PER_COMMAND)]
    for local in locals_:
        desk.do(desk.plan.connect(desk.process + local, "/", entry(0)))
    finishes = [(desk.process + local, 0, False) for local in locals_]
    assert set(desk.do(desk.plan.finish_several("0", finishes))) == {SENT}
    frames = [(local, 1, entry(1)) for local in locals_]
    assert set(desk.do(desk.plan.frames_ordered("0", desk.process, frames)).outcomes) == {SENT}
    assert set(desk.do(desk.plan.frames_ordered("0", desk.process, frames)).outcomes) == {Outcome.DUPLICATE}
    desk.client.close()


def test_several_sockets_are_finished_by_one_command_each_by_its_own_state(desk: Desk) -> None:
    sockets = {local: desk.process + local for local in ("moves", "ends", "late", "drained", "spoilt")}
    for local, socket in sockets.items():
        desk.do(desk.plan.connect(socket, "/", entry(0)))
        if local in ("moves", "drained"):
            desk.frame_ordered(local, 1)
    desk.client.set(desk.plan.key("0", "m", sockets["spoilt"]), "no list")
    orders = {"moves": 0, "spoilt": 0, "ends": 0, "late": 7, "drained": 0}
    finishes = [(sockets[local], order, local == "drained") for local, order in orders.items()]
    assert desk.do(desk.plan.finish_several("0", finishes)) == [SENT, None, SENT, Outcome.STALE, SENT]
    taken = (desk.take(RECEIVE) or ("", []))[1]
    assert [one.order for one in taken] == [1, None]
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        desk.do(desk.plan.finish(sockets["spoilt"], 0, "0"))


def test_the_time_in_the_mailbox_does_not_count_for_expiry(desk: Desk) -> None:
    socket = desk.process + "a"
    now_ms = desk.do(desk.plan.time("0"))
    desk.do(desk.plan.connect(socket, "/", entry(0)))
    desk.do(desk.plan.frame_ordered(socket, 1, entry(1, expiry_ms=now_ms - 1000)))
    desk.do(desk.plan.finish(socket, 0, "0"))
    _, (frame,) = desk.take(RECEIVE) or ("", [])
    assert now_ms + 50_000 < frame.expiry_ms <= desk.do(desk.plan.time("0")) + 60_000


def test_draining_moves_the_whole_mailbox_out_without_tokens(desk: Desk) -> None:
    socket = desk.process + "a"
    desk.do(desk.plan.connect(socket, "/", entry(0)))
    for order in (1, 2):
        desk.do(desk.plan.frame_ordered(socket, order, entry(order)))
    desk.do(desk.plan.finish(socket, 0, "0", drain=True))
    assert [one.order for one in (desk.take(RECEIVE) or ("", []))[1]] == [None, None]
    assert desk.do(desk.plan.overdue("0", FAR_MS)) == []


def test_a_lapsed_lease_is_overdue_and_a_kick_moves_the_mailbox_on_once_it_was_told(desk: Desk) -> None:
    socket = desk.process + "a"
    desk.do(desk.plan.connect(socket, "/", entry(0)))
    desk.frame_ordered("a", 1)
    assert desk.do(desk.plan.kick(socket, "0", told=True)) == 0
    assert desk.do(desk.plan.overdue("0", FAR_MS)) == [socket]
    desk.client.delete(desk.plan.key("0", "o", socket))
    for _ in range(2):  # whoever found it may be gone before it has told
        assert desk.do(desk.plan.kick(socket, "0", told=False)) == Outcome.LAPSED
    assert desk.take(RECEIVE) is None
    assert desk.do(desk.plan.kick(socket, "0", told=True)) == 1
    assert desk.do(desk.plan.kick(socket, "0", told=True)) == 0
    assert desk.do(desk.plan.renew(socket, 0, "0")) is Outcome.STALE
    assert desk.do(desk.plan.renew(socket, 1, "0")) is SENT


def test_a_frame_that_finds_nothing_in_flight_and_nothing_done_is_lapsed_until_the_socket_ends(
    desk: Desk,
) -> None:
    socket = desk.process + "a"
    desk.do(desk.plan.connect(socket, "/", entry(0)))
    desk.frame_ordered("a", 1)
    desk.client.delete(desk.plan.key("0", "o", socket))
    assert desk.frame_ordered("a", 2) == [Outcome.LAPSED]
    assert desk.frame_ordered("a", 2) == [Outcome.LAPSED]
    assert desk.frame_ordered("a", 1) == [Outcome.DUPLICATE]
    assert desk.do(desk.plan.disconnect(socket, 2, entry(2, 0))) is BOXED
    assert [one.order for one in (desk.take(RECEIVE) or ("", []))[1]] == [1]


def test_nothing_is_left_of_a_socket_that_ended(desk: Desk) -> None:
    socket = desk.process + "a"
    before = sorted(desk.own_keys())
    for ended in ("told", "forgotten before the finish", "forgotten after it", "drained"):
        desk.do(desk.plan.connect(socket, "/", entry(0)))
        desk.take(CONNECT)
        if ended == "forgotten before the finish":
            desk.do(desk.plan.forget(socket))
        desk.do(desk.plan.finish(socket, 0, "0", drain=ended == "drained"))
        if ended == "forgotten after it":
            desk.do(desk.plan.forget(socket))
        elif ended in ("told", "drained"):
            assert desk.do(desk.plan.disconnect(socket, 1, entry(1, 0))) is SENT
            desk.take(DISCONNECT)
            desk.do(desk.plan.finish(socket, 1, "0"))
        left = set(desk.own_keys()) - {desk.plan.key("0", "n").encode()}
        assert sorted(left) == before, ended


def test_a_drained_socket_is_marked_no_longer_than_a_frame_may_be_on_its_way(desk: Desk) -> None:
    socket = desk.process + "a"
    desk.do(desk.plan.connect(socket, "/", entry(0)))
    desk.do(desk.plan.finish(socket, 0, "0", drain=True))
    assert 0 < desk.client.pttl(desk.plan.key("0", "o", socket)) <= desk.plan.lease_ms
    assert desk.frame_ordered("a", 1) == [SENT]


def test_registering_again_keeps_what_redis_knows_and_marks_what_it_lost(desk: Desk) -> None:
    for local in ("known", "lost", "lost.ordered"):
        desk.do(desk.plan.connect(desk.process + local, "/", entry(0)))
    desk.do(desk.plan.finish(desk.process + "known", 0, "0", drain=True))
    assert desk.frames(("known", 1), ("known", 2)) == [SENT, SENT]
    sockets = [
        OpenSocket("known", "/", 1),
        OpenSocket("lost", "/l", 3),
        OpenSocket("lost.ordered", "/", 4, True),
    ]
    assert desk.do(desk.plan.register_sockets("0", desk.process, sockets)) == 0
    assert desk.frames(("known", 2), ("known", 3)) == [Outcome.DUPLICATE, SENT]
    for local in ("lost", "lost.ordered"):
        desk.client.hdel(desk.plan.key("0", "s", desk.process), local)
        desk.client.hdel(desk.plan.key("0", "f", desk.process), local)
        desk.client.delete(desk.plan.key("0", "o", desk.process + local))
    assert desk.do(desk.plan.register_sockets("0", desk.process, sockets)) == 2
    assert desk.do(desk.plan.registered_sockets("0", desk.process))["lost"] == "/l"
    assert desk.frames(("lost", 3), ("lost", 4)) == [Outcome.DUPLICATE, SENT]
    assert desk.frame_ordered("lost.ordered", 4) == [Outcome.DUPLICATE]
    assert desk.frame_ordered("lost.ordered", 5) == [SENT]


def test_a_connect_that_nobody_saw_goes_with_all_that_is_known_of_its_socket(desk: Desk) -> None:
    socket = desk.process + "a"
    before = sorted(desk.own_keys())
    desk.do(desk.plan.connect(socket, "/", entry(0)))
    desk.take(CONNECT)
    desk.frame_ordered("a", 1)
    desk.do(desk.plan.disconnect(socket, 2, entry(2, 0)))
    assert desk.do(desk.plan.drop_connect(socket, "0")) is SENT
    assert desk.do(desk.plan.drop_connect(socket, "0")) is Outcome.STALE
    assert desk.do(desk.plan.disconnect(socket, 2, entry(2, 0))) is Outcome.TOLD
    assert [counted(desk, name)[2] for name in ORDERED_CHANNELS] == [0, 1, 1]
    assert sorted(set(desk.own_keys()) - {desk.plan.key("0", "n").encode()}) == before


def test_what_was_not_started_goes_back_to_the_head_in_its_order(desk: Desk) -> None:
    entries = [entry(n=number) for number in range(3)]
    desk.do(desk.plan.send("work", entries))
    (_, taken) = desk.do(desk.plan.take("0", ["work"], 2, None))
    desk.do(desk.plan.back_plain("work", "0", taken, head=True))
    assert desk.do(desk.plan.take("0", ["work"], 3, None)) == ("work", entries)


def test_plain_frames_of_several_sockets_travel_in_one_command(desk: Desk) -> None:
    for local in ("a", "b"):
        desk.do(desk.plan.connect(desk.process + local, "/", entry(0)))
    assert desk.frames(("a", 1), ("b", 1)) == [SENT, SENT]
    strange = desk.frames(("a", 2), ("gone", 1), ("b", 1), *[("b", order) for order in range(2, 6)])
    assert strange == [SENT, GONE, Outcome.DUPLICATE, SENT, SENT, FULL, FULL]
    assert desk.frames(("b", 4)) == [FULL]
    assert counted(desk, RECEIVE)[:2] == (5, 3)


def test_behind_a_refused_frame_none_of_its_socket_is_accepted_and_all_may_be_repeated(desk: Desk) -> None:
    for local in ("a", "b"):
        desk.do(desk.plan.connect(desk.process + local, "/", entry(0)))
    batch = [(local, order) for order in range(1, 5) for local in ("a", "b")]
    assert desk.frames(*batch) == [SENT] * 5 + [FULL] * 3
    assert desk.frames(*batch) == [Outcome.DUPLICATE] * 5 + [FULL] * 3
    desk.take(RECEIVE)
    assert desk.frames(*batch) == [Outcome.DUPLICATE] * 5 + [SENT] * 3


def test_more_frames_than_lua_can_unpack_travel_in_one_command(desk: Desk) -> None:
    desk.plan.frame_capacity = 9_000
    desk.do(desk.plan.connect(desk.process + "a", "/", entry(0)))
    batch = [("a", order) for order in range(1, 10_001)]
    assert desk.frames(*batch) == [SENT] * 9_000 + [FULL] * 1_000
    assert [decode(raw).payload for raw in desk.client.lrange(desk.plan.key("0", "c", RECEIVE), 0, -1)] == [
        pack_message({"n": order}) for order in range(1, 9_001)
    ]


def test_the_answer_to_frames_says_how_full_their_channel_is(desk: Desk) -> None:
    def level(*frames: tuple[str, int]) -> Any:
        parts = [part for local, order in frames for part in (local, order, entry(n=order))]
        return tuple(desk.do(desk.plan.frames("0", desk.process, parts)).level)

    for local in ("a", "b"):
        desk.do(desk.plan.connect(desk.process + local, "/", entry(0)))
    assert level(("a", 1)) == (1, 1)
    assert level(("a", 2), ("b", 1)) == (3, 3)
    desk.take(RECEIVE, limit=2)
    assert level(("a", 2)) == (3, 1)
    assert level(*[("b", order) for order in range(2, 9)]) == (7, 5)
    assert level(("a", 3)) == (7, 5)
    assert [desk.do(command) for command in desk.plan.level(RECEIVE)] == [7, 5]


def test_an_ordered_frame_says_how_full_the_channel_is_when_it_reaches_it(desk: Desk) -> None:
    socket = desk.process + "a"

    def answer(order: int) -> Any:
        return tuple(desk.do(desk.plan.frame_ordered(socket, order, entry(order))))

    desk.do(desk.plan.connect(socket, "/", entry(0)))
    assert answer(1) == ([BOXED], None)
    desk.do(desk.plan.finish(socket, 0, "0"))
    assert [desk.do(command) for command in desk.plan.level(RECEIVE)] == [1, 1]
    desk.do(desk.plan.finish(socket, 1, "0"))
    assert answer(2) == ([SENT], (2, 2))
    desk.do(desk.plan.finish(socket, 2, "0"))
    desk.do(desk.plan.send(RECEIVE, [entry()] * 3))
    assert answer(3) == ([FULL], (5, 5))


def test_control_entries_ignore_a_full_process_queue_and_messages_behind_a_refused_one_do_not(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace_asgi.layers.redis.plan.plan.PROCESS_QUEUE_CAPACITY", 2)
    note = encode(b"\x80", control=True)
    pushed = desk.do(
        desk.plan.push(desk.process, [entry(), entry(), entry(), note], [False, False, False, True])
    )
    assert pushed == [SENT, SENT, FULL, SENT]
    channel, taken = desk.take(desk.process) or ("", [])
    assert channel == desk.process
    assert [one.control for one in taken] == [False, False, True]


def test_a_leave_with_an_add_on_its_way_changes_nothing(desk: Desk) -> None:
    assert desk.do(desk.plan.group_add("g", desk.process)) == 1
    assert desk.do(desk.plan.group_add("g", desk.process)) == 2
    assert desk.do(desk.plan.group_leave("g", desk.process, 1)) is False
    assert desk.do(desk.plan.group_leave("g", desk.process, 2)) is True
    assert desk.do(desk.plan.group_adds("g", desk.process)) is None


def test_plain_members_are_listed_until_they_leave(desk: Desk) -> None:
    desk.do(desk.plan.group_join_plain("g", "foreign!x"))
    desk.do(desk.plan.group_add("g", desk.process))
    assert desk.do(desk.plan.group_read("g")) == ([desk.process], ["foreign!x"])
    desk.do(desk.plan.group_leave_plain("g", "foreign!x"))
    assert desk.do(desk.plan.group_read("g")) == ([desk.process], [])


def test_a_beat_tells_the_living_the_unknown_and_the_fenced_apart(desk: Desk) -> None:
    assert desk.do(desk.plan.beat(desk.process)).status == ALIVE
    assert desk.do(desk.plan.beat(new_process_queue("0"))).status == LOST
    for command in desk.plan.withdraw(desk.process):
        desk.do(command)
    assert desk.do(desk.plan.beat(desk.process)).status == FENCED


def test_a_beat_of_a_process_whose_mark_is_gone_says_so(desk: Desk) -> None:
    desk.client.delete(desk.plan.key("0", "up", desk.process))
    assert desk.do(desk.plan.beat(desk.process)).status == UNMARKED
    for command in desk.plan.register(desk.process, "{}"):
        desk.do(command)
    assert desk.do(desk.plan.beat(desk.process)).status == ALIVE


def test_a_beat_tells_which_channels_have_takers_until_they_are_silent_for_long(desk: Desk) -> None:
    assert desk.do(desk.plan.beat(desk.process)).taken == frozenset()
    desk.do(desk.plan.announce(["http.request", "work"]))
    desk.do(desk.plan.announce(["work"]))
    assert desk.do(desk.plan.beat(desk.process)).taken == {"http.request", "work"}
    takers = desk.plan.key("0", "takers")
    now_ms = desk.do(desk.plan.time("0"))
    desk.client.zadd(takers, {"http.request": now_ms - ANNOUNCED_SECONDS * 1000 - 10})
    assert desk.do(desk.plan.beat(desk.process)).taken == {"work"}
    assert desk.do(desk.plan.takers())["http.request"] == now_ms - ANNOUNCED_SECONDS * 1000 - 10
    desk.client.zadd(takers, {"http.request": now_ms - TAKERS_REMEMBERED_SECONDS * 1000 - 10})
    desk.do(desk.plan.announce(["other"]))
    assert desk.do(desk.plan.takers()).keys() == {"work", "other"}
    assert ANNOUNCED_SECONDS < desk.client.ttl(takers) <= TAKERS_REMEMBERED_SECONDS


def test_a_message_for_a_forgotten_process_tells_it_so_once_and_leaves_no_rubbish(desk: Desk) -> None:
    desk.client.delete(desk.plan.key("0", "up", desk.process))
    for _ in range(2):
        assert desk.do(desk.plan.push(desk.process, [entry(), entry()], [False, False])) == [GONE, GONE]
    queue = desk.plan.key("0", "q", desk.process)
    assert 0 < desk.client.ttl(queue) <= 10
    for command in desk.plan.register(desk.process, "{}"):
        desk.do(command)
    assert desk.client.ttl(queue) == -1
    assert desk.do(desk.plan.push(desk.process, [entry(n=1)], [False])) == [SENT]
    _, (note, message) = desk.take(desk.process) or ("", [])
    assert (note.control, unpack_message(note.payload)) == (True, {"control": control.FORGOTTEN})
    assert unpack_message(message.payload) == {"n": 1}


def test_a_send_that_names_an_unknown_sender_sends_nothing(desk: Desk) -> None:
    desk.client.delete(desk.plan.key("0", "up", desk.process))
    assert desk.do(desk.plan.send("work", [entry()] * 2, sender=desk.process)) == [GONE] * 2
    assert desk.do(desk.plan.send("work", [entry()])) == [SENT]
    assert counted(desk, "work") == (1, 0, 0)


def test_a_group_is_registered_anew_only_where_the_process_is_not_known(desk: Desk) -> None:
    assert desk.do(desk.plan.group_reassert("g", desk.process)) == [1, 1]
    desk.do(desk.plan.group_add("g", desk.process))
    assert desk.do(desk.plan.group_reassert("g", desk.process)) == [0, 2]
    assert desk.do(desk.plan.groups_of("0", desk.process)) == ["g"]
    desk.client.delete(desk.plan.key("0", "up", desk.process))
    assert desk.do(desk.plan.group_reassert("g", desk.process)) == [-1, 0]


def test_every_key_of_every_call_carries_the_tag_of_its_place_r11() -> None:
    plan = Plan(Places(["redis://localhost"], "p"), Capacities(5), 60, 86_400)
    process = new_process_queue("0")
    samples = {
        "place": "0", "process": process, "socket": process + "a", "channel": "work", "group": "g",
        "entries": [entry()], "controls": [False], "path": "/", "entry": b"e", "order": 1, "limit": 1,
        "frames": ["a", 1, b"e"], "sockets": [OpenSocket("a", "/", 0, True)], "channels": ["work"],
        "head": True, "told": True, "keys": ["hr1:{p.0}:o:x"], "retries": 0,
        "now_ms": 1, "processed": 1, "sender": process, "description": "{}", "block_seconds": None,
        "observer": "me", "counter": 1, "cursor": 0, "batch": TallyBatch("a", 1, {}), "tally": "a",
        "body": {}, "fingerprint": "a b", "count": 1, "finishes": [(process + "a", 1, False)],
    }  # fmt: skip
    checked = 0
    for name, method in inspect.getmembers(plan, inspect.ismethod):
        parameters = inspect.signature(method).parameters.values()
        if name.startswith("_") or method.__annotations__["return"] not in (
            "RedisCommand",
            "list[RedisCommand]",
        ):
            continue
        given = {one.name: samples[one.name] for one in parameters if one.name in samples}
        if name == "frames_ordered":
            given["frames"] = [("a", 1, b"e")]
        made = method(**given)
        for command in made if isinstance(made, list) else [made]:
            if command.script is not None:
                keys = command.args[3 : 3 + command.args[2]]
                assert keys
                # Those who name other places shall find that word as well.
                tag = "hr1:{p.hosts}:" if name == "hosts" else "hr1:{p.0}:"
                assert all(str(key).startswith(tag) for key in keys), name
                checked += 1
    assert checked >= 20


def test_what_ends_something_works_when_redis_is_out_of_memory(private_redis_server: Any) -> None:
    desk = Desk(private_redis_server.url + "?prefix=oom")
    socket = desk.process + "a"
    desk.do(desk.plan.connect(socket, "/", entry(0)))
    desk.client.config_set("maxmemory", "1")
    with pytest.raises(redis.OutOfMemoryError):
        desk.do(desk.plan.send("work", [entry()]))
    with pytest.raises(redis.OutOfMemoryError):
        desk.do(desk.plan.push_spare(desk.process, [entry()], [False]))
    with pytest.raises(redis.OutOfMemoryError):
        desk.do(desk.plan.group_add("g", desk.process))
    assert desk.do(desk.plan.disconnect(socket, 1, entry(1, 0))) is BOXED
    assert desk.do(desk.plan.finish(socket, 0, "0")) is SENT
    assert desk.do(desk.plan.push(desk.process, [entry()], [False])) == [SENT]
    assert desk.do(desk.plan.group_read("g")) == ([], [])
    assert desk.do(desk.plan.group_reassert("g", desk.process)) == [1, 1]
    assert desk.do(desk.plan.beat(desk.process)).status == ALIVE
    harmless = [
        *desk.plan.register(desk.process, "{}"),
        *desk.plan.keep(desk.process),
        desk.plan.announce(["work"]),
        desk.plan.back_plain("work", "0", [entry()], head=True),
        desk.plan.back_plain("work", "0", [entry()], head=False),
        desk.plan.group_leave_plain("g", "x"),
        *desk.plan.withdraw(desk.process),
    ]
    for command in harmless:
        desk.do(command)
    desk.client.close()


def test_what_a_process_has_counted_is_added_once_however_often_it_is_said(desk: Desk) -> None:
    first = TallyBatch("one", 1, {"work|taken": 3, "work|done": 2})
    assert desk.do(desk.plan.add_up(first)) is SENT
    assert desk.do(desk.plan.add_up(first)) is FULL
    assert desk.do(desk.plan.add_up(TallyBatch("other", 1, {"work|taken": 4}))) is SENT
    assert desk.do(desk.plan.add_up(TallyBatch("one", 2, {"work|taken": -1}))) is SENT
    found = desk.do(desk.plan.statistics("work")[0])
    assert (found["taken"], found["done"]) == (6, 2)
    for tally in ("one", "other"):
        desk.do(desk.plan.forget_tally(tally))
    assert not {key for key in desk.own_keys() if b":tally:" in key}

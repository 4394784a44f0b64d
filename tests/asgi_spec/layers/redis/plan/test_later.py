"""The plan's calls about what becomes due, carried out one by one on a real server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis

from headrace_asgi.contract import Outcome
from headrace_asgi.envelope import encode, pack_message
from headrace_asgi.later import DUE_CHANNEL, Due
from headrace_asgi.layers.redis.plan.command import RedisCommand
from headrace_asgi.layers.redis.plan.later import MOVED_AT_ONCE
from headrace_asgi.layers.redis.plan.places import Places
from headrace_asgi.layers.redis.plan.plan import Plan
from headrace_asgi.limits import Capacities
from headrace_asgi.names import new_process_queue

NOW, HOUR = Due(0, from_now=True), Due(3_600_000, from_now=True)
ENTRY = encode(pack_message({"n": 1}))


class Desk:
    def __init__(self, url: str) -> None:
        url, _, query = url.partition("?prefix=")
        self.client = redis.Redis.from_url(url, protocol=2)
        self.plan = Plan(Places([url], query), Capacities(2), 60, 86_400)

    def do(self, command: RedisCommand) -> Any:
        return command.read(self.client.execute_command(*command.whole().args))

    def keep(self, name: str, channel: str = "work", due: Due = NOW) -> Outcome:
        outcome: Outcome = self.do(self.plan.later.keep(f"0.{name}", channel, ENTRY, due))
        return outcome

    def peek(self) -> Any:
        return self.do(self.plan.later.peek("0"))

    def move_all(self) -> int:
        moved: int = self.do(self.plan.later.move("0", self.peek().due))
        return moved

    def there(self, channel: str) -> list[Any]:
        found = self.do(self.plan.take("0", [channel], 100, None))
        return list(found[1]) if found else []

    def key(self, kind: str, name: str = "") -> str:
        return self.plan.key("0", kind, name)


@pytest.fixture
def desk(any_redis_url: str) -> Iterator[Desk]:
    desk = Desk(any_redis_url)
    yield desk
    desk.client.close()


def test_what_is_due_is_seen_with_its_queue_and_moved_once(desk: Desk) -> None:
    assert desk.keep("a") is Outcome.SENT
    assert desk.keep("b", "client!x") is Outcome.SENT
    assert desk.keep("c", due=HOUR) is Outcome.SENT
    next_ms, due = desk.peek()
    assert 3_590_000 < next_ms <= 3_600_000
    assert due == [("d0.a", "work"), ("d0.b", "client!")]
    command = desk.plan.later.move("0", due)
    assert [desk.do(command), desk.do(command)] == [2, 0]
    assert (desk.there("work"), desk.there("client!")) == ([ENTRY], [ENTRY])
    assert desk.peek().due == []


def test_what_is_not_due_any_more_when_it_is_to_be_moved_stays(desk: Desk) -> None:
    desk.keep("a", due=HOUR)
    assert desk.do(desk.plan.later.move("0", [("d0.a", "work")])) == 0
    assert desk.there("work") == []


def test_nothing_at_all_is_known_of_an_empty_place(desk: Desk) -> None:
    assert desk.peek() == (None, [])


def test_an_id_that_is_known_is_not_kept_twice(desk: Desk) -> None:
    assert [desk.keep("a"), desk.keep("a")] == [Outcome.SENT, Outcome.DUPLICATE]


def test_a_bell_is_rung_for_what_is_first_and_only_one(desk: Desk) -> None:
    desk.keep("a", due=HOUR)
    assert len(desk.there(DUE_CHANNEL)) == 1
    desk.keep("b", due=Due(7_200_000, from_now=True))
    assert desk.there(DUE_CHANNEL) == []
    desk.keep("c")
    desk.keep("d", due=Due(0, from_now=False))
    assert len(desk.there(DUE_CHANNEL)) == 1


def test_a_time_is_that_of_redis(desk: Desk) -> None:
    seconds, _ = desk.client.time()
    desk.keep("a", due=Due((seconds + 100) * 1000, from_now=False))
    assert 98_000 < desk.peek().next_ms <= 100_000


def test_a_full_channel_gets_it_a_second_later_and_that_is_counted(desk: Desk) -> None:
    desk.do(desk.plan.send("work", [ENTRY, ENTRY]))
    desk.keep("a")
    desk.move_all()
    assert 900 < desk.peek().next_ms <= 1000
    assert desk.client.hget(desk.key("n"), "work|postponed") == b"1"
    assert len(desk.there("work")) == 2


def test_what_is_for_a_process_that_is_gone_is_dropped(desk: Desk) -> None:
    gone, alive = new_process_queue("0"), new_process_queue("0")
    for command in desk.plan.register(alive, "{}"):
        desk.do(command)
    for name, process in (("a", gone), ("b", alive)):
        desk.keep(name, process + "x")
    assert desk.move_all() == 2
    assert desk.client.exists(desk.key("q", gone)) == 0
    assert desk.client.llen(desk.key("q", alive)) == 1
    assert desk.client.hget(desk.key("up", alive), "pushed") == b"1"
    assert desk.client.exists(desk.key("body"), desk.key("due")) == 0


def test_a_list_with_one_reader_goes_if_nobody_reads_it_and_a_shared_one_is_counted(desk: Desk) -> None:
    desk.keep("a", "single?x")
    desk.keep("b", "work")
    desk.move_all()
    assert 0 < desk.client.ttl(desk.key("c", "single?x")) <= 90
    assert desk.client.ttl(desk.key("c", "work")) == -1
    assert desk.client.hgetall(desk.key("n")) == {b"work|sent": b"1"}


def test_what_was_taken_back_is_gone_and_later_it_is_too_late(desk: Desk) -> None:
    for name in ("a", "b"):
        desk.keep(name)
    assert desk.do(desk.plan.later.cancel("0.a")) is True
    desk.move_all()
    assert desk.do(desk.plan.later.cancel("0.b")) is False
    assert len(desk.there("work")) == 1


def test_an_id_of_another_layer_is_refused_before_anything_is_asked(desk: Desk) -> None:
    for wrong in ("7.abc", "abc", ""):
        with pytest.raises(ValueError, match="no id"):
            desk.plan.later.cancel(wrong)


def test_what_has_lost_its_message_is_forgotten(desk: Desk) -> None:
    desk.client.zadd(desk.key("due"), {"d0.x": 1, "a0.y": 1, "rubbish": 1})
    desk.keep("a")
    assert desk.peek().due[:3] == [("a0.y", ""), ("d0.x", ""), ("rubbish", "")]
    assert desk.move_all() == 4
    assert desk.client.zcard(desk.key("due")) == 0
    assert len(desk.there("work")) == 1


def test_a_look_shows_so_many_at_once(desk: Desk) -> None:
    for number in range(MOVED_AT_ONCE + 5):
        desk.keep(str(number), f"work{number}")
    assert desk.move_all() == MOVED_AT_ONCE
    assert desk.move_all() == 5


def test_what_is_postponed_is_due_at_that_time_and_nothing_new_appears(desk: Desk) -> None:
    desk.keep("a")
    seconds, _ = desk.client.time()
    desk.do(desk.plan.later.postpone("0", ["d0.a", "d0.gone"], (seconds + 30) * 1000))
    assert desk.client.zcard(desk.key("due")) == 1
    assert 28_000 < desk.peek().next_ms <= 30_000

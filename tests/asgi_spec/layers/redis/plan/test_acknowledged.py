"""The plan's calls about acknowledged channels, carried out one by one on a real server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis

from headrace_asgi.acknowledgement import EXPIRED_REASON, LAPSED_REASON, AcknowledgedChannels, Claim
from headrace_asgi.contract import Outcome
from headrace_asgi.envelope import encode, pack_message
from headrace_asgi.later import Due
from headrace_asgi.layers.redis.plan.acknowledged import entry_of
from headrace_asgi.layers.redis.plan.command import RedisCommand
from headrace_asgi.layers.redis.plan.places import Places
from headrace_asgi.layers.redis.plan.plan import Plan
from headrace_asgi.limits import Capacities

ENTRY = encode(pack_message({"n": 1}))
SENT, FULL, STALE = Outcome.SENT, Outcome.FULL, Outcome.STALE


class Desk:
    def __init__(self, url: str) -> None:
        url, _, query = url.partition("?prefix=")
        self.client = redis.Redis.from_url(url, protocol=2)
        kept = AcknowledgedChannels(["work"])
        self.plan = Plan(Places([url], query), Capacities(3), 60, 86_400, acknowledged=kept, attempts=2)
        self.part = self.plan.acknowledged

    def do(self, command: RedisCommand) -> Any:
        return command.read(self.client.execute_command(*command.whole().args))

    def send(self, *names: str) -> Any:
        return self.do(self.part.send("0", "work", [ENTRY] * len(names), [f"0.{name}" for name in names]))

    def claim(self, count: int = 1) -> list[Claim]:
        return [claim for claim, _ in self.do(self.part.claim("0", "work", count))]

    def finish(self, claim: Claim) -> Any:
        return self.do(self.part.finish("0", "work", claim))

    def fail(self, claim: Claim) -> Any:
        return self.do(self.part.fail("0", "work", claim, "why"))

    def lapse(self) -> None:
        """All pauses and leases end, and a mover comes."""
        due = self.key("due")
        for member in self.client.zrange(due, 0, -1):
            self.client.zadd(due, {member: 1})
        self.do(self.plan.later.move("0", self.do(self.plan.later.peek("0")).due))

    def bells(self) -> int:
        return int(self.client.llen(self.key("c", "work")))

    def dead(self) -> list[str]:
        return list(self.do(self.part.dead_ids("0", "work", 0)))

    def key(self, kind: str, name: str = "") -> str:
        return self.plan.key("0", kind, name)


@pytest.fixture
def desk(any_redis_url: str) -> Iterator[Desk]:
    desk = Desk(any_redis_url)
    yield desk
    desk.client.close()


def test_a_send_puts_a_message_and_a_bell_and_says_what_does_not_fit(desk: Desk) -> None:
    assert desk.send("a", "b") == [SENT, SENT]
    assert desk.send("c", "d") == [SENT, FULL]
    assert desk.bells() == 3
    assert desk.client.hgetall(desk.key("n")) == {b"work|sent": b"3", b"work|shed": b"1"}


def test_the_ordinary_send_of_the_plan_goes_that_way_for_an_acknowledged_channel(desk: Desk) -> None:
    command = desk.plan.send("work", [ENTRY])
    assert command.repeat
    assert desk.do(command) == desk.do(command) == [SENT]
    assert len(desk.claim(5)) == 1
    assert desk.do(desk.plan.send("other", [ENTRY])) == [SENT]
    assert desk.client.llen(desk.key("c", "other")) == 1


def test_a_repeated_send_is_there_once_while_it_waits_runs_and_when_it_was_done(desk: Desk) -> None:
    desk.send("a")
    assert desk.send("a") == [SENT]
    [claim] = desk.claim(5)
    assert desk.send("a") == [SENT]
    assert desk.claim(5) == []
    desk.finish(claim)
    assert desk.send("a", "b") == [SENT, SENT]
    assert [one.id for one in desk.claim(5)] == ["0.b"]


def test_a_claim_brings_the_entry_and_the_number_of_its_try(desk: Desk) -> None:
    desk.send("a", "b", "c")
    claimed = desk.do(desk.part.claim("0", "work", 2))
    assert claimed == [(Claim("0.a", 1), ENTRY), (Claim("0.b", 1), ENTRY)]


def test_a_finish_leaves_nothing_but_the_mark_of_it(desk: Desk) -> None:
    desk.send("a")
    [claim] = desk.claim()
    assert [desk.finish(claim), desk.finish(claim)] == [SENT, STALE]
    left = desk.client.exists(*(desk.key(kind) for kind in ("due", "body", "tries", "why")))
    assert left == 0
    assert 0 < desk.client.ttl(desk.part.fin_key("0", "0.a")) <= 120


def test_what_lapsed_belongs_to_the_next_who_claims_it(desk: Desk) -> None:
    desk.send("a")
    [first] = desk.claim()
    desk.lapse()
    assert desk.do(desk.part.renew("0", first)) is STALE
    [second] = desk.claim()
    assert second.attempt == 2
    for late in (desk.finish, desk.fail):
        assert late(first) is STALE
    assert desk.do(desk.part.release("0", "work", first)) is STALE
    assert desk.do(desk.part.renew("0", second)) is SENT
    assert desk.finish(second) is SENT


def test_a_message_that_failed_waits_and_is_laid_aside_after_its_last_try(desk: Desk) -> None:
    desk.send("a")
    [first] = desk.claim()
    assert desk.fail(first) is SENT
    assert desk.claim() == []
    next_ms = desk.do(desk.plan.later.peek("0")).next_ms
    assert 0 < next_ms <= 250
    desk.lapse()
    [second] = desk.claim()
    assert desk.fail(second) is SENT
    assert desk.dead() == ["0.a"]
    [values, tries, why] = [desk.do(one) for one in desk.part.dead_details("0", ["0.a"])]
    assert ([entry_of(one) for one in values], tries, why) == ([ENTRY], [b"2"], [b"why"])


def test_a_message_whose_leases_lapse_again_and_again_is_laid_aside_with_a_reason(desk: Desk) -> None:
    desk.send("a")
    for _ in range(2):
        assert len(desk.claim()) == 1
        desk.lapse()
    assert desk.dead() == ["0.a"]
    assert desk.client.hget(desk.key("why"), "0.a") == LAPSED_REASON.encode()


def test_what_goes_back_is_first_again_with_a_bell_and_that_was_no_try(desk: Desk) -> None:
    desk.send("a", "b")
    [claim] = desk.claim()
    bells = desk.bells()
    assert desk.do(desk.part.release("0", "work", claim)) is SENT
    assert desk.bells() == bells + 1
    assert [(one.id, one.attempt) for one in desk.claim(2)] == [("0.a", 1), ("0.b", 1)]


def test_who_gave_back_or_saw_the_last_try_holds_nothing_of_what_is_claimed_again(desk: Desk) -> None:
    desk.send("a")
    [given_back] = desk.claim()
    desk.do(desk.part.release("0", "work", given_back))
    [second] = desk.claim()
    desk.fail(second)
    desk.lapse()
    [last] = desk.claim()
    desk.fail(last)
    assert (second.attempt, last.attempt, desk.dead()) == (1, 2, ["0.a"])
    desk.do(desk.part.replay("0", "work", ["0.a"]))
    [replayed] = desk.claim()
    assert replayed.attempt == 1
    for late in (given_back, second, last):
        assert desk.do(desk.part.renew("0", late)) is STALE
        assert desk.do(desk.part.release("0", "work", late)) is STALE
    assert desk.finish(replayed) is SENT


def test_one_that_expired_is_laid_aside_unless_it_was_tried_or_replayed(desk: Desk) -> None:
    old = encode(pack_message({"n": "old"}), 1)
    desk.do(desk.part.send("0", "work", [old, ENTRY], ["0.old", "0.new"]))
    assert [one.id for one in desk.claim(5)] == ["0.new"]
    assert desk.dead() == ["0.old"]
    assert desk.client.hget(desk.key("why"), "0.old") == EXPIRED_REASON.encode()
    assert desk.client.hget(desk.key("n"), "work|expired") == b"1"
    assert desk.do(desk.part.replay("0", "work", ["0.old", "0.none"])) == 1
    [claim] = desk.claim(5)
    assert (claim.id, claim.attempt) == ("0.old", 1)
    desk.do(desk.part.release("0", "work", claim))
    assert [one.id for one in desk.claim(5)] == ["0.old"]


def test_dropped_letters_leave_nothing(desk: Desk) -> None:
    desk.do(desk.part.send("0", "work", [encode(b"", 1)], ["0.old"]))
    desk.claim()
    assert desk.do(desk.part.drop("0", "work", ["0.old", "0.none"])) == 1
    assert desk.client.exists(*(desk.key(kind) for kind in ("body", "tries", "why"))) == 0
    assert desk.dead() == []


def test_missing_bells_are_rung_where_something_waits_and_there_is_none(desk: Desk) -> None:
    ring = desk.part.ring("0", ["work", "idle"])
    assert desk.do(ring) == 0
    desk.send("a", "b")
    assert desk.do(ring) == 0
    desk.client.delete(desk.key("c", "work"))
    assert [desk.do(ring), desk.do(ring)] == [1, 0]
    assert desk.bells() == 2
    movers = desk.part.ring("0", [], movers=True)
    assert [desk.do(movers), desk.do(movers)] == [0, 0]
    assert desk.client.llen(desk.key("c", "headrace.due")) == 1


def test_whoever_ends_a_try_sees_that_others_hear_of_what_waits(desk: Desk) -> None:
    desk.send("a", "b", "c")
    for end in (desk.finish, desk.fail):
        [claim] = desk.claim()
        desk.client.delete(desk.key("c", "work"))
        end(claim)
        assert desk.bells() == 1, end


def test_one_for_later_begins_its_first_try_when_it_is_due(desk: Desk) -> None:
    keep = desk.plan.later.keep("0.a", "work", ENTRY, Due(0, from_now=True))
    assert [desk.do(keep), desk.do(keep)] == [SENT, Outcome.DUPLICATE]
    desk.lapse()
    [claim] = desk.claim()
    assert claim == Claim("0.a", 1)
    assert desk.do(desk.plan.later.cancel("0.a")) is False
    desk.finish(claim)
    assert desk.do(keep) is Outcome.DUPLICATE


def test_one_for_later_waits_for_room_and_one_that_is_tried_again_does_not(desk: Desk) -> None:
    desk.do(desk.plan.later.keep("0.late", "work", ENTRY, Due(0, from_now=True)))
    desk.send("a", "b", "c")
    desk.lapse()
    assert desk.client.llen(desk.key("r", "work")) == 3
    assert desk.do(desk.plan.statistics("work")[0])["postponed"] == 1
    (claim,) = desk.claim()
    desk.send("d")
    desk.fail(claim)
    desk.lapse()
    assert desk.client.llen(desk.key("r", "work")) == 4


def test_what_something_else_wrote_among_the_ids_is_passed_over(desk: Desk) -> None:
    desk.client.hset(desk.key("body"), mapping={"0.short": "work x", "0.blank": "y" * 50})
    desk.send("a")
    desk.client.lpush(desk.key("r", "work"), "rubbish", "0.short", "0.blank")
    assert [one.id for one in desk.claim(5)] == ["0.a"]

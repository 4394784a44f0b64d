"""Slots move, and a master dies, under a numbered load: what is lost, done twice, and how long that is."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from headrace_asgi.layers.redis.plan.buckets import bucket_names, key_slot
from headrace_asgi.layers.redis.plan.places import key_start
from tests.faults.load import running
from tests.support.redis_cluster import Node, RedisCluster
from tests.support.services import valkey_binary
from tests.support.stack import Stack, eventually

#: Shorter than shipped, so that what is lost shows within the test.
OPTIONS = ("--queue-timeout", "5", "--http-timeout", "5", "--layer-timeout", "10")
WARM_SECONDS = 1.5
#: Seconds of load behind the moment when it is over: service must be back well within.
AFTER_SECONDS = 4.0
BACK_WITHIN_SECONDS = 5.0
BUCKETS = 4


def slots() -> list[int]:
    """Those of the layer's buckets."""
    return [key_slot(key_start("", name)) for name in bucket_names("", BUCKETS)]


def another(cluster: RedisCluster, node: Node) -> Node:
    return next(one for one in cluster.masters if one is not node)


def move_one(cluster: RedisCluster, closed_seconds: float = 0.0) -> None:
    slot = slots()[0]
    cluster.move(slot, another(cluster, cluster.owner(slot)), closed_seconds)


def move_all(cluster: RedisCluster) -> None:
    for slot in slots():
        cluster.move(slot, another(cluster, cluster.owner(slot)))
        time.sleep(0.2)


def move_slowly(cluster: RedisCluster) -> None:
    move_one(cluster, 2.0)


@dataclass(frozen=True)
class Move:
    """What is moved."""

    name: str
    do: Callable[[RedisCluster], None]


MOVES = [
    Move("a slot moves in milliseconds", move_one),
    Move("each slot moves, one after the other", move_all),
    Move("a slot is on its way for two seconds", move_slowly),
]


@pytest.mark.parametrize("move", MOVES, ids=lambda move: move.name.replace(" ", "_"))
def test_slots_move_and_nothing_is_lost_or_done_twice(
    move: Move, private_redis_cluster: RedisCluster, tmp_path: Path, report: Callable[[str], None]
) -> None:
    marks = tmp_path / "marks"
    marks.touch()
    with Stack.over("", {"hosts": [private_redis_cluster.url]}) as stack:
        stack.env["JOURNEY_MARKS"] = str(marks)
        stack.interface(*OPTIONS)
        stack.worker(processes=2)
        with running(stack.port, stack.config) as load:
            time.sleep(WARM_SECONDS)
            begun = time.monotonic()
            move.do(private_redis_cluster)
            ended = time.monotonic()
            time.sleep(AFTER_SECONDS)
        account = load.account
        account.read_marks(marks.read_text().splitlines())
        back = load.back_after(ended)
        report(f"{account.table()}\nmoved in {ended - begun:.2f} s, service back {back:.2f} s behind it")
        statuses = {process.name: process.end() for process in stack.processes}

    assert account.closed == []
    assert account.broken == []
    assert account.run_twice == []
    assert account.inversions == []
    assert account.losses == []
    assert back <= BACK_WITHIN_SECONDS
    assert set(statuses.values()) == {0}


def test_a_master_that_dies_is_replaced_and_costs_only_what_was_on_its_way(
    tmp_path: Path, report: Callable[[str], None]
) -> None:
    marks = tmp_path / "marks"
    marks.touch()
    with (
        RedisCluster(valkey_binary(), replicas=1) as cluster,
        Stack.over("", {"hosts": [cluster.url]}) as stack,
    ):
        stack.env["JOURNEY_MARKS"] = str(marks)
        stack.interface(*OPTIONS)
        stack.worker(processes=2)
        died, (replica,) = cluster.masters[0], cluster.replicas
        theirs = [slot for slot in slots() if cluster.owner(slot) is died]
        assert 0 < len(theirs) < BUCKETS
        with running(stack.port, stack.config) as load:
            time.sleep(WARM_SECONDS)
            begun = time.monotonic()
            died.kill()
            eventually(lambda: all(cluster.owner(slot) is replica for slot in theirs), 15)
            ended = time.monotonic()
            time.sleep(AFTER_SECONDS)
        account = load.account
        account.read_marks(marks.read_text().splitlines())
        back = load.back_after(ended)
        report(f"{account.table()}\nreplaced in {ended - begun:.2f} s, service back {back:.2f} s behind it")
        statuses = {process.name: process.end() for process in stack.processes}

    assert account.broken == []
    assert back <= BACK_WITHIN_SECONDS
    # What replication had not brought over, and what was taken from it: a moment of its share.
    assert len(account.losses) + len(account.run_twice) <= 60
    assert [line for line in account.closed if line.split()[1] not in account.standing_still] == []
    assert set(statuses.values()) == {0}

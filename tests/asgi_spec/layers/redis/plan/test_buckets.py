"""Buckets of a Cluster: names whose slots are where they should be."""

from __future__ import annotations

import pytest

from headrace_asgi.layers.redis.cluster_url import MOST_BUCKETS
from headrace_asgi.layers.redis.plan.buckets import SLOTS, bucket_names, key_slot
from headrace_asgi.layers.redis.plan.places import Places, key_start
from tests.support.redis_cluster import RedisCluster

PREFIXES = ["", "shop", "a-prefix.that:is_longer", *(f"t{number}" for number in range(20))]


def slots(prefix: str, count: int) -> list[int]:
    return [key_slot(key_start(prefix, name)) for name in bucket_names(prefix, count)]


@pytest.mark.parametrize(
    "key",
    ["key", "hr1:{0063}:procs", "hr1:{shop.0063}:c:http.request", "{}x", "a{b", "a{b}{c}", "{b}", "ü{ä}"],
)
def test_the_slot_is_the_one_that_a_cluster_says(redis_cluster: RedisCluster, key: str) -> None:
    assert redis_cluster.masters[0].client.execute_command("CLUSTER", "KEYSLOT", key) == key_slot(key)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_slots_are_spread_evenly_whatever_the_prefix_and_the_number(prefix: str) -> None:
    for count in range(1, MOST_BUCKETS + 1):
        found = slots(prefix, count)
        for number, slot in enumerate(found):
            assert 0 <= slot - number * SLOTS // count < 256


@pytest.mark.parametrize("prefix", PREFIXES)
def test_nodes_with_equal_shares_have_equally_many_buckets_within_one(prefix: str) -> None:
    for nodes in range(1, 9):
        for count in range(nodes, MOST_BUCKETS + 1):
            # `redis-cli --cluster create` rounds to the nearest, others down.
            for rounded in (int, round):
                ends = [rounded(SLOTS * (node + 1) / nodes) for node in range(nodes)]
                at = [sum(slot >= end for end in ends) for slot in slots(prefix, count)]
                shares = [at.count(node) for node in range(nodes)]
                assert max(shares) - min(shares) <= 1, (nodes, count, shares)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_the_first_bucket_is_the_same_for_every_number_so_that_all_meet_there(prefix: str) -> None:
    names = {bucket_names(prefix, count)[0] for count in range(1, MOST_BUCKETS + 1)}
    assert len(names) == 1


def test_names_of_buckets_do_not_change_as_processes_of_two_versions_share_them() -> None:
    assert bucket_names("", 4) == ("0063", "000a", "000f", "0064")
    assert key_start("", "0063") == "hr1:{0063}:"
    assert key_start("shop", "0063") == Places([""], "shop").tag("0063") == "hr1:{shop.0063}:"

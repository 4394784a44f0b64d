"""ShardMap: where channels lie when a layer has several places."""

from __future__ import annotations

from collections import Counter

import pytest

from headrace_asgi.errors import ConfigurationError
from headrace_asgi.layers.redis.plan.shard_map import ShardMap
from headrace_asgi.names import new_process_queue, new_single_reader

HOSTS = [f"redis://10.0.0.{number}:6379/0" for number in range(1, 5)]
NAMES = [f"chat.{number}!" for number in range(4000)]


def test_the_order_of_the_hosts_changes_nothing() -> None:
    one, other = ShardMap(HOSTS), ShardMap(reversed(HOSTS))
    assert (one.labels, one.fingerprint) == (other.labels, other.fingerprint)
    assert [one.of(name) for name in NAMES] == [other.of(name) for name in NAMES]


def test_every_place_has_about_as_much() -> None:
    counts = Counter(map(ShardMap(HOSTS).of, NAMES))
    assert len(counts) == 4
    assert all(800 < count < 1200 for count in counts.values()), counts


def test_a_further_host_takes_its_share_and_moves_nothing_else() -> None:
    before, after = ShardMap(HOSTS[:3]), ShardMap(HOSTS)
    (new,) = set(after.places) - set(before.places)
    moved = {after.of(name) for name in NAMES if before.of(name) != after.of(name)}
    assert moved == {new}
    assert 800 < sum(after.of(name) == new for name in NAMES) < 1200


def test_a_name_that_says_its_place_lies_there() -> None:
    where = ShardMap(HOSTS)
    for place in where.places:
        queue = new_process_queue(place)
        assert {where.of(queue), where.of(queue + "client")} == {place}
        assert where.of(new_single_reader("http.request.body?", place)) == place


def test_a_name_that_says_a_place_of_another_map_lies_somewhere() -> None:
    where = ShardMap(HOSTS)
    assert where.of(new_process_queue("0")) in where.places
    assert where.of("body?elsewhere.5f") in where.places


def test_what_stands_behind_the_mark_of_a_foreign_process_changes_nothing() -> None:
    where = ShardMap(HOSTS)
    assert len({where.of(f"daphne.response.x!{client}") for client in range(50)}) == 1


def test_only_shared_channels_are_spread() -> None:
    where = ShardMap(HOSTS)
    assert where.is_spread("http.request")
    assert not any(map(where.is_spread, ("body?x", "queue!", "queue!client")))


def test_a_host_that_comes_twice_is_an_error() -> None:
    with pytest.raises(
        ConfigurationError, match=r"hosts must name each Redis once, not twice redis://10\.0\.0\.1"
    ):
        ShardMap([*HOSTS, HOSTS[0]])

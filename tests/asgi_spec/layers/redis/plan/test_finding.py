"""Which search an address needs, and when a server is left for another one."""

from __future__ import annotations

import pytest

from headrace_asgi.layers.redis.address import ServerAddress, at_bucket, parse_address
from headrace_asgi.layers.redis.plan.cluster import SlotSearch
from headrace_asgi.layers.redis.plan.finding import left_server, search_of
from headrace_asgi.layers.redis.plan.sentinel import PrimarySearch


def test_each_address_has_the_search_for_it() -> None:
    primary = search_of(parse_address("redis+sentinel://a,b/main"), 1)
    assert isinstance(primary, PrimarySearch)
    assert (primary.next(), primary.look_seconds) == (1, 1.0)
    bucket = search_of(at_bucket(parse_address("redis+cluster://a,b,c"), "0063", "hr1:{0063}:"), 2)
    assert isinstance(bucket, SlotSearch)
    assert (bucket.next(), bucket.look_seconds) == (2, 5.0)
    with pytest.raises(ValueError, match="is where it is"):
        search_of(ServerAddress("a"), 0)


def test_a_primary_is_left_when_sentinels_name_another_server() -> None:
    here = ServerAddress("a", 1, primary_of="main")
    assert left_server(here, ServerAddress("a", 1, primary_of="main")) is None
    for now in (ServerAddress("a", 2, primary_of="main"), ServerAddress("b", 1, primary_of="main")):
        assert str(left_server(here, now)) == (
            f"Redis failed over from redis://a:1/0 (primary of 'main') to {now.label}"
        )


def test_a_node_is_left_when_another_one_has_the_slot() -> None:
    bucket = at_bucket(parse_address("redis+cluster://a"), "0063", "hr1:{0063}:").bucket
    here, now = ServerAddress("a", 1, bucket=bucket), ServerAddress("b", 1, bucket=bucket)
    assert left_server(here, here) is None
    assert str(left_server(here, now)) == (
        "the slot of a bucket moved from redis://a:1/0 (bucket 0063) to redis://b:1/0 (bucket 0063)"
    )

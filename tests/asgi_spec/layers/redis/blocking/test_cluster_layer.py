"""A layer over a real Redis Cluster of three masters: the whole contract, and what its options say."""

from __future__ import annotations

import unittest
from typing import Any

import pytest

from headrace_asgi import RedisChannelLayer, RedisClusterChannelLayer
from headrace_asgi.conformance.layer import ChannelLayerConformance
from headrace_asgi.conformance.worker_port import WorkerPortConformance
from headrace_asgi.errors import ConfigurationError
from headrace_asgi.layers.redis.plan.buckets import key_slot
from tests.support.conformance import OnCluster
from tests.support.ports import free_port
from tests.support.redis_cluster import RedisCluster
from tests.support.redis_process import OverShards
from tests.support.services import RedisServer


class TestTheContract(OnCluster, ChannelLayerConformance, unittest.TestCase):
    expiry_delay = 1.1
    capacity_limit = 20
    keeps_order = False
    several_processes = True

    def setUp(self) -> None:
        self.channel_layer = RedisChannelLayer([self.url], expiry=1, group_expiry=1, capacity=20)
        self.addCleanup(self.channel_layer.close)
        super().setUp()


class TestTheContractOfPorts(OnCluster, OverShards, WorkerPortConformance, unittest.TestCase):
    acknowledged_channel = "test.acknowledged"
    expiry_delay = 1.1
    capacity_limit = 20
    keeps_order = False
    several_processes = True

    def setUp(self) -> None:
        self.layer = self.channel_layer = RedisChannelLayer(
            [self.url],
            expiry=1,
            capacity=20,
            acknowledged=["test.acknow*"],
            acknowledged_attempts=self.attempts,
        )
        self.addCleanup(self.layer.close)
        super().setUp()


def hosts(cluster: RedisCluster) -> list[tuple[str, int]]:
    return [("127.0.0.1", one.port) for one in cluster.masters]


def test_the_buckets_lie_at_all_nodes(redis_cluster: RedisCluster) -> None:
    layer = RedisClusterChannelLayer(hosts(redis_cluster), prefix="spread")
    owners = {redis_cluster.owner(key_slot(shard.places.tag(shard.place))) for shard in layer.shards.values()}
    assert owners == set(redis_cluster.masters)
    layer.close()


@pytest.mark.parametrize("buckets", [1, 2, 7])
def test_messages_come_through_whatever_the_number_of_buckets(
    redis_cluster: RedisCluster, buckets: int
) -> None:
    layer = RedisClusterChannelLayer(hosts(redis_cluster), buckets, prefix=f"count{buckets}")
    layer.ensure_usable()
    for number in range(20):
        layer.send("test", {"number": number})
    found: list[Any] = []
    while received := layer.receive_many(["test"], 20, 0.5):
        found += [message["number"] for _, message in received]
    assert sorted(found) == list(range(20))
    assert len(layer.shards) == buckets
    layer.close()


def test_one_node_that_answers_is_enough(redis_cluster: RedisCluster) -> None:
    layer = RedisClusterChannelLayer([("127.0.0.1", free_port()), hosts(redis_cluster)[1]], prefix="one")
    layer.send("test", {"text": "there"})
    assert layer.receive_many(["test"], 1, 1) == [("test", {"text": "there"})]
    layer.close()


def test_processes_with_other_numbers_of_buckets_do_not_start(redis_cluster: RedisCluster) -> None:
    for other in (1, 2, 32):
        four = RedisClusterChannelLayer(hosts(redis_cluster), prefix=f"differ{other}")
        four.ensure_usable()
        layer = RedisClusterChannelLayer(hosts(redis_cluster)[:1], other, prefix=f"differ{other}")
        with pytest.raises(ConfigurationError, match=f"buckets differ .* here {other} .*where 4 buckets"):
            layer.ensure_usable()
        layer.close()
        four.close()


def test_processes_may_name_other_nodes(redis_cluster: RedisCluster) -> None:
    layers = [RedisClusterChannelLayer([node], prefix="nodes") for node in hosts(redis_cluster)]
    for layer in layers:
        layer.ensure_usable()
    layers[0].group_add("room", "someone")
    assert [layer.group_channels("room") for layer in layers] == [["someone"]] * 3
    for layer in layers:
        layer.close()


def test_a_redis_in_no_cluster_is_named(redis_server: RedisServer) -> None:
    layer = RedisClusterChannelLayer([("127.0.0.1", redis_server.port)])
    with pytest.raises(
        ConfigurationError, match=r"is in no Cluster .* name it in hosts or --layer as redis:"
    ):
        layer.ensure_usable()
    layer.close()

"""A Redis Cluster, in both tiers: a slot that moves closes its place, and nothing said meanwhile is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from headrace_asgi import RedisChannelLayer
from headrace_asgi.conformance.receiver import Recorder
from headrace_asgi.contract import Outcome
from headrace_asgi.errors import ConfigurationError
from headrace_asgi.layers.redis.plan.buckets import key_slot
from headrace_asgi.layers.redis.plan.cluster import CLUSTER_ACL
from headrace_asgi.layers.redis.plan.outcomes import ACL
from tests.support.reactors import HandReactor, hand_reactor
from tests.support.redis_cluster import RedisCluster


@pytest.fixture
def reactor() -> Iterator[HandReactor]:
    with hand_reactor() as reactor:
        yield reactor


def meanwhile(reactor: HandReactor, act: Callable[[], object]) -> None:
    """Do something that blocks while the reactor turns."""
    thread = threading.Thread(target=act)
    thread.start()
    reactor.until(lambda: not thread.is_alive(), 20)


def is_back(receiver: Recorder) -> bool:
    """Whether the layer was away and is there; a try in between may have found it there for a moment."""
    told = [kind for kind, *_ in receiver.heard if kind in ("lost", "back")]
    return "lost" in told and told[-1] == "back"


def test_what_is_said_while_a_slot_moves_is_carried_out_at_its_end_by_both_tiers(
    private_redis_cluster: RedisCluster, reactor: HandReactor
) -> None:
    cluster = private_redis_cluster
    layer = RedisChannelLayer([f"{cluster.url}?buckets=1"])
    port, receiver = layer.open_interface_ports(reactor)[0], Recorder()
    port.start(receiver)
    reactor.until(lambda: receiver.of("back"))
    receiver.sockets["a"] = "/chat"
    outcomes: list[Outcome] = []
    connect = {"reply_channel": f"{port.process}a", "path": "/chat"}
    port.connect("a", "/chat", connect, 60, outcomes.append)
    reactor.until(lambda: outcomes == [Outcome.SENT])
    (shard,) = layer.shards.values()
    slot = key_slot(shard.places.tag(shard.place))
    target = next(one for one in cluster.masters if one is not cluster.owner(slot))

    source = cluster.begin_move(slot, target)
    cluster.move_keys(slot, source, target, 1)
    sending = threading.Thread(target=layer.send, args=("test", {"text": "held"}))
    sending.start()
    outcomes.clear()
    port.frame("a", {"text": "closed"}, 1, False, outcomes.append)
    reactor.until(lambda: receiver.of("lost"))
    assert outcomes == [Outcome.UNAVAILABLE]  # which the interface server holds
    reactor.turn(0.3)
    assert sending.is_alive()
    cluster.move_keys(slot, source, target)
    cluster.end_move(slot, target)
    reactor.until(lambda: is_back(receiver) and not sending.is_alive())

    assert layer.receive_many(["test"], 10, 1) == [("test", {"text": "held"})]
    assert [channel for channel, _ in layer.receive_many(["websocket.connect"], 10, 1)] == [
        "websocket.connect"
    ]
    outcomes.clear()
    port.frame("a", {"text": "open"}, 1, False, outcomes.append)
    reactor.until(lambda: outcomes == [Outcome.SENT])
    assert [message["text"] for _, message in layer.receive_many(["websocket.receive"], 10, 1)] == ["open"]
    meanwhile(reactor, lambda: layer.send(f"{port.process}a", {"text": "reply"}))
    reactor.until(lambda: receiver.heard_by("a") == [{"text": "reply"}])
    assert receiver.of("fenced") == []
    assert cluster.owner(slot) is target
    port.stop(lambda: None, 0)
    reactor.turn(0.05)
    layer.close()


def test_a_user_of_all_nodes_needs_no_more_than_is_documented(
    redis_cluster: RedisCluster, reactor: HandReactor
) -> None:
    for node in redis_cluster.masters:
        rules = ("reset", "on", ">pw", *ACL.split(), CLUSTER_ACL)
        assert node.command("ACL", "SETUSER", "least", *rules) == b"+OK\r\n"
    url = redis_cluster.url.replace("://", "://least:pw@")
    layer = RedisChannelLayer([url], prefix="least")
    layer.ensure_usable()
    layer.send("test", {})
    assert layer.receive_many(["test"], 1, 1) == [("test", {})]
    for port in layer.open_interface_ports(reactor):
        receiver = Recorder()
        port.start(receiver)
        reactor.until(lambda receiver=receiver: receiver.of("back"))
        assert receiver.of("lost") == []
        port.stop(lambda: None, 0)
    reactor.turn(0.05)
    layer.close()
    wrong = RedisChannelLayer([url.replace("pw", "guess")])
    with pytest.raises(ConfigurationError, match=r"no node of .* refused the login .* \(and 2 others say no"):
        wrong.ensure_usable()
    wrong.close()


def test_a_slot_that_no_node_has_is_told_with_what_assigns_it(private_redis_cluster: RedisCluster) -> None:
    layer = RedisChannelLayer([f"{private_redis_cluster.url}?buckets=1"])
    (shard,) = layer.shards.values()
    slot = key_slot(shard.places.tag(shard.place))
    for node in private_redis_cluster.masters:
        node.client.execute_command("CLUSTER", "DELSLOTS", slot)
    with pytest.raises(ConfigurationError, match=f"no node of the Cluster has slot {slot}, says .*assign"):
        layer.ensure_usable()
    layer.close()

"""A real Redis Cluster as children of the test process: loopback only, its slots moved by hand."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from redis import Redis

from headrace_asgi.layers.redis.plan.buckets import SLOTS
from tests.support.ports import free_port
from tests.support.services import RedisServer, StartedInBlock, wait_until

__all__ = ["Node", "RedisCluster"]

#: Milliseconds until a node that says nothing counts as dead.
NODE_TIMEOUT_MS = 1000


class Node(RedisServer):
    """One node."""

    def __init__(self, binary: str, options: Sequence[str] = ()) -> None:
        """Take further command line options."""
        self.bus_port = free_port()
        cluster = ["--cluster-enabled", "yes", "--cluster-port", str(self.bus_port)]
        cluster += ["--cluster-node-timeout", str(NODE_TIMEOUT_MS), "--cluster-require-full-coverage", "no"]
        cluster += ["--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"]
        super().__init__(binary, [*cluster, *options], free_port())

    def start(self) -> Node:
        super().start()
        self.client: Any = Redis(unix_socket_path=self.path)
        return self

    def kill(self) -> None:
        if self.is_running:
            self.client.close()
        super().kill()

    @property
    def id(self) -> str:
        """What the nodes call it."""
        return str(self.client.execute_command("CLUSTER", "MYID").decode())

    @property
    def info(self) -> dict[str, str]:
        """What it knows of the Cluster."""
        told = self.client.execute_command("CLUSTER", "INFO").decode()
        return dict(line.split(":", 1) for line in told.split())


class RedisCluster(StartedInBlock):
    """Masters that share the slots evenly, and perhaps a replica of the first one."""

    def __init__(self, binary: str, masters: int = 3, replicas: int = 0, options: Sequence[str] = ()) -> None:
        """Take further options of all nodes."""
        self.masters = [Node(binary, options) for _ in range(masters)]
        self.replicas = [Node(binary, options) for _ in range(replicas)]
        where = ",".join(f"127.0.0.1:{one.port}" for one in self.masters)
        self.url = f"redis+cluster://{where}/"

    @property
    def nodes(self) -> list[Node]:
        """All of them."""
        return [*self.masters, *self.replicas]

    def start(self) -> RedisCluster:
        """Start all, and wait until every one knows of all slots."""
        first, count = self.masters[0], len(self.masters)
        for node in self.nodes:
            node.start()
        for number, node in enumerate(self.masters):
            last = SLOTS * (number + 1) // count - 1
            node.client.execute_command("CLUSTER", "ADDSLOTSRANGE", SLOTS * number // count, last)
            node.client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node in self.nodes[1:]:
            node.client.execute_command("CLUSTER", "MEET", "127.0.0.1", first.port, first.bus_port)
        wait_until(lambda: all(self._is_whole(node) for node in self.nodes), "the nodes did not meet")
        for node in self.replicas:
            node.client.execute_command("CLUSTER", "REPLICATE", first.id)
            wait_until(lambda node=node: _is_linked(node), "a replica has no link to its master")
        return self

    def _is_whole(self, node: Node) -> bool:
        told = node.info
        known = (told["cluster_state"], told["cluster_slots_assigned"], told["cluster_known_nodes"])
        return known == ("ok", str(SLOTS), str(len(self.nodes)))

    def owner(self, slot: int) -> Node:
        """The master that has a slot, as those that run say."""
        asked = next(one for one in self.nodes if one.is_running)
        found = asked.client.execute_command("CLUSTER", "SLOTS")
        (port,) = [master[1] for low, high, master, *_ in found if low <= slot <= high]
        return next(one for one in self.nodes if one.port == port)

    def begin_move(self, slot: int, to: Node) -> Node:
        """Say that a slot moves; its keys are still where they were. The node that they leave."""
        source = self.owner(slot)
        to.client.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
        source.client.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", to.id)
        return source

    def move_keys(self, slot: int, source: Node, to: Node, at_most: int = 0) -> int:
        """Move so many keys of a slot, 0 for all; how many there were."""
        moved = 0
        while not at_most or moved < at_most:
            wanted = min(100, at_most - moved) if at_most else 100
            keys = source.client.execute_command("CLUSTER", "GETKEYSINSLOT", slot, wanted)
            if not keys:
                break
            words = ("MIGRATE", "127.0.0.1", to.port, "", 0, 5000, "KEYS", *keys)
            source.client.execute_command(*words)
            moved += len(keys)
        return moved

    def end_move(self, slot: int, to: Node) -> None:
        """Say who has a slot now; the new one first, then who had it."""
        target = to.id
        for node in sorted(self.masters, key=lambda one: one is not to):
            if node.is_running:
                node.client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", target)

    def move(self, slot: int, to: Node, closed_seconds: float = 0.0) -> None:
        """Move a slot as `redis-cli --cluster reshard` does; it is on its way for so long at least."""
        source = self.begin_move(slot, to)
        self.move_keys(slot, source, to, 1)
        time.sleep(closed_seconds)
        self.move_keys(slot, source, to)
        self.end_move(slot, to)

    def close(self) -> None:
        """End all of them."""
        for node in self.nodes:
            node.close()


def _is_linked(node: Node) -> bool:
    return b"master_link_status:up" in node.command("INFO", "replication")

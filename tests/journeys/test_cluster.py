"""The two tiers over a Cluster of which one master dies without a replica: it costs its own clients only."""

from __future__ import annotations

import threading
import time

from headrace_asgi.layers.redis.plan.buckets import bucket_names, key_slot
from headrace_asgi.layers.redis.plan.places import key_start
from tests.journeys.test_shards import echoes, load
from tests.support.redis_cluster import RedisCluster
from tests.support.services import valkey_binary
from tests.support.stack import Stack, eventually
from tests.support.wsclient import open_socket, receive_json, send_json

OUTAGE_SECONDS = 4
BUCKETS = 4


def test_a_master_without_a_replica_costs_its_own_clients_only_and_comes_back() -> None:
    slots = [key_slot(key_start("", name)) for name in bucket_names("", BUCKETS)]
    config = {"buckets": BUCKETS}
    with RedisCluster(valkey_binary()) as cluster:
        config["hosts"] = [("127.0.0.1", one.port) for one in cluster.masters]
        died = cluster.masters[2]
        assert [cluster.owner(slot) is died for slot in slots] == [False, False, False, True]
        backend = "headrace_asgi.RedisClusterChannelLayer"
        with Stack.over("", config, backend=backend) as stack:
            interface, worker = stack.interface("--layer-grace", "60"), stack.worker(processes=2)
            sockets = [open_socket(stack.port, "/ws/echo") for _ in range(12)]
            assert all(echoes(sockets, "before"))
            stop, answers = threading.Event(), list[tuple[float, object]]()
            clients = [
                threading.Thread(target=load, args=(stack.port, stop, answers), daemon=True) for _ in range(3)
            ]
            for client in clients:
                client.start()
            time.sleep(0.5)
            died.kill()
            time.sleep(0.5)
            known = time.monotonic()  # what was on its way to the killed one is lost with it
            there = echoes(sockets, "during")
            assert there.count(True) == 9, there
            time.sleep(OUTAGE_SECONDS)
            served = [answer for begun, answer in answers if begun > known]
            assert len(served) > 50
            assert set(served) == {b"Hello, world!"}, "a new client met the node that is away"

            died.start()  # it is known to the others by what it kept of the Cluster
            away = [socket for socket, answered in zip(sockets, there, strict=True) if not answered]
            # What they said meanwhile was held.
            eventually(lambda: all(receive_json(socket, 5) == "during" for socket in away), 15)
            assert all(echoes(sockets, "after"))
            send_json(sockets[0], "last")
            assert receive_json(sockets[0]) == "last"
            stop.set()
            for client in clients:
                client.join()
            for socket in sockets:
                socket.close()
            assert worker.end() == 0
            assert interface.end() == 0

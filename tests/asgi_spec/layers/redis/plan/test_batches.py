"""What travels in one command does what it would do one by one: what is answered, what Redis then holds."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from headrace_asgi.acknowledgement import AcknowledgedChannels
from headrace_asgi.contract import Outcome
from headrace_asgi.envelope import encode, pack_message
from headrace_asgi.layers.redis.plan.command import RedisCommand
from headrace_asgi.layers.redis.plan.places import Places
from headrace_asgi.layers.redis.plan.plan import Plan
from headrace_asgi.limits import Capacities

FAR_MS = 2**60
LOCALS = ("a", "b", "c", "d", "e")
#: The same in both layers, so that what they hold can be compared.
PROCESSES = ("hr1.0.one!", "hr1.0.two!")


class Twin:
    """One of two layers to which the same happens."""

    def __init__(self, url: str, prefix: str) -> None:
        self.client = redis.Redis.from_url(url, protocol=2)
        acknowledged = AcknowledgedChannels(["kept"])
        self.plan = Plan(Places([url], prefix), Capacities(100), 60, 86_400, acknowledged=acknowledged)
        for process in PROCESSES:
            for command in self.plan.register(process, "{}"):
                self.do(command)

    def do(self, command: RedisCommand) -> Any:
        return command.read(self.client.execute_command(*command.whole().args))

    def holds(self) -> dict[str, Any]:
        """All keys behind their tag; without times, and entries of one socket beside those of others."""
        tag = self.plan.key("0", "").encode()
        read: dict[bytes, Any] = {
            b"string": self.client.get,
            b"list": lambda key: sorted(self.client.lrange(key, 0, -1), key=socket_of),
            b"hash": self.client.hgetall,
            b"set": self.client.smembers,
            b"zset": lambda key: set(self.client.zrange(key, 0, -1)),
        }
        return {
            key[len(tag) :].decode(): (read[self.client.type(key)](key), self.client.ttl(key) > 0)
            for key in sorted(self.client.scan_iter(tag + b"*"))
        }


@pytest.fixture
def twins(redis_url: str) -> Iterator[tuple[Twin, Twin]]:
    url, _, prefix = redis_url.partition("?prefix=")
    both = Twin(url, f"{prefix}.together"), Twin(url, f"{prefix}.alone")
    yield both
    for twin in both:
        twin.client.close()


def entry(socket: str, order: int) -> bytes:
    return encode(pack_message({"socket": socket}), 0, order)  # a time would be made anew by the script


def socket_of(raw: bytes) -> bytes:
    """The name of a socket in an entry; ids of acknowledged messages are of none."""
    return raw[raw.find(b"hr1.") :] if b"hr1." in raw else b""


@pytest.mark.seeds(40)
def test_frames_and_finishes_of_many_sockets(twins: tuple[Twin, Twin], seed: int) -> None:
    chance = random.Random(seed)
    sockets = [process + local for process in PROCESSES for local in LOCALS]
    for socket in sockets:
        for twin in twins:
            twin.do(twin.plan.connect(socket, "/", entry(socket, 0)))
    orders, flying = dict.fromkeys(sockets, 0), dict.fromkeys(sockets, 0)
    for _ in range(12):
        what = chance.choice(("frames", "frames", "finish", "finish", "take", "end", "lapse"))
        if what == "frames":
            frames(twins, chance, orders)
        elif what == "finish":
            chosen = chance.sample(sockets, chance.randint(2, len(sockets)))
            finish(twins, [(one, flying[one], chance.random() < 0.1) for one in chosen])
        elif what == "take":
            for twin in twins:
                twin.client.delete(twin.plan.key("0", "c", "websocket.receive"))
        elif what == "end":
            socket = chance.choice(sockets)
            for twin in twins:
                twin.do(twin.plan.disconnect(socket, 99, entry(socket, 99)))
        else:
            socket = chance.choice(sockets)
            for twin in twins:
                twin.client.delete(twin.plan.key("0", "o", socket))
        for socket in sockets:
            found = twins[0].client.get(twins[0].plan.key("0", "o", socket))
            flying[socket] = int(found) if found and found != b"done" and chance.random() < 0.8 else 50
        assert twins[0].holds() == twins[1].holds()


def frames(twins: tuple[Twin, Twin], chance: random.Random, orders: dict[str, int]) -> None:
    """Send some of a process, now and then one again, or two of a socket."""
    process = chance.choice(PROCESSES)
    sent = []
    for local in chance.choices((*LOCALS, "unknown"), k=chance.randint(2, 6)):
        order = orders.get(process + local, 0) + chance.choice((1, 1, 1, 0))
        orders[process + local] = order
        sent.append((local, order, entry(process + local, order)))
    together, alone = twins
    outcomes = together.do(together.plan.frames_ordered("0", process, sent)).outcomes
    assert outcomes == [alone.do(alone.plan.frames_ordered("0", process, [one])).outcomes[0] for one in sent]


def finish(twins: tuple[Twin, Twin], finishes: list[tuple[str, int, bool]]) -> None:
    together, alone = twins
    outcomes = together.do(together.plan.finish_several("0", finishes))
    assert outcomes == [
        alone.do(alone.plan.finish(socket, order, "0", drain)) for socket, order, drain in finishes
    ]


@pytest.mark.seeds(20)
def test_acknowledged_messages(twins: tuple[Twin, Twin], seed: int) -> None:
    chance = random.Random(seed)
    ids = [f"0.{number}" for number in range(14)]
    claims: list[Any] = []
    for _ in range(12):
        what = chance.choice(("send", "send", "claim", "claim", "finish"))
        if what == "send":
            chosen = chance.sample(ids, chance.randint(1, 6))
            entries = [
                encode(pack_message({"id": one}), chance.choice((FAR_MS, FAR_MS, 1))) for one in chosen
            ]
            sent = [(entries, chosen)], [([one], [its]) for one, its in zip(entries, chosen, strict=True)]
            found = [
                [
                    outcome
                    for entries, those in parts
                    for outcome in twin.do(twin.plan.acknowledged.send("0", "kept", entries, those))
                ]
                for twin, parts in zip(twins, sent, strict=True)
            ]
            assert found[0] == found[1]
        elif what == "claim":
            count = chance.randint(1, 6)
            together, alone = twins
            claimed = together.do(together.plan.acknowledged.claim("0", "kept", count))
            one_by_one: list[Any] = []
            while len(one_by_one) < count:
                one = alone.do(alone.plan.acknowledged.claim("0", "kept", 1))
                if not one:
                    break
                one_by_one += one
            assert claimed == one_by_one
            claims += [claim for claim, _ in claimed]
        elif claims:
            chosen_claims = chance.sample(claims, chance.randint(1, len(claims)))
            together, alone = twins
            outcomes = together.do(together.plan.acknowledged.finish_several("0", "kept", chosen_claims))
            assert outcomes == [
                alone.do(alone.plan.acknowledged.finish("0", "kept", one)) for one in chosen_claims
            ]
            assert set(outcomes) <= {Outcome.SENT, Outcome.STALE}
        assert held(twins[0]) == held(twins[1])


def held(twin: Twin) -> dict[str, Any]:
    """What counts: of bells there may be one more."""
    return {key: value for key, value in twin.holds().items() if key != "c:kept"}

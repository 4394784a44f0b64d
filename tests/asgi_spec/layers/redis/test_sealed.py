"""Sealed entries, wherever they wait: one made with another key, changed, cut or moved is never delivered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest
import redis
from cryptography.fernet import Fernet

from headrace_asgi.envelope import encode, pack_message
from headrace_asgi.layers.redis.blocking.layer import RedisPlaceLayer
from headrace_asgi.sealing import sealing_codec

OURS, NEXT = "the key that was there first", "the key that comes after it"
#: Channels of which two are alike: what is meant for one of them is put where the other's lie.
CHANNELS = {
    "shared": ("test.here", "test.there"),
    "with one reader": ("test.here?a", "test.there?b"),
    "of a process": ("here!me", "there!me"),
    "of another client": ("here!me", "here!you"),
    "by a group": ("test.member", "test.else"),
    "acknowledged": ("kept.here", "kept.there"),
    "acknowledged, for later": ("kept.here", "kept.there"),
    "for later": ("test.here", "test.there"),
}


class Scene:
    """A layer with keys, and where its messages lie that came one of the ways of CHANNELS."""

    def __init__(self, url: str, way: str) -> None:
        self.url, self.way = url, way
        self.layer = self.layer_with(OURS)
        self.client = redis.Redis.from_url(url.partition("?")[0])

    def layer_with(self, *keys: str) -> RedisPlaceLayer:
        return RedisPlaceLayer(
            [self.url],
            symmetric_encryption_keys=list(keys) or None,
            acknowledged=["kept.*"],
            acknowledged_attempts=1,
        )

    def send(self, layer: RedisPlaceLayer, channel: str, number: int) -> None:
        if self.way == "by a group":
            layer.group_add(channel, channel)
            layer.send_group(channel, {"n": number})
        elif "later" in self.way:
            layer.send_later(channel, {"n": number}, delay=0)
        else:
            layer.send(channel, {"n": number})

    def received(self, layer: RedisPlaceLayer, channel: str) -> list[int]:
        """All that arrives."""
        layer.move_due(["kept.here", "kept.there"])
        queue = channel.partition("!")[0] + "!" if "!" in channel else channel
        found = layer.receive_many([queue], 100)
        assert {name for name, _ in found} <= {channel}
        return [message["n"] for _, message in found]

    def entry(self, channel: str) -> bytes:
        """The only entry of a channel, as it lies there."""
        if self.in_body:
            (value,) = self.client.hvals(self.key("body"))
            return bytes(value).partition(b" ")[2]
        (found,) = self.client.lrange(self.list(channel), 0, -1)
        return bytes(found)

    def overwrite(self, channel: str, entry: bytes) -> None:
        """Put something in the place of the only entry of a channel."""
        if self.in_body:
            (name,) = self.client.hkeys(self.key("body"))
            self.client.hset(self.key("body"), name, channel.encode() + b" " + entry)
        else:
            self.client.lset(self.list(channel), 0, entry)

    @property
    def in_body(self) -> bool:
        return "acknowledged" in self.way or "later" in self.way

    def list(self, channel: str) -> str:
        return self.key("c", channel.partition("!")[0] + "!" if "!" in channel else channel)

    def key(self, kind: str, name: str = "") -> str:
        return self.layer.plan.key("0", kind, name)


@pytest.fixture(params=CHANNELS)
def scene(redis_url: str, request: pytest.FixtureRequest) -> Iterator[Scene]:
    made = Scene(redis_url, request.param)
    yield made
    made.layer.close()
    made.client.close()


MESSAGE = pack_message({"n": 0})


def _sealed_by(key: str) -> Callable[[bytes, str], bytes]:
    codec = sealing_codec([key.encode()])
    return lambda entry, channel: codec.encode(MESSAGE, channel=channel, queue=channel)


#: What somebody who can write to Redis, and has no key, puts in the place of an entry.
FORGERIES: dict[str, Callable[[bytes, str], bytes]] = {
    "a bit changed": lambda entry, channel: entry[:-1] + bytes((entry[-1] ^ 1,)),
    "cut short": lambda entry, channel: entry[:-1],
    "nothing but the head": lambda entry, channel: entry[:12],
    "lengthened": lambda entry, channel: entry + b"\0",
    "another key": _sealed_by("the key of another project"),
    "no key": lambda entry, channel: encode(MESSAGE, channel=channel),
    "prolonged": lambda entry, channel: entry[:2] + bytes(8) + entry[10:],
    "Fernet": lambda entry, channel: Fernet(Fernet.generate_key()).encrypt(MESSAGE),
    "Fernet in an envelope": lambda entry, channel: encode(
        Fernet(Fernet.generate_key()).encrypt(MESSAGE), channel=channel
    ),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_what_is_forged_is_never_delivered_and_the_next_message_is_st13(scene: Scene, forgery: str) -> None:
    channel, _ = CHANNELS[scene.way]
    scene.send(scene.layer, channel, 1)
    scene.overwrite(channel, FORGERIES[forgery](scene.entry(channel), channel))
    assert scene.received(scene.layer, channel) == []
    scene.send(scene.layer, channel, 2)
    assert scene.received(scene.layer, channel) == [2]
    assert_counted(scene, channel)


def test_what_was_meant_for_another_channel_is_never_delivered_st13(scene: Scene) -> None:
    here, there = CHANNELS[scene.way]
    scene.send(scene.layer, there, 1)
    stolen = scene.entry(there)
    scene.layer.flush()
    scene.send(scene.layer, here, 0)
    if scene.way == "of another client":
        stolen = stolen.replace(b"!you", b"!me").replace(bytes((len(there),)), bytes((len(here),)), 1)
    scene.overwrite(here, stolen)
    assert scene.received(scene.layer, here) == []
    scene.send(scene.layer, here, 2)
    assert scene.received(scene.layer, here) == [2]
    assert_counted(scene, here)


def assert_counted(scene: Scene, channel: str) -> None:
    """What was not delivered counts as unreadable, or is a dead letter that says why."""
    queue = scene.list(channel).rpartition("c:")[2]
    by_process = scene.layer._readers["0"].counters[f"{queue[: queue.find('?') + 1] or queue}|unreadable"]
    by_all = scene.layer.statistics(queue).get("unreadable", 0)
    letters = scene.layer.dead_letters(channel) if "acknowledged" in scene.way else []
    assert max(by_process, by_all) + len(letters) == 1
    assert all("an entry" in letter.reason for letter in letters)


def test_keys_change_process_by_process_and_nothing_is_lost_st13(scene: Scene) -> None:
    channel, _ = CHANNELS[scene.way]
    steps = [(OURS,), (OURS, NEXT), (NEXT, OURS), (NEXT,)]
    number = 0
    for before, after in pairwise(steps):
        sender, receiver = scene.layer_with(*before), scene.layer_with(*after)
        for one, other in ((sender, receiver), (receiver, sender)):
            number += 1
            scene.send(one, channel, number)
            assert scene.received(other, channel) == [number]
        sender.close()
        receiver.close()

"""An interface process held by a test: what the Twisted port asks of Redis, asked by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from headrace_asgi import control
from headrace_asgi.contract import Outcome
from headrace_asgi.envelope import Message, pack_message, unpack_message
from headrace_asgi.layers.redis.blocking.layer import RedisPlaceLayer
from headrace_asgi.layers.redis.blocking.shards import RedisChannelLayer
from headrace_asgi.layers.redis.plan.command import Accepted, RedisCommand, as_is, names
from headrace_asgi.layers.redis.plan.plan import ORDERED_CHANNELS
from headrace_asgi.names import local_part, new_process_queue

__all__ = ["Heard", "OverShards", "RedisProcess", "bring_forward", "let_leases_lapse"]


def bring_forward(layer: RedisPlaceLayer, seconds: float) -> None:
    """Do to all that becomes due what time does that passes."""
    for place in layer.places.names:
        due = layer.plan.key(place, "due")
        members = layer.ask(RedisCommand(place, (b"ZRANGE", due, 0, -1), names))
        earlier = [(b"ZINCRBY", due, -int(seconds * 1000), member) for member in members]
        layer.run([RedisCommand(place, args, as_is) for args in earlier])


def let_leases_lapse(layer: RedisPlaceLayer) -> None:
    """Do to all ordered messages in flight what the end of their leases does."""
    place, plan = layer.places.home, layer.plan
    keys = layer.ask(RedisCommand(place, (b"KEYS", plan.flushed_sockets(place)), names))
    if keys:
        layer.ask(plan.settle(place, keys))


@dataclass
class Heard:
    """What came for one client."""

    local: str
    message: Message
    control: str = ""


class RedisProcess:
    """A registered process, its queue and its sockets."""

    def __init__(self, layer: RedisPlaceLayer) -> None:
        self._layer = layer
        self._plan = layer.plan
        self._codec = layer.plan.codec
        self._place = layer.places.home
        self.process = new_process_queue(self._place)
        self.register()

    def register(self) -> None:
        """Make the process known, as after a start and after Redis lost its data."""
        self._layer.run(self._plan.register(self.process, "{}"))

    @property
    def taken_channels(self) -> frozenset[str]:
        """What the next beat would say."""
        taken: frozenset[str] = self._layer.ask(self._plan.beat(self.process)).taken
        return taken

    def connect(self, local: str, path: str, message: Message) -> Outcome:
        """Register a socket and send its connect."""
        return self._ask(self._plan.connect(self.process + local, path, self._entry(0, message, 0)))

    def frame(self, local: str, message: Message, order: int, ordered: bool = True) -> Outcome:
        """Send a frame, through the mailbox if `ordered`."""
        if ordered:
            call = self._plan.frame_ordered(self.process + local, order, self._entry(1, message, order))
            return self._only(self._layer.ask(call))
        frames = [local, order, self._entry(1, message)]
        return self._only(self._layer.ask(self._plan.frames(self._place, self.process, frames)))

    def disconnect(self, local: str, message: Message, order: int) -> Outcome:
        """Unregister a socket and send its disconnect."""
        entry = self._codec.encode(pack_message(message), 0, order, queue=ORDERED_CHANNELS[2])
        return self._ask(self._plan.disconnect(self.process + local, order, entry))

    def heard(self) -> list[Heard]:
        """Everything that came to the queue since the last call."""
        taken = self._layer.ask(self._plan.take(self._place, [self.process], 10_000, None))
        return [self._heard(raw) for raw in (taken[1] if taken else ())]

    def close(self) -> None:
        """Withdraw the process."""
        self._layer.run(self._plan.withdraw(self.process))

    def _heard(self, raw: bytes) -> Heard:
        entry = self._codec.decode(raw, self.process)
        message = unpack_message(entry.payload)
        if entry.control and message["control"] == control.GROUP:
            return Heard("", unpack_message(message["packed"]), control.GROUP)
        if entry.control:
            return Heard(message.get("local", ""), message, message["control"])
        return Heard(local_part(entry.channel or ""), message)

    def _entry(self, number: int, message: Message, order: int | None = None) -> bytes:
        """The entry of a message for one of the channels of ordered sockets."""
        seconds = self._plan.ordered_expiry_seconds if order is not None else self._layer.expiry
        expiry_ms = self._layer.expiry_ms(self._place, seconds)
        return self._codec.encode(pack_message(message), expiry_ms, order, queue=ORDERED_CHANNELS[number])

    @staticmethod
    def _only(answer: Accepted) -> Outcome:
        (outcome,) = answer.outcomes
        return outcome

    def _ask(self, call: Any) -> Outcome:
        return Outcome(self._layer.ask(call))


class OverShards:
    """Gives cases about worker ports what they need of a layer over several places."""

    layer: RedisChannelLayer
    addCleanup: Callable[..., Any]  # noqa: N815

    def pass_time(self, seconds: float) -> None:
        for shard in self.layer.shards.values():
            bring_forward(shard, seconds)

    def open_process(self) -> RedisProcess:
        process = RedisProcess(self.layer.in_turn()[0])
        self.addCleanup(process.close)
        return process

    def let_leases_lapse(self) -> None:
        for shard in self.layer.shards.values():
            let_leases_lapse(shard)

    def put_raw(self, channel: str, entry: bytes) -> None:
        shard = self.layer.in_turn()[0]
        key = shard.plan.queue_key(shard.place, channel)
        shard.ask(RedisCommand(shard.place, (b"RPUSH", key, entry), as_is))

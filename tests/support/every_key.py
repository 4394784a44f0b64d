"""Every kind of key that a layer has at Redis: spoilt on purpose, and used by all that uses keys."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import redis

from headrace_asgi.contract import Acknowledge, Delivery, Finish, Out, Outcome, Send, SendGroup
from headrace_asgi.envelope import pack_message
from headrace_asgi.errors import HeadraceError
from headrace_asgi.later import DUE_CHANNEL
from headrace_asgi.layers.redis.blocking.layer import RedisPlaceLayer
from headrace_asgi.layers.redis.blocking.worker_port import RedisWorkerPort
from headrace_asgi.layers.redis.plan.plan import Plan

from .interfaces import InterfaceSide
from .reactors import HandReactor
from .rubbish import Rubbish
from .source import ROOT

__all__ = ["ACKNOWLEDGED", "TYPES", "Everything", "Spoiler", "documented_kinds"]

#: The types that a key can have.
TYPES = ("string", "list", "hash", "set", "zset", "stream")
#: An acknowledged channel, and all that the worker here takes.
ACKNOWLEDGED = "kept"
_TAKEN = ["test", ACKNOWLEDGED, "websocket.connect", "websocket.receive", "websocket.disconnect"]
_SCORES = (0.0, -1.0, 1.0, 1e13, 1e300, math.inf, -math.inf)
_ROW = re.compile(r"^\| `(\w+)(:<\w+>)?` \| (\w[\w ]*) \|", re.MULTILINE)


def documented_kinds() -> dict[str, str]:
    """The kinds of keys that docs/protocol.md, section 1, lists, each with its type."""
    page = (ROOT / "docs" / "protocol").with_suffix(".md").read_text(encoding="utf-8")
    rows = [(kind, what.replace("sorted set", "zset")) for kind, _, what in _ROW.findall(page)]
    return {kind: what for kind, what in rows if what in TYPES}


class Spoiler:
    """A plain client that writes what it likes over the keys of one interface server and its neighbours."""

    def __init__(self, client: redis.Redis, plan: Plan, process: str) -> None:
        """Take a client of that Redis, which keys there are, and the process queue's name."""
        self.client, self.plan, self.process = client, plan, process

    @property
    def socket(self) -> str:
        """A client of the interface server."""
        return f"{self.process}a"

    def keys(self, kind: str) -> list[str]:
        """The keys of one kind that somebody will use."""
        process, place = self.process, "hosts" if kind == "hosts" else "0"
        names: dict[str, list[str]] = {
            "c": [*_TAKEN, DUE_CHANNEL],
            "fin": ["0.1", "0.2"],
        }
        one = {
            **dict.fromkeys(("q", "up", "s", "f", "gq", "fenced"), process),
            **dict.fromkeys(("o", "m"), self.socket),
            **dict.fromkeys(("g", "gp"), "group"),
            **dict.fromkeys(("r", "x"), ACKNOWLEDGED),
        }
        return [self.plan.key(place, kind, name) for name in names.get(kind, [one.get(kind, "")])]

    def make(self, key: str, type_: str) -> None:
        """Have a key be of a type."""
        self.client.delete(key)
        self.fill(key, type_, Rubbish(len(key)), 3)

    def fill(self, key: str, type_: str, rubbish: Rubbish, count: int) -> None:
        """Write so much rubbish into a key: beside what is there, and in its place."""
        dice, client, blobs = rubbish.random, self.client, list(rubbish.blobs(count))
        if type_ == "string":
            client.set(key, blobs[0])
        elif type_ == "list":
            client.rpush(key, *blobs)
        elif type_ == "set":
            client.sadd(key, *blobs)
        elif type_ == "stream":
            client.xadd(key, {"a": "b"})
        elif type_ == "hash":
            known: list[Any] = [*client.hkeys(key), self.process, "a", "test|sent", "0.1"]
            client.hset(key, mapping={blob: self._value(rubbish) for blob in blobs})
            client.hset(key, mapping={field: self._value(rubbish) for field in dice.choices(known, k=2)})
        else:
            client.zadd(key, {self._member(rubbish, blob): dice.choice(_SCORES) for blob in blobs})

    @staticmethod
    def _value(rubbish: Rubbish) -> bytes:
        dice = rubbish.random
        numbers = (b"", b"1", b"-1", b"1e300", b"nan", b"9223372036854775807", b"0x10", b" 1", b"test ", b" ")
        return dice.choice((dice.choice(numbers), rubbish.blob(), b"test " + rubbish.blob()))

    def _member(self, rubbish: Rubbish, blob: bytes) -> bytes:
        dice = rubbish.random
        ours = (b"d", b"a", b"d" + blob, b"a" + blob, b"d0.1", b"a0.1", self.socket.encode())
        return dice.choice((blob, dice.choice(ours)))


class Everything:
    """A layer, a worker's port and an interface server's: all that uses keys."""

    def __init__(self, url: str, reactor: HandReactor, side: InterfaceSide) -> None:
        self.layer = RedisPlaceLayer([url], acknowledged=[ACKNOWLEDGED], capacity=1_000_000)
        self.plan, self.reactor, self.side = self.layer.plan, reactor, side
        self.client = redis.Redis.from_url(url.partition("?")[0])
        self.port = RedisWorkerPort(self.layer, lambda item, outcome: None)
        #: What was raised that callers expect.
        self.refused: list[HeadraceError] = []
        #: Of what clients did, as far as it is known.
        self._outcomes: list[Outcome] = []
        self._number = 1
        self.side.connect("a")
        self.layer.group_add("group", self.socket)
        self.turn()

    @property
    def socket(self) -> str:
        """A client of the interface server."""
        return self.spoiler.socket

    @property
    def spoiler(self) -> Spoiler:
        """Whoever writes over its keys; it may have taken a new name meanwhile."""
        return Spoiler(self.client, self.plan, self.side.port.process)

    def close(self) -> None:
        """End all but the interface server."""
        self.port.close()
        self.layer.close()
        self.client.close()

    # Using

    def use(self) -> None:
        """Do all that uses keys; what cannot be done says so by an error that callers expect."""
        for act in self._acts():
            try:
                act()
            except HeadraceError as error:
                self.refused.append(error)
        self.turn()

    def turn(self) -> None:
        """Let the interface server hear and beat."""
        self.side.port._registration.beat()
        self.side.port._groups.remove_stale_members()
        self.reactor.turn(0.03)

    def _acts(self) -> Iterator[Callable[[], Any]]:
        layer, packed = self.layer, pack_message({"text": "x"})
        yield lambda: layer.send("test", {"text": "x"})
        yield lambda: layer.send(ACKNOWLEDGED, {"text": "x"})
        yield lambda: layer.send_later("test", {"text": "x"}, delay=0)
        yield lambda: layer.send_later(ACKNOWLEDGED, {"text": "x"}, delay=0)
        yield lambda: layer.cancel(layer.send_later("test", {"text": "x"}, delay=100))
        yield lambda: layer.move_due([ACKNOWLEDGED])
        yield lambda: layer.rouse([ACKNOWLEDGED])
        yield lambda: layer.send_group("group", {"text": "x"})
        yield lambda: layer.group_add("group", self.socket)
        yield lambda: layer.group_add("group", "test.member")
        yield lambda: layer.announce(["test"])
        yield layer.takers
        yield layer.reap
        yield lambda: layer.statistics("test")
        yield lambda: layer.ask(self.plan.hosts("x"))
        yield self._clients
        out: list[Out] = [Finish(self.socket, 1, "0"), Send(self.socket, packed), SendGroup("group", packed)]
        yield lambda: self._work(out)
        yield lambda: self._work([])
        yield lambda: layer.dead_letters(ACKNOWLEDGED)
        yield lambda: layer.replay(ACKNOWLEDGED)
        yield lambda: layer.drop_dead_letters(ACKNOWLEDGED)
        yield lambda: layer.group_discard("group", "test.member")

    def _clients(self) -> None:
        """Send frames, open a socket and close one. What is refused is held until it can be said."""
        port, self._number = self.side.port, self._number + 2
        message, local = {"reply_channel": self.socket, "path": "/"}, f"b{self._number}"
        port.frame("a", {"text": "x"}, self._number, False, self._outcomes.append)
        for one in ("a", "unknown"):
            port.frame(one, {"text": "x"}, self._number + 1, True, self._outcomes.append)
        self.side.receiver.sockets[local] = "/"
        port.connect(
            local, "/", {**message, "reply_channel": port.process + local}, 10, self._outcomes.append
        )
        self.reactor.turn(0.02)
        self.side.disconnect(local, 1, self._outcomes)

    def _work(self, out: list[Out]) -> None:
        """Take, then fail, renew, give back, try later or acknowledge what came."""
        taken = self.port.turn(out, _TAKEN, 20, 0)
        ends: list[Out] = []
        for number, one in enumerate(taken):
            self._settle(number, one, ends)
        self.port.turn(ends, [], 1, 0)

    def _settle(self, number: int, one: Delivery, ends: list[Out]) -> None:
        try:
            self.port.may_start(one, time.monotonic() + 100)
            if number % 4 == 1:
                self.port.give_back([one])
            elif number % 4 == 2:
                self.port.requeue(one)
        except HeadraceError as error:
            self.refused.append(error)
        if one.claim is not None:
            why = "it failed" if number % 2 else None
            ends.append(Acknowledge(one.channel, one.claim, one.place, why))
        elif one.order is not None:
            ends.append(Finish(one.message["reply_channel"], one.order, one.place))

    def works_again(self) -> None:
        """Have messages arrive, kept ones be done, and a client hear, as where nothing ever happened."""
        self.turn()
        layer, local = self.layer, "after"
        self.reactor.until(lambda: self.side.port._registration.is_here)
        assert self.side.connect(local) is Outcome.SENT
        layer.send("test.after", {"n": 1})
        assert layer.receive_many(["test.after"], 5, 1) == [("test.after", {"n": 1})]
        layer.send_later("test.after", {"n": 2}, delay=0)
        layer.move_due([ACKNOWLEDGED])
        assert layer.receive_many(["test.after"], 5, 1) == [("test.after", {"n": 2})]
        layer.send(ACKNOWLEDGED, {"last": True})
        assert self._until_last()
        layer.send(self.side.port.process + local, {"n": 3})
        self.reactor.until(lambda: (local, {"n": 3}) in self.side.receiver.of("reply"))

    def _until_last(self) -> bool:
        give_up = time.monotonic() + 5
        while time.monotonic() < give_up:
            self.layer.move_due([ACKNOWLEDGED])  # rings, where a bell was taken for a claim that failed
            for one in self.port.turn([], [ACKNOWLEDGED], 100, 0.1):
                if one.claim is not None:
                    self.port.turn([Acknowledge(one.channel, one.claim, one.place)], [], 1, 0)
                if one.message == {"last": True}:
                    return True
        return False

"""The interface side of the Redis layer without an interface server: a port on a hand-turned reactor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis

from headrace_asgi.conformance.receiver import Recorder
from headrace_asgi.contract import Outcome
from headrace_asgi.layers.options import hosts_option
from headrace_asgi.layers.redis.address import parse_address
from headrace_asgi.layers.redis.plan.command import RedisCommand
from headrace_asgi.layers.redis.plan.places import Places
from headrace_asgi.layers.redis.plan.plan import Plan
from headrace_asgi.layers.redis.twisted.interface_port import RedisInterfacePort
from headrace_asgi.limits import Capacities

from .reactors import HandReactor

__all__ = ["InterfaceSide", "interface_side", "plan_for"]


def plan_for(url: str, **limits: Any) -> tuple[Plan, str]:
    """The plan of a layer at `url`, whose prefix is taken out, and the URL without it."""
    (host,), prefix = hosts_option([url], "")
    capacities = Capacities(limits.pop("capacity", 100))
    return Plan(Places([host.url], prefix), capacities, limits.pop("expiry", 60), 86_400, **limits), host.url


class InterfaceSide:
    """A port, its receiver, and a plain client that asks the same Redis."""

    def __init__(self, reactor: HandReactor, url: str, **limits: Any) -> None:
        self.reactor = reactor
        self.plan, self.url = plan_for(url, **limits)
        self.client = redis.Redis.from_url(self.url)
        self.receiver = Recorder()
        self.port = RedisInterfacePort(self.plan, {self.plan.places.home: parse_address(self.url)}, reactor)

    def start(self) -> InterfaceSide:
        """Start the port and wait until it is registered."""
        self.port.start(self.receiver)
        self.until_back(1)
        return self

    def until_back(self, times: int) -> None:
        """Wait until the layer was there so many times."""
        self.reactor.until(lambda: len(self.receiver.of("back")) >= times)

    def ask(self, command: RedisCommand) -> Any:
        """Carry out a command as another process would."""
        return command.read(self.client.execute_command(*command.whole().args))

    def key(self, kind: str, name: str = "") -> str:
        """A key at the only place."""
        return self.plan.key(self.plan.places.home, kind, name)

    def channel(self, name: str) -> list[bytes]:
        """The entries of a shared channel."""
        entries: list[bytes] = self.client.lrange(self.key("c", name), 0, -1)  # type: ignore[assignment]
        return entries

    def connect(self, local: str, path: str = "/chat") -> Outcome:
        """Open a socket and wait for the outcome."""
        self.receiver.sockets[local] = path
        message = {"reply_channel": self.port.process + local, "path": path}
        outcomes: list[Outcome] = []
        self.port.connect(local, path, message, 10, outcomes.append)
        return self.outcome(outcomes)

    def frame(self, local: str, order: int, ordered: bool = False) -> Outcome:
        """Send a frame and wait for the outcome."""
        outcomes: list[Outcome] = []
        self.port.frame(local, {"text": str(order)}, order, ordered, outcomes.append)
        return self.outcome(outcomes)

    def disconnect(self, local: str, order: int = 9, outcomes: list[Outcome] | None = None) -> list[Outcome]:
        """Close a socket; the outcome comes later."""
        told: list[Outcome] = [] if outcomes is None else outcomes
        path = self.receiver.sockets.pop(local)
        message = {"reply_channel": self.port.process + local, "path": path, "code": 1000, "order": order}
        self.port.disconnect(local, message, order, told.append)
        return told

    def outcome(self, outcomes: list[Outcome], count: int = 1) -> Outcome:
        """Wait for so many outcomes; the answer is the last."""
        self.reactor.until(lambda: len(outcomes) >= count)
        return outcomes[-1]

    def stop(self) -> None:
        """Stop the port and wait for its end."""
        ended: list[bool] = []
        self.port.stop(lambda: ended.append(True))
        self.reactor.until(lambda: ended)
        self.reactor.turn(0.01)

    def close(self) -> None:
        """Break the connections."""
        self.client.close()
        for link in (*self.port._links.values(), self.port._take_link):
            link.stop()


@contextmanager
def interface_side(reactor: HandReactor, url: str, **limits: Any) -> Iterator[InterfaceSide]:
    """A started InterfaceSide, whose plain client is closed afterwards."""
    side = InterfaceSide(reactor, url, **limits)
    try:
        yield side.start()
    finally:
        side.close()

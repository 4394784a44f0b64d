"""The libraries whose layers are measured: what they lie on, and what they can do."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from benchmarks.actor import Actor, ServerFigures
from benchmarks.peers import PEERS, PeerMissing, python_of
from benchmarks.processes import cpu_seconds_of_group, redis_server
from benchmarks.table import Row, left_out
from tests.support.rabbitmq_server import RabbitMQServer, rabbitmq_programs

__all__ = ["OURS", "Server", "Subject", "found_subjects"]


class Figures(Protocol):
    """What a server says of itself."""

    def cpu_seconds(self) -> float:
        """CPU time so far, user and system."""


@dataclass(frozen=True, slots=True)
class Server:
    """What a layer lies on: its name in the table, where it is, and its figures."""

    name: str
    url: str
    figures: Figures


@contextlib.contextmanager
def _redis() -> Iterator[Server]:
    """A Redis server of a run's own."""
    with redis_server() as redis, contextlib.closing(ServerFigures(redis.port)) as figures:
        yield Server("Redis", redis.url, figures)


@dataclass(frozen=True, slots=True)
class Subject:
    """A library, the server of each run, its interpreter, and what it can do beyond sending and receiving."""

    library: str
    can: frozenset[str]
    server: Callable[[], contextlib.AbstractContextManager[Server]] = _redis
    python: str = sys.executable

    @property
    def is_on_redis(self) -> bool:
        """Whether each run has a Redis of its own."""
        return self.server is _redis

    @property
    def has_ports(self) -> bool:
        """Whether clients and workers have ports of its own kind."""
        return "know sockets" in self.can

    def actor(self, url: str, **options: Any) -> Actor:
        """A process that uses the layer at an address, with further options."""
        return Actor("layer_actor.py", self.library, url, json.dumps(options), python=self.python)


_ALL = ("encrypt", "take batches", "acknowledge", "send later", "know sockets", "order")
OURS = Subject("headrace", frozenset(_ALL))


def found_subjects(beside: bool, ending: contextlib.ExitStack) -> tuple[list[Subject], list[Row]]:
    """What can be measured here, and a row for what cannot; what is started for it ends with `ending`."""
    subjects, missing = [OURS], []
    programs = rabbitmq_programs()
    if programs:
        broker = ending.enter_context(RabbitMQServer(*programs))
        subjects.append(Subject("headrace on RabbitMQ", frozenset(["take batches"]), _at(broker)))
    else:
        missing.append(left_out("layers: headrace on RabbitMQ", "there is no rabbitmq-server"))
    for peer in PEERS:
        try:
            if not beside:
                raise PeerMissing("--peers was not asked for")
            subjects.append(Subject(peer.library, frozenset(["encrypt"]), python=python_of(peer)))
        except PeerMissing as why:
            missing.append(left_out(f"layers: {peer.library}", str(why)))
    return subjects, missing


class _BrokerFigures:
    """What the system says of the processes of a RabbitMQ node."""

    def __init__(self, broker: RabbitMQServer) -> None:
        self._broker = broker

    def cpu_seconds(self) -> float:
        return cpu_seconds_of_group(self._broker.group)


def _at(broker: RabbitMQServer) -> Callable[[], contextlib.AbstractContextManager[Server]]:
    """One node for all runs."""
    server = Server("RabbitMQ", broker.url, _BrokerFigures(broker))
    return lambda: contextlib.nullcontext(server)

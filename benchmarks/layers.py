"""The channel layer alone: what a message costs in Python and in Redis, how late it comes, what idling asks.

Beside it the layers of asgi_redis and of channels_redis, each in an environment of its own (`peers`). The
actors of a case, and its Redis server, are started for each run of it; cases follow each other, and rounds
repeat them all: A B C A B C.
"""

from __future__ import annotations

import contextlib
import math
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from . import neighbours, several_redis
from .actor import Actor, ServerFigures, acting
from .peers import PEERS, PeerMissing, python_of
from .processes import RedisServer, redis_server
from .table import Row, left_out

__all__ = ["measure"]

#: A run of a case, and how long idle processes are watched, in seconds of a round of load.
SHARE, WINDOWS = 2 / 5, 4
WARM_UP = 0.2
KEY = "a key for measuring only"
#: A take that waits is sent a message each so many seconds.
PACE_SECONDS = 0.004
MEMBERS, PROCESSES, GROUP_PACE_SECONDS = 1000, 4, 0.5
SOCKETS = 32
#: Time for what waits to be at its wait, and for a connection to settle.
SETTLE_SECONDS = 0.2
#: What a run found, by what it is and its unit.
Found = dict[tuple[str, str], float]
_CPU = "µs CPU each"


@dataclass(frozen=True, slots=True)
class Subject:
    """A library whose layer is measured, and the interpreter that has it."""

    library: str
    python: str = sys.executable

    @property
    def is_ours(self) -> bool:
        """Whether it is the one of this checkout."""
        return self.library == "headrace"

    def actor(self, redis: RedisServer, key: str = "") -> Actor:
        """A process that uses the layer."""
        return Actor("layer_actor.py", self.library, redis.url, key, python=self.python)


@dataclass(frozen=True, slots=True)
class Case:
    """Something to measure of each library; `lacks` says why only ours has it."""

    name: str
    run: Callable[[Subject, float], Found]
    lacks: str = ""


def measure(seconds: float, rounds: int, beside: bool) -> list[Row]:
    """The rows of the layers, others' too if `beside`; `seconds` are those of a round of load."""
    subjects, missing = _subjects(beside)
    figures: dict[tuple[str, str], list[float]] = defaultdict(list)
    waits, starts = [], []
    for _ in range(rounds):
        for case in CASES:
            for subject in subjects:
                if subject.is_ours or not case.lacks:
                    for (what, unit), value in case.run(subject, seconds * SHARE).items():
                        figures[f"layers: {subject.library}: {case.name}, {what}", unit].append(value)
        waits.append(neighbours.longest_wait_ms(seconds * SHARE))
        starts.append(several_redis.start_ms(seconds * SHARE))
    return [
        *(Row(what, values, unit) for (what, unit), values in figures.items()),
        neighbours.row(waits, seconds * SHARE),
        *several_redis.rows(starts, seconds * SHARE),
        *_idle(subjects, seconds * WINDOWS),
        *missing,
    ]


def _subjects(beside: bool) -> tuple[list[Subject], list[Row]]:
    """What can be measured here, and a row for everything else."""
    subjects, missing = [Subject("headrace")], []
    for peer in PEERS:
        try:
            if not beside:
                raise PeerMissing("--peers was not asked for")
            subjects.append(Subject(peer.library, python_of(peer)))
        except PeerMissing as why:
            missing.append(left_out(f"layers: {peer.library}", str(why)))
            continue
        missing += [
            left_out(f"layers: {peer.library}: {case.name}", case.lacks) for case in CASES if case.lacks
        ]
    return subjects, missing


# Cases


def _one_at_a_time(subject: Subject, seconds: float) -> Found:
    return _sent_and_received(subject, seconds, "pairs")


def _encrypted(subject: Subject, seconds: float) -> Found:
    return _sent_and_received(subject, seconds, "pairs", KEY)


def _in_batches(subject: Subject, seconds: float) -> Found:
    return _sent_and_received(subject, seconds, "batches")


def _sent_and_received(subject: Subject, seconds: float, how: str, key: str = "") -> Found:
    with _server() as (redis, figures):
        actor = subject.actor(redis, key)
        with acting(actor):
            actor.ask(how, seconds=seconds * WARM_UP)
            spent = _Spent(figures, Python=[actor])
            count = actor.ask(how, seconds=seconds)["count"]
            return spent.on(count)


def _waiting_take(subject: Subject, seconds: float) -> Found:
    count = max(10, int(seconds / PACE_SECONDS))
    with _server() as (redis, _):
        taker, sender = subject.actor(redis), subject.actor(redis)
        with acting(taker, sender):
            taker.tell("take", count=count)
            time.sleep(SETTLE_SECONDS)
            sender.ask("paced", count=count, interval=PACE_SECONDS)
            return _latencies(taker.answer()["waits"])


def _group(subject: Subject, seconds: float) -> Found:
    sends = max(4, int(seconds / GROUP_PACE_SECONDS))
    with _server() as (redis, figures):
        sender = subject.actor(redis)
        members = [_member(subject, redis) for _ in range(PROCESSES)]
        with acting(sender, *members) as (_, *ready):
            _join(subject, sender, members, ready)
            _send_to_group(sender, members, 1)
            spent = _Spent(figures, sender=[sender], members=members)
            waits = _send_to_group(sender, members, sends)
            return {**spent.on(sends), **_latencies(waits, "to the last member, ")}


def _member(subject: Subject, redis: RedisServer) -> Actor:
    if subject.is_ours:
        return Actor("port_actor.py", "members", redis.url, str(MEMBERS // PROCESSES))
    return subject.actor(redis)


def _join(subject: Subject, sender: Actor, members: Sequence[Actor], ready: Sequence[dict[str, Any]]) -> None:
    """Fill the group: with the clients that the ports said they have, or as each process may itself."""
    if subject.is_ours:
        sender.ask("add", channels=[channel for one in ready for channel in one["channels"]])
        return
    for member in members:
        member.ask("join", channels=MEMBERS // PROCESSES)


def _send_to_group(sender: Actor, members: Sequence[Actor], sends: int) -> list[float]:
    """How long each message took to the last of all members."""
    for member in members:
        member.tell("hear", sends=sends)
    time.sleep(SETTLE_SECONDS)
    sent = sender.ask("paced_groups", count=sends, interval=GROUP_PACE_SECONDS)["sent"]
    last = [member.answer()["last"] for member in members]
    return [max(one[str(number)] for one in last) - at for number, at in enumerate(sent)]


def _plain_sockets(subject: Subject, seconds: float) -> Found:
    return _sockets(seconds, ordered=False)


def _ordered_sockets(subject: Subject, seconds: float) -> Found:
    return _sockets(seconds, ordered=True)


def _sockets(seconds: float, ordered: bool) -> Found:
    """Frames and their answers: one of each socket is on its way."""
    with _server() as (redis, figures):
        worker = Actor("port_actor.py", "worker", redis.url, "ordered" if ordered else "plain")
        interface = Actor("port_actor.py", "sockets", redis.url, str(SOCKETS))
        with acting(worker, interface):
            interface.ask("talk", seconds=seconds * WARM_UP, ordered=ordered)
            worker.ask("cpu")
            spent = _Spent(figures, **{"interface port": [interface], "worker port": [worker]})
            waits = interface.ask("talk", seconds=seconds, ordered=ordered)["waits"]
            worker.ask("cpu")
            return {**spent.on(len(waits)), **_latencies(waits, "answer, ")}


#: Here is the place for acknowledged and for delayed messages, and for other layers of ours: the former are a
#: Case each, with what the others lack; a layer over RabbitMQ is a Subject that `_subjects` adds.
CASES = (
    Case("one at a time", _one_at_a_time),
    Case("one at a time, encrypted", _encrypted),
    Case("in batches of 20", _in_batches, "it sends and receives one at a time"),
    Case("a take that waits", _waiting_take),
    Case(f"a group of {MEMBERS:,} in {PROCESSES} processes", _group),
    Case(f"frames of {SOCKETS} sockets", _plain_sockets, "it knows no sockets"),
    Case(f"frames of {SOCKETS} ordered sockets", _ordered_sockets, "it orders nothing"),
)


# Idle


def _idle(subjects: Sequence[Subject], window: float) -> list[Row]:
    """Commands a second of processes that wait for messages, each with a server of its own, all at once."""
    with contextlib.ExitStack() as ending:
        watched: dict[str, ServerFigures] = {}
        for name, start in _idlers(subjects).items():
            redis, figures = ending.enter_context(_server())
            actor = start(redis)
            ending.enter_context(acting(actor))
            if name.endswith("take"):
                actor.tell("rest", seconds=window + 2 * SETTLE_SECONDS)
            watched[name] = figures
        time.sleep(SETTLE_SECONDS)
        began = time.monotonic()
        before = {name: figures.commands() for name, figures in watched.items()}
        time.sleep(window)
        after = {name: figures.commands() - 1 for name, figures in watched.items()}  # the look before
        took = time.monotonic() - began
    return [
        Row(
            f"layers: {name}, Redis commands with those in scripts",
            [(after[name] - before[name]) / took],
            "per s",
        )
        for name in watched
    ]


def _idlers(subjects: Sequence[Subject]) -> dict[str, Callable[[RedisServer], Actor]]:
    ports = {
        "headrace: idle interface port": ("members", "0"),
        "headrace: idle worker port": ("worker", "plain"),
    }
    found: dict[str, Callable[[RedisServer], Actor]] = {
        name: lambda redis, role=role, what=what: Actor("port_actor.py", role, redis.url, what)  # type: ignore[misc]
        for name, (role, what) in ports.items()
    }
    for subject in subjects:
        found[f"{subject.library}: idle take"] = subject.actor
    return found


# What all of them need


@contextlib.contextmanager
def _server() -> Iterator[tuple[RedisServer, ServerFigures]]:
    """A Redis server of a run's own, and what it says of itself."""
    with redis_server() as redis, contextlib.closing(ServerFigures(redis.port)) as figures:
        yield redis, figures


class _Spent:
    """CPU time of actors, by their part, and of the server, from now on. What an actor said last counts."""

    def __init__(self, figures: ServerFigures, **parts: Sequence[Actor]) -> None:
        self._figures = figures
        self._parts = parts
        self._before = {name: sum(actor.cpu for actor in actors) for name, actors in parts.items()}
        self._redis = figures.cpu_seconds()

    def on(self, count: int) -> Found:
        """For each of so many messages."""
        found = {
            (name, _CPU): (sum(actor.cpu for actor in actors) - self._before[name]) / count * 1e6
            for name, actors in self._parts.items()
        }
        found["Redis", _CPU] = (self._figures.cpu_seconds() - self._redis) / count * 1e6
        return found


def _latencies(waits: Sequence[float], of: str = "") -> Found:
    ordered = sorted(waits)
    return {
        (f"{of}p50", "ms"): statistics.median(ordered) * 1e3,
        (f"{of}p99", "ms"): ordered[math.ceil(0.99 * len(ordered)) - 1] * 1e3,
    }

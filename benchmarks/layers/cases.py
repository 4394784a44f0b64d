"""What is done with each layer, and what it costs."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.actor import Actor, acting

from .subjects import Server, Subject

__all__ = [
    "ACKNOWLEDGED",
    "BATCHES",
    "CASES",
    "FRAMES",
    "GROUP",
    "GROUP_IN_A_ROW",
    "ORDERED",
    "PAIR",
    "TAKEN",
    "Case",
    "Found",
]

WARM_UP = 0.2
KEY = "a key for measuring only"
BATCH = 20
#: A take that waits is sent a message each so many seconds.
PACE_SECONDS = 0.004
MEMBERS, PROCESSES, GROUP_PACE_SECONDS = 1000, 4, 0.5
#: Most messages to a group in a row; fewer for who needs longer than a run for them.
GROUP_SENDS = 500
SOCKETS = 32
#: Time for what waits to be at its wait.
SETTLE_SECONDS = 0.2
#: What a run found, by what it is and its unit.
Found = dict[tuple[str, str], float]
_CPU, _TIME = "µs CPU each", "µs each"


@dataclass(frozen=True, slots=True)
class Case:
    """Something to measure of each library that can do what it `needs`."""

    name: str
    run: Callable[[Subject, float], Found]
    needs: str = ""

    def is_for(self, subject: Subject) -> bool:
        """Whether a library can do this."""
        return not self.needs or self.needs in subject.can


def _one_at_a_time(subject: Subject, seconds: float) -> Found:
    return _handled(subject, seconds, "pairs")


def _encrypted(subject: Subject, seconds: float) -> Found:
    return _handled(subject, seconds, "pairs", {"symmetric_encryption_keys": [KEY]})


def _in_batches(subject: Subject, seconds: float) -> Found:
    return _handled(subject, seconds, "batches", size=BATCH)


def _for_later(subject: Subject, seconds: float) -> Found:
    return _handled(subject, seconds, "later", size=BATCH)


def _worked(size: int, *acknowledged: str) -> Callable[[Subject, float], Found]:
    """What a worker takes at once, and whether it has to acknowledge that."""
    options = {"acknowledged": acknowledged}
    return lambda subject, seconds: _handled(subject, seconds, "worked", options, size=size)


def _handled(
    subject: Subject, seconds: float, how: str, options: Mapping[str, Any] | None = None, **given: Any
) -> Found:
    """One process that sends and receives."""
    with subject.server() as server:
        actor = subject.actor(server.url, **(options or {}))
        with acting(actor):
            actor.ask(how, seconds=seconds * WARM_UP, **given)
            spent = _Spent(server, Python=[actor])
            began = time.monotonic()
            count = actor.ask(how, seconds=seconds, **given)["count"]
            took = time.monotonic() - began
            return {("time", _TIME): took / count * 1e6, **spent.on(count)}


def _waiting_take(subject: Subject, seconds: float) -> Found:
    count = max(10, int(seconds / PACE_SECONDS))
    with subject.server() as server:
        taker, sender = subject.actor(server.url), subject.actor(server.url)
        with acting(taker, sender):
            taker.tell("take", count=count)
            time.sleep(SETTLE_SECONDS)
            sender.ask("paced", count=count, interval=PACE_SECONDS)
            return _latencies(taker.answer()["waits"])


def _paced_group(subject: Subject, seconds: float) -> Found:
    """Each message to an idle machine: what it costs to wake all."""
    return _group(subject, lambda _: int(seconds / GROUP_PACE_SECONDS), GROUP_PACE_SECONDS)


def _group_in_a_row(subject: Subject, seconds: float) -> Found:
    """As fast as the sender can: what each costs a machine that is busy."""
    return _group(subject, lambda one_seconds: min(GROUP_SENDS, int(seconds / one_seconds)), 0.0)


def _group(subject: Subject, count: Callable[[float], int], interval: float) -> Found:
    """`count` says how many messages to send, of which the first took so many seconds to all members."""
    with subject.server() as server:
        sender = subject.actor(server.url)
        members = [_member(subject, server) for _ in range(PROCESSES)]
        with acting(sender, *members) as (_, *ready):
            _join(subject, sender, members, ready)
            (first,) = _send_to_group(sender, members, 1, interval)
            sends = max(4, count(first))
            spent = _Spent(server, sender=[sender], members=members)
            waits = _send_to_group(sender, members, sends, interval)
            return {**spent.on(sends), **_latencies(waits, "to the last member, ")}


def _member(subject: Subject, server: Server) -> Actor:
    if subject.has_ports:
        return Actor("port_actor.py", "members", server.url, str(MEMBERS // PROCESSES))
    return subject.actor(server.url)


def _join(subject: Subject, sender: Actor, members: Sequence[Actor], ready: Sequence[dict[str, Any]]) -> None:
    """Fill the group: with the clients that the ports said they have, or as each process may itself."""
    if subject.has_ports:
        sender.ask("add", channels=[channel for one in ready for channel in one["channels"]])
        return
    for member in members:
        member.ask("join", channels=MEMBERS // PROCESSES)


def _send_to_group(sender: Actor, members: Sequence[Actor], sends: int, interval: float) -> list[float]:
    """How long each message took to the last of all members."""
    for member in members:
        member.tell("hear", sends=sends)
    time.sleep(SETTLE_SECONDS)
    sent = sender.ask("paced_groups", count=sends, interval=interval)["sent"]
    last = [member.answer()["last"] for member in members]
    return [max(one[str(number)] for one in last) - at for number, at in enumerate(sent)]


def _plain_sockets(subject: Subject, seconds: float) -> Found:
    return _sockets(subject, seconds, ordered=False)


def _ordered_sockets(subject: Subject, seconds: float) -> Found:
    return _sockets(subject, seconds, ordered=True)


def _sockets(subject: Subject, seconds: float, ordered: bool) -> Found:
    """Frames and their answers: one of each socket is on its way."""
    with subject.server() as server:
        worker = Actor("port_actor.py", "worker", server.url, "ordered" if ordered else "plain")
        interface = Actor("port_actor.py", "sockets", server.url, str(SOCKETS))
        with acting(worker, interface):
            interface.ask("talk", seconds=seconds * WARM_UP, ordered=ordered)
            worker.ask("cpu")
            spent = _Spent(server, **{"interface port": [interface], "worker port": [worker]})
            waits = interface.ask("talk", seconds=seconds, ordered=ordered)["waits"]
            worker.ask("cpu")
            return {**spent.on(len(waits)), **_latencies(waits, "answer, ")}


PAIR, BATCHES = "one at a time", f"in batches of {BATCH}"
GROUP = f"a group of {MEMBERS:,} in {PROCESSES} processes"
GROUP_IN_A_ROW = f"{GROUP}, in a row"
TAKEN, ACKNOWLEDGED = f"taken by a worker, {BATCH} at once", f"acknowledged by a worker, {BATCH} at once"
FRAMES, ORDERED = f"frames of {SOCKETS} sockets", f"frames of {SOCKETS} ordered sockets"
CASES = (
    Case(PAIR, _one_at_a_time),
    Case(f"{PAIR}, encrypted", _encrypted, "encrypt"),
    Case(BATCHES, _in_batches, "take batches"),
    Case("taken by a worker", _worked(1), "acknowledge"),
    Case("acknowledged by a worker", _worked(1, "bench.*"), "acknowledge"),
    Case(TAKEN, _worked(BATCH), "acknowledge"),
    Case(ACKNOWLEDGED, _worked(BATCH, "bench.*"), "acknowledge"),
    Case(f"for later, {BATCH} due at once", _for_later, "send later"),
    Case("a take that waits", _waiting_take),
    Case(GROUP, _paced_group),
    Case(GROUP_IN_A_ROW, _group_in_a_row),
    Case(FRAMES, _plain_sockets, "know sockets"),
    Case(ORDERED, _ordered_sockets, "order"),
)


class _Spent:
    """CPU time of actors, by their part, and of the server, from now on. What an actor said last counts."""

    def __init__(self, server: Server, **parts: Sequence[Actor]) -> None:
        self._server = server
        self._parts = parts
        self._before = self._used()

    def on(self, count: int) -> Found:
        """For each of so many messages."""
        each = {name: (used - self._before[name]) / count * 1e6 for name, used in self._used().items()}
        return {(name, _CPU): spent for name, spent in {**each, "CPU of all": sum(each.values())}.items()}

    def _used(self) -> dict[str, float]:
        used = {name: sum(actor.cpu for actor in actors) for name, actors in self._parts.items()}
        return {**used, self._server.name: self._server.figures.cpu_seconds()}


def _latencies(waits: Sequence[float], of: str = "") -> Found:
    ordered = sorted(waits)
    return {
        (f"{of}p50", "ms"): statistics.median(ordered) * 1e3,
        (f"{of}p99", "ms"): ordered[math.ceil(0.99 * len(ordered)) - 1] * 1e3,
    }

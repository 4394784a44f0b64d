"""Explores every interleaving of a protocol's actors, breadth first, with the shipped scripts on a server.

A state is what the actors know plus what Redis holds. A model says which moves a state has; a move may carry
a call of the shipped plan, which is carried out on the server: what Redis held is put back, the call is made,
and what Redis holds then is read. The same call on the same data is made once and remembered.
"""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import hiredis
import msgpack

from headrace_asgi.layers.redis.plan.command import RedisCommand
from headrace_asgi.layers.redis.plan.places import Places
from headrace_asgi.layers.redis.plan.plan import Plan
from headrace_asgi.layers.redis.plan.scripts import SCRIPTS, script
from headrace_asgi.limits import Capacities

__all__ = ["PLACE", "Data", "Model", "Move", "Report", "Server", "Violation", "explore", "plan"]

PLACE = "0"
#: Calls in one write to the server.
BATCH = 500

#: What Redis holds: for each of the model's keys nothing, or (type, content) with lists and pairs as tuples.
Data = tuple[Any, ...]
Actors = Hashable
State = tuple[Actors, Data]

_SET = b"""#!lua
local data = cmsgpack.unpack(ARGV[1])
redis.call('DEL', unpack(KEYS))
for i, key in ipairs(KEYS) do
  local kind, content = data[i][1], data[i][2]
  if kind == 'string' then
    redis.call('SET', key, content, 'PX', 3600000)
  elseif kind ~= 'none' then
    redis.call(({ list = 'RPUSH', hash = 'HSET', set = 'SADD', zset = 'ZADD' })[kind], key, unpack(content))
  end
end
"""
_GET = b"""#!lua
local ways = {
  string = { 'GET' }, list = { 'LRANGE', 0, -1 }, hash = { 'HGETALL' }, set = { 'SMEMBERS' },
  zset = { 'ZRANGE', 0, -1, 'WITHSCORES' },
}
local data = {}
for i, key in ipairs(KEYS) do
  local kind = redis.call('TYPE', key).ok
  if kind == 'none' then
    data[i] = { kind }
  else
    local way = ways[kind]
    data[i] = { kind, redis.call(way[1], key, unpack(way, 2)) }
  end
end
return cmsgpack.pack(data)
"""


class Violation(Exception):
    """A state that must not be."""


@dataclass(slots=True)
class Move:
    """One step of one actor. `after(answer)` is what the actors know then; it may raise Violation."""

    label: str
    after: Callable[[Any], Actors]
    call: RedisCommand | None = None


class Model(Protocol):
    """A protocol with bounds."""

    name: str
    #: The keys that its calls touch.
    keys: Sequence[str]

    #: What Redis holds at first.
    given: Data

    def first(self) -> Actors:
        """What the actors know at first."""

    def moves(self, actors: Any, data: Data) -> Iterable[Move]:
        """Everything that may happen next."""

    def check(self, actors: Any, data: Data) -> None:
        """Raise Violation if this state breaks an invariant."""

    def check_end(self, actors: Any, data: Data) -> None:
        """Raise Violation if nothing can happen any more, and something is missing."""

    def canonical(self, at: int, kind: bytes, content: Any) -> Any:
        """The content of the key number `at` without what depends on the clock."""


@dataclass(slots=True)
class Report:
    """What an exploration found."""

    name: str
    states: int
    seconds: float
    violation: str = ""
    trace: list[str] = field(default_factory=list)


def plan(capacity: int = 100) -> Plan:
    """The shipped plan; its places need no server."""
    return Plan(Places(["redis://"], "explore"), Capacities(capacity), 60, 86_400)


class Server:
    """A connection to a server of the explorers' own, whose data they change at will."""

    def __init__(self, path: str) -> None:
        """Connect to the unix socket `path` and load the scripts."""
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._reader = hiredis.Reader()
        sources = [_SET, _GET, *(one.source for one in SCRIPTS)]
        self._set, self._get, *_ = self.ask([(b"SCRIPT", b"LOAD", source) for source in sources])

    def close(self) -> None:
        self._socket.close()

    def load(self, source: bytes) -> bytes:
        """Load a script; the answer is its digest."""
        [sha] = self.ask([(b"SCRIPT", b"LOAD", source)])
        return bytes(sha)

    def ask(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """Carry out commands in one write. Raises the first error that Redis answers."""
        pack: Any = hiredis.pack_command
        self._socket.sendall(b"".join([pack(tuple(command)) for command in commands]))
        answers: list[Any] = []
        while len(answers) < len(commands):
            answer = self._reader.gets()
            if answer is False:
                self._reader.feed(self._socket.recv(1 << 20))
            elif isinstance(answer, Exception):
                raise answer
            else:
                answers.append(answer)
        return answers

    def carry_out(
        self, keys: Sequence[str], calls: Sequence[tuple[Data, tuple[Any, ...]]]
    ) -> list[tuple[Any, Data]]:
        """For each (data, command): the answer, and what Redis holds then."""
        done: list[tuple[Any, Data]] = []
        for start in range(0, len(calls), BATCH):
            commands: list[tuple[Any, ...]] = []
            for data, command in calls[start : start + BATCH]:
                packed = msgpack.packb(data, use_bin_type=False)
                commands.append((b"EVALSHA", self._set, len(keys), *keys, packed))
                commands.append(command)
                commands.append((b"EVALSHA", self._get, len(keys), *keys))
            answers = self.ask(commands)
            done += zip(answers[1::3], map(_unpacked, answers[2::3]), strict=True)
        return done


def explore(model: Model, server: Server, broken: Mapping[str, tuple[str, str]] | None = None) -> Report:
    """Visit every state of `model`, until one breaks an invariant.

    `broken` changes shipped scripts: name -> (text, text in its place), for variants that must be caught.
    """
    began = time.monotonic()
    exploration = _Exploration(model, server, broken or {})
    found = exploration.run()
    report = Report(model.name, len(exploration.came_from), time.monotonic() - began)
    if found is not None:
        report.violation = str(found[1])
        report.trace = exploration.trace(found[0])
    return report


class _Exploration:
    def __init__(self, model: Model, server: Server, broken: Mapping[str, tuple[str, str]]) -> None:
        self.model = model
        self.server = server
        self.replaced = {
            script(name).sha: _load_broken(server, name, *texts) for name, texts in broken.items()
        }
        self.came_from: dict[State, tuple[State, str] | None] = {}
        self.known: dict[tuple[Data, tuple[Any, ...]], tuple[Any, Data]] = {}

    def run(self) -> tuple[State, Violation] | None:
        """Breadth first; the answer is the first state that is wrong, and why."""
        first = (self.model.first(), self.model.given)
        self.came_from[first] = None
        frontier = [first]
        while frontier:
            moves = [(state, list(self.model.moves(*state))) for state in frontier]
            self._carry_out(moves)
            frontier = []
            for state, possible in moves:
                wrong = self._leave(state, possible, frontier)
                if wrong is not None:
                    return wrong
        return None

    def _leave(
        self, state: State, possible: list[Move], frontier: list[State]
    ) -> tuple[State, Violation] | None:
        """Make every move of a state; new states join the frontier."""
        at_end, there, label = True, state, ""
        try:
            for move in possible:
                label = move.label
                there = (("violation", label), state[1])
                there = self._go(state, move)
                at_end = at_end and there == state
                if there not in self.came_from:
                    self.came_from[there] = (state, label)
                    frontier.append(there)
                    self.model.check(*there)
            if at_end:
                there = state
                self.model.check_end(*state)
        except Violation as violation:
            self.came_from.setdefault(there, (state, label))
            return there, violation
        return None

    def _go(self, state: State, move: Move) -> State:
        if move.call is None:
            return move.after(None), state[1]
        raw, data = self.known[state[1], move.call.args]
        return move.after(move.call.read(raw)), data

    def _carry_out(self, moves: list[tuple[State, list[Move]]]) -> None:
        """Make the calls that were never made on this data."""
        missing = {
            (state[1], move.call.args): None
            for state, possible in moves
            for move in possible
            if move.call is not None and (state[1], move.call.args) not in self.known
        }
        calls = [(data, self._as_loaded(args)) for data, args in missing]
        for key, (answer, data) in zip(missing, self.server.carry_out(self.model.keys, calls), strict=True):
            self.known[key] = (answer, tuple(self._frozen(at, *one) for at, one in enumerate(data)))

    def _as_loaded(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        sha = self.replaced.get(args[1]) if args[0] == b"EVALSHA" else None
        return args if sha is None else (args[0], sha, *args[2:])

    def _frozen(self, at: int, kind: bytes, content: Any = None) -> tuple[Any, ...]:
        return (kind,) if kind == b"none" else (kind, self.model.canonical(at, kind, content))

    def trace(self, state: State) -> list[str]:
        """The moves that led to a state."""
        labels: list[str] = []
        before = self.came_from[state]
        while before is not None:
            state, label = before
            labels.append(label)
            before = self.came_from[state]
        return labels[::-1]


def _unpacked(raw: bytes) -> Any:
    return msgpack.unpackb(raw, raw=True)


def _load_broken(server: Server, name: str, text: str, instead: str) -> bytes:
    source = script(name).source
    if source.count(text.encode()) != 1:
        raise ValueError(f"{name}.lua has no single {text!r} to break; the variant must follow the script")
    broken = source.replace(text.encode(), instead.encode())
    sha = server.load(broken)
    if sha != hashlib.sha1(broken, usedforsecurity=False).hexdigest().encode():
        raise ValueError(f"{name}.lua was not loaded as it was sent")
    return sha

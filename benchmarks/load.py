"""Throughput and latency under load, and beside it what each message costs each tier in CPU time.

The cases of a round follow each other, and rounds repeat them all: A B C A B C.
"""

from __future__ import annotations

import re
import resource
import shutil
import statistics
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from .client import Clients, connected
from .processes import Tiers, can_measure, run_tiers
from .table import Row, left_out

__all__ = ["measure"]

HTTP_CONNECTIONS = (1, 32)
ECHO_CLIENTS = (1, 100)
#: What a case runs before it is measured, of the seconds of a round.
WARM_UP = 0.2
#: Time that wrk may take beyond what it was told.
PATIENCE_SECONDS = 30.0

_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}


@dataclass(frozen=True, slots=True)
class Result:
    """What a case did: messages, seconds, median latency in milliseconds, CPU seconds of the generator."""

    messages: int
    seconds: float
    latency_ms: float
    generator_cpu: float


Case = Callable[[float], Result]


def measure(seconds: float, rounds: int) -> list[Row]:
    """The rows of the load cases."""
    if not can_measure():
        return [left_out("load", "this system has no /proc")]
    wrk = shutil.which("wrk")
    figures: dict[tuple[str, str], list[float]] = defaultdict(list)
    with (
        run_tiers() as tiers,
        connected(tiers.port, "/ws/echo", ECHO_CLIENTS[0]) as one,
        connected(tiers.port, "/ws/echo", ECHO_CLIENTS[1]) as many,
    ):
        cases = _cases(tiers, wrk, [one, many])
        for case in cases.values():
            case(seconds * WARM_UP)
        for _ in range(rounds):
            for name, case in cases.items():
                for (what, unit), value in _run(tiers, case, seconds).items():
                    figures[f"load: {name}, {what}", unit].append(value)
    rows = [Row(what, values, unit) for (what, unit), values in figures.items()]
    return rows if wrk else [left_out("load: HTTP", "there is no wrk on PATH"), *rows]


def _cases(tiers: Tiers, wrk: str | None, echoes: list[Clients]) -> dict[str, Case]:
    cases: dict[str, Case] = {}
    if wrk is not None:
        for connections in HTTP_CONNECTIONS:
            cases[f"GET, {connections} at a time"] = _http(wrk, tiers.port, connections)
    for clients in echoes:
        cases[f"echo, {len(clients)} clients" if len(clients) > 1 else "echo, 1 client"] = _echo(clients)
    return cases


def _run(tiers: Tiers, case: Case, seconds: float) -> dict[tuple[str, str], float]:
    before = {name: child.cpu_seconds() for name, child in tiers.children.items()}
    result = case(seconds)
    found = {
        ("throughput", "per s"): result.messages / result.seconds,
        ("median latency", "ms"): result.latency_ms,
    }
    whole = 0.0
    for name, child in tiers.children.items():
        used = (child.cpu_seconds() - before[name]) / result.messages * 1e6
        whole += used
        found[name, "µs CPU each"] = used
    found["all tiers", "µs CPU each"] = whole
    found["the load generator", "% of a core"] = result.generator_cpu / result.seconds * 100
    return found


def _echo(clients: Clients) -> Case:
    def run(seconds: float) -> Result:
        used = time.process_time()
        echoes = clients.echo(seconds)
        used = time.process_time() - used
        return Result(echoes.count, echoes.seconds, statistics.median(echoes.waits) * 1e3, used)

    return run


def _http(wrk: str, port: int, connections: int) -> Case:
    def run(seconds: float) -> Result:
        whole = max(1, round(seconds))  # wrk knows no fractions
        command = [
            wrk,
            "-t1",
            f"-c{connections}",
            f"-d{whole}s",
            "--latency",
            f"http://127.0.0.1:{port}/hello",
        ]
        used = _children_cpu()
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=whole + PATIENCE_SECONDS, check=True
        )
        return _read_wrk(done.stdout, _children_cpu() - used)

    return run


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _read_wrk(said: str, cpu: float) -> Result:
    """What wrk reports. RuntimeError if any request failed: a fast error is no throughput."""
    total = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s|m),", said)
    median = re.search(r"50%\s+([\d.]+)(us|ms|s|m)\b", said)
    if total is None or median is None or int(total[1]) == 0 or "Non-2xx" in said or "Socket errors" in said:
        raise RuntimeError(f"not every request was answered:\n{said}")
    return Result(
        messages=int(total[1]),
        seconds=float(total[2]) * _UNITS[total[3]] / 1e3,
        latency_ms=float(median[1]) * _UNITS[median[2]],
        generator_cpu=cpu,
    )

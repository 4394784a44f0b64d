"""What processes use that have nothing to do, and what an idle WebSocket costs, beside the promises."""

from __future__ import annotations

import re
import socket
import time
from collections import Counter

from .client import connected
from .processes import Tiers, can_measure, run_tiers
from .table import Row, left_out

__all__ = ["measure"]

#: The promises: percent of a core and Redis commands a second of one process, KiB of one idle WebSocket.
MOST_CPU_PERCENT = 0.5
MOST_COMMANDS = 1.0
MOST_SOCKET_KIB = 14.0

#: An idle process is watched so many times the seconds of a round of load.
WINDOWS = 4
#: A shorter look at a process that beats every five seconds, and fewer sockets, say nothing.
LEAST_SECONDS = 15.0
LEAST_SOCKETS = 1000
#: Sockets that are open before memory is counted: the first ones load code.
FIRST_SOCKETS = 20
SETTLE_SECONDS = 1.0

_MONITORED = re.compile(rb'^\+\d+\.\d+ \[\d+ (lua|[^\]]+)\] "', re.MULTILINE)


def measure(seconds: float, sockets: int) -> list[Row]:
    """The rows of the idle tiers; `seconds` are those of a round of load."""
    if not can_measure():
        return [left_out("idle", "this system has no /proc")]
    window = seconds * WINDOWS
    with run_tiers() as tiers:
        with connected(tiers.port, "/ws/echo", FIRST_SOCKETS):
            pass
        time.sleep(min(window, SETTLE_SECONDS))
        return [*_idle(tiers, window), *_sockets(tiers, window, sockets)]


def _idle(tiers: Tiers, window: float) -> list[Row]:
    remark = "" if window >= LEAST_SECONDS else f"not judged in {window:g} s"
    before = {name: child.cpu_seconds() for name, child in tiers.children.items()}
    began = time.monotonic()
    commands = _commands(tiers, window)
    took = time.monotonic() - began
    rows = []
    for name, child in tiers.children.items():
        percent = (child.cpu_seconds() - before[name]) / took * 100
        limit = None if name == "redis" else MOST_CPU_PERCENT
        rows.append(Row(f"idle: {name}, CPU", [percent], "% of a core", limit, remark if limit else ""))
    for name in ("interface", "worker"):
        rate = commands[name] / took
        rows.append(Row(f"idle: {name}, Redis commands", [rate], "per s", MOST_COMMANDS, remark))
    rows.append(Row("idle: commands inside scripts, both", [commands["scripts"] / took], "per s"))
    return rows


def _sockets(tiers: Tiers, window: float, count: int) -> list[Row]:
    interface = tiers.interface
    remark = "" if count >= LEAST_SOCKETS else f"not judged with {count} sockets"
    with connected(tiers.port, "/ws/echo", FIRST_SOCKETS) as clients:
        clients.rest(min(window, SETTLE_SECONDS))
        before = interface.rss_bytes()
        clients.open(count)
        clients.rest(min(window, SETTLE_SECONDS))
        kib = (interface.rss_bytes() - before) / 1024 / count
        used, began = interface.cpu_seconds(), time.monotonic()
        clients.rest(window)
        percent = (interface.cpu_seconds() - used) / (time.monotonic() - began) * 100
    return [
        Row(f"idle: interface, memory of each of {count:,} sockets", [kib], "KiB", MOST_SOCKET_KIB, remark),
        Row(f"idle: interface, CPU with {count:,} sockets", [percent], "% of a core"),
    ]


def _commands(tiers: Tiers, window: float) -> Counter[str]:
    """Commands that each tier sends in a while, and those that scripts run; as MONITOR shows them."""
    with socket.create_connection(("127.0.0.1", tiers.redis.port), 5) as link:
        link.sendall(b"MONITOR\r\n")
        time.sleep(window)
        link.settimeout(0.2)
        seen = b""
        while True:
            try:
                data = link.recv(1 << 20)
            except TimeoutError:
                break
            seen += data
    found: Counter[str] = Counter()
    interface = _addresses(tiers.redis.port, "headrace-interface")
    for address in _MONITORED.findall(seen):
        if address == b"lua":
            found["scripts"] += 1
        else:
            found["interface" if address in interface else "worker"] += 1
    return found


def _addresses(port: int, name: str) -> set[bytes]:
    """Addresses of the clients whose name begins so."""
    with socket.create_connection(("127.0.0.1", port), 5) as link:
        link.sendall(b"CLIENT LIST\r\n")
        answer = b""
        while not answer.endswith(b"\n\r\n"):
            answer += link.recv(1 << 20)
    return set(re.findall(rb" addr=(\S+) [^\n]* name=" + name.encode(), answer))

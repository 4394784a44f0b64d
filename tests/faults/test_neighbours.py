"""One client that sends too much: what it costs its neighbours, and what it costs in memory."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.faults.flood import flooding
from tests.faults.processes import MIB, Growth, pids_of
from tests.support.services import RedisServer
from tests.support.stack import Stack

QUIET_SOCKETS = 50
#: Seconds that the quiet ones are listened to, without and with the flood.
WITHOUT_SECONDS, WITH_SECONDS = 6.0, 6.0
#: A neighbour may wait three times as long; below this nobody can tell on a busy machine.
TIMES, LEAST_SECONDS = 3, 0.05


@dataclass
class Heard:
    """What the quiet sockets saw."""

    waits_seconds: list[float] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)

    def percentile(self, percent: int) -> float:
        """So many percent of the answers came within."""
        return statistics.quantiles(self.waits_seconds, n=100)[percent - 1]

    def line(self, name: str) -> str:
        return (
            f"{name}: {len(self.waits_seconds)} answers, median {self.percentile(50) * 1000:.1f} ms, "
            f"p99 {self.percentile(99) * 1000:.1f} ms, closed {len(self.closed)}"
        )


async def _speak(socket: ClientConnection, index: int, until: float, heard: Heard) -> None:
    await asyncio.sleep(index / QUIET_SOCKETS)
    try:
        while time.monotonic() < until:
            begun = time.monotonic()
            await socket.send(json.dumps(begun))
            assert json.loads(await asyncio.wait_for(socket.recv(), 30)) == begun
            heard.waits_seconds.append(time.monotonic() - begun)
            await asyncio.sleep(max(0.0, 1 - (time.monotonic() - begun)))
    except ConnectionClosed as error:
        heard.closed.append(str(error))


async def _listen(port: int, between: Callable[[], Any]) -> tuple[Heard, Heard]:
    """Sockets that speak once a second: for a while, then `between`, then for a while with a flood."""
    without, during = Heard(), Heard()
    options: Any = {"compression": None, "proxy": None, "ping_interval": None}
    sockets = [await connect(f"ws://127.0.0.1:{port}/ws/echo", **options) for _ in range(QUIET_SOCKETS)]
    for seconds, heard in ((WITHOUT_SECONDS, without), (WITH_SECONDS, during)):
        if heard is during:
            between()
            await asyncio.sleep(0.5)
        until = time.monotonic() + seconds
        await asyncio.gather(*(_speak(each, index, until, heard) for index, each in enumerate(sockets)))
    for socket in sockets:
        await socket.close()
    return without, during


@pytest.mark.parametrize(
    ("floods", "most_bytes", "most_growth_bytes"),
    [
        (("tiny",), 1 << 40, 16 * MIB),
        (("tiny", "reconnects"), 1 << 40, 16 * MIB),
        (("pings",), 1 << 40, 16 * MIB),
        (("empty parts",), 1 << 20, 16 * MIB),
        (("long path",), 1 << 20, 16 * MIB),
        (("compressed",), 1 << 20, 16 * MIB),
    ],
    ids=lambda value: "_and_".join(value).replace(" ", "_") if isinstance(value, tuple) else "",
)
def test_one_client_that_sends_too_much_costs_no_neighbour_its_socket_or_its_speed(
    floods: tuple[str, ...],
    most_bytes: int,
    most_growth_bytes: int,
    private_redis_server: RedisServer,
    report: Callable[[str], None],
) -> None:
    with Stack.over(private_redis_server.url) as stack, ExitStack() as started:
        stack.interface("--no-access-log")
        stack.worker(processes=2)
        pids = pids_of(stack, private_redis_server.pid)

        def begin() -> None:
            for kind in floods:
                started.enter_context(flooding(kind, stack.port, WITH_SECONDS + 5, most_bytes))

        with Growth.watched({name: pids[name] for name in ("redis", "interface 0")}) as growth:
            without, during = asyncio.run(_listen(stack.port, begin))
    report(f"{without.line('without')}\n{during.line('with')}\n{growth.table()}")
    assert during.closed == []
    assert during.percentile(99) <= max(TIMES * without.percentile(99), LEAST_SECONDS)
    assert sum(growth.most.values()) <= most_growth_bytes

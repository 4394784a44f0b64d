"""Faults of Redis under a numbered load: what must not happen, and what may be lost."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.account import Account
from tests.faults.load import running
from tests.support.services import RedisServer
from tests.support.stack import Stack, eventually

#: Shorter than shipped, so that what is lost shows within the test; the promise is the same.
QUEUE_SECONDS, RESPONSE_SECONDS, LAYER_SECONDS = 15, 20, 10
OPTIONS = (
    *("--queue-timeout", str(QUEUE_SECONDS), "--http-timeout", str(RESPONSE_SECONDS)),
    *("--layer-timeout", str(LAYER_SECONDS)),
)
WARM_SECONDS = 2.0
#: Seconds of load behind the end of a fault: service must be back well within.
AFTER_SECONDS = 4.0
BACK_WITHIN_SECONDS = 2.0


@dataclass(frozen=True)
class Fault:
    """What is done to Redis, and what it may cost."""

    name: str
    do: Callable[[RedisServer], None]
    #: Units of work: takes in flight, or all there was.
    may_lose: int = 0
    #: Ordered sockets of which a take in flight held a message: they wait for its lease, or until their
    #: mailbox has been full for the queue timeout, and are closed then.
    may_stand_still: int = 0
    #: Why no accounts can balance after it.
    unaccounted: str = ""


def paused_for(seconds: float) -> Callable[[RedisServer], None]:
    def pause(server: RedisServer) -> None:
        server.pause()
        time.sleep(seconds)
        server.resume()

    return pause


def may_close(line: str, fault: Fault, account: Account) -> bool:
    """Whether a socket was closed for good reason: it stood still, or may have missed a message."""
    return line.split()[1] in account.standing_still or (
        fault.may_lose > 0 and line.endswith("1013 messages were lost")
    )


def kill_clients(server: RedisServer) -> None:
    for _ in range(20):
        server.command("CLIENT", "KILL", "TYPE", "normal")
        time.sleep(1)


def fill_memory(server: RedisServer) -> None:
    server.command("CONFIG", "SET", "maxmemory", "1")
    time.sleep(10)
    server.command("CONFIG", "SET", "maxmemory", "0")


def demote(server: RedisServer) -> None:
    server.command("REPLICAOF", "127.0.0.1", "1")
    time.sleep(3)
    server.command("REPLICAOF", "NO", "ONE")


def restart_with_its_data(server: RedisServer) -> None:
    """Kill it, and start it again with what its append-only file holds."""
    server.command("CONFIG", "SET", "appendonly", "yes")
    eventually(lambda: b"aof_rewrite_in_progress:0" in server.command("INFO", "persistence"))
    server.options += ["--appendonly", "yes"]
    server.kill()
    time.sleep(1)
    server.start()


def flush(server: RedisServer) -> None:
    for _ in range(3):
        server.command("FLUSHALL")
        time.sleep(1)


def forget_scripts(server: RedisServer) -> None:
    for _ in range(3):
        server.command("SCRIPT", "FLUSH")
        time.sleep(0.5)


FAULTS = [
    # Two takes: what came together, of ordered sockets too, is taken together.
    Fault("every connection is cut each second for 20 s", kill_clients, may_lose=40, may_stand_still=40),
    Fault("Redis hangs for 3 s", paused_for(3)),
    Fault("Redis hangs for 7 s", paused_for(7)),
    Fault("Redis hangs for 15 s", paused_for(15)),
    Fault("Redis restarts empty", RedisServer.restart, may_lose=100),
    # One take.
    Fault("Redis restarts with its data", restart_with_its_data, may_lose=20, may_stand_still=20),
    Fault("Redis is flushed three times", flush, may_lose=100, unaccounted="the counters are gone too"),
    Fault("Redis is out of memory for 10 s", fill_memory),
    Fault("Redis forgets its scripts", forget_scripts),
    Fault("Redis is a replica for 3 s", demote),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.replace(" ", "_"))
def test_a_fault_of_redis_closes_no_socket_doubles_nothing_and_is_over_within_2_seconds(
    fault: Fault,
    private_redis_server: RedisServer,
    tmp_path: Path,
    report: Callable[[str], None],
) -> None:
    marks = tmp_path / "marks"
    marks.touch()
    with Stack.over(private_redis_server.url) as stack:
        stack.unaccounted = fault.unaccounted
        stack.env["JOURNEY_MARKS"] = str(marks)
        stack.interface(*OPTIONS)
        stack.worker(processes=2)
        with running(stack.port, stack.config) as load:
            time.sleep(WARM_SECONDS)
            fault.do(private_redis_server)
            ended = time.monotonic()
            time.sleep(AFTER_SECONDS)
        account = load.account
        account.read_marks(marks.read_text().splitlines())
        back = load.back_after(ended)
        report(f"{account.table()}\nservice back after {back:.2f} s")
        statuses = {process.name: process.end() for process in stack.processes}

    assert [line for line in account.closed if not may_close(line, fault, account)] == []
    assert account.run_twice == []
    assert account.doubled == []
    assert account.inversions == []
    assert account.broken == []
    assert back <= BACK_WITHIN_SECONDS
    assert max(account.waits_seconds) <= QUEUE_SECONDS + 1
    assert len(account.losses) <= fault.may_lose, account.losses[:20]
    assert len(account.standing_still) <= fault.may_stand_still, account.standing_still
    assert set(statuses.values()) == {0}

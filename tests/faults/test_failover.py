"""A primary is killed, or replaced, under a numbered load: what is lost, and what is done twice."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.load import running
from tests.support.services import SentinelSet
from tests.support.stack import Stack

#: Shorter than shipped, so that what is lost shows within the test.
OPTIONS = ("--queue-timeout", "5", "--http-timeout", "5", "--layer-timeout", "10")
WARM_SECONDS = 1.5
#: Seconds of load behind the moment when there is a new primary: service must be back well within.
AFTER_SECONDS = 3.0
BACK_WITHIN_SECONDS = 5.0


@dataclass(frozen=True)
class Failover:
    """What is done to the primary, and how many units of work that may lose or run twice."""

    name: str
    do: Callable[[SentinelSet], object]
    may_cost: int


FAILOVERS = [
    # What replication had not brought over: a moment of some six hundred a second.
    Failover("the primary is killed", SentinelSet.kill_primary, may_cost=60),
    # What was said to the former one until both tiers had asked the Sentinels: up to a second, either way.
    Failover("a primary that is well is replaced", SentinelSet.fail_over, may_cost=900),
]


@pytest.mark.parametrize("failover", FAILOVERS, ids=lambda failover: failover.name.replace(" ", "_"))
def test_a_failover_ends_no_process_and_costs_only_what_was_on_its_way(
    failover: Failover,
    private_sentinel_set: SentinelSet,
    tmp_path: Path,
    report: Callable[[str], None],
) -> None:
    marks = tmp_path / "marks"
    marks.touch()
    with Stack.over(private_sentinel_set.url) as stack:
        stack.env["JOURNEY_MARKS"] = str(marks)
        stack.interface(*OPTIONS)
        stack.worker(processes=2)
        with running(stack.port, stack.config) as load:
            time.sleep(WARM_SECONDS)
            begun = time.monotonic()
            failover.do(private_sentinel_set)
            ended = time.monotonic()
            time.sleep(AFTER_SECONDS)
        account = load.account
        account.read_marks(marks.read_text().splitlines())
        back = load.back_after(ended)
        report(f"{account.table()}\nfailover {ended - begun:.2f} s, service back {back:.2f} s behind it")
        statuses = {process.name: process.end() for process in stack.processes}

    assert account.broken == []
    assert back <= BACK_WITHIN_SECONDS
    assert len(account.losses) + len(account.run_twice) <= failover.may_cost
    assert [line for line in account.closed if line.split()[1] not in account.standing_still] == []
    assert set(statuses.values()) == {0}

"""Explore everything and print what was found; exit 1 for a violation, or a broken variant not caught."""

from __future__ import annotations

import sys
import time

from tests.support.services import RedisServer, valkey_binary

from .explorer import Server
from .protocols import tasks


def main() -> int:
    """Run all explorations on a server of their own."""
    began, wrong = time.monotonic(), 0
    with RedisServer(valkey_binary()) as redis:
        server = Server(redis.path)
        for task in tasks(small=False):
            report = task.run(server)
            caught = f"caught in {len(report.trace)} steps: " if task.must_fail and report.violation else ""
            found = report.violation or ("NOT CAUGHT" if task.must_fail else "holds")
            row = f"{report.name:58}{report.states:8,} states{report.seconds:7.1f} s"
            print(f"{row}  {caught}{found}", flush=True)  # noqa: T201
            if not task.is_fine(report):
                wrong += 1
                print("".join(f"    {label}\n" for label in report.trace), end="")  # noqa: T201
        server.close()
    print(f"{time.monotonic() - began:.1f} s in all, {wrong} wrong")  # noqa: T201
    return 1 if wrong else 0


sys.exit(main())

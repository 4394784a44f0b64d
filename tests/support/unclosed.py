"""Who made a socket that nobody closed: the collector finds it long after its test."""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

__all__ = ["makers_of", "pytest_runtest_makereport", "remember_makers"]

_UNCLOSED = re.compile(r"<socket\.socket fd=(\d+)")
#: By descriptor: the test in which its last socket was made, and the thread.
_makers: dict[int, str] = {}


def remember_makers() -> None:
    """From now on, note in which test each socket of this process is made."""
    make = socket.socket.__init__

    def noted(self: socket.socket, *args: Any, **named: Any) -> None:
        make(self, *args, **named)
        test = os.environ.get("PYTEST_CURRENT_TEST", "no test")
        _makers[self.fileno()] = f"{test}, in the thread {threading.current_thread().name}"

    socket.socket.__init__ = noted  # type: ignore[method-assign]


def makers_of(report: str) -> Iterator[str]:
    """A line for each unclosed socket that a report of a failure names."""
    for descriptor in dict.fromkeys(map(int, _UNCLOSED.findall(report))):
        yield f"fd {descriptor} was last made in {_makers.get(descriptor, 'no test that is known')}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Say it below the failure of the test in which the collector came by."""
    report = yield
    if report.failed and (lines := list(makers_of(report.longreprtext))):
        report.sections.append(("Unclosed sockets", "\n".join(lines)))
    return report

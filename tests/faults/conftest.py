"""What the tests of faults found is shown at the end of the run, whether they passed or not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

_FOUND: list[str] = []


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Takes a text to show at the end of the run."""

    def show(text: str) -> None:
        _FOUND.append(f"{request.node.name}\n{text}")

    return show


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for text in _FOUND:
        terminalreporter.write_line("")
        terminalreporter.write_line(text)

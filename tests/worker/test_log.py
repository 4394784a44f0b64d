"""Log lines."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from headrace.log import LimitedLog, setup_logging
from tests.support.workers import Clock


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """The logger of all of Headrace; each test empties it itself, pytest hangs handlers of its own on it."""
    logger = logging.getLogger("headrace")
    handlers, level, propagate = logger.handlers[:], logger.level, logger.propagate
    logger.propagate = False
    logger.setLevel(logging.NOTSET)
    yield logger
    logger.handlers, logger.propagate = handlers, propagate
    logger.setLevel(level)


@pytest.mark.parametrize(
    ("verbosity", "level"), [(0, logging.WARNING), (1, logging.INFO), (2, logging.DEBUG), (3, logging.DEBUG)]
)
def test_lines_are_shown_as_verbosely_as_asked(logger: logging.Logger, verbosity: int, level: int) -> None:
    logger.handlers = []
    setup_logging(verbosity)
    assert logger.level == level
    assert len(logger.handlers) == 1
    setup_logging(verbosity)
    assert len(logger.handlers) == 1


def test_a_projects_own_logging_is_left_alone(logger: logging.Logger) -> None:
    own = logging.NullHandler()
    logger.handlers = [own]
    logger.setLevel(logging.ERROR)
    setup_logging(1)
    assert logger.handlers == [own]
    assert logger.level == logging.ERROR


def test_a_thing_is_said_once_per_minute_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    limited = LimitedLog(clock)
    for _ in range(5):
        limited.log("a", logging.ERROR, "it is %s", "so")
    limited.log("b", logging.ERROR, "other")
    clock.sleep(61)
    limited.log("a", logging.ERROR, "it is %s", "so")
    assert [record.message for record in caplog.records] == [
        "it is so",
        "other",
        "it is so (4 more like this were left out)",
    ]

"""The process's logging."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest
from twisted.logger import Logger, globalLogPublisher

from headrace_interface import log

NAMES = ("headrace", "twisted")


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """A stream to configure, with the loggers as they were afterwards."""
    before = [(each, each.handlers, each.propagate, each.level) for each in map(logging.getLogger, NAMES)]
    observers = list(globalLogPublisher._observers)
    monkeypatch.setattr(log.globalLogBeginner, "beginLoggingTo", _begin)
    yield io.StringIO()
    for each, handlers, propagate, level in before:
        each.handlers, each.propagate = handlers, propagate
        each.setLevel(level)
    for observer in set(globalLogPublisher._observers) - set(observers):
        globalLogPublisher.removeObserver(observer)


def _begin(observers: list[object], **options: object) -> None:
    # The real one works once in a process, and keeps what it was given for ever.
    for observer in observers:
        globalLogPublisher.addObserver(observer)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("verbosity", "shown"), [(0, ["warning"]), (1, ["info", "warning"]), (2, ["debug", "info", "warning"])]
)
def test_verbosity_chooses_the_levels(verbosity: int, shown: list[str], stream: io.StringIO) -> None:
    log.configure(verbosity, stream)
    logger = logging.getLogger("headrace.interface")
    for level in ("debug", "info", "warning"):
        getattr(logger, level)("said %s", level)
    assert [line.split()[-1] for line in stream.getvalue().splitlines()] == shown


def test_a_line_can_have_another_format(stream: io.StringIO) -> None:
    log.configure(1, stream, line="%(levelname)s|%(message)s")
    logging.getLogger("headrace.interface").info("said")
    assert stream.getvalue() == "INFO|said\n"


def test_verbosity_3_is_a_level_d4(stream: io.StringIO) -> None:
    log.configure(3, stream)
    assert logging.getLogger("headrace").level == logging.DEBUG


def test_twisted_speaks_through_the_same_handler(stream: io.StringIO) -> None:
    log.configure(1, stream)
    Logger(namespace="test").info("ordinary")
    Logger(namespace="test").error("broken {what}", what="thing")
    [line] = stream.getvalue().splitlines()
    assert "ERROR" in line
    assert "twisted: broken thing" in line


def record(text: str = "lost %s", level: int = logging.WARNING) -> logging.LogRecord:
    return logging.LogRecord("headrace.interface", level, __file__, 1, text, ("it",), None)


def test_the_same_message_is_let_through_a_few_times_in_a_while() -> None:
    now = [0.0]
    limit = log.RateLimit(burst=3, window_seconds=60, clock=lambda: now[0])
    assert [limit.filter(record()) for _ in range(5)] == [True, True, True, False, False]
    assert limit.filter(record("something else"))
    assert limit.filter(record(level=logging.ERROR))
    now[0] = 61
    last = record()
    assert limit.filter(last)
    assert last.getMessage() == "lost it (2 more like this were left out)"
    again = record()
    assert limit.filter(again)
    assert again.getMessage() == "lost it"


def test_debugging_is_never_limited() -> None:
    limit = log.RateLimit(burst=1)
    assert all(limit.filter(record(level=logging.DEBUG)) for _ in range(5))

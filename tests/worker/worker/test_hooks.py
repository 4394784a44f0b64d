"""What happens around every consumer."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.message import Message
from headrace.signals import consumer_finished, consumer_started
from headrace.worker import hooks
from headrace.worker.hooks import CallbackHook, DatabaseHook, SignalHook, default_hooks
from tests.support.workers import Clock, layer_with


@pytest.fixture
def message() -> Message:
    return Message({"n": 1}, "work", layer_with([]))


def test_the_database_is_looked_at_before_and_after_but_not_twice_in_a_row(
    message: Message, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[str] = []

    class Connection:
        def close_if_unusable_or_obsolete(self) -> None:
            closed.append("looked")

    class Connections:
        def all(self, initialized_only: bool) -> list[Connection]:
            assert initialized_only
            return [Connection()]

    monkeypatch.setattr(hooks, "connections", Connections())
    clock = Clock()
    hook = DatabaseHook(clock)
    hook.before(message)
    hook.after(message, None)
    assert len(closed) == 2
    hook.before(message)
    hook.after(message, None)
    assert len(closed) == 3
    clock.sleep(1)
    hook.before(message)
    assert len(closed) == 4


def test_signals_reach_their_receivers(message: Message) -> None:
    told: list[Any] = []

    def started(environ: Any, **kwargs: Any) -> None:
        told.append(environ)

    def finished(**kwargs: Any) -> None:
        told.append("finished")

    hook = SignalHook()
    hook.before(message)
    consumer_started.connect(started)
    consumer_finished.connect(finished)
    try:
        hook.before(message)
        hook.after(message, None)
    finally:
        consumer_started.disconnect(started)
        consumer_finished.disconnect(finished)
    assert told == [{}, "finished"]


def test_a_callback_gets_channel_and_content(message: Message) -> None:
    told: list[Any] = []
    CallbackHook(lambda channel, content: told.append((channel, content))).before(message)
    assert told == [("work", {"n": 1})]
    assert len(default_hooks(lambda channel, content: None)) == len(default_hooks()) + 1

"""What both kinds of workers have from their loop."""

from __future__ import annotations

import pytest

from headrace import route
from headrace.routing import accept_consumer
from headrace.worker import ThreadedWorker, Worker
from headrace.worker.loop import apply_channel_filters
from tests.support.workers import layer_with, worker_for


def test_w5_a_turn_that_fails_for_no_known_reason_is_not_the_last(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    worker = worker_for([route("work", lambda message: worker.stop())])
    step, failed = worker.step, []

    def first_fails() -> int:
        if not failed:
            failed.append(True)
            raise ZeroDivisionError("a bug of ours")
        return step()

    monkeypatch.setattr("headrace.worker.loop.AFTER_FAILURE_SECONDS", 0)
    monkeypatch.setattr(worker, "step", first_fails)
    worker.channel_layer.send("work", {})
    worker.run()
    assert worker.counters["done"] == 1
    assert "a bug of ours" in caplog.text


def test_channels_are_chosen_by_globs() -> None:
    names = {"http.request", "websocket.connect", "websocket.receive", "mail"}
    assert apply_channel_filters(names) == sorted(names)
    assert apply_channel_filters(names, ["websocket.*", "mail"], ["*.connect"]) == [
        "mail",
        "websocket.receive",
    ]
    assert apply_channel_filters(names, None, ["WEBSOCKET.*"]) == sorted(names)
    assert apply_channel_filters(names, ["x"]) == []
    layer = layer_with([route(["a", "b"], accept_consumer)])
    assert Worker(layer, only_channels=["a"]).channels == ["a"]


def test_the_worker_of_one_thread_runs_no_consumers_in_others() -> None:
    layer = layer_with([])
    with pytest.raises(ValueError, match="ThreadedWorker"):
        Worker(layer, threads=2)
    assert ThreadedWorker(layer, threads=2).counters == {}

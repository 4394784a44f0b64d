"""Signals."""

from __future__ import annotations

from django.dispatch import Signal

from headrace import signals


def test_the_signals_of_channels_1_are_there() -> None:
    for name in ("consumer_started", "consumer_finished", "worker_ready", "worker_process_ready"):
        assert isinstance(getattr(signals, name), Signal)

"""Signals of the worker. A signal nobody listens to costs nothing.

`consumer_started(environ)` and `consumer_finished()` stand around each consumer, in its thread.
`worker_ready(worker)` is sent by each worker before its first take, `worker_process_ready()` once per
process.
"""

from __future__ import annotations

from django.dispatch import Signal

__all__ = ["consumer_finished", "consumer_started", "worker_process_ready", "worker_ready"]

consumer_started = Signal()
consumer_finished = Signal()
worker_ready = Signal()
worker_process_ready = Signal()

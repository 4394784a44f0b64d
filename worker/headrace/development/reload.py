"""How a worker ends that Django's reloader runs, or that a developer stops."""

from __future__ import annotations

import threading
from collections.abc import Callable

from django.utils import autoreload

__all__ = ["STOP_SECONDS", "stop_before_reload"]

#: How long what runs may go on after Ctrl-C, in seconds: a developer waits.
STOP_SECONDS = 2.0
#: How long a reload waits for running consumers, in seconds.
RELOAD_PATIENCE_SECONDS = 2.0


def stop_before_reload(stop: Callable[[], object], running: threading.Thread) -> None:
    """Let a reload wait for what runs: Django ends the process in the middle of a consumer otherwise.

    `stop` asks the worker in the thread `running` to leave; it has two seconds.
    """

    def changed(**kwargs: object) -> None:
        stop()
        if running is not threading.current_thread():
            running.join(RELOAD_PATIENCE_SECONDS)

    autoreload.file_changed.connect(changed, weak=False, dispatch_uid="headrace.stop_before_reload")

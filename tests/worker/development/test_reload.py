from __future__ import annotations

import threading
from pathlib import Path

from django.utils import autoreload

from headrace.development.reload import stop_before_reload


def test_a_reload_asks_the_worker_to_stop_and_waits_for_it() -> None:
    asked = threading.Event()
    running = threading.Thread(target=asked.wait, args=(5,))
    running.start()
    stop_before_reload(asked.set, running)
    try:
        autoreload.file_changed.send(sender=None, file_path=Path("views.py"))
        assert not running.is_alive()
    finally:
        autoreload.file_changed.disconnect(dispatch_uid="headrace.stop_before_reload")

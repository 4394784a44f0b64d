"""`--upgrade PID`: asks a running interface server to become its next image, and sees whether it does."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from headrace_asgi.errors import ConfigurationError

from .image import REHEARSAL_SECONDS

__all__ = ["ask_to_upgrade"]

#: Seconds for the rehearsal, and for all that is to be settled behind it.
_PATIENCE_SECONDS = REHEARSAL_SECONDS + 5.0
_LOOK_SECONDS = 0.05


def ask_to_upgrade(pid: int, sleep: Callable[[float], None] = time.sleep) -> None:
    """Send SIGUSR2 and wait until the process is another image. Blocks for some seconds.

    Raises ConfigurationError where nobody can be asked, and if it went on as it was.
    """
    if pid <= 1:
        raise ConfigurationError(f"--upgrade takes the process id of an interface server, not {pid}")
    before = _image(pid)
    try:
        os.kill(pid, signal.SIGUSR2)
    except ProcessLookupError:
        raise ConfigurationError(f"--upgrade: there is no process {pid}") from None
    except PermissionError:
        raise ConfigurationError(f"--upgrade: process {pid} is somebody else's; ask as its user") from None
    if not before:
        return  # not a system that shows what processes are
    give_up = time.monotonic() + _PATIENCE_SECONDS
    while _image(pid) == before:
        if time.monotonic() >= give_up:
            raise ConfigurationError(f"--upgrade: process {pid} goes on as it was; its log says why")
        sleep(_LOOK_SECONDS)
    if not _image(pid):
        raise ConfigurationError(f"--upgrade: process {pid} has ended; its log says why")


def _image(pid: int) -> bytes:
    """Something that is another one for each image of a process; empty where nobody says."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/auxv").read_bytes()
    return b""

"""The next image of a process: who asks for it, whether it would start, and what it is started with."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from headrace_asgi.envelope import Message
from headrace_asgi.errors import ConfigurationError

from .state import FORMAT, unpacked

__all__ = [
    "REHEARSED",
    "STATE_FD",
    "Images",
    "ask_to_upgrade",
    "become",
    "is_rehearsal",
    "rehearse",
    "taken_over",
]

#: In the environment of the next image: where the state is.
STATE_FD = "HEADRACE_STATE_FD"
#: In the environment of a rehearsal: the format of the state that the next image will have to know.
REHEARSED = "HEADRACE_STATE_FORMAT"
#: Seconds for a rehearsal: it imports everything, and opens nothing.
_REHEARSAL_SECONDS = 30.0
#: Seconds for the rehearsal, and for all that is to be settled behind it.
_PATIENCE_SECONDS = _REHEARSAL_SECONDS + 5.0
_LOOK_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Images:
    """What the image before this one left open, and what the next one is told besides what is open."""

    handed_over: Message | None = None
    keeps: Message = field(default_factory=dict)


def _command() -> list[str]:
    return [sys.executable, *sys.orig_argv[1:]]


def rehearse() -> str:
    """Why the next image would not start; empty if it would. Blocks for as long as its imports take."""
    try:
        done = subprocess.run(
            _command(),
            env={**os.environ, REHEARSED: str(FORMAT)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_REHEARSAL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"it did not start within {_REHEARSAL_SECONDS:g} s"
    except OSError as error:
        return str(error)
    if done.returncode == 0:
        return ""
    said = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return said[-1] if said else f"it ended with status {done.returncode}"


def become(state: bytes, descriptors: Sequence[int]) -> None:
    """Replace this process by its next image, which inherits the descriptors. Raises OSError."""
    blob = os.memfd_create("headrace-upgrade", 0)
    try:
        with open(blob, "wb", closefd=False) as file:
            file.write(state)
        for one in descriptors:
            os.set_inheritable(one, True)
        command = _command()
        os.execve(command[0], command, {**os.environ, STATE_FD: str(blob)})
    finally:
        for one in descriptors:
            os.set_inheritable(one, False)
        os.close(blob)


def taken_over(environment: MutableMapping[str, str]) -> dict[str, object] | None:
    """What an image before this one handed over, if there was one. Raises ConfigurationError."""
    text = environment.pop(STATE_FD, None)
    if text is None:
        return None
    try:
        with open(int(text), "rb") as file:
            file.seek(0)
            return unpacked(file.read())
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{STATE_FD}={text}: {error}") from None


def is_rehearsal(environment: Mapping[str, str]) -> bool:
    """Whether somebody only wants to know if this would start. Raises ConfigurationError if it would not:
    if the old image's state is another one than ours."""
    text = environment.get(REHEARSED)
    if text is not None and text != str(FORMAT):
        raise ConfigurationError(
            f"this version takes over format {FORMAT} of what is open, the running one hands over {text}: "
            "restart it instead"
        )
    return text is not None


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

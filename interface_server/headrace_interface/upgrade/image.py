"""The next image of this process: whether it would start, and what it is started with."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, MutableMapping, Sequence

from headrace_asgi.errors import ConfigurationError

from .state import FORMAT, unpacked

__all__ = ["REHEARSAL_SECONDS", "REHEARSED", "STATE_FD", "become", "rehearse", "taken_over"]

#: In the environment of the next image: where the state is.
STATE_FD = "HEADRACE_STATE_FD"
#: In the environment of a rehearsal: the format of the state that the next image will have to know.
REHEARSED = "HEADRACE_STATE_FORMAT"
#: Seconds for a rehearsal: it imports everything, and opens nothing.
REHEARSAL_SECONDS = 30.0


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
            timeout=REHEARSAL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"it did not start within {REHEARSAL_SECONDS:g} s"
    except OSError as error:
        return str(error)
    if done.returncode == 0:
        return ""
    said = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return said[-1] if said else f"it ended with status {done.returncode}"


def knows(format_text: str) -> None:
    """For a rehearsal. Raises ConfigurationError if the old image's state is another one than ours."""
    if format_text != str(FORMAT):
        raise ConfigurationError(
            f"this version takes over format {FORMAT} of what is open, the running one hands over "
            f"{format_text}: restart it instead"
        )


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
    """Whether somebody only wants to know if this would start. Raises ConfigurationError if it would not."""
    text = environment.get(REHEARSED)
    if text is None:
        return False
    knows(text)
    return True

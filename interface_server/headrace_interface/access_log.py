"""The access log: one line a request in the common log format, with time zone and escaping.

Lines are written together, twice a second, so that a request does not pay for a system call.
"""

from __future__ import annotations

import time
from typing import Any, Protocol

from .episodes import Episode
from .http.head import RequestHead
from .timers import Clock

__all__ = ["AccessLog", "Sink", "escape"]

_FLUSH_SECONDS = 0.5
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Sink(Protocol):
    """A file that does not buffer."""

    def write(self, data: bytes, /) -> int | None:
        """Write some of it; how many bytes. Raises OSError."""

    def close(self) -> None:
        """Close the file."""


class AccessLog:
    """Writes to a file by path, or to `stream`, where what cannot be written is given up."""

    def __init__(self, clock: Clock, path: str | None = None, stream: Sink | None = None) -> None:
        """Opens `path` for appending. Raises OSError."""
        self._clock = clock
        self._path = path
        self._stream = stream if path is None else _open(path)
        self._lines: list[str] = []
        #: Whether the last line that was written has no end.
        self._broken_off = False
        self._trouble: Episode | None = None

    def request(self, head: RequestHead, status: int, size: int) -> None:
        """A request that was answered; 499 says that its client left before."""
        target = escape(head.target.decode("latin-1"))
        self._add(head.client, f"{head.method} {target} HTTP/{head.http_version}", str(status), str(size))

    def refused(self, client: list[Any] | None, status: int) -> None:
        """Something that was no request, or broke off before it was one."""
        self._add(client, "-", str(status), "-")

    def socket(self, action: str, head: RequestHead, code: int | None = None) -> None:
        """An event of a WebSocket, such as WSCONNECT; `code` is what it was closed with."""
        self._add(head.client, f"{action} {escape(head.path)}", "-" if code is None else str(code), "-")

    def reopen(self) -> None:
        """Open the file again: it was rotated. Keeps the old one if that fails, and raises OSError."""
        self.flush()
        if self._path is not None and self._stream is not None:
            old, self._stream = self._stream, _open(self._path)
            old.close()

    def close(self) -> None:
        """Write what is waiting, and close the file if it is ours."""
        self.flush()
        if self._path is not None and self._stream is not None:
            self._stream.close()
            self._stream = None

    def flush(self) -> None:
        """Write what is waiting. A full disk or closed pipe loses the lines, never a request."""
        lines, self._lines = self._lines, []
        if not lines or self._stream is None:
            return
        data = ("\n" * self._broken_off + "".join(lines)).encode("ascii", "backslashreplace")
        try:
            while data and (count := self._stream.write(data)):
                self._broken_off = data[count - 1 : count] != b"\n"
                data = data[count:]
        except OSError as error:
            self._lost(len(lines), error.strerror or str(error))
            return
        if data:
            self._lost(len(lines), "its reader does not keep up")
        elif self._trouble is not None:
            self._trouble.over()

    def _lost(self, count: int, reason: str) -> None:
        if self._trouble is None:
            name = self._path or "on stdout"
            self._trouble = Episode(
                self._clock,
                f"The access log {name} cannot be written ({reason}). Requests are served all the same, and "
                "their lines are lost until it can: make room, or name another place with --access-log.",
                f"The access log {name} is written again; up to {{count}} lines were lost.",
                ends_by_itself=False,
            )
        self._trouble.happened(count)

    def _add(self, client: list[Any] | None, what: str, status: str, size: str) -> None:
        host = "-" if client is None else escape(str(client[0]))
        if not self._lines:
            self._clock.callLater(_FLUSH_SECONDS, self.flush)
        self._lines.append(f'{host} - - [{_now()}] "{what}" {status} {size}\n')


def _open(path: str) -> Sink:
    return open(path, "ab", buffering=0)


def _now() -> str:
    at = time.localtime()
    return f"{at.tm_mday:02d}/{_MONTHS[at.tm_mon - 1]}/{at.tm_year}:" + time.strftime("%H:%M:%S %z", at)


def escape(text: str) -> str:
    """Make a client's text safe between quotes on one line of ASCII."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return text
    return text.encode("unicode_escape").decode("ascii").replace('"', '\\"')

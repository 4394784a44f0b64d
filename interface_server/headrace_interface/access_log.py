"""The access log: one line a request, in the common log format with time zone and escaping, or as JSON.

Lines are written together, twice a second, so that a request does not pay for a system call.
"""

from __future__ import annotations

import json
import time
from typing import Any, Protocol

from .episodes import Episode
from .http.head import RequestHead
from .timers import Clock

__all__ = ["COMMON", "FORMATS", "JSON", "AccessLog", "Sink", "escape"]

_FLUSH_SECONDS = 0.5
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Sink(Protocol):
    """A file that does not buffer."""

    def write(self, data: bytes, /) -> int | None:
        """Write some of it; how many bytes. Raises OSError."""

    def close(self) -> None:
        """Close the file."""


class LineFormat(Protocol):
    """Makes lines of what happened."""

    def request(self, head: RequestHead, status: int, size: int) -> str:
        """The line of a request."""

    def refused(self, client: list[Any] | None, status: int) -> str:
        """The line of something that was no request."""

    def socket(self, action: str, head: RequestHead, code: int | None) -> str:
        """The line of a WebSocket's event."""


class CommonFormat:
    """The common log format. What is not known is a dash, and a WebSocket's event stands for a method."""

    def request(self, head: RequestHead, status: int, size: int) -> str:
        """As in `"GET /path HTTP/1.1" 200 512`."""
        target = escape(head.target.decode("latin-1"))
        return self._line(
            head.client, f"{head.method} {target} HTTP/{head.http_version}", str(status), str(size)
        )

    def refused(self, client: list[Any] | None, status: int) -> str:
        """As in `"-" 400 -`."""
        return self._line(client, "-", str(status), "-")

    def socket(self, action: str, head: RequestHead, code: int | None) -> str:
        """As in `"WSDISCONNECT /path" 1001 -`."""
        return self._line(
            head.client, f"{action} {escape(head.path)}", "-" if code is None else str(code), "-"
        )

    def _line(self, client: list[Any] | None, what: str, status: str, size: str) -> str:
        host = "-" if client is None else escape(str(client[0]))
        return f'{host} - - [{_now()}] "{what}" {status} {size}\n'


class JsonFormat:
    """One JSON object on each line, with `at` (ISO 8601) and `client` (null if unknown) in all of them.

    A request has `method`, `target`, `http_version`, `status` and `size` in bytes; what was none only
    `status`; an event of a WebSocket `event`, `path` and `code`, null where nothing was closed.
    """

    def request(self, head: RequestHead, status: int, size: int) -> str:
        """The object of a request."""
        return self._line(
            head.client,
            method=head.method,
            target=head.target.decode("latin-1"),
            http_version=head.http_version,
            status=status,
            size=size,
        )

    def refused(self, client: list[Any] | None, status: int) -> str:
        """The object of what was no request."""
        return self._line(client, status=status)

    def socket(self, action: str, head: RequestHead, code: int | None) -> str:
        """The object of a WebSocket's event."""
        return self._line(head.client, event=action, path=head.path, code=code)

    def _line(self, client: list[Any] | None, **values: object) -> str:
        at = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime())
        host = None if client is None else str(client[0])
        return json.dumps({"at": at, "client": host, **values}) + "\n"


COMMON, JSON = "common", "json"
FORMATS: dict[str, LineFormat] = {COMMON: CommonFormat(), JSON: JsonFormat()}


class AccessLog:
    """Writes to a file by path, or to `stream`, where what cannot be written is given up."""

    def __init__(
        self, clock: Clock, path: str | None = None, stream: Sink | None = None, lines: str = COMMON
    ) -> None:
        """Opens `path` for appending; `lines` is one of `FORMATS`. Raises OSError."""
        self._clock = clock
        self._format = FORMATS[lines]
        self._path = path
        self._stream = stream if path is None else _open(path)
        self._lines: list[str] = []
        #: Whether the last line that was written has no end.
        self._broken_off = False
        self._trouble: Episode | None = None

    def request(self, head: RequestHead, status: int, size: int) -> None:
        """A request that was answered; 499 says that its client left before."""
        self._add(self._format.request(head, status, size))

    def refused(self, client: list[Any] | None, status: int) -> None:
        """Something that was no request, or broke off before it was one."""
        self._add(self._format.refused(client, status))

    def socket(self, action: str, head: RequestHead, code: int | None = None) -> None:
        """An event of a WebSocket, such as WSCONNECT; `code` is what it was closed with."""
        self._add(self._format.socket(action, head, code))

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

    def _add(self, line: str) -> None:
        if not self._lines:
            self._clock.callLater(_FLUSH_SECONDS, self.flush)
        self._lines.append(line)


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

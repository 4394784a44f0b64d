"""The lines that runserver shows for requests, made of the interface server's access log."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["request_line"]

_LINE = re.compile(
    r'(?P<client>\S+) \S+ \S+ \[(?P<at>[^\]]*)\] "(?P<what>(?:[^"\\]|\\.)*)" (?P<status>\S+) (?P<size>\S+)'
)
#: First digit of a status -> role in Django's colour palettes.
_ROLES = {
    "1": "HTTP_INFO",
    "2": "HTTP_SUCCESS",
    "3": "HTTP_REDIRECT",
    "4": "HTTP_BAD_REQUEST",
    "5": "HTTP_SERVER_ERROR",
}
_SOCKET_ROLES = {"CONNECT": "HTTP_SUCCESS", "DISCONNECT": "HTTP_SUCCESS", "REJECT": "HTTP_BAD_REQUEST"}


def request_line(line: str, style: Any) -> str:
    """A line of the access log as Channels 1.x showed it, coloured by `style`; another line as it is."""
    match = _LINE.fullmatch(line)
    if match is None:
        return line
    at = match["at"].partition(" ")[0].replace(":", " ", 1)
    action, _, rest = match["what"].partition(" ")
    status, client = match["status"], match["client"]
    if action.startswith("WS"):
        name = action[2:]
        code = "" if status == "-" else f"{status}, "
        return _coloured(style, _SOCKET_ROLES.get(name), f"[{at}] WebSocket {name} {rest} [{code}{client}]")
    path = rest.rpartition(" HTTP/")[0] or rest
    role = _ROLES.get(status[:1])
    if status == "304":
        role = "HTTP_NOT_MODIFIED"
    elif status == "404":
        role = "HTTP_NOT_FOUND"
    return _coloured(style, role, f"[{at}] HTTP {action} {path} {status} [{match['size']}, {client}]")


def _coloured(style: Any, role: str | None, text: str) -> str:
    if role is None:
        return text
    coloured: str = getattr(style, role)(text)
    return coloured

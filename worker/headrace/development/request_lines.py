"""The lines that runserver shows for requests, made of the interface server's access log."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime

from django.core.management.color import Style

from ..types import Content

__all__ = ["request_line"]

#: First digit of a status -> role in Django's colour palettes.
_ROLES = {
    "1": "HTTP_INFO",
    "2": "HTTP_SUCCESS",
    "3": "HTTP_REDIRECT",
    "4": "HTTP_BAD_REQUEST",
    "5": "HTTP_SERVER_ERROR",
}
_STATUS_ROLES = {304: "HTTP_NOT_MODIFIED", 404: "HTTP_NOT_FOUND"}
_SOCKET_ROLES = {"CONNECT": "HTTP_SUCCESS", "DISCONNECT": "HTTP_SUCCESS", "REJECT": "HTTP_BAD_REQUEST"}


def request_line(line: str, style: Style) -> str:
    """A line of the access log (JSON) as Channels 1.x showed it, coloured by `style`; another as it is."""
    try:
        entry = json.loads(line)
        at = datetime.fromisoformat(entry["at"]).strftime("%d/%b/%Y %H:%M:%S")
    except (ValueError, KeyError, TypeError):
        return line
    role, text = _socket(entry) if "event" in entry else _request(entry)
    shown = f"[{at}] {text}"
    if not role:
        return shown
    colour: Callable[[str], str] = getattr(style, role)
    return colour(shown)


def _socket(entry: Content) -> tuple[str, str]:
    name = entry["event"].removeprefix("WS")
    code = "" if entry["code"] is None else f"{entry['code']}, "
    text = f"WebSocket {name} {_printable(entry['path'])} [{code}{_client(entry)}]"
    return _SOCKET_ROLES.get(name, ""), text


def _request(entry: Content) -> tuple[str, str]:
    status = entry["status"]
    role = _STATUS_ROLES.get(status) or _ROLES.get(str(status)[:1], "")
    what = f"{entry['method']} {_printable(entry['target'])}" if "method" in entry else "-"
    return role, f"HTTP {what} {status} [{entry.get('size', '-')}, {_client(entry)}]"


def _client(entry: Content) -> str:
    return "-" if entry["client"] is None else _printable(entry["client"])


def _printable(text: str) -> str:
    """A client's text without what would move a terminal's cursor."""
    return text if text.isascii() and text.isprintable() else text.encode("unicode_escape").decode("ascii")

from __future__ import annotations

import json
from typing import Any

import pytest

from headrace.development.request_lines import request_line


class Style:
    def __getattr__(self, role: str) -> Any:
        return lambda text: f"<{role}>{text}"


AT = "2026-11-20T13:01:02+0000"
AT_SHOWN = "[20/Nov/2026 13:01:02]"


def request(client: str | None, method: str, target: str, status: int, size: int) -> str:
    entry = {"at": AT, "client": client, "method": method, "target": target, "http_version": "1.1"}
    return json.dumps({**entry, "status": status, "size": size})


def event(name: str, code: int | None = None) -> str:
    return json.dumps({"at": AT, "client": "a", "event": name, "path": "/ws/", "code": code})


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (
            request("127.0.0.1", "GET", "/a/?b=c", 200, 512),
            f"<HTTP_SUCCESS>{AT_SHOWN} HTTP GET /a/?b=c 200 [512, 127.0.0.1]",
        ),
        (request("::1", "POST", "/", 302, 0), f"<HTTP_REDIRECT>{AT_SHOWN} HTTP POST / 302 [0, ::1]"),
        (request(None, "GET", "/", 304, 0), f"<HTTP_NOT_MODIFIED>{AT_SHOWN} HTTP GET / 304 [0, -]"),
        (request("a", "GET", '/"x', 404, 9), f'<HTTP_NOT_FOUND>{AT_SHOWN} HTTP GET /"x 404 [9, a]'),
        (request("a", "GET", "/", 503, 9), f"<HTTP_SERVER_ERROR>{AT_SHOWN} HTTP GET / 503 [9, a]"),
        (
            request("a", "GET", "/\x1b[31m", 400, 0),
            f"<HTTP_BAD_REQUEST>{AT_SHOWN} HTTP GET /\\x1b[31m 400 [0, a]",
        ),
        (
            json.dumps({"at": AT, "client": None, "status": 400}),
            f"<HTTP_BAD_REQUEST>{AT_SHOWN} HTTP - 400 [-, -]",
        ),
        (event("WSCONNECTING"), f"{AT_SHOWN} WebSocket CONNECTING /ws/ [a]"),
        (event("WSCONNECT"), f"<HTTP_SUCCESS>{AT_SHOWN} WebSocket CONNECT /ws/ [a]"),
        (event("WSDISCONNECT", 1006), f"<HTTP_SUCCESS>{AT_SHOWN} WebSocket DISCONNECT /ws/ [1006, a]"),
        ("something else", "something else"),
        ("3", "3"),
        ('{"x": 1}', '{"x": 1}'),
        ("", ""),
    ],
)
def test_a_line_of_the_access_log_is_shown_as_channels_1x_did(line: str, shown: str) -> None:
    assert request_line(line, Style()) == shown  # type: ignore[arg-type]

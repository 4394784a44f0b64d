from __future__ import annotations

from typing import Any

import pytest

from headrace.development.request_lines import request_line


class Style:
    def __getattr__(self, role: str) -> Any:
        return lambda text: f"<{role}>{text}"


AT = "20/Nov/2026:13:01:02 +0000"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (
            f'127.0.0.1 - - [{AT}] "GET /a/?b=c HTTP/1.1" 200 512',
            "<HTTP_SUCCESS>[20/Nov/2026 13:01:02] HTTP GET /a/?b=c 200 [512, 127.0.0.1]",
        ),
        (
            f'::1 - - [{AT}] "POST / HTTP/1.1" 302 0',
            "<HTTP_REDIRECT>[20/Nov/2026 13:01:02] HTTP POST / 302 [0, ::1]",
        ),
        (
            f'- - - [{AT}] "GET / HTTP/1.1" 304 0',
            "<HTTP_NOT_MODIFIED>[20/Nov/2026 13:01:02] HTTP GET / 304 [0, -]",
        ),
        (
            f'a - - [{AT}] "GET /\\"x HTTP/1.1" 404 9',
            '<HTTP_NOT_FOUND>[20/Nov/2026 13:01:02] HTTP GET /\\"x 404 [9, a]',
        ),
        (
            f'a - - [{AT}] "GET / HTTP/1.1" 503 9',
            "<HTTP_SERVER_ERROR>[20/Nov/2026 13:01:02] HTTP GET / 503 [9, a]",
        ),
        (
            f'a - - [{AT}] "WSCONNECTING /ws/" - -',
            "[20/Nov/2026 13:01:02] WebSocket CONNECTING /ws/ [a]",
        ),
        (
            f'a - - [{AT}] "WSCONNECT /ws/" - -',
            "<HTTP_SUCCESS>[20/Nov/2026 13:01:02] WebSocket CONNECT /ws/ [a]",
        ),
        (
            f'a - - [{AT}] "WSDISCONNECT /ws/" 1006 -',
            "<HTTP_SUCCESS>[20/Nov/2026 13:01:02] WebSocket DISCONNECT /ws/ [1006, a]",
        ),
        ("something else", "something else"),
        ("", ""),
    ],
)
def test_a_line_of_the_access_log_is_shown_as_channels_1x_did(line: str, shown: str) -> None:
    assert request_line(line, Style()) == shown

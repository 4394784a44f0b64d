"""What travels in the tight loops: messages as they are in practice, neither the smallest nor large."""

from __future__ import annotations

from typing import Any

from headrace_asgi.envelope import encode, pack_message

__all__ = [
    "ACCEPT",
    "CONNECT_BYTES",
    "FRAME",
    "FRAME_BYTES",
    "HEADERS",
    "LOCAL",
    "PROCESS",
    "REQUEST",
    "REQUEST_BYTES",
    "REQUEST_ENTRY",
    "RESPONSE",
    "TEXT",
]

#: The name of an interface process, and of a client of it.
PROCESS = "hr1.0.0123456789abcdef0123456789abcdef!"
LOCAL = "0123456789abcdef"

#: What a browser says with a GET.
HEADERS: list[tuple[bytes, bytes]] = [
    (b"host", b"127.0.0.1"),
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    (b"accept", b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    (b"accept-language", b"en-US,en;q=0.5"),
    (b"accept-encoding", b"gzip, deflate, br"),
    (b"connection", b"keep-alive"),
    (b"cookie", b"sessionid=0123456789abcdef0123456789abcdef"),
    (b"upgrade-insecure-requests", b"1"),
    (b"sec-fetch-mode", b"navigate"),
]
REQUEST_BYTES = (
    b"GET /hello?name=value HTTP/1.1\r\n"
    + b"".join(b"%b: %b\r\n" % (name.title(), value) for name, value in HEADERS)
    + b"\r\n"
)
#: The message that this becomes.
REQUEST: dict[str, Any] = {
    "reply_channel": PROCESS + LOCAL,
    "http_version": "1.1",
    "method": "GET",
    "scheme": "http",
    "path": "/hello",
    "query_string": b"name=value",
    "root_path": "",
    "headers": HEADERS,
    "client": ["127.0.0.1", 50000],
    "server": ["127.0.0.1", 8000],
}
REQUEST_ENTRY = encode(pack_message(REQUEST), 2_000_000_000_000)
#: Its answer, as it comes out of the layer.
RESPONSE: dict[str, Any] = {
    "status": 200,
    "headers": [[b"Content-Type", b"text/plain"], [b"X-Frame-Options", b"DENY"], [b"Vary", b"Cookie"]],
    "content": b"Hello, world!",
}

#: A chat's frame, from the client and as its message.
TEXT = '{"kind": "message", "text": "abcdefghijklmnopqrstuvwxyz....."}'
_KEY = b"\x37\xfa\x21\x3d"
FRAME_BYTES = (
    bytes((0x81, 0x80 | len(TEXT)))
    + _KEY
    + bytes(value ^ _KEY[index % 4] for index, value in enumerate(TEXT.encode()))
)
FRAME: dict[str, Any] = {"reply_channel": PROCESS + LOCAL, "path": "/ws/echo", "text": TEXT, "order": 7}
CONNECT_BYTES = (
    b"GET /ws/echo HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
ACCEPT: dict[str, Any] = {"accept": True}

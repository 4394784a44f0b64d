"""WebSockets of a test that has very many of them: a handshake, then the bare connection."""

from __future__ import annotations

import socket

__all__ = ["open_sockets"]


def open_sockets(port: int, path: str, count: int) -> list[socket.socket]:
    """Open sockets that say nothing; twenty handshakes at a time."""
    handshake = (
        f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ).encode()
    opened = []
    for start in range(0, count, 20):
        some = [socket.create_connection(("127.0.0.1", port), 20) for _ in range(min(20, count - start))]
        for one in some:
            one.sendall(handshake)
        for one in some:
            assert one.recv(4096).startswith(b"HTTP/1.1 101 "), "the handshake was refused"
        opened += some
    return opened

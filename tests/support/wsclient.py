"""A WebSocket client for the journeys: `websockets`, kept to what they need."""

from __future__ import annotations

import json
from typing import Any

from websockets.sync.client import ClientConnection, connect

__all__ = ["open_socket", "receive_json", "send_json"]


def open_socket(port: int, path: str, scheme: str = "ws", **options: Any) -> ClientConnection:
    """Open a socket to the interface server on a loopback port; closed by the caller."""
    options = {
        "open_timeout": 20,
        "close_timeout": 2,
        "compression": None,
        "proxy": None,
        "legacy": True,
        **options,
    }
    return connect(f"{scheme}://127.0.0.1:{port}{path}", **options)


def send_json(socket: ClientConnection, content: Any) -> None:
    """Send one text frame."""
    socket.send(json.dumps(content))


def receive_json(socket: ClientConnection, seconds: float = 10) -> Any:
    """Receive one text frame."""
    return json.loads(socket.recv(timeout=seconds))

"""An interface process that stood still, and what it then has for its clients all at once."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator

import pytest

from headrace_asgi import RedisChannelLayer
from tests.support.stack import Stack, eventually

READERS, MESSAGES, BYTES = 6, 9_000, 2_000


@pytest.fixture
def stack(redis_url: str) -> Iterator[Stack]:
    with Stack.over(redis_url) as stack:
        # The clients read one after the other: the last one's turn comes late on a busy machine.
        stack.interface("--slow-client-timeout", "10")
        stack.worker()
        yield stack


def reader(port: int) -> socket.socket:
    """A member of the room, after its handshake. It says nothing about compression."""
    client = socket.create_connection(("127.0.0.1", port), timeout=30)
    lines = ["GET /ws/room HTTP/1.1", f"Host: 127.0.0.1:{port}", f"Origin: http://127.0.0.1:{port}"]
    lines += ["Upgrade: websocket", "Connection: Upgrade"]
    lines += ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13", "", ""]
    client.sendall("\r\n".join(lines).encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += client.recv(1)
    assert head.startswith(b"HTTP/1.1 101 ")
    return client


def read(client: socket.socket, count: int) -> None:
    """Read so many messages, and nothing else."""
    frame = b"\x81\x7e" + BYTES.to_bytes(2, "big") + b"x" * BYTES
    left, received = count * len(frame), b""
    while left:
        data = client.recv(min(left, 1 << 20))
        assert data, f"the connection ended with {left} bytes to come"
        left -= len(data)
        received = (received + data)[-len(frame) :]
    assert received == frame


def test_readers_are_not_closed_for_what_a_standstill_brings_at_once(stack: Stack) -> None:
    layer = RedisChannelLayer(**stack.config)
    interface = stack.processes[0]
    clients = [reader(stack.port) for _ in range(READERS)]
    try:
        group = "room"
        eventually(lambda: len(layer.group_channels(group)) == READERS)
        layer.send_group(group, {"text": "x" * BYTES})
        for client in clients:
            read(client, 1)
        os.kill(interface.pid, signal.SIGSTOP)
        for _ in range(MESSAGES):
            layer.send_group(group, {"text": "x" * BYTES})
        os.kill(interface.pid, signal.SIGCONT)
        time.sleep(2)  # clients have something else to do as well
        for client in clients:
            read(client, MESSAGES)
    finally:
        os.kill(interface.pid, signal.SIGCONT)
        for client in clients:
            client.close()
        layer.close()

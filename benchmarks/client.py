"""A small WebSocket client: many plain sockets in one thread, one message in flight on each."""

from __future__ import annotations

import json
import os
import select
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Clients", "Echoes", "connected"]

#: Sockets whose handshakes are under way at the same time: the connect channel has a capacity.
BATCH = 50
ANSWER_SECONDS = 20.0

_HANDSHAKE = (
    b"GET %b HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
_PING = b"\x89\x00"
_PONG = b"\x8a\x80" + bytes(4)
_TEXT = json.dumps({"kind": "message", "text": "abcdefghijklmnopqrstuvwxyz"}).encode()


class Echoes:
    """What came back: how many, in how many seconds, and how long each took."""

    def __init__(self) -> None:
        self.count = 0
        self.seconds = 0.0
        self.waits: list[float] = []


class Clients:
    """Open sockets. Not thread-safe."""

    def __init__(self, port: int, path: str) -> None:
        """Take the loopback port of the server and the path to open."""
        self._address = ("127.0.0.1", port)
        self._handshake = _HANDSHAKE % path.encode()
        self._sockets: dict[int, socket.socket] = {}
        self._poll = select.epoll()

    def __len__(self) -> int:
        return len(self._sockets)

    def open(self, count: int) -> None:
        """Open so many more. Blocks; raises RuntimeError for a handshake that is refused."""
        for start in range(0, count, BATCH):
            batch = [
                socket.create_connection(self._address, ANSWER_SECONDS)
                for _ in range(min(BATCH, count - start))
            ]
            for one in batch:
                one.sendall(self._handshake)
                self._sockets[one.fileno()] = one
            for one in batch:
                _read_answer(one)
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                one.setblocking(False)
                self._poll.register(one, select.EPOLLIN)

    def rest(self, seconds: float) -> None:
        """Say nothing for a while; pings are answered."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            for descriptor, _ in self._poll.poll(left):
                one = self._sockets[descriptor]
                if _received(one) != _PING:
                    raise RuntimeError("an idle socket was told something else than a ping")
                one.send(_PONG)

    def echo(self, seconds: float) -> Echoes:
        """One message in flight on each socket, for a while.

        Raises RuntimeError for an answer that is no echo, or none in 20 s.
        """
        frame = _masked(_TEXT)
        expected = bytes((0x81, len(_TEXT))) + _TEXT
        echoes, sent_at, received = Echoes(), {}, dict.fromkeys(self._sockets, b"")
        clock = time.perf_counter
        began = clock()
        for descriptor, one in self._sockets.items():
            sent_at[descriptor] = clock()
            one.send(frame)
        in_flight = len(sent_at)
        while in_flight:
            events = self._poll.poll(ANSWER_SECONDS)
            if not events:
                raise RuntimeError(f"{in_flight} echoes did not come within {ANSWER_SECONDS:g} s")
            for descriptor, _ in events:
                one = self._sockets[descriptor]
                data = received[descriptor] + _received(one)
                if data.startswith(_PING):
                    one.send(_PONG)
                    data = data[len(_PING) :]
                if data != expected:
                    if not expected.startswith(data):
                        raise RuntimeError(f"this is no echo: {data!r}")
                    received[descriptor] = data
                    continue
                received[descriptor] = b""
                now = clock()
                echoes.waits.append(now - sent_at[descriptor])
                if now - began < seconds:
                    sent_at[descriptor] = now
                    one.send(frame)
                else:
                    in_flight -= 1
        echoes.seconds = clock() - began
        echoes.count = len(echoes.waits)
        return echoes

    def close(self) -> None:
        """Leave without a word."""
        self._poll.close()
        for one in self._sockets.values():
            one.close()
        self._sockets.clear()


@contextmanager
def connected(port: int, path: str, count: int) -> Iterator[Clients]:
    """So many sockets, closed with the block."""
    clients = Clients(port, path)
    try:
        clients.open(count)
        yield clients
    finally:
        clients.close()


def _received(one: socket.socket) -> bytes:
    data = one.recv(4096)
    if not data:
        raise RuntimeError("the server closed a WebSocket")
    return data


def _read_answer(one: socket.socket) -> None:
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += _received(one)
    if not answer.startswith(b"HTTP/1.1 101 "):
        raise RuntimeError(f"a WebSocket was refused: {answer[:200]!r}")


def _masked(text: bytes) -> bytes:
    key = os.urandom(4)
    return bytes((0x81, 0x80 | len(text))) + key + bytes(a ^ key[i % 4] for i, a in enumerate(text))

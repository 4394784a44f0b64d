"""An interface server is killed: its sockets get their disconnects from those that live, each exactly once.

With HEADRACE_FULL=1 ten times with a thousand sockets, as the promise is worded.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from headrace_asgi import RedisChannelLayer
from headrace_asgi.layers.redis.plan.command import RedisCommand, names
from tests.support.services import RedisServer
from tests.support.stack import Stack, eventually

FULL = bool(os.environ.get("HEADRACE_FULL"))
ROUNDS, SOCKETS = (10, 1000) if FULL else (1, 150)
#: Within which all disconnects are told.
TOLD_SECONDS = 60
HANDSHAKE = (
    b"GET /ws/count HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@contextlib.contextmanager
def counting(server: RedisServer, marks: Path) -> Iterator[tuple[Stack, RedisChannelLayer, Path]]:
    """A stack whose worker writes down each disconnect, its layer, and where."""
    with Stack.over(server.tcp_url) as stack:
        stack.env["JOURNEY_MARKS"] = str(marks)
        with contextlib.closing(RedisChannelLayer(**stack.config)) as layer:
            yield stack, layer, marks


def open_sockets(port: int, count: int) -> list[socket.socket]:
    """Open sockets that say nothing; twenty handshakes at a time."""
    opened = []
    for start in range(0, count, 20):
        some = [socket.create_connection(("127.0.0.1", port), 20) for _ in range(min(20, count - start))]
        for one in some:
            one.sendall(HANDSHAKE)
        for one in some:
            assert one.recv(4096).startswith(b"HTTP/1.1 101 "), "the handshake was refused"
        opened += some
    return opened


class Broadcasts:
    """Messages to the group of all sockets, a hundred a second, until the block ends."""

    def __init__(self, layer: RedisChannelLayer) -> None:
        self._layer = layer
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.sent = 0

    def _run(self) -> None:
        while not self._over.wait(0.01):
            self._layer.send_group("counted", {"text": "to all"})
            self.sent += 1

    def __enter__(self) -> Broadcasts:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def disconnects(marks: Path) -> Counter[str]:
    """How often each socket's disconnect ran, by its reply channel."""
    lines = marks.read_text().splitlines() if marks.exists() else []
    return Counter(line.split()[1] for line in lines if line.startswith("disconnect "))


def processes(layer: RedisChannelLayer) -> set[str]:
    """The interface processes that Redis knows."""
    home = layer.places.home
    return set(layer.ask(RedisCommand(home, (b"HKEYS", layer.plan.key(home, "procs")), names)))


def keys_of(layer: RedisChannelLayer, process: str) -> list[str]:
    """What Redis holds of a process, but for the word that its name is dead."""
    home = layer.places.home
    found = layer.ask(RedisCommand(home, (b"KEYS", layer.plan.key(home, "*")), names))
    return [key for key in found if process in key and ":fenced:" not in key]


def one_death(stack: Stack, layer: RedisChannelLayer, marks: Path) -> None:
    """A server with many sockets is killed; all of them are told, and nothing of it is left."""
    before, stack.port = processes(layer), 0
    victim = stack.interface("--no-access-log")
    (name,) = eventually(lambda: processes(layer) - before)
    left = open_sockets(stack.port, SOCKETS)
    marks.write_text("")
    victim.popen.send_signal(signal.SIGKILL)
    victim.popen.wait(10)
    began = time.monotonic()
    eventually(lambda: len(disconnects(marks)) >= SOCKETS, TOLD_SECONDS, "all disconnects are told")
    took = time.monotonic() - began
    eventually(lambda: not keys_of(layer, name), 10, "nothing of it is left")
    assert disconnects(marks) == Counter(dict.fromkeys(disconnects(marks), 1))
    assert all(socket_name.startswith(name) for socket_name in disconnects(marks))
    assert name not in layer.ask(layer.plan.group_read("counted"))[0]
    for one in left:
        one.close()
    print(f"{len(disconnects(marks))} disconnects told within {took:.1f} s")  # noqa: T201


def test_each_socket_of_a_killed_server_gets_one_disconnect_while_broadcasts_run(
    private_redis_server: RedisServer, tmp_path: Path
) -> None:
    with counting(private_redis_server, tmp_path / "marks") as (stack, layer, marks):
        stack.worker(threads=2)
        stack.interface("--no-access-log", "--ping-interval", "3600")  # these clients answer no pings
        staying = open_sockets(stack.port, 20)
        with Broadcasts(layer) as broadcasts:
            for _ in range(ROUNDS):
                one_death(stack, layer, marks)
        for one in staying:
            one.settimeout(5)
            assert one.recv(65_536), "a living socket was closed"
            one.close()
        assert broadcasts.sent > 100


def test_a_server_that_stood_still_for_too_long_closes_its_sockets_and_serves_under_a_new_name(
    private_redis_server: RedisServer, tmp_path: Path
) -> None:
    with counting(private_redis_server, tmp_path / "marks") as (stack, layer, marks):
        stack.worker()
        server = stack.interface("--no-access-log")
        (former,) = eventually(lambda: processes(layer))
        sockets = open_sockets(stack.port, 5)
        server.popen.send_signal(signal.SIGSTOP)
        eventually(lambda: len(disconnects(marks)) == 5, TOLD_SECONDS, "the disconnects are told")
        server.popen.send_signal(signal.SIGCONT)
        for one in sockets:
            assert close_code(one) == 1012
            one.close()
        eventually(lambda: processes(layer) and former not in processes(layer), 10, "it has a new name")
        for one in open_sockets(stack.port, 3):
            one.close()
        eventually(lambda: len(disconnects(marks)) == 8, 10, "the new ones are told")
        assert set(disconnects(marks).values()) == {1}


def close_code(one: socket.socket) -> int:
    """The code of the close frame that comes next, behind whatever text."""
    received = b""
    while b"\x88" not in received:
        data = one.recv(4096)
        assert data, "closed without a close frame"
        received += data
    return int.from_bytes(received[received.index(b"\x88") + 2 :][:2], "big")

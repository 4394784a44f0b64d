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

from headrace_asgi.layers.redis.blocking.layer import RedisPlaceLayer
from headrace_asgi.layers.redis.plan.command import RedisCommand, names
from tests.support.rawclient import open_sockets
from tests.support.services import RedisServer
from tests.support.stack import Stack, eventually

FULL = bool(os.environ.get("HEADRACE_FULL"))
ROUNDS, SOCKETS = (10, 1000) if FULL else (1, 150)
#: Some 15,000 copies a second: this is about deaths, and not about how much fits.
BROADCAST_PAUSE_SECONDS = SOCKETS / 15_000
#: Within which all disconnects are told.
TOLD_SECONDS = 60
#: What keys may take behind a death beyond what they took before: tables that grew stay so for a while.
LEFT_BYTES = 2 * 1024
#: What further deaths may leave in Redis: buffers come and go, and each dead name is kept for a day.
CREEP_BYTES = 64 * 1024


@contextlib.contextmanager
def counting(server: RedisServer, marks: Path) -> Iterator[tuple[Stack, RedisPlaceLayer, Path]]:
    """A stack whose worker writes down each disconnect, its layer, and where."""
    with Stack.over(server.tcp_url) as stack:
        stack.env["JOURNEY_MARKS"] = str(marks)
        with contextlib.closing(RedisPlaceLayer(**stack.config)) as layer:
            yield stack, layer, marks


class Broadcasts:
    """Messages to the group of all sockets, again and again until the block ends."""

    def __init__(self, layer: RedisPlaceLayer) -> None:
        self._layer = layer
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.sent = 0

    def _run(self) -> None:
        while not self._over.wait(BROADCAST_PAUSE_SECONDS):
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


def processes(layer: RedisPlaceLayer) -> set[str]:
    """The interface processes that Redis knows."""
    home = layer.places.home
    return set(layer.ask(RedisCommand(home, (b"HKEYS", layer.plan.key(home, "procs")), names)))


def keys_of(layer: RedisPlaceLayer, process: str) -> list[str]:
    """What Redis holds of a process, but for the word that its name is dead."""
    home = layer.places.home
    found = layer.ask(RedisCommand(home, (b"KEYS", layer.plan.key(home, "*")), names))
    return [key for key in found if process in key and ":fenced:" not in key]


def memory_of(server: RedisServer) -> int:
    """Bytes that Redis uses; the least of some looks, as messages and buffers come and go."""
    looks = []
    for _ in range(20):
        info = server.command("INFO", "memory")
        looks.append(int(info.partition(b"used_memory:")[2].split()[0]))
        time.sleep(0.02)
    return min(looks)


def bytes_of_keys(layer: RedisPlaceLayer) -> int:
    """What all keys take, but for the words that names are dead, and for the queues, which come and go."""
    home, total = layer.places.home, 0
    for key in layer.ask(RedisCommand(home, (b"KEYS", b"*"), names)):
        if ":fenced:" not in key and ":q:" not in key:
            words = (b"MEMORY", b"USAGE", key.encode(), b"SAMPLES", b"0")
            total += layer.ask(RedisCommand(home, words, lambda answer: int(answer or 0)))
    return total


def one_death(stack: Stack, layer: RedisPlaceLayer, marks: Path) -> None:
    """A server with many sockets is killed; all of them are told, and nothing of it is left."""
    before, stack.port, free = processes(layer), 0, bytes_of_keys(layer)
    victim = stack.interface("--no-access-log")
    (name,) = eventually(lambda: processes(layer) - before)
    left = open_sockets(stack.port, "/ws/count", SOCKETS)
    held = bytes_of_keys(layer) - free
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
    eventually(lambda: bytes_of_keys(layer) - free < LEFT_BYTES, 10, "the memory of Redis is back")
    found = f"{len(disconnects(marks))} disconnects told within {took:.1f} s"
    print(f"{found}; the sockets took {held:,} bytes in Redis")  # noqa: T201


def test_each_socket_of_a_killed_server_gets_one_disconnect_while_broadcasts_run(
    private_redis_server: RedisServer, tmp_path: Path
) -> None:
    with counting(private_redis_server, tmp_path / "marks") as (stack, layer, marks):
        stack.worker(threads=2)
        stack.interface("--no-access-log", "--ping-interval", "3600")  # these clients answer no pings
        staying = open_sockets(stack.port, "/ws/count", 20)
        with Broadcasts(layer) as broadcasts:
            used = []
            for _ in range(ROUNDS):
                one_death(stack, layer, marks)
                used.append(memory_of(private_redis_server))
        print(f"memory of Redis behind the first and the last death: {used[0]:,} and {used[-1]:,}")  # noqa: T201
        assert used[-1] - used[0] < CREEP_BYTES
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
        sockets = open_sockets(stack.port, "/ws/count", 5)
        server.popen.send_signal(signal.SIGSTOP)
        eventually(lambda: len(disconnects(marks)) == 5, TOLD_SECONDS, "the disconnects are told")
        server.popen.send_signal(signal.SIGCONT)
        for one in sockets:
            assert close_code(one) == 1012
            one.close()
        eventually(lambda: processes(layer) and former not in processes(layer), 10, "it has a new name")
        for one in open_sockets(stack.port, "/ws/count", 3):
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

"""Streams that nobody reads any more, uploads that trickle, a long download to a slow reader: all at once."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.faults.processes import MIB, Growth, pids_of
from tests.support.services import RedisServer
from tests.support.stack import Stack

#: In full 1 GiB, which takes nine minutes; else what shows the same in seconds.
FULL = bool(os.environ.get("HEADRACE_FULL"))
DOWNLOAD_MIB = 1024 if FULL else 40
READ_BYTES_PER_SECOND = (2 if FULL else 4) * MIB
UPLOAD_BYTES = 300_000
UPLOAD_BYTES_PER_SECOND = 1000
MOST_WAIT_SECONDS = 1.0
MOST_GROWTH_BYTES = 16 * MIB


def ask(port: int, head: str) -> socket.socket:
    """A connection with a request on it."""
    link = socket.create_connection(("127.0.0.1", port), 10)
    link.sendall(f"{head}\r\nHost: 127.0.0.1\r\n".encode())
    return link


def listen_and_leave(port: int) -> None:
    """Read the beginning of an endless response."""
    with ask(port, "GET /endless HTTP/1.1") as link:
        link.sendall(b"\r\n")
        for _ in range(3):
            assert link.recv(4096)


@contextmanager
def trickling(port: int) -> Iterator[None]:
    """An upload that is too large for one message and comes a kilobyte a second; half of it is there."""
    ended = threading.Event()
    with ask(port, "POST /digest HTTP/1.1") as link:
        link.sendall(f"Content-Length: {UPLOAD_BYTES}\r\n\r\n".encode() + bytes(UPLOAD_BYTES - 30_000))

        def trickle() -> None:
            while not ended.wait(0.1):
                with suppress(OSError):
                    link.sendall(bytes(UPLOAD_BYTES_PER_SECOND // 10))

        thread = threading.Thread(target=trickle)
        thread.start()
        yield
        ended.set()
        thread.join()


def read_slowly(port: int, received: list[int]) -> None:
    """Download at a steady pace; the number of bytes of the body, chunk frames excluded."""
    with ask(port, f"GET /download/{DOWNLOAD_MIB} HTTP/1.0") as link:
        link.settimeout(30)
        link.sendall(b"\r\n")
        begun, count, head = time.monotonic(), 0, b""
        while data := link.recv(65536):
            if b"\r\n\r\n" not in head:
                head += data
                _, _, data = head.partition(b"\r\n\r\n")
            count += len(data)
            ahead = count / READ_BYTES_PER_SECOND - (time.monotonic() - begun)
            if ahead > 0:
                time.sleep(ahead)
    received.append(count)


def wait_for_hello(port: int) -> float:
    """Seconds that an ordinary request takes."""
    begun = time.monotonic()
    with ask(port, "GET /hello HTTP/1.0") as link:
        link.settimeout(60)
        link.sendall(b"\r\n")
        answer = b"".join(iter(lambda: link.recv(4096), b""))
    assert answer.endswith(b"Hello, world!"), answer
    return time.monotonic() - begun


def test_two_streams_left_two_slow_uploads_and_a_slow_download_hold_up_nobody(
    private_redis_server: RedisServer, tmp_path: Path, report: Callable[[str], None]
) -> None:
    marks = tmp_path / "marks"
    marks.touch()
    waits_seconds: list[float] = []
    received: list[int] = []
    with Stack.over(private_redis_server.url) as stack:
        stack.env["JOURNEY_MARKS"] = str(marks)
        stack.interface("--no-access-log")
        stack.worker(processes=2)
        for _ in range(200):
            wait_for_hello(stack.port)
        with Growth.watched(pids_of(stack, private_redis_server.pid)) as growth:
            for _ in range(2):
                listen_and_leave(stack.port)
            left = time.monotonic()
            reader = threading.Thread(target=read_slowly, args=(stack.port, received))
            with trickling(stack.port), trickling(stack.port):
                while marks.read_text().count("closed endless") < 2 and time.monotonic() < left + 10:
                    time.sleep(0.05)
                freed_seconds = time.monotonic() - left
                reader.start()
                while reader.is_alive():
                    waits_seconds.append(wait_for_hello(stack.port))
                    time.sleep(0.05)
                reader.join()
        statuses = [process.end() for process in stack.processes]
    report(
        f"{len(waits_seconds)} requests meanwhile, longest {max(waits_seconds):.2f} s; streams left were "
        f"closed after {freed_seconds:.1f} s; {received} bytes downloaded\n{growth.table()}"
    )
    assert freed_seconds <= 2.0
    assert max(waits_seconds) <= MOST_WAIT_SECONDS
    assert received == [DOWNLOAD_MIB * MIB]
    assert max(growth.most.values()) <= MOST_GROWTH_BYTES
    assert statuses == [0, 0]

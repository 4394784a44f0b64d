"""Long bodies, both ways, through real processes: no worker is held for the sake of a slow client."""

from __future__ import annotations

import hashlib
import http.client
import socket
import time
import urllib.request
from pathlib import Path

import pytest

from tests.support.stack import Process, Stack

#: Within which a worker is free again after a client left.
SECONDS = 2.0


def get(stack: Stack, path: str, seconds: float = 20) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{stack.port}{path}", timeout=seconds) as answer:
        body: bytes = answer.read()
        return body


def peaks_bytes(process: Process) -> list[int]:
    """The most memory that a process and its children ever had, each."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    texts = [Path(f"/proc/{pid}/status").read_text() for pid in (process.pid, *children)]
    return [int(text.partition("VmHWM:")[2].split()[0]) * 1024 for text in texts]


@pytest.mark.parametrize("threads", [1, 2])
def test_an_endless_stream_whose_client_left_frees_its_worker(redis_url: str, threads: int) -> None:
    with Stack.over(redis_url) as stack:
        stack.interface()
        stack.worker(threads=threads)
        for _ in range(threads):
            client = http.client.HTTPConnection("127.0.0.1", stack.port, timeout=10)
            client.request("GET", "/endless")
            assert client.getresponse().read(5) == b"tick\n"
            client.close()
        left = time.monotonic()
        assert get(stack, "/hello") == b"Hello, world!"
        assert time.monotonic() - left < SECONDS


def test_a_large_download_to_a_slow_reader_is_whole_and_waits_in_nobodys_memory(redis_url: str) -> None:
    with Stack.over(redis_url) as stack:
        interface = stack.interface("--write-timeout", "3")
        worker = stack.worker()
        assert len(get(stack, "/bulk/5")) == 5_000_000
        before = peaks_bytes(interface) + peaks_bytes(worker)
        with socket.create_connection(("127.0.0.1", stack.port), timeout=20) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
            client.sendall(b"GET /bulk/60 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            time.sleep(2)
            received, digest, head = 0, hashlib.sha256(), b""
            while data := client.recv(1_000_000):
                if not head:
                    head, _, data = data.partition(b"\r\n\r\n")
                received += len(data)
                digest.update(data)
                if received % 7 == 0:
                    time.sleep(0.001)
        assert received == 60_000_000
        whole = hashlib.sha256()
        for number in range(60):
            whole.update(bytes([number]) * 1_000_000)
        assert digest.digest() == whole.digest()
        after = peaks_bytes(interface) + peaks_bytes(worker)
        assert all(now - then < 16_000_000 for then, now in zip(before, after, strict=True)), (before, after)


def upload(stack: Stack, size: int) -> socket.socket:
    """Begin an upload."""
    client = socket.create_connection(("127.0.0.1", stack.port), timeout=20)
    client.sendall(
        b"POST /digest HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % size
    )
    return client


def answer(client: socket.socket) -> bytes:
    """Everything that comes back."""
    with client:
        received = b""
        while data := client.recv(65_536):
            received += data
        return received


def test_a_slow_upload_holds_no_worker_and_arrives_whole(redis_url: str) -> None:
    data = bytes(range(256)) * 1200
    with Stack.over(redis_url) as stack:
        stack.interface()
        stack.worker()
        with upload(stack, len(data)) as slow:
            with upload(stack, len(data)) as leaving:
                for client in (slow, leaving):
                    client.sendall(data[:300_000])
                for at in range(300_000, len(data), 1000):
                    slow.sendall(data[at : at + 1000])
                    assert get(stack, "/hello", SECONDS) == b"Hello, world!"
            assert get(stack, "/hello", SECONDS) == b"Hello, world!"
            assert hashlib.sha256(data).hexdigest().encode() in answer(slow)


@pytest.mark.parametrize("option", [(), ("--stream-uploads",)])
def test_a_large_upload_arrives_whole(redis_url: str, option: tuple[str, ...]) -> None:
    data = bytes(range(251)) * 40_000
    with Stack.over(redis_url) as stack:
        stack.interface(*option)
        stack.worker()
        client = upload(stack, len(data))
        client.sendall(data)
        assert hashlib.sha256(data).hexdigest().encode() in answer(client)


def test_an_aborted_upload_frees_the_worker_that_reads_it(redis_url: str) -> None:
    with Stack.over(redis_url) as stack:
        stack.interface("--stream-uploads")
        stack.worker()
        for _ in range(5):
            client = upload(stack, 1_000_000)
            client.sendall(b"a" * 300_000)
            client.close()
        assert get(stack, "/hello", SECONDS) == b"Hello, world!"

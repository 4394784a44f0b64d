"""A client that sends too much, in a process of its own.

python -m tests.faults.flood KIND PORT SECONDS BYTES    # ends after so many, whatever comes first

It says in the end how many bytes it could send.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["KINDS", "flooding"]

ROOT = Path(__file__).resolve().parents[2]
MASKED = b"\x80\x00\x00\x00\x00"
EMPTY_TEXT, EMPTY_PING = b"\x81" + MASKED, b"\x89" + MASKED
EMPTY_START, EMPTY_MIDDLE = b"\x01" + MASKED, b"\x00" + MASKED
DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover\r\n"


def _tiny() -> bytes:
    return (b"\x81\x82\x00\x00\x00\x00" + b"{}") * 8_000


def _compressed() -> bytes:
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = (deflater.compress(b"x" * 1_000_000) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]
    head = b"\xc1" + bytes((0x80 | 126,)) + len(packed).to_bytes(2, "big") + bytes(4)
    return (head + packed) * 40


#: Kind -> path, what one write holds, bytes a second (0: as fast as they are taken), headers.
KINDS = {
    "tiny": ("/ws/raw", _tiny, 0, ""),
    "long path": ("/ws/raw/" + "p" * 15_000, lambda: EMPTY_TEXT * 10_922, 0, ""),
    "compressed": ("/ws/raw", _compressed, 0, DEFLATE),
    "pings": ("/ws/raw", lambda: EMPTY_PING * 1_000, 400_000, ""),
    "empty parts": ("/ws/raw", lambda: EMPTY_START + EMPTY_MIDDLE * 10_000, 0, ""),
    "reconnects": ("/ws/raw", _tiny, 0, ""),
}


def _open(port: int, path: str, headers: str) -> socket.socket:
    link = socket.create_connection(("127.0.0.1", port), 10)
    link.sendall(
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n{headers}\r\n".encode()
    )
    head = link.recv(4096)
    if b" 101 " not in head:
        raise ConnectionError(head[:100])
    link.setblocking(False)
    return link


def _flood(kind: str, port: int, until: float, left_bytes: int) -> int:
    """Send until it is time, or all is sent; how many bytes the server took."""
    path, make, rate, headers = KINDS[kind]
    data, sent_bytes, begun = make(), 0, time.monotonic()
    link = None
    rest = b""
    while time.monotonic() < until and sent_bytes < left_bytes:
        try:
            if link is None:
                link, rest = _open(port, path, headers), data
            sent_bytes += (sent := link.send(rest))
            rest = rest[sent:]
            if not rest and kind == "reconnects":
                link.close()
                link = None
            rest = rest or data
            while link is not None and link.recv(1 << 20):
                pass  # what comes back is read, so that only what it sends is in question
            if link is not None:
                link.close()
                link = None
        except BlockingIOError:
            time.sleep(0.001)
        except OSError:
            link = None
            time.sleep(0.05)
        if rate and sent_bytes > rate * (time.monotonic() - begun):
            time.sleep(0.005)
    if link is not None:
        while time.monotonic() < until:  # what was sent may still cost something
            time.sleep(0.05)
        link.close()
    return sent_bytes


@contextmanager
def flooding(
    kind: str, port: int, seconds: float, most_bytes: int = 1 << 40
) -> Iterator[subprocess.Popen[str]]:
    """A flood that is on while the block runs, at most for `seconds`."""
    command = [sys.executable, "-m", "tests.faults.flood", kind, str(port), str(seconds), str(most_bytes)]
    process = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(10)
        if process.stdout is not None:
            process.stdout.close()


if __name__ == "__main__":
    kind, port, seconds, most_bytes = sys.argv[1:]
    taken = _flood(kind, int(port), time.monotonic() + float(seconds), int(most_bytes))
    sys.stdout.write(f"{taken}\n")

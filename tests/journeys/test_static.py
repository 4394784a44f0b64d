"""Files that a real interface server sends itself: with no Redis at all, and where a view names one."""

from __future__ import annotations

import os
import random
import signal
import sys
from pathlib import Path

import httpx
import pytest

from tests.support.stack import PROJECT, Process, eventually

NOWHERE = "redis://127.0.0.1:1"
BIG = random.Random(2).randbytes(5_000_000)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of files, and a secret beside it."""
    folder = tmp_path / "static"
    folder.mkdir()
    (folder / "main.0123456789ab.css").write_bytes(b"body {}")
    (folder / "big.bin").write_bytes(BIG)
    (tmp_path / "secret").write_bytes(b"secret")
    (folder / "link").symlink_to("../secret")
    os.utime(folder / "big.bin", (1_000_000_000, 1_000_000_000))
    return folder


def open_below(pid: int, folder: Path) -> int:
    """How many files of a folder a process has open."""
    links = Path(f"/proc/{pid}/fd").iterdir()
    return sum(os.path.realpath(link).startswith(str(folder)) for link in links)


def test_static_files_come_from_a_process_that_has_no_redis(folder: Path, tmp_path: Path) -> None:
    arguments = ["-m", "headrace_interface", "-b", "127.0.0.1", "-p", "0", "--layer", NOWHERE]
    arguments += ["--static", f"/static/={folder}", "--access-log", str(tmp_path / "log")]
    server = Process([sys.executable, *arguments], {}, PROJECT, "interface")
    try:
        site = server.wait_for(r"http://127\.0\.0\.1:\d+")[0]
        with httpx.Client(base_url=site) as client:
            hashed = client.get("/static/main.0123456789ab.css")
            assert (hashed.status_code, hashed.content) == (200, b"body {}")
            assert hashed.headers["cache-control"].endswith("immutable")
            assert client.get("/static/big.bin").content == BIG
            part = client.get("/static/big.bin", headers={"Range": "bytes=4000000-"})
            assert (part.status_code, part.content) == (206, BIG[4_000_000:])
            tag = part.headers["etag"]
            assert client.get("/static/big.bin", headers={"If-None-Match": tag}).status_code == 304
            for name in ("link", "..%2fsecret", "%2e%2e%2fsecret"):
                assert client.get(f"/static/{name}").status_code == 404, name
            with client.stream("GET", "/static/big.bin") as response:
                next(response.iter_raw(1000))
                assert open_below(server.pid, folder) == 1
            eventually(lambda: open_below(server.pid, folder) == 0)
    finally:
        assert server.end(signal.SIGTERM) == 0
        server.log.close()
    log = (tmp_path / "log").read_text()
    assert '"GET /static/big.bin HTTP/1.1" 200 5000000' in log
    assert '"GET /static/big.bin HTTP/1.1" 206 1000000' in log
    assert '"GET /static/big.bin HTTP/1.1" 304 0' in log

"""Files that a real interface server sends itself: with no Redis at all, and where a view names one."""

from __future__ import annotations

import os
import random
import signal
import sys
from pathlib import Path

import httpx
import pytest

from tests.support.stack import PROJECT, Process, Stack, eventually

NOWHERE = "redis://127.0.0.1:1"
#: More than the system keeps for a client that does not read.
HUGE_BYTES = 500_000_000
BIG = random.Random(2).randbytes(5_000_000)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of files, and a secret beside it."""
    folder = tmp_path / "static"
    folder.mkdir()
    (folder / "main.0123456789ab.css").write_bytes(b"body {}")
    (folder / "big.bin").write_bytes(BIG)
    (folder / "huge.bin").touch()
    os.truncate(folder / "huge.bin", HUGE_BYTES)
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
            with client.stream("GET", "/static/huge.bin") as response:
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


def test_a_view_names_a_file_and_the_interface_server_sends_it_or_leaves_it_to_a_proxy(
    folder: Path, redis_url: str
) -> None:
    with Stack.over(redis_url) as stack:
        sends = stack.interface("--internal", f"/protected/={folder}")
        stack.worker()
        with httpx.Client(base_url=f"http://127.0.0.1:{stack.port}") as client:
            whole = client.get("/protected?name=big.bin")
            assert (whole.status_code, whole.content) == (200, BIG)
            assert whole.headers["content-disposition"] == "attachment"
            assert whole.headers["content-type"] == "application/octet-stream"
            part = client.get("/protected?name=big.bin", headers={"Range": "bytes=-7"})
            assert (part.status_code, part.content) == (206, BIG[-7:])
            assert client.get("/protected?name=link").status_code == 404
            assert client.get("/protected?name=../secret").status_code == 404
            assert client.get("/protected/big.bin").status_code == 404
        sends.wait_for("the file that its view names")
        stack.port = 0
        stack.interface()
        passed_on = httpx.get(f"http://127.0.0.1:{stack.port}/protected?name=big.bin")
        assert passed_on.headers["x-accel-redirect"] == "/protected/big.bin"
        assert passed_on.content == b"not this"

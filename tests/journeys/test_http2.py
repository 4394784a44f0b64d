"""A real client of HTTP/2 before a real interface server and worker: over TLS, and as a proxy without it."""

from __future__ import annotations

import hashlib
import json
import random
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.ports import free_port
from tests.support.services import skip_or_fail
from tests.support.stack import Process, Stack, eventually
from tests.support.tls import certificate

BODY = random.Random(3).randbytes(3_000_000)


@dataclass
class Curl:
    """curl, and the two ways to the server that it runs against."""

    program: str
    interface: Process
    access_log: Path
    pem: Path
    tls: int
    plain: int

    def command(self, path: str, *options: str, tls: bool = True) -> list[str]:
        site = f"https://127.0.0.1:{self.tls}" if tls else f"http://127.0.0.1:{self.plain}"
        common = [self.program, "--silent", "--show-error", "--max-time", "60", "--cacert", str(self.pem)]
        return [*common, "--write-out", "\n%{http_version} %{http_code}", *options, site + path]

    def requests(self) -> int | None:
        """How many are open, as the server says; None if it has yet to say it."""
        self.interface.popen.send_signal(signal.SIGUSR1)
        states = re.findall(r"the state is (\{.*\})", self.interface.output())
        return json.loads(states[-1])["requests"] if states else None

    def ask(self, path: str, *options: str, tls: bool = True) -> tuple[bytes, str]:
        """The content, and the version with the status."""
        done = subprocess.run(
            self.command(path, *options, tls=tls), capture_output=True, check=True, timeout=90
        )
        content, _, last = done.stdout.rpartition(b"\n")
        return content, last.decode()


@pytest.fixture
def curl(tmp_path: Path, redis_url: str) -> Iterator[Curl]:
    program = shutil.which("curl")
    if program is None or "HTTP2" not in subprocess.check_output([program, "--version"], text=True):
        skip_or_fail("there is no curl that speaks HTTP/2; `make services` installs it")
    assert program is not None
    pem, log, tls = certificate(tmp_path), tmp_path / "access", free_port()
    with Stack.over(redis_url) as stack:
        stack.port = free_port()
        interface = stack.start_interface(
            *("-e", f"ssl:{tls}:interface=127.0.0.1:privateKey={pem}:certKey={pem}"),
            *("--http2-prior-knowledge", "--access-log", str(log), "--access-log-format", "json"),
        )
        interface.wait_for(rf"http://127\.0\.0\.1:{stack.port}/")
        stack.worker()
        yield Curl(program, interface, log, pem, tls, stack.port)


def test_a_client_over_tls_is_offered_http2_and_one_of_http1_is_served_as_ever(curl: Curl) -> None:
    assert curl.ask("/hello") == (b"Hello, world!", "2 200")
    assert curl.ask("/hello", "--http2") == (b"Hello, world!", "2 200")
    assert curl.ask("/hello", "--http1.1") == (b"Hello, world!", "1.1 200")
    assert curl.ask("/hello", "--http2-prior-knowledge", tls=False) == (b"Hello, world!", "2 200")
    assert curl.ask("/hello", tls=False) == (b"Hello, world!", "1.1 200")

    def versions() -> list[str]:
        return [json.loads(line)["http_version"] for line in curl.access_log.read_text().splitlines()]

    eventually(lambda: len(versions()) == 5, what="the access log")
    assert versions() == ["2", "2", "1.1", "2", "1.1"]


def test_large_bodies_go_both_ways(curl: Curl, tmp_path: Path) -> None:
    file = tmp_path / "body"
    file.write_bytes(BODY)
    for options in (
        ("--upload-file", str(file)),
        ("--data-binary", f"@{file}", "-H", "Expect: 100-continue"),
    ):
        content, said = curl.ask("/digest", *options)
        assert said == "2 200"
        assert json.loads(content) == {"bytes": len(BODY), "sha256": hashlib.sha256(BODY).hexdigest()}
    content, said = curl.ask("/bulk/30")
    assert (said, len(content)) == ("2 200", 30_000_000)
    assert content == b"".join(bytes([number]) * 1_000_000 for number in range(30))
    content, said = curl.ask("/numbers")
    assert content == b"".join(b"%d\n" % number for number in range(1000))
    assert curl.ask("/hello", "--head")[1] == "2 200"


def test_many_requests_of_one_connection_run_side_by_side(curl: Curl) -> None:
    globbed = curl.command("/count/[1-60]", "--parallel", "--parallel-max", "60", "--no-progress-meter")
    done = subprocess.run(globbed, capture_output=True, check=True, timeout=90)
    assert done.stdout.count(b"2 200") == 60


def test_who_leaves_stops_the_view_and_a_drain_waits_for_the_answer(curl: Curl) -> None:
    endless = subprocess.Popen(
        curl.command("/endless", "--no-buffer"), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert endless.stdout is not None
    assert endless.stdout.read(10) == b"tick\ntick\n"
    endless.kill()
    endless.communicate()
    eventually(lambda: curl.requests() == 0, seconds=30, what="the end of the endless response")
    slow = subprocess.Popen(curl.command("/slow/1500"), stdout=subprocess.PIPE)
    eventually(lambda: curl.requests() == 1, seconds=30, what="the slow request alone")
    curl.interface.popen.send_signal(signal.SIGTERM)
    assert slow.communicate(timeout=30)[0] == b"slept 1500\n2 200"
    assert curl.interface.popen.wait(30) == 0

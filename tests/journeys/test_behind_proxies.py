"""deploy/nginx.conf and deploy/haproxy.cfg before two interface servers: what passes, for whom, restarts."""

from __future__ import annotations

import hashlib
import json
import os
import ssl
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from websockets.sync.client import connect

from tests.support.ports import free_port
from tests.support.proxies import start_haproxy, start_nginx
from tests.support.stack import ROOT, Process, Stack, eventually
from tests.support.tls import certificate
from tests.support.wsclient import receive_json, send_json

#: Clients connect from here. Only the proxy's own address is trusted, so that this one is a stranger's.
CLIENT = "127.0.0.2"
TRUSTED = ("--proxy-headers", "--trusted-proxies", "127.0.0.1/32")


@dataclass
class Front:
    """A proxy with two interface servers and a worker behind it."""

    stack: Stack
    folder: Path
    pem: Path
    plain_port: int = field(default_factory=free_port)
    tls_port: int = field(default_factory=free_port)
    interfaces: list[Process] = field(default_factory=list)
    options: list[list[str]] = field(default_factory=list)

    def add_interface(self, *options: str) -> None:
        """One more interface server, that `restart` can restart."""
        log = self.folder / f"access{len(self.interfaces)}"
        self.options.append([*options, *TRUSTED, "--access-log", str(log), "--access-log-format", "json"])
        self.interfaces.append(self._start(self.options[-1]))

    def _start(self, options: list[str]) -> Process:
        process = self.stack.start_interface(*options)
        process.wait_for("Listening on")
        return process

    def restart(self, number: int) -> None:
        """Stop one of them in order, and start it again."""
        assert self.interfaces[number].end(seconds=40) == 0
        self.interfaces[number] = self._start(self.options[number])

    def client(self) -> httpx.Client:
        trusted = ssl.create_default_context(cafile=str(self.pem))
        transport = httpx.HTTPTransport(local_address=CLIENT, verify=trusted)
        return httpx.Client(base_url=f"https://127.0.0.1:{self.tls_port}", transport=transport, timeout=30)

    def answers(self) -> bool:
        try:
            with self.client() as client:
                return client.get("/hello").status_code == 200
        except httpx.TransportError:
            return False

    def logged(self) -> list[tuple[str, str]]:
        """What was asked and by whom, in the access logs of all interface servers."""
        files = sorted(self.folder.glob("access*"))
        lines = [json.loads(line) for each in files for line in each.read_text().splitlines()]
        return [(line["target"], line["client"]) for line in lines if "target" in line]


@pytest.fixture
def front(redis_url: str) -> Iterator[Front]:
    # The path of a unix socket must stay short.
    with (
        tempfile.TemporaryDirectory(prefix="headrace-") as folder,
        Stack.over(redis_url) as stack,
    ):
        yield Front(stack, Path(folder), certificate(Path(folder)))
        for process in stack.processes:
            sys.stderr.write(f"--- {process.name}\n{process.output()[-2000:]}\n")


def behind_nginx(front: Front) -> None:
    static = front.folder / "static"
    static.mkdir()
    (static / "style.css").write_text("body {}")
    for number in range(2):
        front.add_interface("-u", str(front.folder / f"interface{number}.sock"))
    site = (ROOT / "deploy" / "nginx.conf").read_text(encoding="utf-8")
    for page, here in (
        ("unix:/run/headrace/", f"unix:{front.folder}/"),
        ("listen 80;", f"listen 127.0.0.1:{front.plain_port};"),
        ("listen 443 ", f"listen 127.0.0.1:{front.tls_port} "),
        ("/etc/ssl/example.com.pem", str(front.pem)),
        ("/etc/ssl/example.com.key", str(front.pem)),
        ("/srv/chat/static/", f"{static}/"),
    ):
        assert page in site
        site = site.replace(page, here)
    front.stack.processes.append(start_nginx(front.folder, site))


def behind_haproxy(front: Front) -> None:
    text = (ROOT / "deploy" / "haproxy.cfg").read_text(encoding="utf-8")
    for address in ("10.0.0.5", "10.0.0.6"):
        port, admin = free_port(), free_port()
        front.stack.port = port
        front.add_interface("--admin", f"127.0.0.1:{admin}")
        front.options[-1] += ["-p", str(port)]
        page = f"{address}:8000 port 9000"
        assert text.count(page) == 1
        text = text.replace(page, f"127.0.0.1:{port} port {admin}")
    for page, here in (
        ("maxconn 20000", "maxconn 100"),
        ("bind :80", f"bind 127.0.0.1:{front.plain_port}"),
        ("bind :443", f"bind 127.0.0.1:{front.tls_port}"),
        ("/etc/haproxy/example.com.pem", str(front.pem)),
    ):
        assert page in text
        text = text.replace(page, here)
    front.stack.processes.append(start_haproxy(front.folder, text))


BEHIND: dict[str, Callable[[Front], None]] = {"nginx": behind_nginx, "haproxy": behind_haproxy}
BOTH = pytest.mark.parametrize("proxy", BEHIND)


def started(front: Front, proxy: str) -> Front:
    BEHIND[proxy](front)
    front.stack.worker(processes=2)
    eventually(front.answers, 20, "the site answers")
    return front


@BOTH
def test_requests_uploads_streams_and_sockets_pass_and_the_client_is_known(front: Front, proxy: str) -> None:
    started(front, proxy)
    body = os.urandom(1_000_000)
    with front.client() as client:
        assert client.get("/hello", headers={"X-Forwarded-For": "192.0.2.66"}).text == "Hello, world!"
        digest = hashlib.sha256(body).hexdigest()
        assert client.post("/digest", content=body).json() == {"bytes": len(body), "sha256": digest}
        assert client.get("/numbers").text.count("\n") == 1000
    with httpx.Client(base_url=f"http://127.0.0.1:{front.plain_port}") as client:
        moved = client.get("/hello?a=b")
        assert moved.status_code == 301
        assert moved.headers["location"].startswith("https://")
        assert moved.headers["location"].endswith("/hello?a=b")
    trusted = ssl.create_default_context(cafile=str(front.pem))
    with connect(f"wss://127.0.0.1:{front.tls_port}/ws/echo", ssl=trusted, proxy=None) as socket:
        for text in ("one", "x" * 100_000):
            send_json(socket, text)
            assert receive_json(socket) == text
    eventually(lambda: {target for target, _ in front.logged()} >= {"/hello", "/digest", "/numbers"})
    assert {client for _, client in front.logged()} == {CLIENT}


@BOTH
def test_a_restart_of_one_interface_server_after_the_other_fails_no_request(front: Front, proxy: str) -> None:
    started(front, proxy)
    stop, answers = threading.Event(), list[object]()

    def ask() -> None:
        with front.client() as client:
            while not stop.is_set():
                try:
                    answers.append(client.get("/hello").status_code)
                except httpx.TransportError as error:
                    answers.append(error)

    askers = [threading.Thread(target=ask) for _ in range(2)]
    for asker in askers:
        asker.start()
    try:
        for number in range(2):
            before = len(answers)
            front.restart(number)
            eventually(lambda before=before: len(answers) > before + 50)
    finally:
        stop.set()
        for asker in askers:
            asker.join()
    assert set(answers) == {200}


def test_nginx_sends_static_files_itself(front: Front) -> None:
    started(front, "nginx")
    with front.client() as client:
        assert client.get("/static/style.css").text == "body {}"
        assert client.get("/static/nothing.css").status_code == 404
    assert not any("/static/" in target for target, _ in front.logged())

"""docs/interface-servers.md, done as a reader would: its server, its consumers, clients of both protocols."""

from __future__ import annotations

import os
import re
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from headrace_asgi.contract import Outcome
from headrace_interface.bridge import Bridge
from tests.support.lines import (
    IDLE_SECONDS,
    MAX_CLIENTS,
    MAX_LINE_BYTES,
    LineClient,
    LineFactory,
    LineServer,
)
from tests.support.ports import free_port
from tests.support.recording_port import RecordingPort
from tests.support.services import RedisServer
from tests.support.source import ROOT, section_of
from tests.support.stack import Process, eventually

PAGE = ROOT / "docs" / "interface-servers.md"
BLOCKS = dict(re.findall(r"^```([^\n]+)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S))
SERVERS = re.findall(r"^```sh server\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
LINES, WORKER, UDP = SERVERS

MANAGE = """
import os, sys
from django.core.management import execute_from_command_line
os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
execute_from_command_line(sys.argv)
"""
SETTINGS = """
SECRET_KEY = "none"
INSTALLED_APPS = ["headrace"]
ROOT_URLCONF = "urls"
CHANNEL_LAYERS = {{
    "default": {{
        "BACKEND": "headrace_asgi.RedisChannelLayer",
        "CONFIG": {{"hosts": ["{url}"]}},
        "ROUTING": "everything.routing",
    }}
}}
"""
#: Both routings of the page in one project.
EVERYTHING = """
from chat.routing import routing as lines
from datagrams import routing as datagrams
routing = lines + datagrams
"""


class Telnet:
    """A client of the lines."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 20)
        self._file = self.socket.makefile("rb")

    def say(self, text: str) -> None:
        self.socket.sendall(text.encode() + b"\r\n")

    def hear(self) -> str:
        """The next line, or "" at the end."""
        try:
            return self._file.readline().decode().rstrip("\r\n")
        except ConnectionResetError:
            return ""

    def close(self) -> None:
        self._file.close()
        self.socket.close()


class Reader:
    """Somebody who follows the page."""

    def __init__(self, folder: Path, redis: RedisServer) -> None:
        self.folder = folder
        self.url = redis.tcp_url.removesuffix("/0")
        self.port = free_port()
        self.started: list[Process] = []
        self.clients: list[Telnet] = []
        (folder / "chat").mkdir()
        for info, text in BLOCKS.items():
            kind, _, name = info.partition(" ")
            if kind == "python" and name:
                (folder / name).write_text(text, encoding="utf-8")
        for name, text in (
            ("manage.py", MANAGE),
            ("settings.py", SETTINGS.format(url=self.url)),
            ("urls.py", "urlpatterns = []\n"),
            ("everything.py", EVERYTHING),
            ("datagrams.py", "from headrace import route\n\n" + BLOCKS["python"]),
        ):
            (folder / name).write_text(text, encoding="utf-8")

    def start(self, command: str) -> Process:
        for page, here in (
            ("redis://127.0.0.1:6379", self.url),
            ("tcp:2300:", f"tcp:{self.port}:"),
            ("127.0.0.1:5140", f"127.0.0.1:{self.port}"),
        ):
            command = command.replace(page, here)
        words = command.split()
        assert words[0] == "python"
        self.started.append(Process([sys.executable, *words[1:]], {}, self.folder, Path(words[1]).stem))
        return self.started[-1]

    def client(self) -> Telnet:
        self.clients.append(Telnet(self.port))
        return self.clients[-1]


@pytest.fixture
def reader(tmp_path: Path, private_redis_server: RedisServer) -> Iterator[Reader]:
    this = Reader(tmp_path, private_redis_server)
    try:
        yield this
    finally:
        for client in this.clients:
            client.close()
        for process in this.started:
            if process.popen.poll() is None:
                process.end()
            sys.stderr.write(f"--- {process.name}\n{process.output()[-4000:]}\n")
            process.log.close()
        shutil.rmtree(tmp_path, ignore_errors=True)


def test_the_server_of_the_page_is_the_one_in_the_tree() -> None:
    assert (ROOT / "tests" / "support" / "lines.py").read_text(encoding="utf-8") == BLOCKS["python lines.py"]


def test_the_server_of_the_page_is_a_chat_that_outlives_its_workers_and_ends_in_order(reader: Reader) -> None:
    server = reader.start(LINES)
    server.wait_for("Listening on tcp:")
    worker = reader.start(WORKER)
    worker.wait_for("Taking from")
    ada, grace = reader.client(), reader.client()
    for each in (ada, grace):
        each.say("/join")
        assert each.hear() == "You are in."
    for number in range(20):
        ada.say(f"Hello {number}")
    for each in (ada, grace):
        assert [each.hear() for _ in range(20)] == [f"Hello {number}" for number in range(20)]
    assert worker.end() == 0
    grace.say("Nobody works.")
    reader.start(WORKER)
    assert ada.hear() == grace.hear() == "Nobody works."
    ada.say("/quit")
    assert [ada.hear(), ada.hear()] == ["Good bye.", ""]
    assert grace.hear() == "Somebody left."
    assert server.end() == 0
    assert grace.hear() == ""
    assert "Traceback" not in server.output()


@pytest.fixture
def line_server() -> LineServer:
    clock = Clock()
    return LineServer("", clock, [RecordingPort(clock)])


def connected(server: LineServer) -> tuple[LineClient, StringTransport]:
    client = LineFactory(server).buildProtocol(None)
    assert client is not None
    transport = StringTransport()
    client.callLater = server.reactor.callLater
    client.makeConnection(transport)  # type: ignore[no-untyped-call]
    return client, transport


def test_a_client_that_does_not_read_says_too_much_or_says_nothing_is_cut_off(
    line_server: LineServer,
) -> None:
    _, transport = connected(line_server)
    producer: Any = transport.producer
    producer.pauseProducing()
    assert transport.disconnected
    long, transport = connected(line_server)
    long.dataReceived(b"x" * (MAX_LINE_BYTES + 1))
    assert transport.disconnected
    _, transport = connected(line_server)
    line_server.reactor.advance(IDLE_SECONDS - 1)
    assert not transport.disconnected
    line_server.reactor.advance(1)
    assert transport.disconnected


def test_beyond_the_most_clients_a_connection_is_refused(line_server: LineServer) -> None:
    for _ in range(MAX_CLIENTS):
        connected(line_server)
    assert LineFactory(line_server).buildProtocol(None) is None


def test_a_client_is_read_no_further_until_its_line_is_answered_for(line_server: LineServer) -> None:
    line_server.places[0].up = True
    port: Any = line_server.places[0].port
    port.auto = None
    client, transport = connected(line_server)
    client.dataReceived(b"one\ntwo\n")
    assert [asked.message["text"] for asked in port.asked] == ["one"]
    assert transport.producerState == "paused"
    port.asked[0].answer(Outcome.FULL)
    assert [asked.message["text"] for asked in port.asked] == ["one", "two"]
    port.asked[1].answer()
    assert transport.producerState == "producing"
    assert bytes(transport.value()) == b"Busy, please say that again.\r\n"  # type: ignore[no-untyped-call]


def test_the_datagrams_of_the_page_are_answered(reader: Reader) -> None:
    server = reader.start(UDP)
    server.wait_for(r"udp://127\.0\.0\.1:\d+/log")
    reader.start(WORKER).wait_for("Taking from", 60)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(1)

        def answered() -> bytes:
            client.sendto(b"<34>a line", ("127.0.0.1", reader.port))
            return client.recv(1000)

        assert eventually(answered, 20) == b"thank you, 127.0.0.1"
    assert server.end() == 0


def test_the_tables_of_the_page_name_what_a_protocol_implements() -> None:
    rows = re.findall(r"^\| (`[^|]+) \| ", section_of(PAGE, "What Bridge does"), re.M)
    named = {name for row in rows for name in re.findall(r"`(?:place\.)?(\w+)", row)}
    own = {name for name in vars(Bridge) if not name.startswith("_")}
    assert own - named == {"drain_seconds", "max_unanswered", "next_place", "refused", "start", "stop"}
    assert os.path.basename(PAGE) in (ROOT / "docs" / "index.md").read_text(encoding="utf-8")

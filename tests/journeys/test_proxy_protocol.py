"""HAProxy before a real interface server and worker: over TCP, TLS that it passes on, and a unix socket."""

from __future__ import annotations

import json
import os
import shutil
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from tests.support.ports import free_port
from tests.support.services import skip_or_fail
from tests.support.stack import Process, Stack, eventually
from tests.support.tls import certificate
from tests.support.wsclient import open_socket, receive_json, send_json

#: Clients connect from here; HAProxy connects from 127.0.0.1, which alone is trusted.
CLIENT = "127.0.0.2"
#: How HAProxy reaches the interface server, and what it says.
WAYS = ("tcp send-proxy", "tcp send-proxy-v2", "tls send-proxy", "tls send-proxy-v2", "unix send-proxy-v2")

CONFIGURATION = """
defaults
    mode tcp
    timeout connect 5s
    timeout client 30s
    timeout server 30s
"""
LISTEN = """
listen way{number}
    bind 127.0.0.1:{port}
    server headrace {address} {header} check inter 100ms
"""


@dataclass
class Front:
    """HAProxy's ports, by way, and what the interface server writes."""

    interface: Process
    access_log: Path
    pem: Path
    ports: dict[str, int] = field(default_factory=dict)

    def ask(self, way: str) -> str:
        scheme = "https" if way.startswith("tls") else "http"
        trusted = ssl.create_default_context(cafile=str(self.pem))
        transport = httpx.HTTPTransport(local_address=CLIENT, verify=trusted)
        try:
            with httpx.Client(transport=transport, timeout=20) as client:
                return client.get(f"{scheme}://127.0.0.1:{self.ports[way]}/hello").text
        except httpx.TransportError as error:
            raise OSError(str(error)) from None

    def clients(self) -> list[str]:
        """The clients of the access log."""
        return [json.loads(line)["client"] for line in self.access_log.read_text().splitlines()]


@pytest.fixture
def front(tmp_path: Path, redis_url: str) -> Iterator[Front]:
    binary = shutil.which("haproxy", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"]))
    if binary is None:
        skip_or_fail("there is no haproxy; `make services` installs it")
    assert binary is not None
    pem, log, unix = certificate(tmp_path), tmp_path / "access", tmp_path / "s"
    with Stack.over(redis_url) as stack:
        stack.port, tls = free_port(), free_port()
        interface = stack.start_interface(
            *("--proxy-protocol", "--trusted-proxies", "127.0.0.1/32", "-u", str(unix)),
            *("-e", f"ssl:{tls}:interface=127.0.0.1:privateKey={pem}:certKey={pem}"),
            *("--access-log", str(log), "--access-log-format", "json"),
        )
        interface.wait_for(rf"http://127\.0\.0\.1:{stack.port}/")
        stack.worker()
        this = Front(interface, log, pem, {way: free_port() for way in WAYS})
        addresses = {"tcp": f"127.0.0.1:{stack.port}", "tls": f"127.0.0.1:{tls}", "unix": f"unix@{unix}"}
        text = CONFIGURATION
        for number, (way, port) in enumerate(this.ports.items()):
            kind, header = way.split()
            text += LISTEN.format(number=number, port=port, address=addresses[kind], header=header)
        configuration = tmp_path / "haproxy.cfg"
        configuration.write_text(text, encoding="utf-8")
        haproxy = Process([binary, "-db", "-f", str(configuration)], {}, tmp_path, "haproxy")
        stack.processes.append(haproxy)
        eventually(lambda: this.ask(WAYS[0]), what=haproxy.output())
        yield this


def test_clients_are_known_through_haproxy_and_its_health_checks_are_welcome(front: Front) -> None:
    for way in WAYS:
        assert front.ask(way) == "Hello, world!"
    for way in (each for each in WAYS if not each.startswith("tls")):
        with open_socket(front.ports[way], "/ws/echo") as socket:
            send_json(socket, way)
            assert receive_json(socket) == way
    eventually(lambda: front.clients().count(CLIENT) >= 1 + len(WAYS), what="the access log")
    assert set(front.clients()) == {CLIENT, "127.0.0.1"}  # the sockets were opened from there
    assert "is closed" not in front.interface.output()


def test_who_goes_round_haproxy_is_a_stranger(front: Front, tmp_path: Path) -> None:
    found = front.interface.wait_for(r"http://127\.0\.0\.1:(\d+)/")
    transport = httpx.HTTPTransport(local_address=CLIENT)
    with httpx.Client(transport=transport, timeout=20) as client, pytest.raises(httpx.TransportError):
        client.get(f"http://127.0.0.1:{found[1]}/hello", headers={"X-Forwarded-For": "127.0.0.1"})
    front.interface.wait_for(r"A connection of 127\.0\.0\.2 is closed at once")

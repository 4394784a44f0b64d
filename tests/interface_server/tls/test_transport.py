"""TLS on real sockets: clients that speak it, and those that speak something else."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import random
import select
import socket
import ssl
import struct
from collections.abc import Iterator
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from typing import Any, cast

import pytest
from twisted.internet import defer
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher

from headrace_interface.access_log import AccessLog
from headrace_interface.deadlines import OFF, Deadlines
from headrace_interface.direct_send import DirectTCP
from headrace_interface.listeners import HttpFactory, describe, listen, make_endpoints
from headrace_interface.proxy_gate import GateFactory
from headrace_interface.settings import InterfaceSettings
from headrace_interface.tls.certificates import CertificateFiles
from headrace_interface.tls.renewal import Renewal
from tests.support.http_lab import GET, Lab
from tests.support.proxy_headers import v2
from tests.support.reactors import HandReactor, hand_reactor
from tests.support.tls import FilePair, TlsClient, issue, trusting

BEHIND_A_PROXY = InterfaceSettings(proxy_protocol=True, trusted_proxies=(ip_network("127.0.0.0/8"),))


class Place:
    """A reactor, a site whose layer is there, and a port that speaks TLS."""

    def __init__(self, reactor: HandReactor, pair: FilePair) -> None:
        self.reactor = reactor
        self.pair = pair
        self.lab = Lab()
        self.port: Any = None

    def listen(self, settings: InterfaceSettings | None = None, **where: Any) -> Any:
        """Listen; the address."""
        self.lab = Lab(settings)
        context = self.lab.context
        gate = partial(GateFactory, context) if context.settings.proxy_protocol else None
        renewal = Renewal([CertificateFiles(str(self.pair.certificate), str(self.pair.key))])
        [endpoint] = renewal.secured(partial(make_endpoints, **(where or {"port": 0})), self.reactor)
        done: list[Any] = []
        factory = HttpFactory(context, self.lab.upgrade)
        defer.ensureDeferred(listen(endpoint, factory, gate)).addBoth(done.append)
        self.port = done[0]
        address = self.port.getHost()
        return ("127.0.0.1", address.port) if hasattr(address, "port") else address.name

    def speak(self, client: socket.socket, context: ssl.SSLContext | None = None) -> TlsClient:
        """TLS on a connection, with the hands shaken."""
        context = context or trusting(self.pair.certificate, protocols=("h2", "http/1.1"))

        def exchange(data: bytes) -> bytes:
            client.sendall(data)
            self.reactor.iterate(0.01)
            return client.recv(65536) if select.select([client], [], [], 0)[0] else b""

        speaking = TlsClient(exchange, context, "a.example")
        speaking.shake_hands()
        return speaking

    def answered(self, client: socket.socket) -> bytes:
        """Everything that a client gets until the server has closed its end."""
        received = b""
        while True:
            self.reactor.until(lambda: select.select([client], [], [], 0)[0])
            data = client.recv(65536)
            if not data:
                return received
            received += data

    def count(self, name: str) -> int:
        return self.lab.context.counters[name]


@pytest.fixture(autouse=True)
def no_traceback() -> Iterator[None]:
    """Whatever clients send, nothing of ours fails."""
    failures: list[LogEvent] = []

    def observer(event: LogEvent) -> None:
        if "log_failure" in event:
            failures.append(event)

    globalLogPublisher.addObserver(cast(ILogObserver, observer))
    yield
    globalLogPublisher.removeObserver(cast(ILogObserver, observer))
    assert failures == []


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with hand_reactor() as reactor:
        this = Place(reactor, issue(tmp_path, "a.example"))
        yield this
        if this.port is not None:
            this.port.stopListening()
        reactor.turn(0.01)


def test_requests_come_by_https_and_connections_are_kept(place: Place) -> None:
    address = place.listen()
    assert describe(place.port) == f"https://127.0.0.1:{address[1]}/"
    assert place.port.transport is DirectTCP
    with socket.create_connection(address) as client:
        speaking = place.speak(client)
        assert speaking.tls.selected_alpn_protocol() == "http/1.1"
        for number in (1, 2):
            speaking.say(GET)
            place.reactor.until(lambda number=number: len(place.lab.requests) == number)
            message = place.lab.requests[-1].message
            assert (message["scheme"], message["client"]) == ("https", list(client.getsockname()))
            place.lab.reply()
            assert speaking.read(b"\r\n\r\nok").startswith(b"HTTP/1.1 200 OK\r\n")
    place.reactor.until(lambda: not place.lab.context.http_shells)
    assert place.count("tls_failed") == 0


def test_an_inherited_socket_speaks_it_too(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as inherited:
        fd = os.dup(inherited.fileno())
    with socket.create_connection(place.listen(fd=fd)) as client:
        place.speak(client)
    assert describe(place.port).startswith("https://")


def test_an_inherited_unix_socket_stays_as_it_is_and_says_so(
    place: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket(socket.AF_UNIX) as inherited:
        inherited.bind(str(tmp_path / "s"))
        inherited.listen()
        fd = os.dup(inherited.fileno())
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(place.listen(fd=fd))
        client.sendall(GET)
        place.reactor.until(lambda: place.lab.requests)
    assert describe(place.port).startswith("unix:")
    assert "--certfile is for TCP" in caplog.text


def test_the_header_of_the_proxy_protocol_comes_before_tls(place: Place) -> None:
    addresses = (
        socket.inet_aton("203.0.113.9") + socket.inet_aton("192.0.2.1") + struct.pack("!HH", 5000, 443)
    )
    with socket.create_connection(place.listen(BEHIND_A_PROXY)) as client:
        client.sendall(v2(0x21, 0x11, addresses))
        speaking = place.speak(client)
        speaking.say(GET)
        place.reactor.until(lambda: place.lab.requests)
        message = place.lab.requests[-1].message
        assert (message["client"], message["scheme"]) == (["203.0.113.9", 5000], "https")


@pytest.mark.parametrize("first_bytes", [len(GET), 1])
def test_a_plain_request_is_answered_plainly_and_counted(
    first_bytes: int, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    address = place.listen()
    for _ in range(3):
        with socket.create_connection(address) as client:
            client.sendall(GET[:first_bytes])
            place.reactor.turn(0.02)
            client.sendall(GET[first_bytes:])
            answer = place.answered(client)
            assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
            assert b"A plain HTTP request was sent to an HTTPS port" in answer
    place.reactor.until(lambda: not place.lab.context.http_shells)
    assert one_line(place, caplog).startswith(
        "A connection of 127.0.0.1 is closed, because it came without TLS"
    )
    assert place.count("plain_on_tls") == place.count("refused_400") == 3
    assert place.count("tls_failed") == 0
    place.lab.wait(20)
    assert caplog.records[-1].getMessage().startswith("3 connections came within")


def test_a_plain_request_stands_in_the_access_log(place: Place, tmp_path: Path) -> None:
    address = place.listen()
    log = tmp_path / "log"
    place.lab.context.access_log = AccessLog(place.lab.clock, path=str(log), lines="json")
    with socket.create_connection(address) as client:
        client.sendall(GET)
        place.answered(client)
    place.lab.context.access_log.close()
    assert json.loads(log.read_text())["status"] == 400


@pytest.mark.parametrize("linger", [2, OFF])
def test_who_goes_on_without_tls_is_not_listened_to_for_long(linger: float, place: Place) -> None:
    with socket.create_connection(
        place.listen(InterfaceSettings(deadlines=Deadlines(linger=linger)))
    ) as client:
        client.sendall(GET)
        place.answered(client)
        client.sendall(b"x" * 100_000)
        place.reactor.turn(0.02)
        assert place.lab.context.http_shells
        place.lab.wait(2 if linger == 2 else 80)
        place.reactor.until(lambda: not place.lab.context.http_shells)


@pytest.mark.parametrize(
    "sent", [b"\x00", b"\x80\x2e\x01\x03\x01", b"\r\nGET / HTTP/1.1\r\n\r\n", b"\xff" * 5000]
)
def test_other_bytes_before_tls_are_closed_without_a_word_and_counted(
    sent: bytes, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_connection(place.listen()) as client:
        client.sendall(sent)
        assert place.answered(client) == b""
    place.reactor.until(lambda: not place.lab.context.http_shells)
    assert "came without TLS" in one_line(place, caplog)
    assert place.count("plain_on_tls") == 1


@pytest.mark.parametrize("rest", [b"", b"\x03\x01\x00\x05hello", b"\xff" * 3000])
def test_a_handshake_that_fails_is_counted_and_nobodys_trouble(
    rest: bytes, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_connection(place.listen()) as client:
        client.sendall(b"\x16" + rest)
        client.shutdown(socket.SHUT_WR)
        answer = place.answered(client)
        assert answer[:1] in (b"", b"\x15")  # an alert
    place.reactor.until(lambda: not place.lab.context.http_shells)
    assert place.count("tls_failed") == 1
    assert not caplog.records


@pytest.mark.seeds(20)
def test_a_spoilt_handshake_ends_its_connection_and_nothing_else(seed: int, place: Place) -> None:
    rng, outgoing = random.Random(seed), ssl.MemoryBIO()
    beginning = trusting(place.pair.certificate, protocols=("h2", "http/1.1"))
    with contextlib.suppress(ssl.SSLWantReadError):
        beginning.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="a.example").do_handshake()
    hello = bytearray(outgoing.read())
    for _ in range(rng.randint(1, 8)):
        hello[rng.randrange(len(hello))] = rng.randrange(256)
    del hello[rng.randrange(1, 2 * len(hello)) :]
    address = place.listen()
    with socket.create_connection(address) as client:
        for at in range(0, len(hello), 200):
            client.sendall(hello[at : at + 200])
            place.reactor.iterate(0.001)
        client.shutdown(socket.SHUT_WR)
        place.reactor.until(lambda: not place.lab.context.http_shells)
    with socket.create_connection(address) as client:
        place.speak(client)


def test_a_client_of_an_older_version_is_refused_with_an_alert(place: Place) -> None:
    context = trusting(place.pair.certificate)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        socket.create_connection(place.listen()) as client,
        pytest.raises(ssl.SSLError, match=r"(?i)protocol version"),
    ):
        place.speak(client, context=context)


def test_who_only_looks_whether_we_are_there_is_not_counted(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_connection(place.listen()):
        place.reactor.until(lambda: place.lab.context.http_shells)
    place.reactor.until(lambda: not place.lab.context.http_shells)
    assert (place.count("plain_on_tls"), place.count("tls_failed")) == (0, 0)
    assert not caplog.records


def test_a_handshake_that_is_never_finished_ends_with_the_idle_deadline(place: Place) -> None:
    with socket.create_connection(place.listen()) as client:
        client.sendall(b"\x16\x03\x01\x02\x00")
        place.reactor.until(lambda: place.lab.context.http_shells)
        place.lab.wait(74)
        place.reactor.turn(0.02)
        assert place.lab.context.http_shells
        place.lab.wait(2)
        place.reactor.until(lambda: not place.lab.context.http_shells)


def one_line(place: Place, caplog: pytest.LogCaptureFixture) -> str:
    """The one line that was logged; nothing reached a worker."""
    assert not place.lab.requests
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    return record.getMessage()

"""Listening, everywhere at once."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import ssl
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hyperframe.frame import SettingsFrame
from twisted.internet import defer, task
from twisted.internet.interfaces import IProtocolNegotiationFactory

from headrace_asgi.errors import ConfigurationError
from headrace_interface.direct_send import DirectTCP, DirectUNIX
from headrace_interface.http.protocol import HttpProtocol
from headrace_interface.http2.floods import PREFACE
from headrace_interface.listeners import HttpFactory, Refusals, describe, listen, make_endpoints
from headrace_interface.settings import InterfaceSettings
from tests.support.http2_lab import fields, head_frame
from tests.support.http_lab import GET, Lab
from tests.support.reactors import HandReactor, hand_reactor
from tests.support.tls import certificate

#: A request of HTTP/2 as the first that a client says.
BY_HAND = PREFACE + SettingsFrame(0).serialize() + head_frame(1, fields())


class Place:
    """A reactor, a factory, and the ports that were opened."""

    def __init__(self, reactor: HandReactor) -> None:
        self.reactor = reactor
        self.lab = Lab()
        self.factory = HttpFactory(self.lab.context, self.lab.upgrade)
        self.ports: list[Any] = []

    def listen(self, **where: Any) -> list[Any]:
        """Open all endpoints; their ports."""
        for endpoint in make_endpoints(self.reactor, **where):
            done: list[Any] = []
            defer.ensureDeferred(listen(endpoint, self.factory)).addBoth(done.append)
            self.reactor.until(lambda done=done: done)
            if hasattr(done[0], "value"):
                raise done[0].value
            self.ports.append(done[0])
        return self.ports


@pytest.fixture
def place() -> Iterator[Place]:
    with hand_reactor() as reactor:
        this = Place(reactor)
        yield this
        for port in this.ports:
            port.stopListening()
        reactor.turn(0.01)


def names(**where: Any) -> list[str]:
    return [name for name, _ in make_endpoints(object(), **where)]


def test_what_is_listened_on() -> None:
    assert names() == ["127.0.0.1 port 8000"]
    assert names(host="0.0.0.0") == ["0.0.0.0 port 8000"]
    assert names(port=0) == ["127.0.0.1 port 0"]
    assert names(unix_socket="/a:b") == ["--unix-socket /a:b"]
    assert names(strings=["tcp:1", "tcp:2"]) == ["--endpoint tcp:1", "--endpoint tcp:2"]
    assert names(port=1, unix_socket="/a", strings=["tcp:2"]) == [
        "--unix-socket /a",
        "--endpoint tcp:2",
        "127.0.0.1 port 1",
    ]


def test_everything_at_once_with_transports_that_write_at_once(place: Place, tmp_path: Path) -> None:
    inherited = socket.create_server(("127.0.0.1", 0))
    adopted = inherited.getsockname()[1]
    fd = os.dup(inherited.fileno())
    inherited.close()
    path = str(tmp_path / "s:1")
    ports = place.listen(port=0, unix_socket=path, fd=fd, strings=["tcp:0:interface=127.0.0.1"])
    assert [port.transport for port in ports] == [DirectTCP, DirectUNIX, DirectTCP, DirectTCP]
    assert describe(ports[0]) == f"http://127.0.0.1:{adopted}/"
    assert describe(ports[1]) == f"unix:{path}"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o660
    for port in (ports[2], ports[3]):
        assert port.getHost().port > 0


def test_a_request_over_each_kind_of_socket(place: Place, tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    _, tcp = place.listen(port=0, unix_socket=path)
    for family, address in ((socket.AF_INET, ("127.0.0.1", tcp.getHost().port)), (socket.AF_UNIX, path)):
        with socket.socket(family) as client:
            client.connect(address)
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            before = len(place.lab.requests)
            place.reactor.until(lambda before=before: len(place.lab.requests) > before)
            message = place.lab.requests[-1].message
            assert (message["client"] is None) is (family == socket.AF_UNIX)
            place.lab.reply()
            assert client.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")


def test_an_ipv6_address_may_have_brackets(place: Place) -> None:
    for host in ("::1", "[::1]"):
        try:
            [*_, port] = place.listen(host=host, port=0)
        except ConfigurationError:
            pytest.skip("no IPv6 here")
        assert describe(port).startswith("http://[::1]:")


@pytest.mark.filterwarnings("ignore:Passing pyOpenSSL")  # Twisted does
def test_tls_is_described_and_negotiated(place: Place, tmp_path: Path) -> None:
    pem = certificate(tmp_path)
    [port] = place.listen(strings=[f"ssl:0:interface=127.0.0.1:privateKey={pem}:certKey={pem}"])
    assert describe(port).startswith("https://127.0.0.1:")
    assert IProtocolNegotiationFactory.providedBy(place.factory)
    assert place.factory.acceptableProtocols() == [b"http/1.1"]


def test_tls_that_begins_on_a_plain_port_is_answered_plainly_and_counted(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    [port] = place.listen(port=0)
    hello, outgoing = ssl.create_default_context(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        hello.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="a.example").do_handshake()
    for _ in range(2):
        with socket.create_connection(("127.0.0.1", port.getHost().port)) as client:
            client.sendall(outgoing.read() or b"\x16")
            place.reactor.until(lambda client=client: select.select([client], [], [], 0)[0])
            assert client.recv(1000).startswith(b"HTTP/1.1 400 Bad Request\r\n")
    place.reactor.until(lambda: not place.lab.context.http_shells)
    [record] = caplog.records
    assert "127.0.0.1 is closed, because it began TLS on a port that does not speak it" in record.getMessage()
    assert place.lab.context.counters["tls_on_plain"] == 2
    place.lab.wait(20)
    assert caplog.records[-1].getMessage().startswith("2 connections began TLS within")


@pytest.mark.filterwarnings("ignore:Passing pyOpenSSL")  # Twisted does
def test_http2_is_negotiated_before_http1_by_clients_that_offer_it(place: Place, tmp_path: Path) -> None:
    pem = certificate(tmp_path)
    lab = place.lab = Lab(InterfaceSettings(http2=True))
    place.factory = HttpFactory(lab.context, lab.upgrade)
    [port] = place.listen(strings=[f"ssl:0:interface=127.0.0.1:privateKey={pem}:certKey={pem}"])
    for offered, chosen in ((["h2", "http/1.1"], "h2"), (["http/1.1"], "http/1.1"), ([], None)):
        context = ssl.create_default_context(cafile=str(pem))
        if offered:
            context.set_alpn_protocols(offered)
        raw = socket.create_connection(("127.0.0.1", port.getHost().port))
        raw.setblocking(False)
        with context.wrap_socket(raw, do_handshake_on_connect=False, server_hostname="127.0.0.1") as client:
            place.reactor.until(lambda client=client: shaken(client))
            assert client.selected_alpn_protocol() == chosen
            asked = len(lab.requests)
            client.send(BY_HAND if chosen == "h2" else GET)
            place.reactor.until(lambda asked=asked: len(lab.requests) > asked)
            version = "2" if chosen == "h2" else "1.1"
            assert lab.requests[-1].message["http_version"] == version


def shaken(client: ssl.SSLSocket) -> bool:
    """Whether the handshake is over."""
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


def test_a_port_in_use_is_named(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"127\.0\.0\.1 port {number}: Address already in use"):
            place.listen(port=number)


def test_a_socket_path_that_cannot_be_is_named(place: Place, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="/nowhere/s"):
        place.listen(unix_socket="/nowhere/s")
    path = str(tmp_path / "taken")
    place.listen(unix_socket=path)
    with pytest.raises(ConfigurationError, match="another process"):
        place.listen(unix_socket=path)


@pytest.mark.parametrize(
    "text", ["nonsense", "nonsense:1", "tcp", "tcp:x", "tcp:1:colour=red", "ssl:1:certKey=/no"]
)
def test_an_endpoint_that_is_not_understood_is_named(text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        names(strings=[text])


def test_twisteds_own_proxy_protocol_is_refused_since_it_believes_everybody() -> None:
    with pytest.raises(ConfigurationError, match="--proxy-protocol"):
        names(strings=["haproxy:tcp:8000"])


def test_a_foreign_kind_of_port_has_no_gate() -> None:
    class Foreign:
        listens = True

        def stopListening(self) -> None:  # noqa: N802
            self.listens = False

        def listen(self, factory: Any) -> defer.Deferred[Foreign]:
            return defer.succeed(self)

    foreign = Foreign()
    done: list[Any] = []
    defer.ensureDeferred(listen(("--endpoint x:1", foreign), object(), lambda _: None)).addBoth(done.append)  # type: ignore[arg-type]
    assert isinstance(done[0].value, ConfigurationError)
    assert not foreign.listens


def test_a_descriptor_must_be_a_listening_socket(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="--fd 999"):
        names(fd=999)
    with (tmp_path / "f").open("w") as file, pytest.raises(ConfigurationError, match="no open socket"):
        names(fd=file.fileno())
    with socket.socket() as idle, pytest.raises(ConfigurationError, match="listen"):
        names(fd=idle.fileno())


def test_the_factory_makes_connections() -> None:
    lab = Lab()
    assert isinstance(HttpFactory(lab.context, lab.upgrade).buildProtocol(None), HttpProtocol)


def test_refused_connections_are_said_once_with_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    clock = task.Clock()
    observer = Refusals(clock)
    where = "twisted.internet.tcp.Port"
    observer({"log_namespace": "another", "address": ("127.0.0.1", 1)})
    observer({"log_namespace": where, "acceptError": "ECONNABORTED"})
    assert not caplog.records
    observer({"log_namespace": where, "address": ("127.0.0.1", 1)})
    observer({"log_namespace": where, "acceptError": "EMFILE"})
    clock.advance(60)
    began, ended = [record.getMessage() for record in caplog.records]
    assert "ulimit -n" in began
    assert ended == "Connections are accepted again; 2 were refused within 1 s."

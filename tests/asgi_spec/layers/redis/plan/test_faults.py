"""Why there is no connection: real servers that cannot be used, and the same words of both executors."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from socketserver import BaseRequestHandler, TCPServer
from threading import Thread
from typing import Any

import pytest

from headrace_asgi.errors import LayerRefused, LayerUnavailable
from headrace_asgi.layers.redis.address import ServerAddress, Tls, parse_address
from headrace_asgi.layers.redis.blocking.connection import RedisAddress, RedisConnection
from headrace_asgi.layers.redis.blocking.layer import RedisPlaceLayer
from headrace_asgi.layers.redis.plan.clock import RedisClock
from headrace_asgi.layers.redis.plan.faults import (
    Fault,
    connect_error,
    fault_of,
    fault_of_errno,
    fault_of_tls,
)
from headrace_asgi.layers.redis.twisted.link import RedisLink
from tests.support.ports import free_port
from tests.support.reactors import HandReactor, hand_reactor
from tests.support.services import RedisServer, redis_binary, skip_or_fail
from tests.support.tls import certificate

#: Seconds until somebody who says nothing is given up, where that can be set.
SHORT = 0.3


@pytest.fixture
def reactor() -> Iterator[HandReactor]:
    with hand_reactor() as reactor:
        yield reactor


def told_when_blocking(url: str, **options: Any) -> LayerUnavailable:
    address = RedisAddress(url, {"socket_timeout": SHORT, **options})
    connection = RedisConnection(address, RedisClock(60))
    with pytest.raises(LayerUnavailable) as raised:
        connection.open()
    assert not connection.is_open
    return raised.value


def told_in_a_reactor(reactor: HandReactor, url: str, **options: Any) -> LayerUnavailable:
    ups: list[bool] = []
    downs: list[LayerUnavailable] = []
    link = RedisLink(
        parse_address(url, options),
        reactor,
        "headrace-test",
        lambda: ups.append(True),
        downs.append,
        answer_timeout_seconds=SHORT,
    )
    link.start()
    reactor.until(lambda: downs or ups)
    link.stop()
    reactor.turn(0.01)
    assert not ups
    return downs[0]


def told(reactor: HandReactor, url: str, **options: Any) -> LayerUnavailable:
    """What both say: the same."""
    blocking, inside = told_when_blocking(url, **options), told_in_a_reactor(reactor, url, **options)
    assert str(blocking) == str(inside)
    assert type(blocking) is type(inside)
    return blocking


@contextmanager
def served(server: TCPServer) -> Iterator[int]:
    """The port of a server that runs in a thread."""
    with server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


class SpeaksHttp(BaseHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Nobody reads it."""


@contextmanager
def redis_with_tls(pem: Path, *options: str) -> Iterator[str]:
    """The address of a Redis that speaks TLS, and asks for no certificate unless it is told to."""
    binary = redis_binary()
    if binary is None:
        skip_or_fail("there is no redis-server >= 7.0 on PATH; `make services` installs one")
    assert binary is not None
    port = str(free_port())
    files = ["--tls-cert-file", str(pem), "--tls-key-file", str(pem), "--tls-ca-cert-file", str(pem)]
    with RedisServer(binary, ["--tls-port", port, *files, "--tls-auth-clients", "no", *options]):
        yield f"127.0.0.1:{port}"


def test_a_name_that_no_host_has(reactor: HandReactor) -> None:
    error = told(reactor, "redis://:secret@no-such-host.invalid:6379/0")
    assert str(error) == (
        "there is no connection to Redis at redis://no-such-host.invalid:6379/0: "
        "no host has the name 'no-such-host.invalid'; correct it in hosts or --layer"
    )


def test_a_port_where_nobody_listens(reactor: HandReactor) -> None:
    error = told(reactor, f"redis://127.0.0.1:{free_port()}/0")
    assert "nobody listens there; start it, or correct where it is in hosts or --layer" in str(error)
    assert not isinstance(error, LayerRefused), "it may be started later"


def test_a_socket_that_is_not_there_or_was_left_behind(
    reactor: HandReactor, private_redis_server: RedisServer, tmp_path: Path
) -> None:
    error = told(reactor, f"unix://{tmp_path}/none.sock")
    assert "there is no such socket; start it, or correct the path in hosts or --layer" in str(error)
    private_redis_server.kill()
    error = told(reactor, private_redis_server.url)
    assert "nobody listens there" in str(error)


def test_a_server_that_speaks_http(reactor: HandReactor) -> None:
    with served(HTTPServer(("127.0.0.1", 0), SpeaksHttp)) as port:
        error = told(reactor, f"redis://127.0.0.1:{port}/0")
        assert (
            "what answers there does not speak the Redis protocol; correct host and port in hosts or "
            "--layer, or write rediss://" in str(error)
        )
        error = told(reactor, f"rediss://127.0.0.1:{port}/0")
        assert "write redis:// in hosts or --layer" in str(error)


def test_a_server_that_closes_at_once(reactor: HandReactor) -> None:
    class Closes(BaseRequestHandler):
        def handle(self) -> None:
            # Read first: a socket that is closed with unread bytes is reset.
            self.request.recv(1_000_000)

    with served(TCPServer(("127.0.0.1", 0), Closes)) as port:
        for scheme, other in (("redis", "rediss"), ("rediss", "redis")):
            error = told(reactor, f"{scheme}://127.0.0.1:{port}/0")
            assert "it closed the connection without a word; a port " in str(error)
            assert f"then write {other}:// in hosts or --layer" in str(error)


def test_a_server_that_says_nothing(reactor: HandReactor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RedisConnection.read, "__defaults__", (SHORT, None))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for scheme, reason in (
            ("redis", "something else listens"),
            ("rediss", "that port does not speak TLS"),
        ):
            error = told(reactor, f"{scheme}://127.0.0.1:{listener.getsockname()[1]}/0")
            assert f"it takes connections and says nothing; it hangs, or {reason}" in str(error)
            assert not isinstance(error, LayerRefused)


def test_tls_to_a_redis_that_does_not_speak_it(reactor: HandReactor, redis_server: RedisServer) -> None:
    """What Redis makes of the first bytes depends on them: it waits, closes, or answers."""
    url = redis_server.tcp_url.replace("redis://", "rediss://")
    for error in (told_when_blocking(url), told_in_a_reactor(reactor, url)):
        assert "write redis:// in hosts or --layer" in str(error)


def test_no_tls_to_a_redis_that_wants_it(reactor: HandReactor, tmp_path: Path) -> None:
    with redis_with_tls(certificate(tmp_path)) as address:
        for error in (
            told_when_blocking(f"redis://{address}/0"),
            told_in_a_reactor(reactor, f"redis://{address}/0"),
        ):
            assert "write rediss://" in str(error)


def test_tls_to_a_redis_whose_authority_is_given(reactor: HandReactor, tmp_path: Path) -> None:
    """By all ways to say it, of both styles; the interface server is on the way back."""
    pem = certificate(tmp_path)
    with redis_with_tls(pem, "--requirepass", "right") as address:
        host, port = address.split(":")
        for given, kwargs in (
            (f"rediss://:right@{address}/1?ssl_ca_certs={pem}", {}),
            (f"rediss://{address}/1", {"password": "right", "ssl_ca_certs": str(pem)}),
            ({"address": f"rediss://:right@{address}/1", "ssl_ca_data": pem.read_text()}, {}),
            (
                {"host": host, "port": port, "db": 1, "password": "right", "ssl": True},
                {"ssl_ca_certs": str(pem)},
            ),
            ({"address": f"rediss://:right@{address}/1", "ssl_cert_reqs": None}, {}),
        ):
            layer = RedisPlaceLayer([given], connection_kwargs=kwargs)
            layer.send("test", {"value": 1})
            assert layer.receive(["test"]) == ("test", {"value": 1})
            layer.close()
            address_given = parse_address(layer._hosts["0"].url, layer._hosts["0"].options)
            ups: list[bool] = []
            link = RedisLink(
                address_given, reactor, "x", lambda ups=ups: ups.append(True), lambda error: None
            )
            link.start()
            reactor.until(lambda ups=ups: ups)
            link.stop()
            reactor.turn(0.01)


@pytest.mark.parametrize("given", ["nobody", "another", "the right one, long ago"])
def test_a_certificate_that_cannot_be_trusted(reactor: HandReactor, tmp_path: Path, given: str) -> None:
    expired = given.startswith("the right")
    pem = certificate(tmp_path, ends_in_days=-1 if expired else 1)
    (tmp_path / "other").mkdir()
    authority = {"nobody": None, "another": certificate(tmp_path / "other")}.get(given, pem)
    options = {} if authority is None else {"ssl_ca_certs": str(authority)}
    with redis_with_tls(pem) as address:
        error = told(reactor, f"rediss://{address}/0", **options)
    assert isinstance(error, LayerRefused)
    assert str(error).endswith(
        ": its certificate cannot be trusted, as it is out of date or signed by nobody who is known here; "
        "renew it, or set ssl_ca_certs to the file of the authority that signed it"
    )


def test_a_certificate_of_another_name(reactor: HandReactor, tmp_path: Path) -> None:
    pem = certificate(tmp_path, "elsewhere.example")
    with redis_with_tls(pem) as address:
        error = told(reactor, f"rediss://{address}/0?ssl_ca_certs={pem}")
        assert isinstance(error, LayerRefused)
        assert str(error).endswith(
            ": its certificate is not for the name '127.0.0.1'; write the name that it is for in hosts or "
            "--layer, or set ssl_check_hostname to False"
        )
        layer = RedisPlaceLayer(
            [{"address": f"rediss://{address}", "ssl_ca_certs": str(pem), "ssl_check_hostname": False}]
        )
        layer.ensure_usable()
        layer.close()


def test_a_redis_that_wants_a_certificate_of_ours(reactor: HandReactor, tmp_path: Path) -> None:
    pem = certificate(tmp_path)
    with redis_with_tls(pem, "--tls-auth-clients", "yes") as address:
        url = f"rediss://{address}/0?ssl_ca_certs={pem}"
        # It closes right behind its word, which may get lost then.
        for error in (told_when_blocking(url), told_in_a_reactor(reactor, url)):
            assert "set ssl_certfile and ssl_keyfile" in str(error)
        layer = RedisPlaceLayer([f"{url}&ssl_certfile={pem}&ssl_keyfile={pem}"])
        layer.send("test", {})
        layer.close()


def test_certificates_of_ours_that_cannot_be_read(reactor: HandReactor, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"rediss://127.0.0.1:{listener.getsockname()[1]}/0?ssl_ca_certs={tmp_path}/none.pem"
        for error in (told_when_blocking(url), told_in_a_reactor(reactor, url)):
            assert isinstance(error, LayerRefused)
            assert "the certificates for TLS cannot be used (FileNotFoundError" in str(error)
            assert str(error).endswith("; see ssl_ca_certs, ssl_certfile and ssl_keyfile")


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("tls", [None, Tls()])
def test_every_fault_says_where_and_what_to_do(fault: Fault, tls: Tls | None) -> None:
    address = ServerAddress("r.example", password="secret", tls=tls)
    text = str(connect_error(address, fault, "the library says so"))
    assert text.startswith(f"there is no connection to Redis at {address.label}: ")
    assert "secret" not in text
    assert "{" not in text
    assert ("the library says so" in text) is (fault in (Fault.OTHER, Fault.CERTIFICATES))
    assert fault is Fault.OTHER or "; " in text


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (socket.gaierror(-2, "Name or service not known"), Fault.UNKNOWN_NAME),
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), Fault.NOBODY),
        (TimeoutError("timed out"), Fault.NO_WAY),
        (TimeoutError(errno.ETIMEDOUT, "timed out"), Fault.NO_WAY),
        (TimeoutError("_ssl.c:989: The handshake operation timed out"), Fault.SILENT),
        (OSError(errno.EHOSTUNREACH, "no route"), Fault.NO_WAY),
        (PermissionError(errno.EACCES, "denied"), Fault.NO_ACCESS),
        (ConnectionResetError(errno.ECONNRESET, "reset"), Fault.CLOSED),
        (
            ssl.SSLError(1, "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert certificate req"),
            Fault.UNPROVEN,
        ),
        (ConnectionError("something else"), Fault.OTHER),
    ],
)
def test_errors_of_sockets_are_told_apart(error: OSError, fault: Fault) -> None:
    assert fault_of(error) is fault


def test_what_is_not_known_is_left_to_the_words_of_the_library() -> None:
    assert fault_of_errno(None) is Fault.OTHER
    assert fault_of_errno(errno.EIO) is Fault.OTHER
    assert fault_of_tls("[('SSL routines', '', 'something new')]") is Fault.OTHER

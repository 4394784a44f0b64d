"""Files on their way to clients: whole, in parts, slowly, and broken off."""

from __future__ import annotations

import os
import random
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import endpoints

from headrace_interface.context import ServerContext
from headrace_interface.deadlines import Deadlines
from headrace_interface.direct_send import install
from headrace_interface.files import file_call
from headrace_interface.files.folder import OpenFile
from headrace_interface.files.mounts import Mount
from headrace_interface.listeners import HttpFactory
from headrace_interface.settings import InterfaceSettings
from tests.support.http_lab import GET, Answer, Client, Lab, SlowTransport, answers, response
from tests.support.reactors import HandReactor, hand_reactor
from tests.support.recording_port import RecordingPort
from tests.support.tls import certificate

BIG = random.Random(1).randbytes(1_000_000)


class Lines:
    """An access log that is a list."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, int, int]] = []

    def request(self, head: Any, status: int, size: int) -> None:
        self.lines.append((head.path, status, size))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of files that did not change lately."""
    (tmp_path / "a.css").write_bytes(b"body {}")
    (tmp_path / "a.css.gz").write_bytes(b"packed")
    (tmp_path / "big.bin").write_bytes(BIG)
    (tmp_path / "empty.txt").write_bytes(b"")
    for each in tmp_path.iterdir():
        os.utime(each, (1_000_000_000, 1_000_000_000))
    return tmp_path


def settings(root: Path, **more: Any) -> InterfaceSettings:
    mount = Mount("/static/", str(root))
    internal = (Mount("/protected/", str(root)),)
    return InterfaceSettings(static=(mount,), internal=internal, sendfile_root=str(root), **more)


def lab_of(root: Path, layer_up: bool = True, **more: Any) -> tuple[Lab, Lines]:
    lab, lines = Lab(settings(root, **more), layer_up), Lines()
    lab.context.access_log = lines  # type: ignore[assignment]
    return lab, lines


def get(path: str, *headers: str, method: str = "GET", version: str = "1.1") -> bytes:
    lines = [f"{method} {path} HTTP/{version}", "Host: example.com", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def fetch(root: Path, request: bytes, method: str = "GET") -> Answer:
    lab, _ = lab_of(root)
    client = lab.connect()
    client.send(request)
    [answer] = answers(client.received, (method,))
    assert lab.requests == []
    return answer


def open_files(root: Path) -> int:
    """How many files of the folder this process has open."""
    count = 0
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # the one that lists them
            count += os.readlink(f"/proc/self/fd/{name}").startswith(str(root))
    return count


@pytest.fixture(autouse=True)
def no_file_stays_open(root: Path) -> Iterator[None]:
    """Whatever happens to a response, its file is closed."""
    yield
    assert open_files(root) == 0


# What is answered.


def test_a_file_is_sent_and_the_connection_used_again(root: Path) -> None:
    lab, lines = lab_of(root)
    client = lab.connect()
    client.send(get("/static/a.css"))
    client.send(get("/static/a.css", method="HEAD"))
    client.send(get("/static/none.css"))
    client.send(get("/static/empty.txt"))
    found = answers(client.received, ("GET", "HEAD"))
    assert [(each.status, each.body) for each in found] == [
        (200, b"body {}"),
        (200, b""),
        (404, b"There is no such file.\n"),
        (200, b""),
    ]
    assert [each.header("Content-Length") for each in found] == ["7", "7", "23", "0"]
    assert not client.closed
    assert lab.requests == []
    assert lines.lines == [
        ("/static/a.css", 200, 7),
        ("/static/a.css", 200, 0),
        ("/static/none.css", 404, 23),
        ("/static/empty.txt", 200, 0),
    ]


def test_what_is_not_below_a_prefix_is_for_the_application(root: Path) -> None:
    lab, _ = lab_of(root)
    client = lab.connect()
    client.send(get("/static/a.css") + GET + get("/static/a.css"))
    lab.reply(response(b"from a view"))
    assert [each.body for each in client.answers] == [b"body {}", b"from a view", b"body {}"]


@pytest.mark.parametrize(
    "path",
    [
        "/static/../secret",
        "/static/%2e%2e/secret",
        "/static/a%2Ecss%2F",
        "/static//a.css",
        "/static/",
        "/static/%5c",
    ],
)
def test_a_way_out_is_no_file_and_no_business_of_the_application(root: Path, path: str) -> None:
    assert fetch(root, get(path)).status == 404


def test_a_range_a_copy_and_a_condition_are_answered(root: Path) -> None:
    whole = fetch(root, get("/static/a.css"))
    tag = whole.header("ETag")
    assert whole.header("Vary") == "Accept-Encoding"
    assert fetch(root, get("/static/a.css", f"If-None-Match: {tag}")).status == 304
    part = fetch(root, get("/static/big.bin", "Range: bytes=70000-200000"))
    assert (part.status, part.body) == (206, BIG[70000:200001])
    packed = fetch(root, get("/static/a.css", "Accept-Encoding: gzip"))
    assert (packed.body, packed.header("Content-Encoding")) == (b"packed", "gzip")
    several = fetch(root, get("/static/big.bin", "Range: bytes=0-99999,-10"))
    assert several.status == 206
    assert BIG[:100000] in several.body
    assert BIG[-10:] in several.body
    assert int(several.header("Content-Length") or 0) == len(several.body)


def test_an_old_client_is_answered_and_closed_or_kept_as_it_wishes(root: Path) -> None:
    lab, _ = lab_of(root)
    client = lab.connect()
    client.send(get("/static/a.css", "Connection: keep-alive", version="1.0"))
    assert client.answers[0].header("Connection") == "keep-alive"
    client.send(get("/static/a.css", version="1.0"))
    assert client.answers[1].header("Connection") == "close"
    assert client.closed


def test_a_long_pipeline_of_files_is_answered_in_order(root: Path) -> None:
    lab, _ = lab_of(root)
    client = lab.connect()
    client.send(get("/static/a.css") * 700 + get("/static/none"))
    assert [each.status for each in client.answers] == [200] * 700 + [404]


def test_a_request_with_a_body_is_refused_and_the_next_one_is_read_behind_it(root: Path) -> None:
    lab, _ = lab_of(root)
    client = lab.connect()
    client.send(get("/static/a.css", "Content-Length: 5", method="POST") + b"12345" + get("/static/a.css"))
    assert [(each.status, each.header("Allow")) for each in client.answers] == [
        (405, "GET, HEAD"),
        (200, None),
    ]
    assert lab.context.bodies.memory_bytes == 0


def test_a_body_that_never_comes_does_not_keep_a_file_open(root: Path) -> None:
    lab, lines = lab_of(root, stream_uploads=True, inline_body_bytes=4, deadlines=Deadlines(body=5))
    client = lab.connect(SlowTransport())
    client.send(get("/static/big.bin", "Content-Length: 100000") + b"12345")
    lab.wait(200)
    assert client.closed
    client.leave()
    assert len(lines.lines) == 1


def test_files_are_sent_while_the_layer_is_away_and_while_the_process_ends(root: Path) -> None:
    lab, _ = lab_of(root, layer_up=False)
    lab.context.accepting = False
    client = lab.connect()
    client.send(get("/static/a.css"))
    lab.context.draining = True
    client.send(get("/static/a.css"))
    assert [(each.status, each.header("Connection")) for each in client.answers] == [
        (200, None),
        (200, "close"),
    ]
    assert client.closed


def test_a_file_that_cannot_be_opened_now_is_told_to_come_back(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*args: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(file_call, "open_for", full)
    answer = fetch(root, get("/static/a.css"))
    assert (answer.status, answer.header("Retry-After")) == (503, "5")
    assert "Too many open files" in caplog.text


# How it is sent.


def slow(root: Path, **more: Any) -> tuple[Lab, Lines, Client, SlowTransport]:
    lab, lines = lab_of(root, **more)
    transport = SlowTransport()
    return lab, lines, lab.connect(transport), transport


def read_all(lab: Lab, transport: SlowTransport) -> None:
    while transport.backlogged:
        transport.read_all()
        lab.settle()


def test_no_more_of_a_file_is_read_than_its_client_takes(root: Path) -> None:
    lab, _, client, transport = slow(root)
    client.send(get("/static/big.bin"))
    sizes = []
    while transport.backlogged:
        sizes.append(transport.pending_bytes)
        assert lab.context.backlog.bytes == 0
        transport.read_all()
        lab.settle()
    assert max(sizes) < 65 * 1024 + 1000
    assert client.answers[0].body == BIG


def test_a_fast_client_lets_others_have_their_turn(root: Path) -> None:
    lab, _ = lab_of(root)
    client, other = lab.connect(), lab.connect()
    client.protocol.dataReceived(get("/static/big.bin"))
    for call in lab.clock.getDelayedCalls():
        call.func()
        call.cancel()
        break
    assert len(client.received) < 400_000
    other.send(get("/static/a.css"))
    assert other.answers[0].body == b"body {}"
    assert client.answers[0].body == BIG


def test_a_client_that_reads_nothing_is_dropped_and_its_file_closed(root: Path) -> None:
    lab, lines, client, _ = slow(root)
    client.send(get("/static/big.bin"))
    assert open_files(root) == 1
    lab.wait(61)
    assert client.aborted
    assert lab.context.counters["slow_readers"] == 1
    client.leave()
    assert open_files(root) == 0
    [(_, status, size)] = lines.lines
    assert status == 499
    assert 0 < size < len(BIG)


def test_a_client_that_leaves_closes_the_file(root: Path) -> None:
    lab, lines, client, _ = slow(root)
    client.send(get("/static/big.bin"))
    client.leave()
    lab.wait(1)
    assert [status for _, status, _ in lines.lines] == [499]


def test_a_file_that_shrinks_breaks_the_connection_off(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    lab, lines, client, transport = slow(root)
    client.send(get("/static/big.bin"))
    os.truncate(root / "big.bin", 70_000)
    read_all(lab, transport)
    assert client.aborted
    assert "the file became shorter" in caplog.text
    client.leave()
    assert [status for _, status, _ in lines.lines] == [200]


def test_a_file_that_grows_is_sent_as_long_as_it_was(root: Path) -> None:
    lab, _, client, transport = slow(root)
    client.send(get("/static/big.bin") + get("/static/a.css"))
    with (root / "big.bin").open("ab") as file:
        file.write(b"more")
    read_all(lab, transport)
    assert [each.body for each in client.answers] == [BIG, b"body {}"]


def test_a_disk_that_fails_breaks_the_connection_off(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab, _, client, transport = slow(root)
    client.send(get("/static/big.bin"))

    def broken(*args: object) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(OpenFile, "read", broken)
    read_all(lab, transport)
    assert client.aborted
    client.leave()


# Files that a view names.


def viewed(
    root: Path, *headers: tuple[bytes, bytes], request: bytes = GET, **values: Any
) -> tuple[Lab, Client]:
    lab, _ = lab_of(root)
    client = lab.connect()
    client.send(request)
    lab.reply({"status": 200, "headers": [list(each) for each in headers], "content": b"", **values})
    return lab, client


@pytest.mark.parametrize(
    "header",
    [(b"X-Accel-Redirect", b"/protected/a.css"), (b"X-Sendfile", b"a.css")],
    ids=["accel", "sendfile"],
)
def test_a_view_names_a_file_and_its_client_gets_that(root: Path, header: tuple[bytes, bytes]) -> None:
    _, client = viewed(root, header, (b"Content-Type", b"text/x"), (b"Content-Disposition", b"attachment"))
    [answer] = client.answers
    assert (answer.status, answer.body) == (200, b"body {}")
    assert (answer.header("Content-Type"), answer.header("Content-Disposition")) == ("text/x", "attachment")
    assert answer.header("X-Accel-Redirect") is answer.header("X-Sendfile") is None
    assert answer.header("Content-Encoding") is None
    assert not client.closed


def test_a_named_file_is_sent_in_parts_to_who_asks_for_one(root: Path) -> None:
    request = get("/hello", "Range: bytes=-5")
    _, client = viewed(root, (b"X-Accel-Redirect", b"/protected/big.bin"), request=request)
    assert (client.answers[0].status, client.answers[0].body) == (206, BIG[-5:])


def test_nobody_can_ask_for_a_protected_file(root: Path) -> None:
    lab, _ = lab_of(root)
    client = lab.connect()
    client.send(get("/protected/a.css"))
    assert len(lab.requests) == 1
    client.leave()


@pytest.mark.parametrize("value", [b"/protected/none", b"/protected/../a", b"/elsewhere/a.css"])
def test_a_file_that_a_view_may_not_name_is_not_found_and_the_log_says_so(
    root: Path, value: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    _, client = viewed(root, (b"X-Accel-Redirect", value))
    assert client.answers[0].status == 404
    assert "the file that its view names" in caplog.text


def test_a_view_that_also_sends_content_in_parts_is_told_to_stop(root: Path) -> None:
    header = (b"X-Accel-Redirect", b"/protected/a.css")
    credit = "http.response.credit?abcdefgh"
    lab, client = viewed(root, header, content=b"x", more_content=True, credit_channel=credit)
    assert client.answers[0].body == b"body {}"
    assert len(lab.context.connections) == 0


def test_headers_that_cannot_be_sent_fail_the_response(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    _, client = viewed(root, (b"X-Sendfile", b"a.css"), (b"X-A", b"a\r\nX-B: b"))
    assert client.answers[0].status == 500
    assert b"X-B" not in client.received


def test_a_view_s_204_has_no_content_whatever_file_it_names(root: Path) -> None:
    _, client = viewed(root, (b"X-Sendfile", b"a.css"), status=204)
    assert client.answers[0].status == 204
    assert b"body" not in client.received


def test_without_a_folder_for_it_the_header_is_for_the_proxy_in_front() -> None:
    lab = Lab()
    client = lab.connect()
    client.send(GET)
    lab.reply({"status": 200, "headers": [[b"X-Accel-Redirect", b"/protected/a.css"]], "content": b"x"})
    assert client.answers[0].header("X-Accel-Redirect") == "/protected/a.css"
    assert client.answers[0].body == b"x"


# Over real sockets.


@contextmanager
def listening(root: Path, text: str) -> Iterator[tuple[HandReactor, int, Lines]]:
    """A reactor, the port of an endpoint, and the access log."""
    with hand_reactor() as reactor:
        context = ServerContext(settings(root), RecordingPort(reactor), reactor)
        lines = Lines()
        context.access_log = lines  # type: ignore[assignment]
        ports: list[Any] = []
        made = endpoints.serverFromString(reactor, text)
        made.listen(HttpFactory(context, lambda *args: pytest.fail("an upgrade"))).addCallback(ports.append)
        install(ports[0])
        yield reactor, ports[0].getHost().port, lines
        reactor.until(lambda: not context.http_shells)


def receive(reactor: HandReactor, client: socket.socket) -> bytes:
    """Everything until the server closes."""
    received = bytearray()

    def ended() -> bool:
        try:
            data = client.recv(50_000)
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        received.extend(data)
        return not data

    reactor.until(ended, 20)
    return bytes(received)


PIPELINE = get("/static/big.bin") * 3 + get("/static/a.css", "Connection: close")


def test_large_files_cross_a_real_socket_in_one_pipeline(root: Path) -> None:
    with listening(root, "tcp:0:interface=127.0.0.1") as (reactor, port, lines):
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.setblocking(False)
            client.send(PIPELINE)
            data = receive(reactor, client)
        assert [each.body for each in answers(data)] == [BIG, BIG, BIG, b"body {}"]
    assert [status for _, status, _ in lines.lines] == [200] * 4


# Twisted gives pyOpenSSL what that wants no more.
@pytest.mark.filterwarnings("ignore:Passing pyOpenSSL")
def test_large_files_cross_tls(root: Path, tmp_path: Path) -> None:
    pem = certificate(tmp_path)
    endpoint = f"ssl:0:interface=127.0.0.1:privateKey={pem}:certKey={pem}"
    with listening(root, endpoint) as (reactor, port, _):
        insecure = ssl.create_default_context()
        insecure.check_hostname = False
        insecure.verify_mode = ssl.CERT_NONE
        with socket.create_connection(("127.0.0.1", port)) as plain:
            plain.setblocking(False)
            with insecure.wrap_socket(plain, do_handshake_on_connect=False) as client:
                reactor.until(lambda: shaken(client))
                client.send(PIPELINE)
                data = receive(reactor, client)
        assert [each.body for each in answers(data)] == [BIG, BIG, BIG, b"body {}"]


def shaken(client: ssl.SSLSocket) -> bool:
    """Whether the handshake is done, or one step of it."""
    try:
        client.do_handshake()
    except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return False
    return True


def test_a_client_that_vanishes_in_the_middle_leaves_nothing_open(root: Path) -> None:
    with listening(root, "tcp:0:interface=127.0.0.1") as (reactor, port, lines):
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.send(get("/static/big.bin") * 20)
            reactor.until(lambda: open_files(root) == 1)
        reactor.until(lambda: open_files(root) == 0)
    assert lines.lines[-1][1] == 499

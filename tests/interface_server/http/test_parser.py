"""What the parser makes of bytes: requests, refusals, limits, however the bytes are cut."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from headrace_interface.http.head import Endpoints, Refused
from headrace_interface.http.parser import RequestParser, SpokeTls
from headrace_interface.http.spool import Bodies
from headrace_interface.settings import InterfaceSettings
from tests.support.http_lab import GET
from tests.support.smuggling import REFUSED

ORIGIN = Endpoints("http", ["192.0.2.1", 5000], ["127.0.0.1", 80], "")

VALID = (
    b"GET /a?b=c HTTP/1.1\r\nHost: example.com\r\nCookie: a=1\r\nCookie: b=2\r\n\r\n"
    b"POST /form HTTP/1.1\r\nHost: example.com\r\nContent-Length: 11\r\n\r\nhello=world"
    b"PUT /chunks HTTP/1.1\r\nHost: example.com\r\nTransfer-Encoding: Chunked\r\n\r\n"
    b"5;ext=1\r\nhello\r\n1\r\n \r\n5\r\nworld\r\n0\r\nX-Trailer: dropped\r\n\r\n"
    b"HEAD http://other.example/b HTTP/1.1\r\nHost: example.com\r\n\r\n"
    b"\r\nDELETE /c HTTP/1.1\r\nHost: example.com\r\n\r\n"
    b"GET /h2c HTTP/1.1\r\nHost: example.com\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n"
    b"GET /last HTTP/1.0\r\n\r\n"
)


def parser(settings: InterfaceSettings | None = None) -> RequestParser:
    settings = settings or InterfaceSettings()
    return RequestParser(settings, ORIGIN, Bodies(settings))


def found(pieces: list[bytes]) -> list[tuple[object, ...]]:
    """What a parser finds in pieces of a connection's bytes."""
    this = parser()
    for piece in pieces:
        this.feed(piece)
    assert this.refused is None, this.refused
    return [
        (
            each.head.method,
            each.head.path,
            each.head.query_string,
            each.head.http_version,
            each.head.headers,
            each.head.keep_alive,
            each.complete,
            None if each.body is None else each.body.first(),
        )
        for each in this.ready
    ]


def cut(data: bytes, at: list[int]) -> list[bytes]:
    ends = [0, *sorted(at), len(data)]
    return [data[start:end] for start, end in pairwise(ends) if start < end]


def test_valid_requests_are_found_in_order() -> None:
    requests = found([VALID])
    assert [request[:2] for request in requests] == [
        ("GET", "/a"),
        ("POST", "/form"),
        ("PUT", "/chunks"),
        ("HEAD", "/b"),
        ("DELETE", "/c"),
        ("GET", "/h2c"),
        ("GET", "/last"),
    ]
    assert [request[-1] for request in requests] == [
        None,
        b"hello=world",
        b"hello world",
        None,
        None,
        None,
        None,
    ]
    assert requests[0][4] == [(b"host", b"example.com"), (b"cookie", b"a=1"), (b"cookie", b"b=2")]


def test_valid_requests_are_the_same_cut_at_every_byte() -> None:
    whole = found([VALID])
    assert found([VALID[at : at + 1] for at in range(len(VALID))]) == whole


@pytest.mark.seeds(10)
def test_valid_requests_are_the_same_in_random_pieces(seed: int) -> None:
    whole = found([VALID])
    chance = random.Random(seed)
    for _ in range(30):
        at = [chance.randrange(len(VALID)) for _ in range(chance.randrange(1, 12))]
        assert found(cut(VALID, at)) == whole, at


@pytest.mark.parametrize(
    ("data", "status"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
def test_a_hostile_request_is_refused_byte_by_byte_as_well(data: bytes, status: int) -> None:
    this = parser()
    for at in range(len(data)):
        this.feed(data[at : at + 1])
        if this.refused is not None:
            break
    assert this.refused is not None
    assert not any(each.complete for each in this.ready)


def test_trailers_are_dropped_and_do_not_reach_the_next_request() -> None:
    requests = found(
        [b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Evil: 1\r\n\r\n" + GET]
    )
    assert [name for request in requests for name, _ in request[4]] == [  # type: ignore[attr-defined]
        b"host",
        b"transfer-encoding",
        b"host",
    ]


def test_tls_where_a_request_should_begin_is_told_apart_from_other_rubbish() -> None:
    for sent, is_tls in ((b"\x16\x03\x01\x02\x00", True), (b"\x16", True), (b"\x15\x03\x01", False)):
        this = parser()
        this.feed(sent)
        assert isinstance(this.refused, SpokeTls) is is_tls
        assert this.refused is not None
        assert this.refused.status == 400
    begun = parser()
    begun.feed(b"GET /")
    begun.feed(b"\x16\x03\x01")
    assert type(begun.refused) is Refused


def test_trailers_without_end_are_refused() -> None:
    this = parser()
    this.feed(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n")
    for _ in range(2000):
        if this.refused is None:
            this.feed(b"X-Trailer: " + b"t" * 50 + b"\r\n")
    assert this.refused is not None
    assert this.refused.status == 431


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 70_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: a\r\n" * 100 + b"\r\n", 431),
    ],
)
@pytest.mark.parametrize("piece", [1000, 100_000])
def test_a_head_beyond_the_limits_is_refused(sent: bytes, status: int, piece: int) -> None:
    this = parser()
    for at in range(0, len(sent), piece):
        if this.refused is None:
            this.feed(sent[at : at + piece])
    assert this.refused is not None
    assert this.refused.status == status
    assert not this.ready


@pytest.mark.parametrize("start", [b"GET /", b"GET / HTTP/1.1\r\nHost: a\r\nX: ", b"GET / HTTP/1.1\r\nX"])
def test_a_head_that_never_ends_is_refused_before_it_is_held(start: bytes) -> None:
    this = parser()
    this.feed(start)
    fed = 0
    while this.refused is None and fed < 200_000:
        this.feed(b"a" * 1000)
        fed += 1000
    assert this.refused is not None
    assert this.refused.status in (414, 431)
    assert fed <= 66_000


def test_a_body_beyond_the_limit_is_refused_before_it_is_read() -> None:
    this = parser(InterfaceSettings(max_body_bytes=10))
    this.feed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n")
    assert this.refused is not None
    assert this.refused.status == 413
    assert not this.ready


def test_chunks_beyond_the_limit_are_refused_when_they_cross_it() -> None:
    this = parser(InterfaceSettings(max_body_bytes=10))
    this.feed(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n8\r\naaaaaaaa\r\n")
    assert this.refused is None
    this.feed(b"3\r\naaa\r\n")
    assert this.refused is not None
    assert this.refused.status == 413


def test_a_pipeline_has_a_bound() -> None:
    this = parser()
    this.feed(GET * 1000)
    assert this.refused is not None
    assert this.refused.status == 429
    assert len(this.ready) == 256


def test_bytes_behind_a_websocket_request_are_kept_for_it() -> None:
    this = parser()
    this.feed(
        b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x00early"
    )
    assert this.after_upgrade == b"\x81\x00early"
    assert this.ready[0].framing.upgrade == b"websocket"


def test_an_upgrade_on_http_1_0_is_an_ordinary_request() -> None:
    this = parser()
    this.feed(b"GET /ws HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n" + GET)
    assert this.after_upgrade is None
    assert [each.head.path for each in this.ready][:1] == ["/ws"]
    assert not this.ready[0].framing.upgrade


def test_bytes_after_connection_close_are_no_request_and_get_no_answer() -> None:
    this = parser()
    this.feed(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + GET)
    assert [each.head.path for each in this.ready] == ["/"]
    assert this.refused is not None
    assert this.refused.status == 0


def test_forwarded_headers_count_for_trusted_peers_only() -> None:
    from ipaddress import ip_network

    settings = InterfaceSettings(trusted_proxies=(ip_network("192.0.2.0/24"),))
    sent = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\n\r\n"
    for trusted, expected in ((True, ("https", ["203.0.113.9", 0])), (False, ("http", ["192.0.2.1", 5000]))):
        endpoints = Endpoints("http", ["192.0.2.1", 5000], None, "", trusted)
        this = RequestParser(settings, endpoints, Bodies(settings))
        this.feed(sent)
        assert (this.ready[0].head.scheme, this.ready[0].head.client) == expected


def test_a_trailer_that_never_ends_is_431() -> None:
    this = parser()
    this.feed(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX: ")
    for _ in range(20):
        if this.refused is not None:
            break
        this.feed(b"a" * 4096)
    assert this.refused is not None
    assert this.refused.status == 431


def test_a_head_behind_other_requests_is_no_trailer() -> None:
    this = parser(InterfaceSettings(max_head_bytes=100))
    this.feed(GET * 20 + b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
    this.feed(b"hello")
    assert this.refused is None
    assert this.ready[-1].complete


@pytest.mark.parametrize("framing", [b"Content-Length: 60000", b"Transfer-Encoding: chunked"])
def test_a_head_that_comes_in_three_reads_behind_a_body_is_not_charged_for_the_body(framing: bytes) -> None:
    this = parser()
    this.feed(b"POST / HTTP/1.1\r\nHost: a\r\n" + framing + b"\r\n\r\n")
    body = b"a" * 60_000
    if framing.endswith(b"chunked"):
        body = b"ea60\r\n" + body + b"\r\n0\r\n\r\n"
    this.feed(body + b"GET /next HTTP/1.1\r\nHost: a\r\nX: ")
    this.feed(b"b" * 6000)
    this.feed(b"\r\n\r\n")
    assert this.refused is None
    assert [each.head.path for each in this.ready] == ["/", "/next"]


def test_a_head_without_end_behind_a_body_is_refused() -> None:
    this = parser()
    this.feed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
    this.feed(b"helloGET / HTTP/1.1\r\nHost: a\r\nX: ")
    for _ in range(66):
        if this.refused is None:
            this.feed(b"a" * 1000)
    assert this.refused is not None
    assert this.refused.status == 431


def test_chunks_cut_behind_their_sizes_are_no_trailer() -> None:
    this = parser(InterfaceSettings(max_head_bytes=200))
    this.feed(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(100):
        for piece in (b"5;ext=1\r\n", b"hello", b"\r\n"):
            this.feed(piece)
    this.feed(b"0\r\n\r\n")
    assert this.refused is None
    assert this.ready[0].body is not None
    assert this.ready[0].body.received == 500

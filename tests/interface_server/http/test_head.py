"""A parsed head, checked and put into the form messages have."""

from __future__ import annotations

import pytest

from headrace_interface.http.head import CHUNKED, Endpoints, Framing, Refused, RequestHead, read_head

ORIGIN = Endpoints("https", ["192.0.2.1", 5000], ["127.0.0.1", 443], "/app")
HOST = (b"host", b"example.com")


def read(
    target: bytes = b"/",
    headers: tuple[tuple[bytes, bytes], ...] = (),
    method: str = "GET",
    version: str = "1.1",
    host: bool = True,
) -> tuple[RequestHead, Framing]:
    given = [HOST, *headers] if host else list(headers)
    return read_head(method, target, given, version, True, ORIGIN)


def refusal(*args: object, **named: object) -> Refused:
    with pytest.raises(Refused) as caught:
        read(*args, **named)  # type: ignore[arg-type]
    return caught.value


def test_what_the_connection_knows_is_part_of_every_head() -> None:
    head, framing = read()
    assert (head.scheme, head.root_path, head.client) == ("https", "/app", ["192.0.2.1", 5000])
    assert head.server == ["127.0.0.1", 443]
    assert framing == Framing()


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/", "/", b""),
        (b"/a/b?c=d&e=%41", "/a/b", b"c=d&e=%41"),
        (b"/a?b?c", "/a", b"b?c"),
        (b"/caf%C3%A9/%E2%82%AC", "/café/€", b""),
        (b"/a%2Fb%3Fc", "/a/b?c", b""),
        (b"/100%", "/100%", b""),
        (b"/%zz", "/%zz", b""),
        (b"/a+b", "/a+b", b""),
        (b"//double", "//double", b""),
        (b"http://other.example", "/", b""),
        (b"http://other.example:81/a?b", "/a", b"b"),
        (b"HTTPS://other.example?b", "/", b"b"),
    ],
)
def test_path_and_query_of_a_target_h13(target: bytes, path: str, query: bytes) -> None:
    head, _ = read(target)
    assert (head.path, head.query_string, head.target) == (path, query, target)


def test_the_server_as_a_whole_is_asked_of_the_application() -> None:
    head, _ = read(b"*", method="OPTIONS")
    assert (head.path, head.query_string, head.target) == ("*", b"", b"*")


def test_an_absolute_target_replaces_the_host_h13() -> None:
    head, _ = read(b"http://other.example:81/a")
    assert head.header(b"host") == b"other.example:81"


def test_headers_keep_order_and_duplicates_without_blanks_around_them_h5() -> None:
    head, _ = read(headers=((b"cookie", b"a=1 \t"), (b"x", b"\t 1"), (b"cookie", b"b=2"), (b"x_y", b"lost")))
    assert head.headers == [HOST, (b"cookie", b"a=1"), (b"x", b"1"), (b"cookie", b"b=2")]
    assert head.header_values(b"cookie") == [b"a=1", b"b=2"]
    assert head.header(b"cookie") == b"a=1"
    assert head.header(b"nothing") is None


def test_a_repeated_connection_header_stays_two_for_the_application() -> None:
    head, framing = read(
        headers=((b"connection", b"keep-alive"), (b"connection", b"Upgrade"), (b"upgrade", b"websocket"))
    )
    assert head.header_values(b"connection") == [b"keep-alive", b"Upgrade"]
    assert framing.upgrade == b"websocket"


@pytest.mark.parametrize("byte", [*(byte for byte in range(32) if byte != 9), 0x7F, 0x85])
def test_a_value_with_a_control_character_is_refused_s2_st4(byte: int) -> None:
    assert refusal(headers=((b"x", b"a" + bytes((byte,)) + b"b"),)).status == 400


@pytest.mark.parametrize("byte", [9, 32, 0x80, 0x84, 0x86, 0xA0, 0xFF])
def test_other_bytes_of_a_value_are_kept(byte: int) -> None:
    value = b"a" + bytes((byte,)) + b"b"
    assert read(headers=((b"x", value),))[0].header(b"x") == value


@pytest.mark.parametrize(
    "host", [b"example.com", b"example.com:8000", b"[::1]", b"[::1]:80", b"127.0.0.1:", b"a_b.example"]
)
def test_hosts_that_are_hosts(host: bytes) -> None:
    assert read(host=False, headers=((b"host", host),))[0].header(b"host") == host


@pytest.mark.parametrize(
    "host",
    [b"", b"a b", b"a/b", b"a@b", b"a:b", b"[::1", b"::1", b"a:123456", b"a?b", b"a#b", b'"a"', b"a,b c"],
)
def test_hosts_that_are_none(host: bytes) -> None:
    assert refusal(host=False, headers=((b"host", host),)).status == 400


def test_only_http_1_1_needs_a_host() -> None:
    assert refusal(host=False).status == 400
    assert read(host=False, version="1.0")[0].path == "/"


@pytest.mark.parametrize("version", ["0.9", "2.0", "1.2", "3.0"])
def test_other_versions_are_refused(version: str) -> None:
    assert refusal(version=version).status == 505


@pytest.mark.parametrize(
    ("headers", "framing"),
    [
        (((b"content-length", b"5"),), Framing(5)),
        (((b"content-length", b"0"),), Framing()),
        (((b"transfer-encoding", b"CHUNKED"),), Framing(CHUNKED)),
        (((b"content-length", b"5"), (b"expect", b"100-Continue")), Framing(5, True)),
        (((b"expect", b"100-continue"),), Framing()),
        (((b"connection", b"close, upgrade"), (b"upgrade", b"h2c")), Framing(upgrade=b"h2c")),
        (((b"connection", b"Upgrade"), (b"upgrade", b"foo, WebSocket")), Framing(upgrade=b"websocket")),
        (((b"upgrade", b"websocket"),), Framing()),
    ],
)
def test_what_follows_a_head(headers: tuple[tuple[bytes, bytes], ...], framing: Framing) -> None:
    assert read(headers=headers)[1] == framing


def test_http_1_0_neither_waits_nor_upgrades() -> None:
    headers = ((b"content-length", b"5"), (b"expect", b"100-continue"))
    assert read(version="1.0", headers=headers)[1] == Framing(5)
    headers = ((b"connection", b"upgrade"), (b"upgrade", b"websocket"))
    assert read(version="1.0", headers=headers)[1] == Framing()


@pytest.mark.parametrize(
    "headers",
    [
        ((b"content-length", b"5"), (b"content-length", b"5")),
        ((b"content-length", b"5"), (b"transfer-encoding", b"chunked")),
        ((b"content-length", b"+5"),),
        ((b"content-length", b""),),
        ((b"content-length", b"1" * 19),),
        ((b"content-length", "\u0665".encode()),),
        ((b"transfer-encoding", b"gzip, chunked"),),
        ((b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"chunked")),
        ((b"transfer-encoding", b""),),
        ((b"connection", b"upgrade"), (b"upgrade", b"h2c"), (b"content-length", b"0")),
        ((b"host", b"again"),),
        ((b"expect", b"100-continue"), (b"expect", b"100-continue")),
    ],
)
def test_framing_that_could_be_read_in_two_ways_is_refused(headers: tuple[tuple[bytes, bytes], ...]) -> None:
    assert refusal(headers=headers, method="POST").status == 400


def test_chunked_on_http_1_0_is_refused() -> None:
    assert refusal(headers=((b"transfer-encoding", b"chunked"),), version="1.0").status == 400


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("CONNECT", b"example.com:443", 405),
        ("DESCRIBE", b"/", 501),
        ("GET", b"*", 400),
        ("OPTIONS", b"*a", 400),
        ("GET", b"", 400),
        ("GET", b"a", 400),
        ("GET", b"ftp://a/", 400),
        ("GET", b"/#a", 400),
        ("GET", b"/\x80", 400),
        ("GET", b"/%ff", 400),
    ],
)
def test_methods_and_targets_that_are_refused(method: str, target: bytes, status: int) -> None:
    assert refusal(target, method=method).status == status


def test_a_websocket_is_opened_with_get() -> None:
    refused = refusal(method="POST", headers=((b"connection", b"upgrade"), (b"upgrade", b"websocket")))
    assert (refused.status, refused.headers) == (405, ((b"Allow", b"GET"),))

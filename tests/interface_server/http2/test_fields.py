"""The fields of a request: what is malformed, what is refused, and what becomes of the rest."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from headrace_interface.http.head import CHUNKED, Endpoints, Framing, Refused, RequestHead
from headrace_interface.http2.fields import Field, Malformed, check_trailers, read_fields
from headrace_interface.settings import InterfaceSettings
from tests.support.http2_lab import fields

SETTINGS = InterfaceSettings()
PROXY = InterfaceSettings(proxy_headers=True, trusted_proxies=(ip_network("127.0.0.0/8"),))


def read(
    *more: Field, method: bytes = b"GET", path: bytes = b"/", ended: bool = True, trusted: bool = False
) -> tuple[RequestHead, Framing]:
    endpoints = Endpoints("https", ["127.0.0.1", 1], None, "/root", trusted)
    return read_fields(fields(method, path, *more), ended, endpoints, PROXY if trusted else SETTINGS)


def test_a_head_is_that_of_http1_with_the_authority_as_its_host() -> None:
    head, framing = read((b"accept", b"*/*"), path=b"/a%20b?c=d")
    assert (head.method, head.target, head.path, head.query_string) == ("GET", b"/a%20b?c=d", "/a b", b"c=d")
    assert head.headers == [(b"host", b"example.com"), (b"accept", b"*/*")]
    assert (head.http_version, head.scheme, head.root_path, head.keep_alive) == ("2", "https", "/root", True)
    assert framing == Framing()


def test_what_follows_is_said_by_the_end_of_the_stream_and_the_length() -> None:
    assert read(ended=False)[1].body_bytes == CHUNKED
    assert read((b"content-length", b"12"), ended=False)[1].body_bytes == 12
    assert read((b"content-length", b"0"))[1].body_bytes == 0
    assert read((b"content-length", b"0"), ended=False)[1].body_bytes == 0


def test_a_client_may_wait_for_the_word_to_go_on_whether_it_says_a_length_or_not() -> None:
    waits = (b"expect", b"100-continue")
    assert read(waits, ended=False)[1].expects_continue
    assert read(waits, (b"content-length", b"3"), ended=False)[1].expects_continue
    assert not read(waits)[1].expects_continue


def test_a_connect_with_a_protocol_is_a_handshake_of_http1() -> None:
    asked = fields(b"CONNECT", b"/chat", (b"sec-websocket-version", b"13"))
    endpoints = Endpoints("https", None, None, "")
    head, framing = read_fields([(b":protocol", b"websocket"), *asked], False, endpoints, SETTINGS)
    assert (head.method, head.path, head.http_version) == ("GET", "/chat", "2")
    assert framing == Framing(upgrade=b"websocket")


def test_te_may_say_trailers() -> None:
    assert read((b"te", b"trailers"))[0].header(b"te") == b"trailers"


def test_an_asterisk_asks_about_the_server() -> None:
    assert read(method=b"OPTIONS", path=b"*")[0].path == "*"


def test_a_trusted_proxy_is_believed_about_its_client() -> None:
    said = ((b"x-forwarded-for", b"203.0.113.9"), (b"x-forwarded-proto", b"http"))
    head, _ = read(*said, trusted=True)
    assert (head.client, head.scheme) == (["203.0.113.9", 0], "http")
    assert read(*said)[0].client == ["127.0.0.1", 1]


def test_a_host_that_says_the_same_is_left_out() -> None:
    assert read((b"host", b"EXAMPLE.com"))[0].headers == [(b"host", b"example.com")]


def test_crumbs_count_as_one_header_and_all_their_bytes() -> None:
    crumbs = [(b"cookie", b"c%d=1" % number) for number in range(150)]
    head, _ = read(*crumbs)
    assert len(head.headers) == 2
    with pytest.raises(Refused) as raised:
        read(*[(b"cookie", b"a" * 1000)] * 70)
    assert raised.value.status == 431


@pytest.mark.parametrize("value", [b"a\x85b", b"a\x01b", b"a\x7fb"])
def test_bytes_that_some_take_for_the_end_of_a_line_are_refused(value: bytes) -> None:
    with pytest.raises(Refused) as raised:
        read((b"x", value))
    assert raised.value.status == 400


def test_trailers_are_fields_without_pseudo_header_fields() -> None:
    check_trailers([(b"x-checksum", b"1")])
    for wrong in ((b":path", b"/"), (b"X", b"1"), (b"connection", b"close")):
        with pytest.raises(Malformed):
            check_trailers([wrong])

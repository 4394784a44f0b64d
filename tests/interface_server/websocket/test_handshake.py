"""The opening handshake, decided without a socket."""

from __future__ import annotations

from typing import Any

import pytest

from headrace_interface.websocket.actions import Deny
from headrace_interface.websocket.handshake import (
    HandshakeRefusal,
    Offer,
    accept_problem,
    canonical_head,
    check,
    connect_message,
    denial,
)
from tests.support.websocket_lab import KEY, make_head


def offer_of(**changes: Any) -> Offer:
    offer = check(make_head(**changes))
    assert isinstance(offer, Offer), offer
    return offer


def refusal_of(**changes: Any) -> HandshakeRefusal:
    refusal = check(make_head(**changes))
    assert isinstance(refusal, HandshakeRefusal), refusal
    return refusal


def test_a_valid_handshake_is_an_offer() -> None:
    assert offer_of() == Offer(KEY, (), "")


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"method": "POST"}, 405),
        ({"method": "HEAD"}, 405),
        ({"http_version": "1.0"}, 400),
        ({"without": (b"upgrade",)}, 400),
        ({"without": (b"upgrade",), "extra": [(b"upgrade", b"h2c")]}, 400),
        ({"without": (b"connection",)}, 400),
        ({"without": (b"connection",), "extra": [(b"connection", b"keep-alive")]}, 400),
        ({"without": (b"sec-websocket-key",)}, 400),
        ({"extra": [(b"sec-websocket-key", KEY)]}, 400),
        ({"without": (b"sec-websocket-key",), "extra": [(b"sec-websocket-key", b"short==")]}, 400),
        ({"without": (b"sec-websocket-key",), "extra": [(b"sec-websocket-key", b"A" * 24)]}, 400),
        ({"without": (b"sec-websocket-key",), "extra": [(b"sec-websocket-key", b"?" * 22 + b"==")]}, 400),
        ({"without": (b"sec-websocket-version",)}, 426),
        ({"without": (b"sec-websocket-version",), "extra": [(b"sec-websocket-version", b"8")]}, 426),
        ({"extra": [(b"sec-websocket-version", b"13")]}, 426),
        ({"extra": [(b"sec-websocket-protocol", b"chat, chat")]}, 400),
        ({"extra": [(b"sec-websocket-protocol", b"chat room")]}, 400),
        ({"extra": [(b"sec-websocket-protocol", b"chat\x0bx")]}, 400),
        ({"extra": [(b"content-length", b"5")]}, 400),
        ({"extra": [(b"transfer-encoding", b"chunked")]}, 400),
        ({"extra": [(b"origin", b"http://a"), (b"origin", b"http://b")]}, 400),
    ],
)
def test_a_bad_handshake_is_refused_before_anybody_is_asked(changes: dict[str, Any], status: int) -> None:
    refusal = refusal_of(**changes)
    assert refusal.status == status
    assert refusal.text


def test_another_version_is_told_which_one_is_spoken() -> None:
    assert (b"sec-websocket-version", b"13") in refusal_of(without=(b"sec-websocket-version",)).headers


def test_upgrade_and_connection_are_lists_without_regard_to_case() -> None:
    offer_of(
        without=(b"upgrade", b"connection"),
        extra=[
            (b"upgrade", b"h2c, WebSocket"),
            (b"connection", b"close"),
            (b"connection", b" x , UPGRADE"),
        ],
    )


def test_an_empty_body_is_no_body() -> None:
    offer_of(extra=[(b"content-length", b"0")])


def test_subprotocols_keep_the_order_of_the_client_over_several_headers() -> None:
    extra = [(b"sec-websocket-protocol", b"b, a"), (b"sec-websocket-protocol", b"c")]
    assert offer_of(extra=extra).subprotocols == ("b", "a", "c")


@pytest.mark.parametrize(
    ("header", "taken"),
    [
        (b"permessage-deflate", "permessage-deflate"),
        (
            b"permessage-deflate; client_max_window_bits",
            "permessage-deflate; client_max_window_bits",
        ),
        (
            b"x-deflate-frame, permessage-deflate; server_no_context_takeover; server_max_window_bits=10",
            "permessage-deflate; server_no_context_takeover; server_max_window_bits=10",
        ),
        (
            b'PerMessage-Deflate; CLIENT_MAX_WINDOW_BITS="15"',
            "permessage-deflate; client_max_window_bits",
        ),
        # The first offer that can be taken; RFC 7692 7 declines the others.
        (
            b"permessage-deflate; server_max_window_bits=8, permessage-deflate; client_no_context_takeover",
            "permessage-deflate; client_no_context_takeover",
        ),
        (b"permessage-deflate; server_max_window_bits", ""),
        (b"permessage-deflate; server_max_window_bits=16", ""),
        (b"permessage-deflate; server_no_context_takeover=1", ""),
        (b"permessage-deflate; client_max_window_bits=7", ""),
        (b"permessage-deflate; client_max_window_bits; client_max_window_bits", ""),
        (b"permessage-deflate; brand_new", ""),
        (b"permessage-deflate;", ""),
        (b"permessage-bzip2, permessage-brotli, permessage-snappy", ""),
        (b"", ""),
        (b";;;,,,==", ""),
        (b"permessage-deflate\xff", ""),
    ],
)
def test_only_a_whole_and_valid_offer_of_deflate_is_taken(header: bytes, taken: str) -> None:
    assert offer_of(extra=[(b"sec-websocket-extensions", header)]).extension == taken


def test_compression_can_be_switched_off_s12() -> None:
    head = make_head(extra=[(b"sec-websocket-extensions", b"permessage-deflate")])
    offer = check(head, compression=False)
    assert isinstance(offer, Offer)
    assert offer.extension == ""


def test_connect_says_scheme_root_path_and_every_header_in_order_s4_s5() -> None:
    head = make_head(
        scheme="https",
        root_path="/app",
        path="/app/chat/",
        extra=[(b"cookie", b"a=1"), (b"x", b"1"), (b"cookie", b"b=2"), (b"sec-websocket-protocol", b"p, q")],
    )
    offer = check(head)
    assert isinstance(offer, Offer)
    message = connect_message(head, offer, "hr1.0.x!y")
    assert message["scheme"] == "wss"
    assert message["root_path"] == "/app"
    assert message["path"] == "/app/chat/"
    assert message["query_string"] == b"room=1"
    assert message["order"] == 0
    assert message["subprotocols"] == ["p", "q"]
    assert message["client"] == ["127.0.0.1", 50000]
    assert [value for name, value in message["headers"] if name == b"cookie"] == [b"a=1", b"b=2"]
    assert message["headers"] == head.headers


@pytest.mark.parametrize(
    ("subprotocol", "headers", "wrong"),
    [
        (None, [], False),
        ("chat", [], False),
        ("other", [], True),
        (None, [[b"set-cookie", b"a=1"], [b"set-cookie", b"b=2"]], False),
        (None, [[b"x", "é".encode()]], False),
        (None, [[b"x", b"\xe9"]], True),
        (None, [[b"x", b"tab\tis fine"]], False),
        (None, [[b"", b"1"]], True),
        (None, [[b"a b", b"1"]], True),
        (None, [[b"a:b", b"1"]], True),
        (None, [[b"Sec-WebSocket-Extensions", b"permessage-deflate"]], True),
        (None, [[b"Connection", b"close"]], True),
    ],
)
def test_an_acceptance_is_checked_before_it_is_written_s11(
    subprotocol: str | None, headers: list[list[bytes]], wrong: bool
) -> None:
    offer = Offer(KEY, ("chat",), "")
    assert bool(accept_problem(offer, subprotocol, headers)) is wrong


@pytest.mark.parametrize("byte", [*range(9), *range(10, 32), 0x7F])
def test_no_control_byte_gets_into_a_101_s2(byte: int) -> None:
    assert accept_problem(Offer(KEY, (), ""), None, [[b"x", b"a" + bytes((byte,)) + b"b"]])


@pytest.mark.parametrize("character", ["\x80", "\x85", "\x9f", "\u2028", "\u2029"])
def test_no_character_that_parsers_take_for_a_line_end_gets_into_a_101_s2(character: str) -> None:
    assert accept_problem(Offer(KEY, (), ""), None, [[b"x", f"a{character}b".encode()]])


def test_autobahn_sees_only_a_canonical_head() -> None:
    head = canonical_head(Offer(KEY, ("a", "b"), "permessage-deflate"), "b")
    assert head.startswith(b"GET / HTTP/1.1\r\n")
    assert head.endswith(b"\r\n\r\n")
    assert head.count(b"\r\n\r\n") == 1
    assert b"Sec-WebSocket-Protocol: b\r\n" in head
    assert b"Sec-WebSocket-Extensions: permessage-deflate\r\n" in head
    bare = canonical_head(Offer(KEY, ("a",), ""), None)
    assert b"Protocol" not in bare
    assert b"Extensions" not in bare


def test_a_denial_is_a_whole_http_response() -> None:
    data = denial(
        make_head(), Deny(401, "no", [[b"www-authenticate", b"Basic"]], b"<b>no</b>"), b"now", b"us"
    )
    head, _, body = data.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 401 ")
    assert b"www-authenticate: Basic" in head
    assert b"Content-Length: 9" in head
    assert b"Connection: close" in head
    assert b"Date: now" in head
    assert body == b"<b>no</b>"


def test_a_denial_without_content_says_why() -> None:
    data = denial(make_head(), Deny(403, "Access denied."), b"now", b"us")
    assert data.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert data.endswith(b"\r\n\r\nAccess denied.\n")


def test_on_http2_there_is_no_key_and_no_upgrade() -> None:
    without = (b"sec-websocket-key", b"upgrade", b"connection")
    assert refusal_of(without=without).status == 400
    offer = offer_of(http_version="2", without=without)
    assert canonical_head(offer, None).startswith(b"GET / HTTP/1.1")
    assert refusal_of(http_version="2", without=(*without, b"sec-websocket-version")).status == 426
    assert refusal_of(http_version="1.0").status == 400

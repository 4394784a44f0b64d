"""The message specification: what is built, what is accepted, and what the complaints say."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any

import pytest

from headrace_asgi import messages
from headrace_asgi.envelope import pack_message, unpack_message
from headrace_asgi.errors import BadMessage
from headrace_asgi.messages import Kind

REPLY = "hr1.0.abc!client"
HEADERS = [[b"host", b"example.com"], [b"cookie", b"a"], [b"cookie", b"b"]]
ADDRESS = ["127.0.0.1", 8000]

#: One complete message of each kind.
COMPLETE: dict[Kind, dict[str, Any]] = {
    messages.HTTP_REQUEST: {
        "reply_channel": REPLY, "http_version": "1.1", "method": "GET", "scheme": "https", "path": "/ä",
        "query_string": b"a=%20", "root_path": "/app", "headers": HEADERS, "body": b"x",
        "body_channel": "http.request.body?x", "client": ADDRESS, "server": ADDRESS,
    },
    messages.HTTP_BODY_CHUNK: {"content": b"x", "closed": False, "more_content": True},
    messages.HTTP_RESPONSE: {
        "status": 200, "status_text": b"OK", "headers": HEADERS, "content": b"x", "more_content": True,
        "credit_channel": "http.response.credit?x",
    },
    messages.HTTP_RESPONSE_CHUNK: {"content": b"x", "more_content": True},
    messages.HTTP_RESPONSE_CREDIT: {"bytes": 1_000_000, "closed": False},
    messages.HTTP_DISCONNECT: {"reply_channel": REPLY, "path": "/"},
    messages.WEBSOCKET_CONNECT: {
        "reply_channel": REPLY, "scheme": "wss", "path": "/", "query_string": b"", "root_path": "",
        "headers": HEADERS, "client": ADDRESS, "server": ADDRESS, "order": 0, "subprotocols": ["chat"],
    },
    messages.WEBSOCKET_RECEIVE: {
        "reply_channel": REPLY, "path": "/", "bytes": None, "text": "hello", "order": 1,
    },
    messages.WEBSOCKET_DISCONNECT: {"reply_channel": REPLY, "code": 1006, "path": "/", "order": 2**31 - 1},
    messages.WEBSOCKET_SEND: {
        "accept": True, "text": "hello", "bytes": None, "close": 4000, "reason": "bye", "subprotocol": "chat",
        "headers": HEADERS, "status": 401, "content": b"no",
    },
    messages.UDP_RECEIVE: {
        "reply_channel": REPLY, "data": b"\x00x", "client": ADDRESS, "server": ADDRESS, "path": "/log",
    },
    messages.UDP_SEND: {"data": b"x", "address": ADDRESS},
}  # fmt: skip

EVERY_KIND = pytest.mark.parametrize("kind", messages.KINDS, ids=repr)


@EVERY_KIND
def test_a_complete_message_is_built_and_accepted_after_its_journey(kind: Kind) -> None:
    complete = COMPLETE[kind]
    built = kind.build(**complete)
    assert built == complete
    assert kind.check(unpack_message(pack_message(built))) == complete


@EVERY_KIND
def test_the_example_names_every_key(kind: Kind) -> None:
    assert COMPLETE[kind].keys() == kind.fields.keys()


@EVERY_KIND
def test_build_fills_in_nothing_and_check_every_default(kind: Kind) -> None:
    least = {key: COMPLETE[kind][key] for key, row in kind.fields.items() if row.default is messages.REQUIRED}
    if kind is messages.WEBSOCKET_RECEIVE:
        least["text"] = ""
    if kind is messages.HTTP_BODY_CHUNK:
        least["content"] = b""
    assert kind.build(**least) == least
    defaults = {key: row.default for key, row in kind.fields.items() if key not in least}
    assert kind.check(least) == {**least, **defaults}


@EVERY_KIND
def test_a_missing_key_is_named_with_what_it_must_be(kind: Kind) -> None:
    for key, row in kind.fields.items():
        if row.default is messages.REQUIRED:
            message = {**COMPLETE[kind]}
            del message[key]
            complaint = re.escape(f"{kind.name}: missing {key!r} ({row.shape})")
            with pytest.raises(BadMessage, match=complaint):
                kind.check(message)
            with pytest.raises(BadMessage, match=complaint):
                kind.build(**message)


@EVERY_KIND
def test_an_unknown_key_is_named_with_its_value(kind: Kind) -> None:
    complaint = (
        f"{kind.name}: unknown key 'strange' (str) = 5 (int); expected some of {next(iter(kind.fields))}"
    )
    with pytest.raises(BadMessage, match=re.escape(complaint)):
        kind.check({**COMPLETE[kind], "strange": 5})


@EVERY_KIND
def test_a_wrong_type_is_named_with_key_value_and_what_is_expected(kind: Kind) -> None:
    for key, row in kind.fields.items():
        for wrong in (object(), 1.5, set()):
            with pytest.raises(BadMessage) as caught:
                kind.check({**COMPLETE[kind], key: wrong})
            assert str(caught.value).startswith(f"{kind.name}: {key!r} must be {row.shape}, not ")
            assert type(wrong).__name__ in str(caught.value)


@EVERY_KIND
def test_none_is_accepted_where_the_table_says_so_and_nowhere_else(kind: Kind) -> None:
    for key, row in kind.fields.items():
        message = {**COMPLETE[kind], key: None}
        if row.default is None or row.shape.or_none:
            if kind is not messages.WEBSOCKET_RECEIVE:
                assert kind.check(message)[key] is None
        else:
            with pytest.raises(BadMessage, match=f"'{key}' must be"):
                kind.check(message)


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [
        (messages.HTTP_RESPONSE, "status", True),
        (messages.HTTP_RESPONSE, "status", 100),
        (messages.HTTP_RESPONSE, "status", 1000),
        (messages.HTTP_RESPONSE, "headers", {"a": "b"}),
        (messages.HTTP_RESPONSE, "headers", [["a", b"b"]]),
        (messages.HTTP_RESPONSE, "headers", [[b"a", "b"]]),
        (messages.HTTP_RESPONSE, "headers", [[b"a"]]),
        (messages.HTTP_RESPONSE, "headers", [b"ab"]),
        (messages.HTTP_RESPONSE, "content", "text"),
        (messages.HTTP_RESPONSE, "more_content", 1),
        (messages.HTTP_REQUEST, "method", "get"),
        (messages.HTTP_REQUEST, "method", ""),
        (messages.HTTP_REQUEST, "path", b"/"),
        (messages.HTTP_REQUEST, "query_string", ""),
        (messages.HTTP_REQUEST, "client", ["127.0.0.1"]),
        (messages.HTTP_REQUEST, "client", ["127.0.0.1", "80"]),
        (messages.HTTP_REQUEST, "client", [b"127.0.0.1", 80]),
        (messages.HTTP_REQUEST, "client", "127.0.0.1:80"),
        (messages.WEBSOCKET_RECEIVE, "order", -1),
        (messages.WEBSOCKET_RECEIVE, "order", True),
        (messages.WEBSOCKET_CONNECT, "subprotocols", "chat"),
        (messages.WEBSOCKET_CONNECT, "subprotocols", [b"chat"]),
        (messages.WEBSOCKET_SEND, "text", b"bytes"),
        (messages.WEBSOCKET_SEND, "bytes", "text"),
        (messages.WEBSOCKET_SEND, "accept", "yes"),
        (messages.WEBSOCKET_SEND, "status", 101),
    ],
)
def test_a_value_of_the_wrong_shape_is_refused(kind: Kind, key: str, value: Any) -> None:
    with pytest.raises(BadMessage, match=f"{kind.name}: '{key}' must be"):
        kind.check({**COMPLETE[kind], key: value})


@pytest.mark.parametrize("close", [True, False, 1000, 1001, 1003, 1007, 1011, 1014, 3000, 4000, 4999])
def test_codes_that_may_be_sent_close_a_socket(close: int) -> None:
    assert messages.WEBSOCKET_SEND.check({"close": close})["close"] == close


@pytest.mark.parametrize("close", [0, 1, -1000, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 70000, "1000"])
def test_codes_that_must_not_be_sent_are_refused(close: Any) -> None:
    with pytest.raises(BadMessage, match="'close' must be"):
        messages.WEBSOCKET_SEND.check({"close": close})


def test_a_received_frame_has_exactly_one_payload() -> None:
    frame = {"reply_channel": REPLY, "path": "/", "order": 1}
    for payload in ({"text": ""}, {"bytes": b""}, {"text": "a", "bytes": None}):
        messages.WEBSOCKET_RECEIVE.check({**frame, **payload})
    for payload in ({}, {"text": None, "bytes": None}, {"text": "", "bytes": b""}):
        with pytest.raises(BadMessage, match="exactly one of 'text'"):
            messages.WEBSOCKET_RECEIVE.check({**frame, **payload})


def test_a_sent_frame_has_at_most_one_payload() -> None:
    for payload in ({}, {"text": "a"}, {"bytes": b"a"}, {"text": "a", "bytes": b""}):
        messages.WEBSOCKET_SEND.check(payload)
    with pytest.raises(BadMessage, match="'text' and 'bytes' are both given"):
        messages.WEBSOCKET_SEND.check({"text": "a", "bytes": b"a"})


def test_only_a_closed_body_may_lack_content() -> None:
    assert messages.HTTP_BODY_CHUNK.check({"closed": True})["content"] == b""
    for chunk in ({}, {"more_content": True}, {"closed": False}):
        with pytest.raises(BadMessage, match="missing 'content'"):
            messages.HTTP_BODY_CHUNK.check(chunk)


def test_subclasses_of_the_types_are_accepted() -> None:
    class Safe(str):
        __slots__ = ()

    assert messages.WEBSOCKET_SEND.check({"text": Safe("a")})["text"] == "a"
    assert messages.HTTP_RESPONSE.check({"status": HTTPStatus.NOT_FOUND})["status"] == 404


def test_pairs_and_lists_may_be_tuples() -> None:
    messages.HTTP_RESPONSE.check({"status": 200, "headers": ((b"a", b"b"),)})
    messages.HTTP_REQUEST.check({**COMPLETE[messages.HTTP_REQUEST], "client": ("::1", 1)})


def test_the_checked_message_is_a_copy_and_shares_no_default() -> None:
    message = {"status": 200}
    first, second = messages.HTTP_RESPONSE.check(message), messages.HTTP_RESPONSE.check(message)
    first["headers"].append([b"a", b"b"])
    assert second["headers"] == []
    assert messages.HTTP_RESPONSE.check(message)["headers"] == []
    assert message == {"status": 200}


@pytest.mark.parametrize("message", [None, "text", [("status", 200)], 5])
def test_what_is_no_dict_is_refused(message: Any) -> None:
    with pytest.raises(BadMessage, match=r"http\.response: a message must be a dict"):
        messages.HTTP_RESPONSE.check(message)


def test_a_complaint_shows_only_the_beginning_of_a_long_value() -> None:
    with pytest.raises(BadMessage) as caught:
        messages.WEBSOCKET_SEND.check({"text": b"x" * 10_000})
    assert len(str(caught.value)) < 200


def test_a_complaint_survives_a_value_that_cannot_describe_itself() -> None:
    class Shy:
        def __repr__(self) -> str:
            raise ValueError

    with pytest.raises(BadMessage, match="something"):
        messages.WEBSOCKET_SEND.build(text=Shy())


def test_kinds_know_their_channels() -> None:
    assert [kind.channel for kind in messages.KINDS] == [
        "http.request", "http.request.body?", "", "", "http.response.credit?", "http.disconnect",
        "websocket.connect", "websocket.receive", "websocket.disconnect", "",
        "udp.receive", "",
    ]  # fmt: skip
    assert repr(messages.WEBSOCKET_SEND) == "<Kind websocket.send>"

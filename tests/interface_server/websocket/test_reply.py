"""What an application's message means."""

from __future__ import annotations

from typing import Any

import pytest

from headrace_asgi.errors import BadMessage
from headrace_interface.websocket.actions import Accept, Close, Deny
from headrace_interface.websocket.handshake import Offer
from headrace_interface.websocket.reply import Reply, read_reply

OFFER = Offer(b"", ("a", "b"), "")


@pytest.mark.parametrize(
    ("message", "meaning"),
    [
        ({"accept": True}, Reply(True, acceptance=Accept(None, []))),
        ({"accept": True, "subprotocol": "b"}, Reply(True, acceptance=Accept("b", []))),
        ({"text": "hi"}, Reply(None, "hi", acceptance=Accept(None, []))),
        ({"bytes": b"hi"}, Reply(None, b"hi", acceptance=Accept(None, []))),
        ({"text": ""}, Reply(None, "", acceptance=Accept(None, []))),
        (
            {"text": "bye", "close": 4001, "reason": "why"},
            Reply(None, "bye", Close(4001, "why"), Accept(None, [])),
        ),
        ({"accept": True, "close": True}, Reply(True, None, Close(1000, ""), Accept(None, []))),
        ({"close": True}, Reply(denial=Deny(403, "Access denied.", []))),
        ({"close": 4001}, Reply(denial=Deny(403, "Access denied.", []))),
        ({"accept": False, "text": "x"}, Reply(False, denial=Deny(403, "Access denied.", []))),
        (
            {"close": True, "status": 401, "headers": [[b"x", b"1"]], "content": b"no"},
            Reply(denial=Deny(401, "Access denied.", [[b"x", b"1"]], b"no")),
        ),
        ({"close": False}, Reply()),
        ({}, Reply()),
    ],
)
def test_a_message_during_the_handshake(message: dict[str, Any], meaning: Reply) -> None:
    assert read_reply(message, OFFER) == meaning


@pytest.mark.parametrize(
    ("message", "meaning"),
    [
        ({"accept": True, "text": "hi"}, Reply(True, "hi")),
        ({"text": ""}, Reply(None, "")),
        ({"bytes": b""}, Reply(None, b"")),
        ({"text": "", "bytes": b"x"}, Reply(None, b"x")),
        ({"text": None, "bytes": b"x", "close": 3000}, Reply(None, b"x", Close(3000, ""))),
        ({"close": True, "reason": "done"}, Reply(None, None, Close(1000, "done"))),
        ({"accept": False}, Reply(False)),
    ],
)
def test_a_message_to_an_open_socket(message: dict[str, Any], meaning: Reply) -> None:
    assert read_reply(message, None) == meaning


@pytest.mark.parametrize("code", [1000, 1001, 1008, 1011, 1012, 1013, 3000, 4999])
def test_close_codes_that_may_be_sent_are_sent(code: int) -> None:
    assert read_reply({"close": code}, None) == Reply(None, None, Close(code, ""))


@pytest.mark.parametrize("code", [1, 404, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, -1])
def test_close_codes_that_may_not_be_sent_are_replaced_with_a_remark_s10(code: int) -> None:
    reply = read_reply({"close": code}, None)
    assert reply.close == Close(1011, "")
    assert str(code) in reply.remark


@pytest.mark.parametrize(
    "message",
    [
        {"text": "a", "bytes": b"b"},
        {"text": b"a"},
        {"bytes": "a"},
        {"unknown": 1},
        {"close": "1000"},
        {"headers": [["a", "b"]]},
        {"status": 200, "close": True},
        {"reason": b"x"},
        ["text"],
    ],
)
def test_a_message_that_breaks_the_specification_is_refused(message: Any) -> None:
    with pytest.raises(BadMessage):
        read_reply(message, None)


@pytest.mark.parametrize(
    "message",
    [
        {"accept": True, "subprotocol": "c"},
        {"accept": True, "headers": [[b"x", b"a\r\nset-cookie: b"]]},
        {"accept": True, "headers": [[b"sec-websocket-accept", b"x"]]},
    ],
)
def test_an_acceptance_that_cannot_be_written_is_a_500_and_a_remark(message: dict[str, Any]) -> None:
    reply = read_reply(message, OFFER)
    assert reply.problem is not None
    assert reply.problem.status == 500
    assert reply.acceptance is None
    assert reply.remark


def test_the_server_chooses_a_subprotocol_only_if_the_application_does_not_s11() -> None:
    chosen = read_reply({"accept": True}, OFFER, ("c", "b"))
    assert chosen.acceptance == Accept("b", [])
    own = read_reply({"accept": True, "subprotocol": "a"}, OFFER, ("c", "b"))
    assert own.acceptance == Accept("a", [])
    assert read_reply({"accept": True}, OFFER, ("c",)).acceptance == Accept(None, [])

"""One request: what is made of every kind of reply, and of none."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from headrace_asgi import control
from headrace_asgi.contract import Outcome
from headrace_interface.access_log import AccessLog
from headrace_interface.settings import InterfaceSettings
from tests.support.http_lab import GET, Lab, SlowTransport, answers, response

HEAD = GET.replace(b"GET", b"HEAD")


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"content": b"no status"},
        {"status": "200"},
        {"status": 99},
        {"status": 200, "content": "text"},
        {"status": 200, "headers": [["Content-Type", "text/html"]]},
        {"status": 200, "headers": {"a": "b"}},
        {"status": 200, "unknown": 1},
    ],
)
def test_a_malformed_reply_is_500_at_once_h14(
    message: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    lab = Lab()
    client = lab.connect()
    client.send(GET)
    lab.reply(message)
    assert [answer.status for answer in client.answers] == [500]
    assert client.closed
    assert len(caplog.records) == 1
    assert "GET /hello" in caplog.text


def test_a_second_status_cuts_the_response_h14(caplog: pytest.LogCaptureFixture) -> None:
    lab = Lab()
    client = lab.connect()
    client.send(GET)
    lab.reply(response(b"a", more_content=True))
    lab.reply(response(b"b"))
    assert client.aborted
    assert not client.received.endswith(b"0\r\n\r\n"), "the client must notice"
    assert "a second response" in caplog.text


def test_what_comes_after_the_last_message_is_ignored() -> None:
    lab = Lab()
    client = lab.connect()
    client.send(GET)
    lab.reply()
    before = client.received
    lab.reply()
    assert client.received == before
    assert lab.context.counters["discarded"] == 1


@pytest.mark.parametrize(
    "headers",
    [
        [[b"X", b"a\r\nSet-Cookie: b=c"]],
        [[b"X", b"a\nb"]],
        [[b"X", b"a\0b"]],
        [[b"X\r\nY", b"a"]],
        [[b"X Y", b"a"]],
        [[b"X:", b"a"]],
        [[b"", b"a"]],
        [["ä".encode(), b"a"]],
        [[b"Content-Length", b"1\r\n"]],
        [[b"Content-Length", b"many"]],
    ],
)
@pytest.mark.parametrize("streams", [False, True])
def test_a_response_that_would_split_is_500_with_a_log_line_st15(
    headers: list[list[bytes]], streams: bool, caplog: pytest.LogCaptureFixture
) -> None:
    lab = Lab()
    client = lab.connect()
    client.send(GET)
    lab.reply({"status": 200, "headers": headers, "content": b"x", "more_content": streams})
    [answer] = client.answers
    assert answer.status == 500
    assert answer.header("Set-Cookie") is None
    assert client.closed
    assert len(caplog.records) == 1
    if streams:
        lab.reply({"content": b"late"})
        assert len(client.answers) == 1


def test_a_stream_is_chunked_and_ends() -> None:
    lab = Lab()
    client = lab.connect()
    client.send(GET)
    lab.reply(response(b"one ", more_content=True))
    lab.reply({"content": b"two ", "more_content": True})
    lab.reply({"content": b"", "more_content": True})
    lab.reply({"content": b"three"})
    [answer] = client.answers
    assert answer.body == b"one two three"
    assert answer.header("Transfer-Encoding") == "chunked"
    assert not client.closed


def test_a_stream_to_http_1_0_ends_with_the_connection() -> None:
    lab = Lab()
    client = lab.connect()
    client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    lab.reply(response(b"one ", more_content=True))
    lab.reply({"content": b"two"})
    [answer] = client.answers
    assert (answer.header("Transfer-Encoding"), answer.body) == (None, b"one two")
    assert client.closed


def test_a_stream_with_a_length_that_is_wrong_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    lab = Lab()
    for last in (b"too long", b"-"):
        client = lab.connect()
        client.send(GET)
        lab.reply(
            {"status": 200, "headers": [[b"Content-Length", b"5"]], "content": b"abc", "more_content": True}
        )
        lab.reply({"content": last})
        assert client.aborted
    assert "longer than its Content-Length" in caplog.text
    assert "shorter than its Content-Length" in caplog.text


def test_head_has_the_length_and_no_body() -> None:
    lab = Lab()
    client = lab.connect()
    client.send(HEAD * 2)
    lab.reply(response(b"12345"))
    lab.reply(response(b"12", more_content=True))
    lab.reply({"content": b"345"})
    whole, streamed = answers(client.received, ("HEAD", "HEAD"))
    assert whole.header("Content-Length") == "5"
    assert streamed.header("Content-Length") is None
    assert not client.closed


def test_nobody_will_answer() -> None:
    lab = Lab()
    for body, status in (({"status": 502}, 502), ({"status": 404}, 500), ({}, 500), ({"status": "x"}, 500)):
        client = lab.connect()
        client.send(GET)
        lab.note(control.FAILED, reason="the consumer raised", **body)
        assert [answer.status for answer in client.answers] == [status]
        assert b"consumer" not in client.received, "the reason is for the log"


def test_a_refused_reply_leaves_a_gap_so_the_response_is_cut() -> None:
    lab = Lab()
    client = lab.connect()
    client.send(GET)
    lab.reply(response(b"a", more_content=True))
    lab.note(control.CLOSE, code=1013)
    assert client.aborted


def test_unknown_notes_and_group_messages() -> None:
    lab = Lab()
    client = lab.connect()
    client.send(GET)
    lab.note("from the future", number=1)
    lab.note(control.VERDICT, ordered=True)
    lab.note(control.CREDIT, bytes=10)
    lab.inbox.group_message("g", [lab.requests[0].local], response(b"to all"))
    assert client.answers[0].body == b"to all"


def test_a_lost_body_chunk_ends_the_request() -> None:
    lab = Lab(InterfaceSettings(inline_body_bytes=10, stream_uploads=True))
    lab.port.outcomes = [Outcome.SENT, Outcome.UNKNOWN]
    client = lab.connect()
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n" + b"a" * 50)
    assert [answer.status for answer in client.answers] == [502]
    assert client.closed


def test_the_access_log_has_one_line_for_each_end() -> None:
    import io

    lab = Lab()
    stream = io.BytesIO()
    lab.context.access_log = AccessLog(lab.clock, stream=stream)
    client = lab.connect()
    client.send(GET * 2)
    lab.reply(response(b"12345"))
    client.leave()
    lab.connect().send(GET)
    lab.reply({})
    lab.connect().send(b"nonsense\r\n")
    lab.clock.advance(1)
    statuses = [line.rpartition('"')[2].split() for line in stream.getvalue().decode().splitlines()]
    assert [status for status, _ in statuses] == ["200", "499", "500", "400"]
    assert statuses[0] == ["200", "5"]


def test_a_request_that_fails_before_it_is_sent_leaves_nothing(caplog: pytest.LogCaptureFixture) -> None:
    lab = Lab()
    caplog.set_level(logging.WARNING)
    lab.port.outcomes = [Outcome.UNSENDABLE]
    client = lab.connect()
    client.send(GET)
    assert [answer.status for answer in client.answers] == [500]
    assert len(lab.context.connections) == 0
    assert "too large for the layer" in caplog.text


def test_a_request_that_is_answered_leaves_its_groups() -> None:
    lab = Lab()
    client = lab.connect()
    client.send(GET)
    (request,) = lab.port.requests
    assert lab.port.left == []
    lab.reply()
    assert lab.port.left == [request.message["reply_channel"].partition("!")[2]]


CREDIT = "http.response.credit?x"


def start(content: bytes = b"", **values: Any) -> dict[str, Any]:
    return response(content, more_content=True, credit_channel=CREDIT, **values)


def told(lab: Lab) -> list[dict[str, Any]]:
    return [asked.message for asked in lab.port.of(CREDIT)]


def test_a_worker_hears_how_far_its_slow_reader_is_and_waits_for_it() -> None:
    lab = Lab()
    transport = SlowTransport()
    client = lab.connect(transport)
    client.send(GET)
    lab.reply(start(b"a" * 524_288))
    lab.reply({"content": b"a" * 524_288, "more_content": True})
    assert told(lab) == []
    totals = []
    while client.protocol.write_buffer.backlogged:
        transport.read_all()
        lab.settle()
        totals = [message["bytes"] for message in told(lab)]
    assert totals == sorted(set(totals))
    assert 1_048_576 - 262_144 < totals[-1] <= 1_048_576
    lab.reply({"content": b"end"})
    assert "closed" not in told(lab)[-1]


def test_a_fast_reader_costs_a_message_for_many_parts() -> None:
    lab = Lab()
    client = lab.connect()
    client.send(GET)
    lab.reply(start(b"a"))
    for _ in range(1000):
        lab.reply({"content": b"a" * 1000, "more_content": True})
    assert len(told(lab)) == 1_000_000 // 262_144
    lab.reply({"content": b""})
    assert len(told(lab)) == 1_000_000 // 262_144


def test_the_end_of_a_client_or_of_its_response_is_told_to_the_worker() -> None:
    for end in (
        lambda lab, client: client.leave(),
        lambda lab, client: lab.reply({"status": 200}),
        lambda lab, client: lab.note(control.CLOSE, code=1013),
    ):
        lab = Lab()
        client = lab.connect()
        client.send(GET)
        lab.reply(start(b"a"))
        end(lab, client)
        assert told(lab) == [{"closed": True}]
        assert lab.context.counters["responses_stopped"] == 1


def test_a_response_that_cannot_be_begun_is_told_to_its_worker() -> None:
    lab = Lab()
    lab.connect().send(GET)
    lab.reply(start(headers=[[b"X", b"a\nb"]]))
    assert told(lab) == [{"closed": True}]


def test_a_worker_that_begins_to_answer_a_client_that_left_is_told_at_once() -> None:
    lab = Lab()
    client = lab.connect()
    client.send(GET)
    client.leave()
    lab.reply(start(b"a"))
    assert told(lab) == [{"closed": True}]


def test_a_worker_that_asks_is_told_how_far_its_reader_is_or_that_there_is_none() -> None:
    lab = Lab()
    client = lab.connect()
    client.send(GET)
    lab.reply(start(b"abc"))
    lab.note(control.CREDIT_ASKED, channel=CREDIT)
    client.leave()
    lab.note(control.CREDIT_ASKED, channel=CREDIT)
    assert told(lab) == [{"bytes": 3}, {"closed": True}, {"closed": True}]


def test_a_reader_with_credit_is_not_cut_for_what_others_have_waiting() -> None:
    lab = Lab(InterfaceSettings(max_backlog_bytes=1000, max_pending_bytes=1000))
    client = lab.connect(SlowTransport())
    client.send(GET)
    lab.reply(start(b"a" * 524_288))
    lab.reply({"content": b"a" * 524_288, "more_content": True})
    assert not client.aborted

"""One HTTP/2 connection: requests side by side, bodies, windows, floods, deadlines, the end.

The client is the library h2 or frames by hand; time is moved by hand.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from headrace_asgi import control
from headrace_asgi.contract import Outcome
from headrace_asgi.limits import RESPONSE_CREDIT_BYTES
from headrace_interface.access_log import JSON, AccessLog
from headrace_interface.deadlines import OFF, Deadlines
from headrace_interface.files.mounts import Mount
from headrace_interface.http2.protocol import Http2Protocol
from headrace_interface.settings import FrameRate, InterfaceSettings
from tests.support.http2_lab import Http2Client, fields, head_frame
from tests.support.http_lab import Lab, SlowTransport, response

CALM = ErrorCodes.ENHANCE_YOUR_CALM


def deadlines(**seconds: float) -> InterfaceSettings:
    return InterfaceSettings(deadlines=replace(Deadlines(), **seconds))


def post(length: int | None, *more: tuple[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    said = () if length is None else ((b"content-length", b"%d" % length),)
    return fields(b"POST", b"/upload", *said, *more)


# Requests and answers.


def test_a_request_becomes_a_message_and_its_reply_a_response() -> None:
    lab = Lab()
    client = Http2Client(lab)
    stream = client.ask((b"x-a", b"1"), (b"x_b", b"2"), path=b"/caf%C3%A9?a=%20")
    [asked] = lab.requests
    assert asked.message == {
        "reply_channel": lab.port.process + asked.local,
        "http_version": "2",
        "method": "GET",
        "scheme": "http",
        "path": "/café",
        "query_string": b"a=%20",
        "root_path": "",
        "headers": [(b"host", b"example.com"), (b"x-a", b"1")],
        "client": ["192.168.1.1", 54321],
        "server": ["10.0.0.1", 12345],
    }
    lab.reply(response(b"hello"))
    answer = client.answers[stream]
    assert (answer.status, answer.body, answer.ended) == (200, b"hello", True)
    names = [name for name, _ in answer.headers]
    assert names == [b":status", b"content-type", b"content-length", b"date", b"server"]
    assert answer.header(b"content-length") == b"5"


def test_requests_of_one_connection_are_answered_as_their_answers_come() -> None:
    lab = Lab()
    client = Http2Client(lab)
    first, second = client.ask(), client.ask()
    lab.reply(response(b"second"), number=1)
    assert (client.answers[second].body, client.answers[first].status) == (b"second", 0)
    lab.reply(response(b"first"), number=0)
    assert client.answers[first].body == b"first"
    assert len(lab.context.connections) == 0
    assert not client.protocol.busy


def test_headers_that_are_about_a_connection_of_http1_are_left_out_of_the_response() -> None:
    lab = Lab()
    client = Http2Client(lab)
    stream = client.ask()
    headers = [
        [b"Connection", b"close"],
        [b"Keep-Alive", b"5"],
        [b"Proxy-Connection", b"a"],
        [b"X-Y", b" a "],
        [b"Set-Cookie", b"a=b"],
    ]
    lab.reply({"status": 404, "headers": headers, "content": b""})
    answer = client.answers[stream]
    assert answer.status == 404
    assert not {b"connection", b"keep-alive", b"proxy-connection"} & {name for name, _ in answer.headers}
    assert (answer.header(b"x-y"), answer.header(b"set-cookie")) == (b"a", b"a=b")
    assert not client.closed


def test_an_answer_to_head_has_a_length_and_no_content() -> None:
    lab = Lab()
    client = Http2Client(lab)
    stream = client.ask(method=b"HEAD")
    lab.reply(response(b"hello"))
    answer = client.answers[stream]
    assert (answer.header(b"content-length"), answer.body, answer.ended) == (b"5", b"", True)


def test_a_response_in_parts_has_no_chunks_and_ends_with_the_stream() -> None:
    lab = Lab()
    client = Http2Client(lab)
    stream = client.ask()
    lab.reply({"status": 200, "content": b"one ", "more_content": True})
    assert (client.answers[stream].body, client.answers[stream].ended) == (b"one ", False)
    lab.reply({"content": b"two", "more_content": False})
    answer = client.answers[stream]
    assert (answer.body, answer.ended, answer.header(b"transfer-encoding")) == (b"one two", True, None)


def test_a_response_that_breaks_the_specification_is_a_500_and_a_second_one_a_reset() -> None:
    lab = Lab()
    client = Http2Client(lab)
    stream = client.ask()
    lab.reply({"status": "200"})
    assert client.answers[stream].status == 500
    stream = client.ask()
    lab.reply({"status": 200, "content": b"a", "more_content": True})
    lab.reply({"status": 200})
    assert client.answers[stream].reset == ErrorCodes.INTERNAL_ERROR
    assert not client.closed


def test_a_static_file_comes_on_a_stream(tmp_path: Path) -> None:
    content = bytes(range(256)) * 2048
    (tmp_path / "a.bin").write_bytes(content)
    lab = Lab(InterfaceSettings(static=(Mount("/static/", str(tmp_path)),)))
    client = Http2Client(lab)
    stream = client.ask(path=b"/static/a.bin")
    for _ in range(20):
        lab.settle()
        client.read()
    answer = client.answers[stream]
    assert (answer.status, answer.body == content, answer.ended) == (200, True, True)


def test_the_access_log_says_that_it_was_http2() -> None:
    lines: list[bytes] = []

    class Sink:
        def write(self, data: bytes) -> int:
            lines.append(data)
            return len(data)

        def close(self) -> None:
            """Nothing is open."""

    lab = Lab()
    lab.context.access_log = AccessLog(lab.clock, stream=Sink(), lines=JSON)
    client = Http2Client(lab)
    client.ask()
    lab.reply()
    client.open(fields(b"GET", b"/" + b"a" * 20_000), ends=True)
    lab.wait(1)
    logged = [json.loads(line) for line in b"".join(lines).splitlines()]
    assert [(each.get("http_version"), each["status"]) for each in logged] == [("2", 200), (None, 414)]


def test_a_client_that_gives_up_is_told_to_the_application() -> None:
    lab = Lab()
    client = Http2Client(lab)
    stream = client.ask()
    client.give_up(stream)
    assert [asked.channel for asked in lab.port.asked][-1] == "http.disconnect"
    assert len(lab.context.connections) == 0
    assert not client.closed


def test_all_requests_of_a_lost_connection_have_lost_their_client() -> None:
    lab = Lab()
    client = Http2Client(lab)
    client.ask()
    client.ask()
    client.leave()
    assert [asked.channel for asked in lab.port.asked].count("http.disconnect") == 2
    assert len(lab.context.connections) == 0
    assert not lab.context.http_shells


def test_a_request_that_is_given_up_in_the_same_breath_reaches_nobody() -> None:
    lab = Lab()
    client = Http2Client(lab)
    client.raw(head_frame(1, fields()) + RstStreamFrame(1, error_code=8).serialize())
    assert lab.requests == []
    assert len(lab.context.connections) == 0
    assert not client.closed


# Refusals.


def test_a_full_channel_is_a_503_on_the_stream_only() -> None:
    lab = Lab()
    lab.port.outcomes = [Outcome.FULL]
    client = Http2Client(lab)
    stream = client.ask()
    answer = client.answers[stream]
    assert (answer.status, answer.header(b"retry-after"), answer.header(b"connection")) == (503, b"5", None)
    second = client.ask()
    lab.reply()
    assert client.answers[second].status == 200


def test_no_worker_is_a_503_and_a_silent_one_a_504() -> None:
    lab = Lab(deadlines(queue=10, response=20))
    client = Http2Client(lab)
    stream = client.ask()
    lab.wait(10.5)
    assert client.answers[stream].status == 503
    stream = client.ask()
    lab.note(control.RUNNING)
    lab.wait(20.5)
    assert client.answers[stream].status == 504


def test_while_no_requests_are_taken_they_are_turned_away() -> None:
    lab = Lab()
    lab.context.accepting = False
    client = Http2Client(lab)
    assert client.answers[client.ask()].status == 503
    assert lab.requests == []


@pytest.mark.parametrize(
    ("request_fields", "status"),
    [
        (fields(b"GET", b"/" + b"a" * 20_000), 414),
        (fields(b"GET", b"/", *[(b"x-%d" % number, b"") for number in range(101)]), 431),
        (fields(b"GET", b"/", (b"x", b"a" * 66_000)), 431),
        (fields(b"GET", b"/a b"), 400),
        (fields(b"GET", b"/%ff"), 400),
        (fields(b"DESCRIBE", b"/"), 501),
        (fields(b"GET", b"/", (b"expect", b"tea")), 417),
        ([(b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/")], 400),
        ([(b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/"), (b":authority", b"a@b")], 400),
        ([(b":method", b"CONNECT"), (b":authority", b"example.com:443")], 405),
    ],
    ids=str,
)
def test_what_http1_refuses_with_a_status_is_refused_with_it(
    request_fields: list[tuple[bytes, bytes]], status: int
) -> None:
    lab = Lab()
    client = Http2Client(lab)
    stream = client.open(request_fields, ends=True)
    answer = client.answers[stream]
    assert (answer.status, answer.ended, answer.reset) == (status, True, None)
    assert lab.requests == []
    assert lab.context.counters[f"refused_{status}"] == 1
    client.ask()
    assert len(lab.requests) == 1


@pytest.mark.parametrize(
    "request_fields",
    [
        fields(b"GET", b"/", (b"X-Upper", b"1")),
        fields(b"GET", b"/", (b"", b"1")),
        fields(b"GET", b"/", (b"a b", b"1")),
        fields(b"GET", b"/", (b"a", b"1\r\nb: 2")),
        fields(b"GET", b"/", (b"a", b"1\0")),
        fields(b"GET", b"/", (b"a", b" 1")),
        fields(b"GET", b"/", (b"connection", b"close")),
        fields(b"GET", b"/", (b"transfer-encoding", b"chunked")),
        fields(b"GET", b"/", (b"upgrade", b"websocket")),
        fields(b"GET", b"/", (b"keep-alive", b"1")),
        fields(b"GET", b"/", (b"proxy-connection", b"close")),
        fields(b"GET", b"/", (b"te", b"gzip")),
        fields(b"GET", b"/", (b":path", b"/again")),
        fields(b"GET", b"/", (b"a", b"1"), (b":scheme", b"http")),
        fields(b"GET", b"/", (b":unknown", b"1")),
        fields(b"GET", b"/", (b":status", b"200")),
        fields(b"GET", b""),
        fields(b"GET", b"hello"),
        fields(b"GET", b"*"),
        fields(b"", b"/"),
        fields(b"G T", b"/"),
        fields(b"GET", b"/", (b"host", b"other.example")),
        fields(b"GET", b"/", (b"content-length", b"5")),
        fields(b"GET", b"/", (b"content-length", b"-1")),
        fields(b"GET", b"/", (b"content-length", b"0"), (b"content-length", b"0")),
        [(b":method", b"GET"), (b":path", b"/"), (b":authority", b"example.com")],
        [(b":scheme", b"https"), (b":path", b"/"), (b":authority", b"example.com")],
        [*fields(b"CONNECT", b"/")],
    ],
    ids=str,
)
def test_a_malformed_request_is_reset_and_the_connection_goes_on(
    request_fields: list[tuple[bytes, bytes]],
) -> None:
    lab = Lab()
    client = Http2Client(lab)
    client.raw(head_frame(1, request_fields))
    assert lab.requests == []
    assert lab.context.counters["http2_malformed"] == 1
    assert client.farewells == []
    assert not client.closed
    client.raw(head_frame(3, fields()))
    assert len(lab.requests) == 1


def test_the_crumbs_of_a_cookie_are_one_header() -> None:
    lab = Lab()
    client = Http2Client(lab)
    client.ask((b"cookie", b"a=1"), (b"x", b"y"), (b"cookie", b"b=2"), (b"cookie", b"c=3"))
    [asked] = lab.requests
    assert asked.message["headers"][1:] == [(b"cookie", b"a=1; b=2; c=3"), (b"x", b"y")]


def test_a_host_without_an_authority_is_the_host() -> None:
    lab = Lab()
    client = Http2Client(lab)
    client.open(
        [(b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/"), (b"host", b"a.example")], ends=True
    )
    assert lab.requests[0].message["headers"] == [(b"host", b"a.example")]


# Bodies.


def test_a_body_travels_inside_the_message() -> None:
    lab = Lab()
    client = Http2Client(lab)
    stream = client.open(post(10))
    client.content(stream, b"01234")
    assert lab.requests == []
    client.content(stream, b"56789", ends=True)
    assert lab.requests[0].message["body"] == b"0123456789"
    lab.reply()
    assert client.answers[stream].status == 200


def test_a_body_without_a_length_ends_with_the_stream_or_with_trailers() -> None:
    lab = Lab()
    client = Http2Client(lab)
    stream = client.open(post(None))
    client.content(stream, b"abc", ends=True)
    stream = client.open(post(None))
    client.content(stream, b"def")
    client.h2.send_headers(stream, [(b"x-checksum", b"1")], end_stream=True)
    client.flush()
    assert [asked.message["body"] for asked in lab.requests] == [b"abc", b"def"]


def test_trailers_with_a_pseudo_header_field_are_malformed() -> None:
    lab = Lab()
    client = Http2Client(lab)
    stream = client.open(post(None))
    client.h2.send_headers(stream, [(b":path", b"/")], end_stream=True)
    client.flush()
    assert client.answers[stream].reset == ErrorCodes.PROTOCOL_ERROR
    assert lab.requests == []


@pytest.mark.parametrize(("said", "sent"), [(3, b"abcd"), (5, b"abcd"), (0, b"a")])
def test_a_body_of_another_length_than_was_said_is_malformed(said: int, sent: bytes) -> None:
    lab = Lab()
    client = Http2Client(lab)
    client.raw(head_frame(1, post(said), ends=False), DataFrame(1, sent, flags=["END_STREAM"]))
    assert lab.requests == []
    assert lab.context.counters["http2_malformed"] == 1
    assert not client.closed
    assert lab.context.bodies.memory_bytes == 0


def test_a_client_that_waits_is_told_to_send_its_body() -> None:
    lab = Lab()
    client = Http2Client(lab)
    stream = client.open(post(3, (b"expect", b"100-continue")))
    assert client.answers[stream].informed == [100]
    client.content(stream, b"abc", ends=True)
    lab.reply()
    assert client.answers[stream].status == 200


def test_a_body_beyond_the_limit_is_a_413_before_it_is_sent_or_as_soon_as_it_is_too_long() -> None:
    lab = Lab(InterfaceSettings(max_body_bytes=1000))
    client = Http2Client(lab)
    said = client.open(post(1001))
    unsaid = client.open(post(None))
    client.content(unsaid, b"a" * 1001)
    for stream in (said, unsaid):
        answer = client.answers[stream]
        assert (answer.status, answer.ended, answer.reset) == (413, True, ErrorCodes.NO_ERROR)
    assert lab.context.bodies.memory_bytes == 0
    assert not client.closed


def test_a_response_before_the_end_of_the_body_stops_the_body_without_blame() -> None:
    lab = Lab(InterfaceSettings(stream_uploads=True, inline_body_bytes=10))
    client = Http2Client(lab)
    stream = client.open(post(100_000))
    client.content(stream, b"a" * 20_000)
    lab.reply(response(status=403))
    answer = client.answers[stream]
    assert (answer.status, answer.ended, answer.reset) == (403, True, ErrorCodes.NO_ERROR)
    assert lab.context.bodies.memory_bytes == 0


def test_windows_are_opened_again_as_the_body_is_taken() -> None:
    lab = Lab(InterfaceSettings(http2_window_bytes=64 * 1024))
    client = Http2Client(lab)
    stream = client.open(post(None))
    before = client.opened[0]
    for _ in range(10):
        client.content(stream, b"a" * 32 * 1024)
    assert client.opened[stream] >= 9 * 32 * 1024
    assert client.opened[0] - before >= 4 * 64 * 1024


def test_a_body_that_nobody_reads_keeps_its_window_closed_until_somebody_does() -> None:
    window = 64 * 1024
    settings = InterfaceSettings(
        http2_window_bytes=window, stream_uploads=True, inline_body_bytes=1000, body_window_bytes=window
    )
    lab = Lab(settings)
    client = Http2Client(lab)
    stream = client.open(post(None))
    sent = 0
    while (room := min(client.h2.local_flow_control_window(stream), 16384)) > 0 and sent < 10_000_000:
        client.content(stream, b"a" * room)
        sent += room
    assert sent < 1_000_000
    opened = client.opened[stream]
    for _ in range(10):
        lab.note(control.CREDIT, bytes=window)
    assert client.opened[stream] > opened
    # Others have the connection's window all the same.
    other = client.open(post(None))
    client.content(other, b"b" * 1000, ends=True)
    assert lab.requests[-1].message["body"] == b"b" * 1000


def test_a_body_that_does_not_come_is_a_408_and_others_go_on() -> None:
    lab = Lab(deadlines(body=5))
    client = Http2Client(lab)
    stream = client.open(post(10))
    other = client.ask()
    lab.wait(6)
    assert client.answers[stream].status == 408
    lab.reply()
    assert client.answers[other].status == 200


def test_content_for_a_stream_that_is_over_does_not_close_the_connections_window() -> None:
    lab = Lab(InterfaceSettings(max_body_bytes=1000, http2_window_bytes=65536, http2_streams=1))
    client = Http2Client(lab)
    client.raw(head_frame(1, post(None), ends=False))
    for _ in range(40):
        client.raw(DataFrame(1, b"a" * 16000))
    assert client.opened[0] > 500_000
    assert not client.closed


# Windows of the client.


def test_a_window_of_the_client_bounds_what_is_written() -> None:
    lab = Lab()
    client = Http2Client(lab, window_bytes=1000, reads=False)
    stream = client.ask()
    lab.reply(response(b"a" * 5000))
    client.read()
    assert (len(client.answers[stream].body), client.answers[stream].ended) == (1000, False)
    assert lab.context.backlog.bytes == 4000
    client.take(1500, stream)
    assert len(client.answers[stream].body) == 2500
    client.take(100_000, stream)
    assert (len(client.answers[stream].body), client.answers[stream].ended) == (5000, True)
    assert lab.context.backlog.bytes == 0


def test_the_window_of_the_connection_is_shared_and_each_stream_has_its_turn() -> None:
    lab = Lab()
    client = Http2Client(lab, window_bytes=1_000_000, reads=False)
    first, second = client.ask(), client.ask()
    lab.reply(response(b"a" * 200_000), number=0)
    lab.reply(response(b"b" * 200_000), number=1)
    client.read()
    assert len(client.answers[first].body) == 65535
    client.take(65536)
    shares = [len(client.answers[stream].body) for stream in (first, second)]
    assert sum(shares) == 65535 + 65536
    assert shares[1] >= 32768


def test_settings_of_the_client_move_the_windows() -> None:
    lab = Lab()
    client = Http2Client(lab, window_bytes=0, reads=False)
    stream = client.ask()
    lab.reply(response(b"abc"))
    assert (client.answers[stream].status, client.answers[stream].body) == (200, b"")
    client.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 10})
    client.flush()
    assert client.answers[stream].body == b"abc"


def test_a_client_that_takes_nothing_of_a_stream_loses_that_stream() -> None:
    lab = Lab(deadlines(write=10, idle=OFF))
    client = Http2Client(lab, window_bytes=1000, reads=False)
    stream = client.ask()
    lab.reply(response(b"a" * 5000))
    lab.wait(8)
    client.take(100, stream)
    lab.wait(8)
    assert client.answers[stream].reset is None
    lab.wait(4)
    assert client.answers[stream].reset == ErrorCodes.CANCEL
    assert lab.context.counters["slow_readers"] == 1
    assert lab.context.backlog.bytes == 0
    assert not client.closed


def test_nothing_stays_of_a_stream_that_is_given_up_while_its_answer_waits() -> None:
    lab = Lab()
    client = Http2Client(lab, window_bytes=10, reads=False)
    stream = client.ask()
    lab.reply(response(b"a" * 5000))
    assert len(client.protocol.shells) == 1
    client.give_up(stream)
    assert client.protocol.shells == {}
    assert lab.context.backlog.bytes == 0


def test_a_stream_that_waits_behind_others_is_not_too_slow() -> None:
    lab = Lab(deadlines(write=10, idle=OFF))
    client = Http2Client(lab, window_bytes=10_000_000, reads=False)
    streams = [client.ask() for _ in range(20)]
    for number in range(20):
        lab.reply(response(b"a" * 40_000), number=number)
    for _ in range(60):
        lab.wait(3)
        client.take(16384)
    assert [client.answers[stream].reset for stream in streams] == [None] * 20
    assert all(client.answers[stream].ended for stream in streams)


def test_the_end_waits_for_a_client_that_reads_slowly() -> None:
    lab = Lab(deadlines(linger=2))
    transport = SlowTransport()
    client = Http2Client(lab, transport, window_bytes=1_000_000)
    transport.read_all()
    client.ask()
    client.protocol.drain()
    lab.wait(2)
    transport.read_all()
    client.flush()
    lab.reply(response(b"a" * 30_000))
    transport.read_all()
    lab.wait(10)
    assert client.answers[1].ended
    assert not client.closed
    transport.read_all()
    assert client.closed


def test_a_table_that_a_client_wants_to_be_large_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab()
    client = Http2Client(lab)
    client.h2.update_settings({SettingCodes.HEADER_TABLE_SIZE: 2**31})
    client.flush()
    for number in range(200):
        stream = client.ask()
        lab.reply({"status": 200, "headers": [[b"x-%d" % number, b"a" * 1000]], "content": b""})
        assert client.answers[stream].status == 200
    held = sum(len(name) + len(value) for name, value in client.h2.decoder.header_table.dynamic_entries)
    assert held <= 4096


def test_a_client_that_reads_nothing_at_all_is_dropped() -> None:
    lab = Lab(deadlines(write=10))
    transport = SlowTransport()
    client = Http2Client(lab, transport)
    transport.read_all()
    stream = client.ask()
    lab.reply(response(b"a" * 3_000_000))
    assert len(transport.value()) < 200_000
    transport.backlogged = True
    lab.wait(11)
    assert transport.disconnected
    assert stream


def test_a_response_in_parts_waits_for_its_window_and_then_goes_on() -> None:
    lab = Lab()
    client = Http2Client(lab, window_bytes=1000, reads=False)
    stream = client.ask()
    channel = "http.response.credit?" + "a" * 22
    part = b"a" * 600_000
    lab.reply({"status": 200, "content": part, "more_content": True, "credit_channel": channel})
    credits = [asked for asked in lab.port.asked if asked.channel == channel]
    assert credits == []
    client.take(10_000_000)
    client.take(10_000_000, stream)
    assert len(client.answers[stream].body) == len(part)
    lab.settle()
    told = [asked.message["bytes"] for asked in lab.port.asked if asked.channel == channel]
    assert len(part) - RESPONSE_CREDIT_BYTES < told[-1] <= len(part)


# Limits and floods.


def test_the_settings_are_said_first() -> None:
    client = Http2Client(Lab())
    assert client.settings[SettingCodes.MAX_CONCURRENT_STREAMS] == 100
    assert client.settings[SettingCodes.MAX_HEADER_LIST_SIZE] == 64 * 1024
    assert client.settings[SettingCodes.INITIAL_WINDOW_SIZE] == 256 * 1024


def test_a_stream_too_many_is_refused_and_the_others_go_on() -> None:
    lab = Lab(InterfaceSettings(http2_streams=2))
    client = Http2Client(lab)
    client.h2.remote_settings[SettingCodes.MAX_CONCURRENT_STREAMS] = 100
    client.h2.remote_settings.acknowledge()
    streams = [client.ask() for _ in range(3)]
    assert client.answers[streams[2]].reset == ErrorCodes.REFUSED_STREAM
    assert len(lab.requests) == 2
    lab.reply(number=0)
    assert client.answers[streams[0]].status == 200
    assert len(lab.requests) == 2
    client.ask()
    assert len(lab.requests) == 3


def flood(client: Http2Client, frames: list[Frame | bytes]) -> None:
    for frame in frames:
        if client.closed:
            return
        client.raw(frame)


def _reset(number: int) -> bytes:
    stream = 2 * number + 1
    return head_frame(stream, fields()) + RstStreamFrame(stream, error_code=8).serialize()


def _empty(number: int) -> bytes:
    opened = head_frame(1, fields(b"POST"), ends=False) if not number else b""
    return opened + DataFrame(1, b"").serialize()


def _small(number: int) -> bytes:
    opened = head_frame(1, fields(b"POST"), ends=False) if not number else b""
    return opened + DataFrame(1, b"a").serialize()


def _late(number: int) -> bytes:
    opened = head_frame(1, fields(b"POST", b""), ends=False) if not number else b""
    return opened + DataFrame(1, b"a").serialize()


def _malformed(number: int) -> bytes:
    return head_frame(2 * number + 1, fields(b"GET", b""))


FLOODS = {
    "resets": (_reset, 205),
    "pings": (lambda number: PingFrame(0, b"12345678"), 55),
    "settings": (lambda number: SettingsFrame(0), 25),
    "priorities": (lambda number: PriorityFrame(2 * number + 1, depends_on=0), 505),
    "window updates": (lambda number: WindowUpdateFrame(0, window_increment=1), 1005),
    "empty frames": (_empty, 55),
    "small frames": (_small, 2005),
    "late frames": (_late, 2005),
    "faults": (_malformed, 205),
}


@pytest.mark.parametrize("what", FLOODS)
def test_a_flood_ends_with_a_request_for_calm(what: str) -> None:
    lab = Lab()
    client = Http2Client(lab)
    make, count = FLOODS[what]
    flood(client, [make(number) for number in range(count)])
    assert client.said == CALM
    assert client.farewells[-1][2] == what.encode()
    assert client.closed
    assert lab.context.counters["http2_floods"] == 1
    assert lab.context.counters["http2_floods_of_" + what.replace(" ", "_")] == 1
    client.leave()
    assert len(lab.context.connections) == 0
    assert lab.context.bodies.memory_bytes == 0


@pytest.mark.parametrize("what", ["resets", "pings", "settings", "empty frames", "faults"])
def test_a_flood_in_one_read_does_nothing_but_end(what: str) -> None:
    lab = Lab()
    client = Http2Client(lab)
    make, count = FLOODS[what]
    made = [make(number) for number in range(count)]
    client.raw(b"".join(each if isinstance(each, bytes) else each.serialize() for each in made))
    assert client.said == CALM
    assert lab.requests == []


def test_what_a_client_does_slowly_is_no_flood() -> None:
    lab = Lab()
    client = Http2Client(lab)
    for number in range(300):
        client.raw(_reset(number), PingFrame(0, b"12345678"))
        lab.wait(1)
    assert client.farewells == []
    assert not client.closed


def test_who_reads_much_may_say_so_often() -> None:
    lab = Lab(InterfaceSettings(http2_window_updates=FrameRate(20, 1)))
    client = Http2Client(lab, window_bytes=1000, reads=False)
    stream = client.ask()
    lab.reply(response(b"a" * 30_000))
    for _ in range(58):
        client.take(500, stream)
    assert client.answers[stream].ended
    assert client.farewells == []


def _block(stream_id: int, size: int) -> HeadersFrame:
    return HeadersFrame(stream_id, b"\0" * size)


def test_a_head_in_endless_pieces_is_a_flood() -> None:
    lab = Lab()
    client = Http2Client(lab)
    flood(client, [_block(1, 10), *[ContinuationFrame(1, b"a" * 16000) for _ in range(20)]])
    assert (client.said, client.farewells[-1][2]) == (CALM, b"headers")
    client = Http2Client(lab)
    flood(client, [_block(1, 10), *[ContinuationFrame(1, b"") for _ in range(40)]])
    assert client.said == CALM


def test_a_head_that_is_much_larger_than_its_frames_is_a_bomb() -> None:
    lab = Lab()
    client = Http2Client(lab)
    # One field of 4,000 bytes in the table, then its one-byte name sixty times a stream.
    bomb = head_frame(1, fields(b"GET", b"/", (b"x", b"a" * 3900)))
    frame = HeadersFrame(3, b"\xbe" * 400, flags=["END_HEADERS", "END_STREAM"])
    client.raw(bomb)
    client.raw(frame)
    assert client.said == CALM
    assert client.closed


def test_a_broken_rule_of_the_connection_ends_it() -> None:
    for frames, code in (
        ([b"\0\0\1\0\0\0\0\0\0a"], ErrorCodes.PROTOCOL_ERROR),
        ([b"\0\x50\0\0\0\0\0\0\1"], ErrorCodes.FRAME_SIZE_ERROR),
        ([head_frame(2, fields())], ErrorCodes.PROTOCOL_ERROR),
        ([_block(1, 3), PingFrame(0, b"12345678")], ErrorCodes.PROTOCOL_ERROR),
        ([HeadersFrame(1, b"\xff\xff\xff", flags=["END_HEADERS"])], ErrorCodes.PROTOCOL_ERROR),
        ([WindowUpdateFrame(0, window_increment=2**31 - 1)], ErrorCodes.FLOW_CONTROL_ERROR),
        ([b"\0\0\5\4\0\0\0\0\0aaaaa"], ErrorCodes.FRAME_SIZE_ERROR),
    ):
        lab = Lab()
        client = Http2Client(lab)
        client.raw(*frames)
        assert client.said in (code, ErrorCodes.PROTOCOL_ERROR), frames
        assert client.closed
        assert lab.context.counters["http2_violations"] == 1


def test_more_than_a_window_takes_is_an_error_of_the_connection() -> None:
    lab = Lab(InterfaceSettings(http2_window_bytes=65535, stream_uploads=True, inline_body_bytes=10))
    lab.port.auto = None
    client = Http2Client(lab)
    client.raw(head_frame(1, post(None), ends=False))
    for _ in range(40):
        if not client.closed:
            client.raw(DataFrame(1, b"a" * 16000))
    assert client.said == ErrorCodes.FLOW_CONTROL_ERROR


def test_bytes_may_come_one_by_one() -> None:
    lab = Lab()
    client = Http2Client(lab)
    for byte in head_frame(1, post(3), ends=False) + DataFrame(1, b"abc", flags=["END_STREAM"]).serialize():
        client.raw(bytes([byte]))
    assert lab.requests[0].message["body"] == b"abc"


# The end.


def test_a_quiet_connection_is_told_and_closed() -> None:
    lab = Lab(deadlines(idle=20))
    client = Http2Client(lab)
    client.ask()
    lab.wait(25)
    assert not client.closed
    lab.reply()
    lab.wait(19)
    assert not client.closed
    lab.wait(2)
    assert client.farewells == [(0, 1, b"")]
    assert client.closed


def test_a_head_that_does_not_end_closes_the_connection() -> None:
    lab = Lab(deadlines(header=5))
    client = Http2Client(lab)
    client.raw(_block(1, 3))
    lab.wait(6)
    assert client.closed


def test_an_incomplete_preface_closes_the_connection() -> None:
    lab = Lab(deadlines(header=5))
    client = Http2Client.__new__(Http2Client)
    client.transport = SlowTransport()
    protocol = Http2Protocol(lab.context, lab.upgrade)
    protocol.makeConnection(client.transport)
    protocol.dataReceived(b"PRI *")
    lab.wait(6)
    assert client.closed


def test_a_drain_warns_then_names_the_last_stream_and_ends_with_it() -> None:
    lab = Lab()
    client = Http2Client(lab, reads=False)
    first = client.ask()
    client.protocol.drain()
    # This one was on its way when the client was warned.
    second = client.ask()
    assert client.farewells == [(0, 2**31 - 1, b"")]
    assert len(lab.requests) == 2
    lab.wait(1.5)
    assert client.farewells[1:] == [(0, second, b"")]
    third = client.ask()
    assert client.answers[third].reset == ErrorCodes.REFUSED_STREAM
    lab.reply(number=0)
    assert not client.closed
    lab.reply(number=1)
    assert client.answers[first].status == client.answers[second].status == 200
    assert client.closed


def test_a_client_that_answers_to_the_warning_is_closed_at_once_when_it_is_quiet() -> None:
    lab = Lab()
    client = Http2Client(lab)
    client.protocol.drain()
    client.read()
    assert [last for _, last, _ in client.farewells] == [2**31 - 1, 0]
    assert client.closed


def test_who_comes_while_the_process_ends_is_told() -> None:
    lab = Lab()
    lab.context.draining = True
    client = Http2Client(lab)
    client.read()
    assert client.closed


def test_a_client_that_says_goodbye_is_served_to_its_end() -> None:
    lab = Lab()
    client = Http2Client(lab)
    stream = client.ask()
    client.raw(GoAwayFrame(0, last_stream_id=0))
    lab.reply(response(b"hello"))
    assert client.answers[stream].body == b"hello"
    assert client.closed


def test_an_end_that_the_client_does_not_follow_is_cut() -> None:
    lab = Lab(deadlines(linger=2))
    client = Http2Client(lab)
    client.raw(b"\0\x50\0\0\0\0\0\0\1")
    assert client.transport.disconnecting
    lab.wait(3)
    assert client.transport.disconnected


def test_aborting_drops_the_connection() -> None:
    lab = Lab()
    client = Http2Client(lab)
    client.ask()
    client.protocol.abort()
    assert client.transport.disconnected
    client.leave()
    assert len(lab.context.connections) == 0


def test_the_layer_is_lost_and_a_held_request_is_sent_when_it_is_back() -> None:
    lab = Lab(layer_up=False)
    client = Http2Client(lab)
    stream = client.ask()
    assert lab.requests == []
    lab.start_layer()
    lab.reply()
    assert client.answers[stream].status == 200

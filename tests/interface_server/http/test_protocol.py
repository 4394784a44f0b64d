"""One HTTP/1 connection: pipelines, refusals, bodies, deadlines, the end. Time is moved by hand."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from headrace_asgi import control
from headrace_asgi.contract import Outcome
from headrace_interface.deadlines import OFF, Deadlines
from headrace_interface.settings import InterfaceSettings
from tests.support.http_lab import GET, Lab, SlowTransport, answers, response
from tests.support.smuggling import REFUSED

CLOSE = b"GET /hello HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n"
UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: example.com\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\r\n"
)


def post(length: int, *headers: bytes) -> bytes:
    lines = [b"POST /upload HTTP/1.1", b"Host: example.com", b"Content-Length: %d" % length, *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def deadlines(**seconds: float) -> InterfaceSettings:
    return InterfaceSettings(deadlines=replace(Deadlines(), **seconds))


# Requests and answers.


def test_a_request_becomes_a_message_and_its_reply_a_response() -> None:
    lab = Lab()
    client = lab.connect()
    client.send(b"GET /caf%C3%A9?a=%20 HTTP/1.1\r\nHost: example.com\r\nX-A: 1\r\nx_b: 2\r\n\r\n")
    [asked] = lab.requests
    assert asked.message == {
        "reply_channel": lab.port.process + asked.local,
        "http_version": "1.1",
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
    [answer] = client.answers
    assert (answer.status, answer.body) == (200, b"hello")
    assert [name for name, _ in answer.headers] == ["Content-Type", "Content-Length", "Date", "Server"]
    assert not client.closed


def test_a_connection_is_used_again_and_each_request_has_a_reply_channel_of_its_own() -> None:
    lab = Lab()
    client = lab.connect()
    for _ in range(3):
        client.send(GET)
        lab.reply()
    assert len(client.answers) == 3
    assert len({asked.local for asked in lab.requests}) == 3
    assert len(lab.context.connections) == 0


def test_connection_close_is_honoured() -> None:
    lab = Lab()
    client = lab.connect()
    client.send(CLOSE)
    lab.reply()
    assert client.answers[0].header("Connection") == "close"
    assert client.closed


def test_http_1_0_is_closed_unless_it_asks_for_more() -> None:
    lab = Lab()
    once, kept = lab.connect(), lab.connect()
    once.send(b"GET / HTTP/1.0\r\n\r\n")
    lab.reply()
    kept.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    lab.reply()
    assert once.closed
    assert not kept.closed
    assert kept.answers[0].header("Connection") == "keep-alive"


def test_a_pipeline_is_answered_one_at_a_time_in_order_st5() -> None:
    lab = Lab()
    client = lab.connect()
    chance = random.Random(5)
    kinds = [chance.choice(["GET", "HEAD", "POST", "PUT"]) for _ in range(100)]
    sent = b""
    for number, kind in enumerate(kinds):
        sent += b"%s /%d HTTP/1.1\r\nHost: a\r\n" % (kind.encode(), number)
        if kind == "POST":
            sent += b"Content-Length: 3\r\n\r\nabc"
        elif kind == "PUT":
            sent += b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        else:
            sent += b"\r\n"
    client.send(sent, pieces=1777)
    for number, kind in enumerate(kinds):
        assert len(lab.requests) == number + 1, "one at a time"
        assert lab.requests[-1].message["path"] == f"/{number}"
        assert lab.requests[-1].message.get("body", b"") == (b"abc" if kind in ("POST", "PUT") else b"")
        lab.wait(chance.random())
        lab.reply(response(b"%d" % number))
    bodies = [b"" if kind == "HEAD" else b"%d" % number for number, kind in enumerate(kinds)]
    assert [answer.body for answer in answers(client.received, tuple(kinds))] == bodies
    assert not client.closed


def test_a_pipeline_is_held_back_while_the_first_waits_and_bounded() -> None:
    lab = Lab()
    client = lab.connect()
    client.send(GET * 2000, pieces=65_536)
    assert client.paused
    assert len(lab.requests) == 1
    for _ in range(2000):
        lab.reply()
    assert len(client.answers) == 2000
    assert not client.paused
    assert not client.closed


def test_a_request_behind_a_refused_one_is_never_read() -> None:
    lab = Lab()
    client = lab.connect()
    client.send(GET + b"GET / HTTP/1.1\r\n\r\n" + GET)
    lab.reply()
    client.send(GET)
    assert [answer.status for answer in client.answers] == [200, 400]
    assert len(lab.requests) == 1
    assert client.closed


@pytest.mark.parametrize(
    ("data", "status"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
def test_a_hostile_request_reaches_nobody_and_closes_the_connection_st2_st4(data: bytes, status: int) -> None:
    lab = Lab()
    client = lab.connect()
    client.send(data)
    client.send(GET)
    assert lab.port.asked == []
    assert [answer.status for answer in client.answers] == [status]
    assert client.answers[0].header("Connection") == "close"
    assert client.closed


# Bodies.


def test_a_body_travels_inside_up_to_its_limit() -> None:
    lab = Lab(InterfaceSettings(inline_body_bytes=1000))
    client = lab.connect()
    client.send(post(1000) + b"a" * 999)
    assert not lab.requests
    client.send(b"a")
    assert lab.requests[0].message["body"] == b"a" * 1000
    assert "body_channel" not in lab.requests[0].message


def test_a_larger_body_is_streamed_as_it_is_read_h1() -> None:
    lab = Lab(InterfaceSettings(inline_body_bytes=1000, body_window_bytes=600_000, stream_uploads=True))
    client = lab.connect()
    data = random.Random(1).randbytes(2_000_000)
    client.send(post(len(data)))
    sent = read = 0

    def unread() -> int:
        return sum(len(each.message["content"]) for each in lab.port.of("http.request.body?")) - read

    while sent < len(data) or unread():
        if client.paused or sent >= len(data):
            assert 0 < unread() <= 600_000
            assert sent - read < 600_000 + 262_144 + 65_536 + 1000, "what waits is bounded"
            read, step = read + unread(), unread()
            lab.note(control.CREDIT, bytes=step)
        else:
            client.send(data[sent : sent + 65_536])
            sent += 65_536
    asked = lab.port.of("http.request.body?")
    first = lab.requests[0].message
    assert {each.channel for each in asked} == {first["body_channel"]}
    assert first["body"] + b"".join(each.message["content"] for each in asked) == data
    assert [each.message["more_content"] for each in asked] == [True] * (len(asked) - 1) + [False]
    lab.reply()
    assert client.answers[0].status == 200
    assert not client.closed


def test_a_large_body_is_sent_when_it_is_whole_and_then_at_its_readers_pace() -> None:
    lab = Lab(InterfaceSettings(spool_memory_bytes=300_000, body_window_bytes=600_000))
    client = lab.connect()
    data = random.Random(1).randbytes(2_000_000)
    client.send(post(len(data)) + data[:1_999_999], pieces=65_536)
    assert lab.port.asked == [], "no worker waits for the rest"
    assert not client.paused
    client.send(data[1_999_999:])
    read = 0
    while lab.port.of("http.request.body?")[-1].message["more_content"]:
        unread = sum(len(each.message["content"]) for each in lab.port.of("http.request.body?")) - read
        assert 0 < unread <= 600_000
        read += unread
        lab.note(control.CREDIT, bytes=unread)
    chunks = [each.message["content"] for each in lab.port.of("http.request.body?")]
    assert lab.requests[0].message["body"] + b"".join(chunks) == data
    lab.reply()
    assert client.answers[0].status == 200
    assert not client.closed
    assert (lab.context.bodies.memory_bytes, lab.context.bodies.disk_bytes) == (0, 0)


def test_an_honest_upload_may_take_longer_than_an_answer() -> None:
    for stream in (False, True):
        lab = Lab(InterfaceSettings(stream_uploads=stream, deadlines=Deadlines(body=30, response=120)))
        client = lab.connect()
        client.send(post(600_000))
        for _ in range(400):
            client.send(b"a" * 1500)
            lab.wait(1)
            if stream and lab.requests:
                lab.note(control.CREDIT, bytes=1500)
        lab.reply()
        assert [answer.status for answer in client.answers] == [200]


def test_a_body_that_is_not_read_any_more_meets_the_response_deadline() -> None:
    lab = Lab(deadlines(response=20))
    client = lab.connect()
    client.send(post(600_000) + b"a" * 600_000)
    lab.note(control.CREDIT, bytes=1000)
    for _ in range(21):
        lab.wait(1)
        lab.note(control.CREDIT, bytes=0)
    assert [answer.status for answer in client.answers] == [504]


def test_a_client_that_leaves_while_its_body_is_collected_leaves_nothing_behind() -> None:
    lab = Lab(InterfaceSettings(spool_memory_bytes=1000))
    for _ in range(3):
        client = lab.connect()
        client.send(GET + post(500_000) + b"a" * 400_000)
        client.leave()
    client = lab.connect()
    client.send(post(500_000) + b"a" * 400_000)
    assert lab.context.bodies.disk_bytes > 300_000
    client.leave()
    assert (lab.context.bodies.memory_bytes, lab.context.bodies.disk_bytes) == (0, 0)


def test_a_body_for_which_there_is_no_room_is_503() -> None:
    lab = Lab(InterfaceSettings(max_bodies_memory_bytes=100_000, max_bodies_disk_bytes=460_000))
    slow, other = lab.connect(), lab.connect()
    slow.send(post(450_000) + b"a" * 400_000)
    other.send(post(200_000) + b"a" * 150_000)
    assert lab.context.bodies.disk_bytes <= 460_000
    (answer,) = other.answers
    assert (answer.status, answer.header("Retry-After")) == (503, "5")
    slow.send(b"a" * 50_000)
    lab.reply()
    assert slow.answers[0].status == 200


def test_bodies_that_wait_for_the_layer_have_a_bound_in_bytes() -> None:
    lab = Lab(InterfaceSettings(max_held=2000, max_bodies_disk_bytes=0), layer_up=False)
    clients = [lab.connect() for _ in range(500)]
    for client in clients:
        client.send(post(200_000) + b"a" * 200_000, pieces=65_536)
        assert lab.context.bodies.memory_bytes <= lab.context.settings.max_bodies_memory_bytes
    statuses = [[answer.status for answer in client.answers] for client in clients]
    assert statuses == [[]] * 335 + [[503]] * 165
    get = lab.connect()
    get.send(GET)
    assert not get.received, "a request without a body costs nothing"
    lab.start_layer()
    assert len(lab.requests) == 336
    assert lab.context.bodies.memory_bytes == 0


def test_bodies_in_files_are_not_read_back_while_the_layer_is_away() -> None:
    lab = Lab(InterfaceSettings(max_held=2000), layer_up=False)
    for _ in range(400):
        client = lab.connect()
        client.send(post(200_000) + b"a" * 200_000)
    assert [answer.status for answer in client.answers] == [503]
    assert lab.context.bodies.memory_bytes <= lab.context.settings.max_bodies_memory_bytes
    assert lab.context.bodies.disk_bytes == 0


def test_what_is_pipelined_counts_with_the_bodies() -> None:
    lab = Lab(InterfaceSettings(max_bodies_memory_bytes=100_000))
    lab.port.auto = None
    clients = [lab.connect() for _ in range(20)]
    for client in clients:
        client.send(GET)
        for _ in range(60):
            if not client.paused:
                client.send(GET * 20)
    assert sum(client.paused for client in clients) >= 15
    assert 100_000 < lab.context.bodies.memory_bytes < 100_000 + 20 * len(GET) * 21
    for client in clients:
        client.leave()
    assert lab.context.bodies.memory_bytes == 0


def test_a_client_that_leaves_before_the_layer_has_answered_is_told_to_the_reader_of_its_body() -> None:
    for outcome, chunks in ((Outcome.SENT, [{"closed": True}]), (Outcome.UNKNOWN, [{"closed": True}])):
        lab = Lab()
        lab.port.auto = None
        client = lab.connect()
        client.send(post(500_000) + b"a" * 500_000)
        client.leave()
        lab.requests[0].answer(outcome)
        assert [each.message for each in lab.port.of("http.request.body?")] == chunks
        assert (lab.context.bodies.memory_bytes, lab.context.bodies.disk_bytes) == (0, 0)


def test_a_client_that_leaves_in_the_middle_of_its_body_is_told_to_both_readers() -> None:
    lab = Lab(InterfaceSettings(inline_body_bytes=10, stream_uploads=True))
    client = lab.connect()
    client.send(post(1000) + b"a" * 500)
    client.leave()
    assert lab.port.of("http.request.body?")[-1].message == {"closed": True}
    assert len(lab.port.of("http.disconnect")) == 1


def test_100_continue_is_sent_when_the_request_is_in_front() -> None:
    lab = Lab()
    client = lab.connect()
    client.send(GET + post(3, b"Expect: 100-continue"))
    assert client.received == b""
    lab.reply()
    assert client.received.endswith(b"HTTP/1.1 100 Continue\r\n\r\n")
    client.send(b"abc")
    assert lab.requests[-1].message["body"] == b"abc"


def test_no_continue_for_a_body_that_is_too_large_or_already_there() -> None:
    lab = Lab(InterfaceSettings(max_body_bytes=5))
    there, large = lab.connect(), lab.connect()
    there.send(post(3, b"Expect: 100-continue") + b"abc")
    assert there.received == b""
    large.send(post(6, b"Expect: 100-continue"))
    assert [answer.status for answer in large.answers] == [413]
    assert large.closed


def test_a_response_before_the_end_of_the_body_closes_the_connection() -> None:
    lab = Lab(InterfaceSettings(inline_body_bytes=10, stream_uploads=True))
    client = lab.connect()
    client.send(post(1000) + b"a" * 500)
    lab.reply(response(status=403))
    assert client.answers[0].status == 403
    assert client.answers[0].header("Connection") == "close"
    assert client.closed


def test_a_broken_chunk_in_a_streamed_body_ends_the_request() -> None:
    lab = Lab(InterfaceSettings(inline_body_bytes=10, stream_uploads=True))
    client = lab.connect()
    client.send(
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n20\r\n" + b"a" * 32 + b"\r\n"
    )
    assert len(lab.requests) == 1
    client.send(b"zz\r\n")
    assert lab.port.of("http.request.body?")[-1].message == {"closed": True}
    assert [answer.status for answer in client.answers] == [400]
    assert client.closed


# The client leaves.


def test_a_disconnect_is_told_only_for_a_client_that_left_too_early_h10() -> None:
    lab = Lab()
    patient, hasty = lab.connect(), lab.connect()
    patient.send(GET)
    lab.reply()
    patient.leave()
    assert lab.port.of("http.disconnect") == []
    hasty.send(GET)
    hasty.leave()
    [told] = lab.port.of("http.disconnect")
    assert told.message == {"reply_channel": lab.requests[-1].message["reply_channel"], "path": "/hello"}
    lab.reply()
    assert lab.context.counters["discarded"] == 1


def test_a_client_that_leaves_before_its_request_is_whole_is_told_to_nobody() -> None:
    lab = Lab()
    client = lab.connect()
    client.send(post(100) + b"abc")
    client.leave()
    assert lab.port.asked == []
    assert not lab.context.http_shells


def test_a_disconnect_that_no_worker_takes_is_told_to_nobody() -> None:
    lab = Lab()
    lab.port.taken_channels = frozenset({"http.request"})
    client = lab.connect()
    client.send(GET)
    client.leave()
    assert lab.port.of("http.disconnect") == []


# Deadlines.


def test_an_idle_connection_is_closed_without_a_word() -> None:
    lab = Lab(deadlines(idle=75))
    client = lab.connect()
    lab.wait(74)
    assert not client.closed
    lab.wait(2)
    assert client.closed
    assert client.received == b""


def test_a_slow_head_meets_an_absolute_deadline_st8() -> None:
    lab = Lab(deadlines(header=10))
    client = lab.connect()
    for byte in b"GET / HTTP/1.1\r\nHost: a\r\nX: slow":
        client.send(bytes((byte,)))
        lab.wait(1)
        if client.closed:
            break
    assert [answer.status for answer in client.answers] == [408]
    assert 10 <= lab.clock.seconds() <= 12


def test_empty_lines_before_a_request_do_not_keep_a_connection_open_st8() -> None:
    lab = Lab(deadlines(idle=20))
    client = lab.connect()
    for _ in range(30):
        client.send(b"\r\n")
        lab.wait(1)
    assert client.closed


def test_a_slow_body_meets_a_deadline_that_grows_with_what_arrived_st8() -> None:
    lab = Lab(deadlines(body=30))
    slow, steady = lab.connect(), lab.connect()
    slow.send(post(100_000))
    steady.send(post(100_000))
    for _ in range(40):
        slow.send(b"a")
        steady.send(b"a" * 1100)
        lab.wait(1)
    assert [answer.status for answer in slow.answers] == [408]
    assert slow.closed
    assert not steady.closed


def test_a_request_that_no_worker_takes_is_503_and_run_by_nobody_later_h9() -> None:
    lab = Lab(deadlines(queue=30))
    client = lab.connect()
    client.send(GET)
    assert lab.requests[0].expiry_seconds == 28, "nobody executes it later, or takes it without a word"
    lab.wait(29.5)
    assert not client.closed
    lab.wait(1)
    [answer] = client.answers
    assert (answer.status, answer.header("Retry-After")) == (503, "5")
    assert client.closed


def test_a_worker_that_runs_too_long_504() -> None:
    lab = Lab(deadlines(queue=30, response=120))
    client = lab.connect()
    client.send(GET)
    lab.wait(1)
    lab.note(control.RUNNING)
    lab.wait(119)
    assert not client.closed
    lab.wait(2)
    assert [answer.status for answer in client.answers] == [504]
    assert client.closed


def test_without_a_response_deadline_a_request_may_run_for_ever() -> None:
    lab = Lab(deadlines(response=OFF))
    client = lab.connect()
    client.send(GET)
    lab.note(control.RUNNING)
    lab.wait(1000)
    lab.reply()
    assert client.answers[0].status == 200


def test_a_stalled_stream_is_cut_and_all_other_deadlines_live_on_h8() -> None:
    lab = Lab(deadlines(response=20, idle=60))
    client, other = lab.connect(), lab.connect()
    client.send(GET)
    lab.reply(response(b"part", more_content=True))
    lab.wait(21)
    assert client.aborted
    client.leave()
    other.send(GET)
    lab.note(control.RUNNING)
    lab.wait(21)
    assert [answer.status for answer in other.answers] == [504]


# Slow readers.


def test_a_slow_reader_gets_its_next_answer_when_it_has_read_the_last() -> None:
    lab = Lab()
    transport = SlowTransport()
    client = lab.connect(transport)
    client.send(GET * 3)
    lab.reply()
    lab.wait(5)
    assert len(lab.requests) == 1
    transport.read_all()
    assert len(lab.requests) == 2
    lab.reply()
    client.send(GET)
    assert len(lab.requests) == 2
    transport.read_all()
    lab.reply()
    transport.read_all()
    lab.reply()
    assert len(client.answers) == 4


def test_a_reader_that_stops_is_cut_after_a_deadline() -> None:
    lab = Lab(deadlines(write=60))
    client = lab.connect(SlowTransport())
    client.send(GET)
    lab.reply()
    lab.wait(59)
    assert not client.aborted
    lab.wait(2)
    assert client.aborted
    assert lab.context.counters["slow_readers"] == 1


def test_a_reader_that_takes_anything_is_never_cut() -> None:
    lab = Lab(deadlines(write=60))
    transport = SlowTransport()
    client = lab.connect(transport)
    client.send(GET)
    lab.reply(response(b"a" * 1000))
    for _ in range(10):
        lab.wait(60)
        transport.read_bytes += 1
    assert not client.aborted
    lab.wait(2 * 60 + 1)
    assert client.aborted, "it was seen to read in the last period, so there is one more"


def test_the_next_part_is_not_missed_while_its_reader_has_not_read_the_last() -> None:
    lab = Lab(deadlines(response=20, write=60))
    transport = SlowTransport()
    client = lab.connect(transport)
    client.send(GET)
    lab.reply(response(b"part", more_content=True))
    for _ in range(10):
        lab.wait(30)
        transport.read_bytes += 1
    assert not client.aborted
    transport.read_all()
    lab.wait(19)
    assert not client.aborted
    lab.wait(2)
    assert client.aborted


def test_a_large_response_waits_here_in_pieces_and_each_has_a_deadline() -> None:
    lab = Lab(deadlines(write=60))
    transport = SlowTransport()
    client = lab.connect(transport)
    client.send(CLOSE)
    lab.reply(response(b"a" * 1_000_000))
    assert len(client.received) == 262_144
    for _ in range(3):
        lab.wait(50)
        assert not client.closed
        transport.read_all()
    assert len(client.received) > 1_000_000
    assert not client.closed, "not before the last piece was read"
    transport.read_all()
    assert client.closed
    assert not client.aborted


def test_a_stream_faster_than_its_reader_is_bounded_and_its_view_is_told_h7_h11() -> None:
    lab = Lab(InterfaceSettings(max_response_backlog_bytes=1_000_000))
    transport = SlowTransport()
    client = lab.connect(transport)
    client.send(GET)
    lab.reply(response(b"a" * 100_000, more_content=True))
    for _ in range(20):
        lab.reply({"content": b"a" * 100_000, "more_content": True})
        if client.aborted:
            break
    assert client.aborted
    assert client.protocol.write_buffer.queued_bytes <= 1_000_000
    assert len(lab.port.of("http.disconnect")) == 1
    client.leave()
    assert len(lab.port.of("http.disconnect")) == 1


def test_a_reader_that_stops_in_a_stream_is_told_as_gone() -> None:
    lab = Lab(deadlines(write=10, response=OFF))
    client = lab.connect(SlowTransport())
    client.send(GET)
    lab.reply(response(b"a", more_content=True))
    lab.wait(11)
    assert client.aborted
    client.leave()
    assert len(lab.port.of("http.disconnect")) == 1


# The layer.


def test_a_full_channel_is_503_and_closes_h12() -> None:
    lab = Lab()
    lab.port.outcomes = [Outcome.FULL]
    client = lab.connect()
    client.send(GET)
    [answer] = client.answers
    assert (answer.status, answer.header("Retry-After"), answer.header("Connection")) == (503, "5", "close")
    assert client.closed


def test_requests_wait_for_a_lost_layer_and_are_sent_when_it_is_back() -> None:
    lab = Lab()
    early, late = lab.connect(), lab.connect()
    lab.port.outcomes = [Outcome.UNAVAILABLE]
    early.send(GET)
    lab.inbox.layer_lost("connection refused")
    late.send(GET)
    assert len(lab.requests) == 1
    lab.wait(5)
    lab.port.process = "hr1.0.ffffffffffffffffffffffffffffffff!"
    lab.inbox.layer_back()
    assert [asked.message["reply_channel"][:8] for asked in lab.requests[1:]] == ["hr1.0.ff"] * 2
    for number in (1, 2):
        lab.reply(number=number)
    assert [len(client.answers) for client in (early, late)] == [1, 1]


def test_a_layer_that_stays_away_is_503() -> None:
    lab = Lab(deadlines(layer=10))
    lab.inbox.layer_lost("connection refused")
    client = lab.connect()
    client.send(GET)
    lab.wait(11)
    assert [answer.status for answer in client.answers] == [503]
    assert lab.requests == []
    assert not lab.context.held


def test_requests_that_wait_for_the_layer_have_a_bound(caplog: pytest.LogCaptureFixture) -> None:
    lab = Lab(InterfaceSettings(max_held=2), layer_up=False)
    clients = [lab.connect() for _ in range(3)]
    for client in clients:
        client.send(GET)
    lab.connect().send(GET)
    assert [bool(client.received) for client in clients] == [False, False, True]
    assert len(caplog.records) == 1
    clients[0].leave()
    assert len(lab.context.held) == 1
    assert lab.port.asked == [], "nothing was sent, so nobody is told"


def test_an_unknown_outcome_waits_for_the_reply_and_not_longer_than_a_queued_request() -> None:
    lab = Lab(deadlines(queue=30, response=120))
    lab.port.auto = None
    clients = [lab.connect() for _ in range(3)]
    for client in clients:
        client.send(GET)
    lab.wait(5)
    for asked in lab.requests:
        asked.answer(Outcome.UNKNOWN)
    lab.wait(20)
    lab.reply(number=0)
    assert clients[0].answers[0].status == 200
    lab.note(control.RUNNING)
    lab.wait(8)
    assert [answer.status for answer in clients[1].answers] == [504]
    lab.wait(100)
    assert not clients[2].received, "a view that runs has the time of one that runs"
    assert len(lab.requests) == 3, "it may be a POST: never repeated"


def test_what_the_layer_lost_is_503_within_a_moment_unless_a_worker_has_it() -> None:
    lab = Lab()
    queued, running, unsure, on_its_way = (lab.connect() for _ in range(4))
    for client in (queued, running):
        client.send(GET)
    lab.port.outcomes = [Outcome.UNKNOWN]
    unsure.send(GET)
    lab.port.auto = None
    on_its_way.send(GET)
    lab.inbox.data_lost()
    lab.wait(1)
    lab.inbox.control(control.RUNNING, lab.requests[1].local, {})
    lab.wait(1.5)
    for client in (queued, unsure):
        assert [answer.status for answer in client.answers] == [503]
        assert client.answers[0].header("Retry-After") == "5"
    lab.requests[3].answer()
    lab.wait(20)
    for client, number in ((running, 1), (on_its_way, 3)):
        lab.reply(number=number)
        assert [answer.status for answer in client.answers] == [200]


def test_lost_data_is_no_reason_to_wait_longer() -> None:
    lab = Lab(deadlines(queue=30))
    client = lab.connect()
    client.send(GET)
    lab.wait(31.5)
    lab.inbox.data_lost()
    lab.wait(0.75)
    assert [answer.status for answer in client.answers] == [503]


# Upgrades.


def test_an_upgrade_hands_the_connection_over_with_its_early_bytes() -> None:
    lab = Lab()
    client = lab.connect()
    client.send(UPGRADE + b"early")
    client.send(b" bird")
    [upgraded] = lab.upgraded
    assert upgraded.started
    assert upgraded.received == b"early bird"
    assert upgraded.head.path == "/ws"
    lab.wait(1000)
    assert not client.closed, "its deadlines are the shell's own"
    client.leave()
    assert upgraded.lost


def test_an_upgrade_behind_another_request_waits_for_its_turn() -> None:
    lab = Lab()
    client = lab.connect()
    client.send(GET + UPGRADE + b"1")
    client.send(b"2")
    assert lab.upgraded == []
    lab.reply()
    assert lab.upgraded[0].received == b"12"
    assert len(client.answers) == 1


def test_another_upgrade_is_an_ordinary_request_and_the_next_one_follows() -> None:
    lab = Lab()
    client = lab.connect()
    h2c = b"GET /h2c HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n"
    client.send(h2c + GET)
    for _ in range(2):
        lab.reply()
    assert [asked.message["path"] for asked in lab.requests] == ["/h2c", "/hello"]
    assert [answer.status for answer in client.answers] == [200, 200]


# The end of the process.


def drain(lab: Lab) -> None:
    lab.context.draining = True
    for shell in list(lab.context.http_shells):
        shell.drain()


def test_a_drain_closes_quiet_connections_and_lets_requests_end() -> None:
    lab = Lab()
    quiet, busy = lab.connect(), lab.connect()
    lab.wait(0.5)
    fresh = lab.connect()
    busy.send(GET)
    lab.wait(0.5)
    drain(lab)
    assert [client.closed for client in (quiet, fresh, busy)] == [True, False, False]
    lab.wait(0.75)
    assert [client.closed for client in (quiet, fresh, busy)] == [True, True, False]
    lab.wait(5)
    lab.reply()
    assert busy.answers[0].status == 200
    assert busy.answers[0].header("Connection") == "close"
    assert busy.closed


def test_a_request_that_comes_during_the_drain_is_answered_and_the_last_on_its_connection() -> None:
    lab = Lab()
    begun, kept = lab.connect(), lab.connect()
    begun.send(GET[:10])
    kept.send(GET)
    lab.reply()
    drain(lab)
    begun.send(GET[10:])
    lab.reply()
    lab.wait(0.5)
    kept.send(GET)
    lab.reply()
    for client, connections in ((begun, ["close"]), (kept, [None, "close"])):
        assert [answer.status for answer in client.answers] == [200] * len(connections)
        assert [answer.header("Connection") for answer in client.answers] == connections
        assert client.closed


def test_a_stream_that_began_before_the_drain_keeps_its_promise_for_a_while() -> None:
    lab = Lab()
    client = lab.connect()
    client.send(GET)
    lab.reply(response(b"one", more_content=True))
    drain(lab)
    lab.reply({"content": b"two", "more_content": False})
    assert not client.closed
    client.send(GET)
    lab.reply()
    assert [answer.header("Connection") for answer in client.answers] == [None, "close"]
    assert client.closed


def test_a_connection_that_comes_during_the_drain_is_served_or_closed_soon() -> None:
    lab = Lab()
    drain(lab)
    first, second = lab.connect(), lab.connect()
    first.send(GET)
    lab.reply()
    assert first.answers[0].header("Connection") == "close"
    lab.wait(1.25)
    assert second.closed


def test_what_waits_for_all_slow_readers_together_is_bounded() -> None:
    lab = Lab(InterfaceSettings(max_backlog_bytes=3_000_000, max_pending_bytes=500_000))
    clients = [lab.connect(SlowTransport()) for _ in range(20)]
    for client in clients:
        client.send(GET)
    for number in range(20):
        lab.reply(response(b"a" * 100_000, more_content=True), number)
    for _ in range(20):
        for number, client in enumerate(clients):
            if not client.aborted:
                lab.reply({"content": b"a" * 100_000, "more_content": True}, number)
    waiting = [client.protocol.write_buffer.queued_bytes for client in clients if not client.aborted]
    assert sum(waiting) <= 3_000_000 + len(clients) * 500_000
    assert any(client.aborted for client in clients)
    for client in clients:
        client.leave()
    assert lab.context.backlog.bytes == 0


def test_a_little_backlog_is_kept_for_a_client_while_others_hold_much() -> None:
    lab = Lab(InterfaceSettings(max_backlog_bytes=1_000_000, max_pending_bytes=500_000))
    greedy, modest = lab.connect(SlowTransport()), lab.connect(SlowTransport())
    for client in (greedy, modest):
        client.send(GET)
    for number in range(2):
        lab.reply(response(b"a", more_content=True), number)
    for _ in range(11):
        lab.reply({"content": b"a" * 100_000, "more_content": True}, 0)
    lab.reply({"content": b"a" * 100_000, "more_content": True}, 1)
    assert not modest.aborted
    lab.reply({"content": b"a" * 100_000, "more_content": True}, 0)
    assert greedy.aborted

"""WebSockets over real loopback connections, with a layer in memory that notes what it is asked."""

from __future__ import annotations

import gc
import io
import logging
import struct
import tracemalloc
import weakref
import zlib
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from typing import Any

import pytest
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from headrace_asgi.contract import Outcome
from headrace_asgi.messages import WEBSOCKET_CONNECT, WEBSOCKET_DISCONNECT, WEBSOCKET_RECEIVE
from headrace_interface.access_log import AccessLog
from headrace_interface.deadlines import OFF, Deadlines
from headrace_interface.settings import InterfaceSettings
from headrace_interface.websocket import heartbeat as websocket_heartbeat
from headrace_interface.websocket.protocol import WebSocketShell
from tests.support.reactors import HandReactor, hand_reactor
from tests.support.recording_port import PASS_ON
from tests.support.websocket_lab import Client, Lab, masked, request

DEFLATE = b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
LOOPBACK = (ip_network("127.0.0.0/8"),)
TEXT, BINARY, CLOSE, PING, PONG = 0x81, 0x82, 0x88, 0x89, 0x8A


@pytest.fixture
def reactor() -> Iterator[HandReactor]:
    with hand_reactor() as reactor:
        yield reactor


MakeLab = Callable[..., Lab]


@pytest.fixture
def make_lab(reactor: HandReactor) -> Iterator[MakeLab]:
    labs: list[Lab] = []

    def make(settings: InterfaceSettings | None = None, **more: Any) -> Lab:
        labs.append(Lab(reactor, settings, **more))
        return labs[-1]

    yield make
    for lab in labs:
        lab.close()


@pytest.fixture
def lab(make_lab: MakeLab) -> Lab:
    return make_lab()


def answer(data: bytes) -> tuple[int, dict[bytes, bytes], bytes]:
    """Status, headers and body of a response."""
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    headers = dict(line.lower().split(b": ", 1) for line in lines)
    return int(first.split()[1]), headers, body


def frames(lab: Lab) -> list[Any]:
    return [asked.message.get("text", asked.message.get("bytes")) for asked in lab.port.of("frame")]


def close_frame(client: Client) -> tuple[int, bytes]:
    first, payload = client.frame()
    assert first == CLOSE
    return (int.from_bytes(payload[:2], "big"), payload[2:]) if payload else (1005, b"")


def deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return (packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


def quick(**seconds: float) -> InterfaceSettings:
    return InterfaceSettings(deadlines=Deadlines(**seconds))


# The handshake.


def test_nothing_is_answered_before_the_application_accepts(lab: Lab) -> None:
    client = lab.client()
    lab.reactor.turn(0.05)
    assert client.poll() == b""
    (asked,) = lab.port.asked
    WEBSOCKET_CONNECT.check(asked.message)
    assert asked.message["reply_channel"] == lab.port.process + asked.local
    assert asked.message["scheme"] == "ws"
    assert asked.message["query_string"] == b"room=1"
    client.shell.reply({"accept": True})
    status, headers, _ = answer(client.until(b"\r\n\r\n"))
    assert status == 101
    # The example of RFC 6455 1.3.
    assert headers[b"sec-websocket-accept"] == b"s3pplmbitxaq9kygzzhzrbk+xoo="
    assert b"sec-websocket-protocol" not in headers
    assert b"sec-websocket-extensions" not in headers


def test_the_application_chooses_the_subprotocol_and_sets_cookies_s11(lab: Lab) -> None:
    client = lab.client(request(b"Sec-WebSocket-Protocol: chat, superchat\r\n"))
    lab.reactor.until(lambda: lab.port.of("connect"))
    assert lab.port.asked[0].message["subprotocols"] == ["chat", "superchat"]
    cookies = [[b"Set-Cookie", b"a=1; Path=/"], [b"X-Other", "é".encode()], [b"Set-Cookie", b"b=2"]]
    client.shell.reply({"accept": True, "subprotocol": "superchat", "headers": cookies})
    head = client.until(b"\r\n\r\n")
    assert b"Sec-WebSocket-Protocol: superchat\r\n" in head
    assert head.count(b"Set-Cookie: ") == 2
    assert b"Set-Cookie: a=1; Path=/\r\n" in head
    assert b"Set-Cookie: b=2\r\n" in head
    assert "X-Other: é\r\n".encode() in head


@pytest.mark.parametrize(
    ("reply", "status", "body"),
    [
        ({"close": True}, 403, b"Access denied.\n"),
        ({"accept": False, "text": "ignored"}, 403, b"Access denied.\n"),
        ({"close": 4000, "status": 401, "content": b"who?"}, 401, b"who?"),
        ({"close": True, "status": 302, "headers": [[b"location", b"/login"]]}, 302, b"Access denied.\n"),
    ],
)
def test_a_denial_has_status_headers_and_body_and_is_no_disconnect_s8(
    lab: Lab, reply: dict[str, Any], status: int, body: bytes
) -> None:
    client = lab.client()
    lab.reactor.until(lambda: client.shell.local in lab.port.connected)
    client.shell.reply(reply)
    got, headers, content = answer(client.until_end())
    assert (got, content) == (status, body)
    assert headers[b"content-length"] == str(len(body)).encode()
    assert headers[b"connection"] == b"close"
    assert b"date" in headers
    if status == 302:
        assert headers[b"location"] == b"/login"
    client.close()
    lab.reactor.turn(0.05)
    assert [asked.kind for asked in lab.port.asked] == ["connect", "forget"]
    assert lab.context.connections.socket_count == 0


@pytest.mark.parametrize(
    ("handshake", "status"),
    [
        (request(without=(b"sec-websocket-version",)), 426),
        (request(without=(b"sec-websocket-key",)), 400),
        (request(b"Sec-WebSocket-Protocol: a, a\r\n"), 400),
    ],
)
def test_a_bad_handshake_asks_nobody(lab: Lab, handshake: bytes, status: int) -> None:
    client = lab.client(handshake)
    assert answer(client.until_end())[0] == status
    assert lab.port.asked == []
    assert lab.context.connections.socket_count == 0


def test_a_full_channel_is_503_and_no_disconnect(lab: Lab) -> None:
    lab.port.auto = Outcome.FULL
    client = lab.client()
    status, headers, _ = answer(client.until_end())
    assert (status, headers[b"retry-after"]) == (503, b"1")
    client.close()
    lab.reactor.turn(0.02)
    assert [asked.kind for asked in lab.port.asked] == ["connect"]
    assert not client.shell.registered
    assert lab.context.counters["connect_full"] == 1


def test_frames_before_the_101_wait_and_come_in_order(lab: Lab) -> None:
    nasty = b"\r\n\r\nGET / HTTP/1.1\r\n\r\n"
    ping = masked(9, b"early")
    client = lab.client(request() + masked(1, nasty) + ping[:5])
    client.send(ping[5:])
    lab.reactor.turn(0.05)
    assert frames(lab) == []
    client.shell.control("verdict", {"ordered": False})
    client.shell.reply({"accept": True, "text": "welcome"})
    client.until(b"\r\n\r\n")
    assert client.frame() == (TEXT, b"welcome")
    assert client.frame() == (PONG, b"early")
    assert frames(lab) == [nasty.decode()]
    assert lab.port.of("frame")[0].order == 1
    WEBSOCKET_RECEIVE.check(lab.port.of("frame")[0].message)


def test_too_many_early_bytes_end_the_handshake(make_lab: MakeLab) -> None:
    lab = make_lab(InterfaceSettings(max_early_bytes=1000))
    client = lab.client()
    client.send(b"x" * 2000)
    assert answer(client.until_end())[0] == 400
    assert lab.told().message["code"] == 1006


@pytest.mark.parametrize("answered", [True, False])
def test_a_client_that_leaves_during_the_handshake_is_told(lab: Lab, answered: bool) -> None:
    lab.port.auto = PASS_ON if answered else None
    client = lab.client()
    lab.reactor.turn(0.02)
    client.close()
    lab.reactor.turn(0.05)
    if not answered:
        assert lab.port.of("disconnect") == []
        assert client.shell.registered
        lab.port.of("connect")[0].answer()
    told = lab.told()
    WEBSOCKET_DISCONNECT.check(told.message)
    assert (told.message["code"], told.order) == (1006, 1)
    assert lab.context.connections.socket_count == 0
    client.shell.reply({"accept": True})  # too late, and harmless


def test_a_handshake_that_no_worker_took_is_503_and_one_without_an_answer_504(make_lab: MakeLab) -> None:
    for taken, status in ((False, 503), (True, 504)):
        lab = make_lab(quick(queue=0.2, handshake=0.4))
        client = lab.client()
        if taken:
            client.shell.control("running", {})
        assert answer(client.until_end())[0] == status
        assert lab.told().message["code"] == 1006


def test_a_connect_timeout_that_is_off_never_rejects_s6(make_lab: MakeLab) -> None:
    lab = make_lab(quick(queue=OFF, handshake=OFF))
    client = lab.client()
    lab.reactor.turn(0.6)
    assert client.poll() == b""
    assert lab.port.asked[0].expiry_seconds == 60
    client.shell.reply({"accept": True})
    client.until(b"101")


def test_a_failed_consumer_answers_the_handshake_at_once(lab: Lab) -> None:
    client = lab.client()
    lab.reactor.until(lambda: client.shell.local in lab.port.connected)
    client.shell.control("failed", {"status": 500, "reason": "no route"})
    status, _, body = answer(client.until_end())
    assert (status, body) == (500, b"no route\n")
    lab.told()


def test_handshakes_wait_while_the_layer_is_away(make_lab: MakeLab) -> None:
    lab = make_lab(quick(layer=0.3))
    lab.context.layer_up = False
    waits, gives_up, leaves = lab.client(), lab.client(), lab.client()
    assert len(lab.context.held) == 3
    leaves.close()
    lab.reactor.until(lambda: len(lab.context.held) == 2)
    del lab.context.held[waits.shell]
    waits.shell.layer_back()
    assert [asked.local for asked in lab.port.asked] == [waits.shell.local]
    assert answer(gives_up.until_end())[0] == 503
    waits.shell.reply({"accept": True})
    waits.until(b"101")
    assert lab.port.of("disconnect") == []
    assert lab.context.held == {}


def test_a_wrong_acceptance_is_500_with_a_line_in_the_log(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    client = lab.client()
    lab.reactor.until(lambda: client.shell.local in lab.port.connected)
    client.shell.reply({"accept": True, "subprotocol": "never offered"})
    assert answer(client.until_end())[0] == 500
    assert "never offered" in caplog.text
    lab.told()


# Messages.


def test_messages_of_every_kind_go_both_ways(lab: Lab) -> None:
    client = lab.open()
    client.send(masked(1, "é€🦆".encode()) + masked(2, b"\0\xff") + masked(1, b"") + masked(2, b""))
    client.send(masked(1, b"in ", fin=False) + masked(9, b"!") + masked(0, b"parts"))
    lab.reactor.until(lambda: len(lab.port.of("frame")) == 5)
    assert frames(lab) == ["é€🦆", b"\0\xff", "", b"", "in parts"]
    assert [asked.order for asked in lab.port.of("frame")] == [1, 2, 3, 4, 5]
    assert not any(asked.ordered for asked in lab.port.of("frame"))
    for asked in lab.port.of("frame"):
        WEBSOCKET_RECEIVE.check(asked.message)
    assert client.frame() == (PONG, b"!")
    for reply in ({"text": "é"}, {"bytes": b"\xff"}, {"text": ""}, {"bytes": b"", "accept": True}):
        client.shell.reply(reply)
    got = [client.frame() for _ in range(4)]
    assert got == [(TEXT, "é".encode()), (BINARY, b"\xff"), (TEXT, b""), (BINARY, b"")]


def test_data_alone_accepts_and_a_close_may_ride_along(lab: Lab) -> None:
    client = lab.client()
    client.shell.reply({"text": "hi and bye", "close": 4001, "reason": "é" * 100})
    client.until(b"\r\n\r\n")
    assert client.frame() == (TEXT, b"hi and bye")
    assert close_frame(client) == (4001, "é".encode() * 61)
    client.send(masked(8, struct.pack("!H", 4001)))
    client.until_end()
    assert lab.told().message["code"] == 4001


def test_a_large_message_crosses_in_one_piece(lab: Lab) -> None:
    client = lab.open()
    data = b"0123456789abcdef" * 65536
    client.send(masked(2, data, key=b"\0\0\0\0"))
    lab.reactor.until(lambda: lab.port.of("frame"))
    assert frames(lab) == [data]
    client.shell.reply({"bytes": data})
    assert client.frame() == (BINARY, data)


def test_a_message_that_breaks_the_specification_is_dropped_and_the_socket_lives(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    client = lab.open()
    client.shell.reply({"txet": "typo"})
    client.shell.reply({"text": "still here"})
    assert client.frame() == (TEXT, b"still here")
    assert "txet" in caplog.text
    assert lab.context.counters["bad_messages"] == 1


def test_one_ordered_frame_is_with_the_layer_at_a_time_and_a_full_channel_is_waited_for(lab: Lab) -> None:
    client = lab.open(ordered=True)
    lab.port.auto = None
    client.send(b"".join(masked(1, b"%d" % number) for number in range(5)))
    lab.reactor.turn(0.05)
    assert frames(lab) == ["0"]
    lab.port.of("frame")[0].answer(Outcome.BOXED)
    assert frames(lab) == ["0", "1"]
    assert all(asked.ordered for asked in lab.port.of("frame"))
    lab.port.of("frame")[1].answer(Outcome.FULL)
    lab.reactor.until(lambda: lab.port.levels_asked)
    assert frames(lab) == ["0", "1"]
    lab.reactor.turn(0.01)
    lab.context.waiting_room.level(1000, 999, 1000)
    assert frames(lab) == ["0", "1", "1"]
    assert [asked.order for asked in lab.port.of("frame")] == [1, 2, 2]
    lab.port.auto = PASS_ON
    lab.port.of("frame")[2].answer()
    lab.reactor.until(lambda: frames(lab)[-1] == "4")
    assert frames(lab) == ["0", "1", "1", "2", "3", "4"]
    assert client.shell._sender.waiting is None


def test_what_waits_for_the_layer_is_bounded_by_not_reading(make_lab: MakeLab) -> None:
    lab = make_lab(InterfaceSettings(max_unanswered_bytes=10_000))
    client = lab.open(ordered=True)
    lab.port.auto = None
    frame = masked(2, b"x" * 1000)
    for _ in range(2000):
        if not client.send_some(frame):
            break
        lab.reactor.iterate(0)
    lab.reactor.turn(0.05)
    shell = client.shell
    assert 10_000 <= shell._exchange._weight <= 10_000 + 64 * 1024
    assert len(shell._reader._ws.data) <= 64 * 1024
    assert shell._transport not in lab.reactor.getReaders()
    answered = 0
    while answered < 200:
        lab.port.of("frame")[answered].answer()
        answered += 1
        lab.reactor.iterate(0)
    assert len(lab.port.of("frame")) == answered + 1


# What waits while the layer cannot take it.


def blip(lab: Lab, outcome: Outcome) -> None:
    """The layer goes; what it was just asked has this outcome."""
    lab.context.layer_up = False
    for asked in lab.port.of("frame"):
        asked.answer(outcome)
    lab.port.asked.clear()


def back(lab: Lab) -> None:
    lab.context.layer_up = True
    lab.context.waiting_room.layer_back()


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("outcome", [Outcome.UNAVAILABLE, Outcome.UNKNOWN], ids=lambda each: each.name)
def test_a_socket_that_speaks_stays_open_through_a_blip_and_what_it_said_arrives(
    lab: Lab, outcome: Outcome, ordered: bool
) -> None:
    client = lab.open(ordered=ordered)
    lab.port.auto = None
    client.send(masked(1, b"a"))
    lab.reactor.until(lambda: frames(lab) == ["a"])
    blip(lab, outcome)
    client.send(masked(1, b"b"))
    lab.reactor.turn(0.3)
    assert frames(lab) == []
    assert client.shell._transport not in lab.reactor.getReaders()
    lab.port.auto = PASS_ON
    back(lab)
    lab.reactor.until(lambda: frames(lab) == ["a", "b"])
    assert [asked.order for asked in lab.port.of("frame")] == [1, 2]
    assert client.poll() == b""
    assert not lab.context.waiting_room
    lab.reactor.until(lambda: client.shell.progress == (2, ordered))


def test_a_client_that_leaves_in_a_blip_is_told_after_what_it_said(lab: Lab) -> None:
    client = lab.open()
    lab.port.auto = None
    client.send(masked(1, b"a") + masked(8, struct.pack("!H", 1001)))
    lab.reactor.until(lambda: frames(lab) == ["a"])
    client.until_end()
    lab.reactor.until(lambda: client.shell._reader is None)
    blip(lab, Outcome.UNKNOWN)
    assert lab.context.connections.socket_count == 1
    lab.port.auto = PASS_ON
    back(lab)
    told = lab.told()
    assert frames(lab) == ["a"]
    assert (told.message["code"], told.order) == (1001, 2)
    assert not lab.context.waiting_room
    assert lab.context.connections.socket_count == 0


def test_after_the_grace_what_waits_is_given_up_and_the_socket_closed_1013(lab: Lab) -> None:
    client, left = lab.open(), lab.open()
    lab.port.auto = None
    client.send(masked(1, b"a"))
    left.send(masked(1, b"b"))
    lab.reactor.until(lambda: len(frames(lab)) == 2)
    blip(lab, Outcome.UNAVAILABLE)
    left.shell.connectionLost(Failure(ConnectionDone()))
    for shell in lab.context.connections.sockets():
        shell.close(1013, "service unavailable")
    assert close_frame(client)[0] == 1013
    assert [asked.local for asked in lab.port.of("disconnect")] == [left.shell.local]
    assert frames(lab) == []
    client.send(masked(8, struct.pack("!H", 1013)))
    client.until_end()
    lab.reactor.until(lambda: len(lab.port.of("disconnect")) == 2)
    assert not lab.context.waiting_room


def test_a_socket_for_which_the_channel_stays_full_is_closed_1013_after_the_queue_deadline_s7(
    make_lab: MakeLab,
) -> None:
    lab = make_lab(quick(queue=0.3))
    client = lab.open()
    lab.port.auto = Outcome.FULL
    client.send(masked(1, b"a"))
    began = lab.reactor.seconds()
    assert close_frame(client)[0] == 1013
    assert lab.reactor.seconds() - began >= 0.3
    client.close()
    assert lab.told().message["code"] == 1006
    assert lab.context.counters["frame_full"] > 2
    assert not lab.context.waiting_room


def test_a_strict_socket_that_is_told_of_a_lost_message_closes_1013_and_another_goes_on(lab: Lab) -> None:
    strict, slight = lab.open(ordered=True), lab.open(ordered="slight")
    for client in (strict, slight):
        client.shell.control("lapsed", {"local": client.shell.local})
    assert close_frame(strict) == (1013, b"a message was lost")
    slight.send(masked(1, b"on"))
    lab.reactor.until(lambda: frames(lab) == ["on"])


# One client against the others.


def test_a_flood_of_empty_messages_puts_a_few_on_the_channel_and_is_not_read(lab: Lab) -> None:
    client = lab.open(request(target=b"/" + b"p" * 16_000))
    lab.port.auto = None
    client.send(b"\x82\x80abcd" * 10_000)
    lab.reactor.turn(0.05)
    assert len(frames(lab)) <= 16
    exchange = client.shell._exchange
    assert exchange._weight <= 64 * 1024 + 16_300
    assert client.shell._transport not in lab.reactor.getReaders()


def test_one_that_floods_has_its_share_and_a_quiet_one_is_served(lab: Lab) -> None:
    flooder, quiet = lab.open(), lab.open()
    lab.port.auto = None
    flooder.send(masked(1, b"x") * 5_000)
    total = 0
    for _ in range(20):
        lab.reactor.turn(0.005)
        asked, lab.port.asked = lab.port.of("frame"), []
        total += len(asked)
        lab.context.waiting_room.level(total, total, 1000)
        for each in asked:
            each.answer()
    assert total == 16
    quiet.send(masked(1, b"q"))
    lab.reactor.until(lambda: frames(lab) == ["q"])
    lab.context.waiting_room.level(16, 8, 1000)
    lab.port.asked.clear()
    lab.port.levels_asked.clear()
    lab.reactor.until(lambda: lab.port.levels_asked)
    lab.context.waiting_room.level(16, 0, 1000)
    assert frames(lab) == ["x"] * 16


def test_messages_of_one_read_are_inflated_only_as_there_is_room(lab: Lab) -> None:
    client = lab.open(request(DEFLATE))
    lab.port.auto = None
    bomb = masked(2, deflated(bytes(1024 * 1024)), rsv=4)
    client.send(bomb * (64 * 1024 // len(bomb)))
    tracemalloc.start()
    lab.reactor.turn(0.2)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(lab.port.of("frame")) == 1
    assert most < 4 * 1024 * 1024
    for count in range(1, 5):
        lab.context.waiting_room.level(count, 1, 1000)
        lab.port.of("frame")[count - 1].answer()
        lab.reactor.turn(0.02)
        assert len(lab.port.of("frame")) == count
        lab.context.waiting_room.level(count, 0, 1000)
        lab.reactor.until(lambda count=count: len(lab.port.of("frame")) == count + 1)  # type: ignore[misc]


def test_the_handshakes_of_one_address_are_bounded_and_those_of_others_are_not(make_lab: MakeLab) -> None:
    lab = make_lab(InterfaceSettings(max_address_handshakes=3, proxy_headers=True, trusted_proxies=LOOPBACK))
    waiting = [lab.client(request(b"X-Forwarded-For: 1.2.3.4\r\n")) for _ in range(3)]
    refused = lab.client(request(b"X-Forwarded-For: 1.2.3.4\r\n"))
    status, headers, _ = answer(refused.until_end())
    assert (status, headers[b"retry-after"]) == (503, b"1")
    other = lab.client(request(b"X-Forwarded-For: 1.2.3.5\r\n"))
    lab.reactor.until(lambda: len(lab.port.of("connect")) == 4)
    assert other.shell.local in {asked.local for asked in lab.port.of("connect")}
    # Whoever leaves early leaves a message on the channel.
    waiting[0].close()
    lab.reactor.until(lambda: lab.port.of("disconnect"))
    assert answer(lab.client(request(b"X-Forwarded-For: 1.2.3.4\r\n")).until_end())[0] == 503
    waiting[1].shell.reply({"accept": True})
    lab.client(request(b"X-Forwarded-For: 1.2.3.4\r\n"))
    lab.reactor.until(lambda: len(lab.port.of("connect")) == 5)


def test_a_client_whose_messages_are_inflated_a_thousandfold_is_held_up_for_seconds(lab: Lab) -> None:
    client = lab.open(request(DEFLATE))
    lab.reactor.turn(0.01)
    client.send(masked(2, deflated(bytes(1_000_000)), rsv=4))
    lab.reactor.until(lambda: len(lab.port.of("frame")) == 1)
    held_seconds = client.shell._reader._heartbeat.held_until - lab.reactor.seconds()
    assert 3.0 < held_seconds < 4.1
    assert client.shell._reader.paused


def leave_with_frames(lab: Lab, count: int) -> list[WebSocketShell]:
    """Clients that say much, of which nothing is accepted yet, and are gone."""
    clients = [lab.open() for _ in range(count)]
    lab.port.auto = None
    for client in clients:
        client.send(masked(1, b"x") * 50)
        lab.reactor.turn(0.01)
        client.close()
    lab.reactor.until(lambda: all(client.shell._sender.departed for client in clients))
    return [client.shell for client in clients]


def take_all(lab: Lab, sent: int = 0) -> list[int]:
    """The workers take what there is, again and again; how much was there each time."""
    batches = []
    while not batches or batches[-1]:
        lab.reactor.turn(0.005)
        asked, lab.port.asked = lab.port.of("frame"), []
        sent += len(asked)
        lab.context.waiting_room.level(sent, 0, 1000)
        for each in asked:
            each.answer()
        batches.append(len(asked))
    return batches[:-1]


def test_what_the_departed_of_one_address_left_behind_leaves_a_little_at_a_time(lab: Lab) -> None:
    leave_with_frames(lab, 4)
    first, *others = take_all(lab)
    assert first == 4 * 16  # was on its way when they left
    assert max(others) == 4
    assert sum(others) == 4 * (50 - 16)
    assert not lab.context.connections.socket_count


def test_departed_sockets_count_as_handshakes_until_nothing_of_them_is_left(make_lab: MakeLab) -> None:
    lab = make_lab(InterfaceSettings(max_address_handshakes=2))
    leave_with_frames(lab, 2)
    assert answer(lab.client().until_end())[0] == 503
    take_all(lab)
    lab.port.auto = PASS_ON
    lab.open()


def test_with_the_first_of_the_departed_all_of_its_address_are_given_up(lab: Lab) -> None:
    shells = leave_with_frames(lab, 3)
    for each in lab.port.of("frame"):
        each.answer(Outcome.FULL)
    lab.port.auto = Outcome.FULL
    lab.reactor.until(lambda: not any(shell._sender.waiting for shell in shells[1:]))
    assert shells[0]._sender.waiting
    shells[0]._sender.give_up()
    lab.reactor.until(lambda: len(lab.port.of("disconnect")) == 3)
    assert {asked.local for asked in lab.port.of("disconnect")} == {shell.local for shell in shells}
    assert not lab.context.waiting_room
    lab.port.auto = PASS_ON
    lab.open()


def test_frames_sent_just_before_leaving_still_arrive_and_then_the_disconnect(lab: Lab) -> None:
    client = lab.open(ordered=True)
    lab.port.auto = None
    client.send(masked(1, b"a") + masked(1, b"b") + masked(8, struct.pack("!H", 1001)))
    client.until_end()
    lab.reactor.turn(0.02)
    for number in range(2):
        assert lab.port.of("disconnect") == []
        lab.port.of("frame")[number].answer()
    assert frames(lab) == ["a", "b"]
    told = lab.told()
    assert (told.message["code"], told.order) == (1001, 3)


# Groups.


def test_a_group_message_is_encoded_once_for_all_who_take_it_alike(lab: Lab) -> None:
    plain = [lab.open() for _ in range(3)]
    packed = [lab.open(request(DEFLATE)) for _ in range(2)]
    message, cache = {"text": "news " * 500}, {}  # type: ignore[var-annotated]
    for client in plain + packed:
        client.shell.group_message(message, cache)
    assert len([key for key in cache if isinstance(key, int)]) == 2
    for client in plain:
        assert client.frame() == (TEXT, b"news " * 500)
    for client in packed:
        first, payload = client.frame()
        assert first == TEXT | 0x40
        assert zlib.decompressobj(-15).decompress(payload + b"\0\0\xff\xff") == b"news " * 500


def test_a_group_message_may_close(lab: Lab) -> None:
    client = lab.open()
    client.shell.group_message({"text": "bye", "close": 4000}, {})
    assert client.frame() == (TEXT, b"bye")
    assert close_frame(client)[0] == 4000


@pytest.mark.parametrize(
    "message", [{"text": "secret"}, {"bytes": b"secret"}, {"text": "secret", "close": 4000}]
)
def test_a_group_message_lets_nobody_in_whom_the_application_may_still_refuse(
    lab: Lab, message: dict[str, Any]
) -> None:
    client = lab.client()
    client.shell.group_message(message, {})
    client.shell.reply({"close": True})
    assert client.until(b"\r\n\r\n").startswith(b"HTTP/1.1 403 ")
    assert b"secret" not in client.received


def test_a_group_message_during_the_handshake_follows_the_accept(lab: Lab) -> None:
    client = lab.client()
    for number in range(3):
        client.shell.group_message({"text": str(number)}, {})
    client.shell.reply({"accept": True})
    client.until(b"\r\n\r\n")
    assert [client.frame() for _ in range(3)] == [(TEXT, b"0"), (TEXT, b"1"), (TEXT, b"2")]


def test_a_group_message_may_accept_if_it_says_so(lab: Lab) -> None:
    client = lab.client()
    client.shell.group_message({"accept": True, "text": "welcome"}, {})
    client.until(b"\r\n\r\n")
    assert client.frame() == (TEXT, b"welcome")


def test_a_bad_group_message_is_dropped_once(lab: Lab) -> None:
    clients = [lab.open() for _ in range(3)]
    cache: dict[Any, Any] = {}
    for client in clients:
        client.shell.group_message({"tetx": "x"}, cache)
    assert lab.context.counters["bad_messages"] == 1


# Compression.


def test_large_messages_are_compressed_and_small_ones_are_not(lab: Lab) -> None:
    client = lab.open(request(DEFLATE))
    assert b"permessage-deflate; client_no_context_takeover\r\n" in client.head
    client.shell.reply({"text": "small"})
    assert client.frame() == (TEXT, b"small")
    for _ in range(2):  # each one stands alone
        client.shell.reply({"bytes": b"large" * 1000})
        first, payload = client.frame()
        assert first == BINARY | 0x40
        assert zlib.decompressobj(-15).decompress(payload + b"\0\0\xff\xff") == b"large" * 1000
    client.send(masked(1, deflated(b"from the client" * 100), rsv=4) + masked(1, b"plain"))
    lab.reactor.until(lambda: len(lab.port.of("frame")) == 2)
    assert frames(lab) == ["from the client" * 100, "plain"]


def test_compression_can_be_off_s12(make_lab: MakeLab) -> None:
    lab = make_lab(InterfaceSettings(websocket_compression=False))
    client = lab.open(request(DEFLATE))
    assert b"Extensions" not in client.head
    client.send(masked(1, deflated(b"x"), rsv=4))
    assert close_frame(client)[0] == 1002


# Limits.


def peak(lab: Lab, client: Client, data: bytes) -> int:
    """Bytes that Python held at most, beyond those before, while the server read `data`."""
    gc.collect()
    tracemalloc.start()
    client.send(data)
    lab.reactor.turn(0.05)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most


@pytest.mark.parametrize("size", [4096, 64 << 20])
def test_a_deflate_bomb_is_1009_and_is_not_inflated_s1_st7(make_lab: MakeLab, size: int) -> None:
    """CVE-2026-77528."""
    limit = 1000 if size == 4096 else 100_000
    lab = make_lab(InterfaceSettings(max_websocket_message_bytes=limit))
    client = lab.open(request(DEFLATE))
    bomb = masked(2, deflated(b"\0" * size), rsv=4, key=b"\0\0\0\0")
    assert peak(lab, client, bomb) < 10 * limit + 200_000
    assert close_frame(client)[0] == 1009
    client.close()
    lab.told()
    assert frames(lab) == []


def test_a_bomb_in_fragments_is_1009_s1(make_lab: MakeLab) -> None:
    lab = make_lab(InterfaceSettings(max_websocket_message_bytes=10_000))
    client = lab.open(request(DEFLATE))
    data = deflated(b"\0" * 1_000_000)
    pieces = [data[at : at + 100] for at in range(0, len(data), 100)]
    client.send(masked(2, pieces[0], rsv=4, fin=False))
    for piece in pieces[1:]:
        client.send(masked(0, piece, fin=False))
    assert close_frame(client)[0] == 1009
    assert frames(lab) == []


@pytest.mark.parametrize(
    "data",
    [
        masked(2, b"x" * 1001),
        masked(1, b"x" * 1000, fin=False) + masked(0, b"y"),
        b"\x82\xff" + struct.pack("!Q", 1 << 30) + b"abcd" + b"x" * 10_000,
        masked(2, b"", fin=False) + masked(0, b"ab", fin=False) * 10_000,
    ],
)
def test_a_message_beyond_the_limit_is_1009_s1_st6(make_lab: MakeLab, data: bytes) -> None:
    deadlines = Deadlines(close=0.2)
    lab = make_lab(
        InterfaceSettings(
            max_websocket_message_bytes=1000, max_websocket_frame_bytes=1000, deadlines=deadlines
        )
    )
    client = lab.open()
    assert peak(lab, client, data) < 1_000_000
    assert close_frame(client)[0] == 1009
    client.send(masked(8, struct.pack("!H", 1009)))
    client.until_end()
    lab.told()
    assert frames(lab) == []


def test_the_number_of_sockets_is_bounded_s12(make_lab: MakeLab) -> None:
    lab = make_lab(InterfaceSettings(max_websockets=1))
    first = lab.open()
    assert answer(lab.client().until_end())[0] == 503
    first.close()
    lab.told()
    lab.open()


def test_a_client_that_sends_too_fast_is_held_up_even_within_one_read_s12(make_lab: MakeLab) -> None:
    lab = make_lab(InterfaceSettings(max_websocket_rate=400))
    client = lab.open()
    lab.port.auto = Outcome.SENT  # a layer whose messages nobody takes would hold it up before
    begun = lab.reactor.seconds()
    client.send(masked(1, b"x") * 600)
    lab.reactor.until(lambda: len(lab.port.of("frame")) >= 400)
    lab.reactor.turn(0.05)
    room = 64
    assert len(lab.port.of("frame")) <= 400 + (lab.reactor.seconds() - begun) * 400 + room
    lab.reactor.until(lambda: len(lab.port.of("frame")) == 600)


def test_a_client_with_much_to_say_is_held_up_but_one_that_closes_has_its_time(make_lab: MakeLab) -> None:
    lab = make_lab(InterfaceSettings(max_websocket_bytes_per_second=10_000))
    held, client = lab.open(), lab.open()
    held.send(masked(1, b"x" * 40_000))
    lab.reactor.until(lambda: held.shell._reader.paused)
    lab.port.auto = None
    client.send(masked(1, b"x" * 40_000))
    lab.reactor.until(lambda: len(lab.port.of("frame")) == 2)
    client.shell.close(1000, "enough")
    due = client.shell.due
    lab.port.of("frame")[1].answer()
    assert client.shell.due == due


def ends_with_close(received: bytes, code: int) -> bool:
    """Whether the last frame is a close frame with this code; what is before it are whole small frames."""
    while received:
        size, at = received[1], 2
        if size >= 126:
            wide = 2 if size == 126 else 8
            size, at = int.from_bytes(received[2 : 2 + wide], "big"), 2 + wide
        first, payload, received = received[0], received[at : at + size], received[at + size :]
        if len(payload) < size:
            return False
    return first == CLOSE and int.from_bytes(payload[:2], "big") == code


def test_a_flood_of_pings_is_closed_1008_and_answered_a_few(make_lab: MakeLab) -> None:
    lab = make_lab()
    client = lab.open()
    client.send(masked(9, b"") * 10_000)
    assert [client.frame() for _ in range(16)] == [(PONG, b"")] * 16
    assert close_frame(client)[0] == 1008
    lab.reactor.turn(0.05)
    assert client.poll() == b""
    assert lab.context.counters["flooding_clients"] == 1
    client.close()
    assert lab.told().message["code"] == 1008


def test_a_client_with_too_many_control_frames_is_held_up(make_lab: MakeLab) -> None:
    lab = make_lab(InterfaceSettings(max_control_rate=400))
    client = lab.open()
    client.send(masked(9, b"") * 300 + masked(10, b"") * 300)
    lab.reactor.until(lambda: client.shell._reader.paused)
    client.send(masked(1, b"y"))
    lab.reactor.turn(0.2)
    assert lab.port.of("frame") == []
    lab.reactor.until(lambda: frames(lab) == ["y"])
    assert client.poll() == b"\x8a\0" * 16


def test_a_ping_among_others_is_answered_as_ever(lab: Lab) -> None:
    client = lab.open()
    client.send(b"".join(masked(9, b"ping %d" % number) + masked(1, b"x") for number in range(10)))
    assert [client.frame() for _ in range(10)] == [(PONG, b"ping %d" % number) for number in range(10)]
    lab.reactor.until(lambda: frames(lab) == ["x"] * 10)
    client.send(masked(1, b"in", fin=False) + masked(9, b"between") * 3 + masked(0, b" two"))
    assert client.frame() == (PONG, b"between")
    lab.reactor.until(lambda: frames(lab)[10:] == ["in two"])


@pytest.mark.parametrize(
    "frame",
    [masked(0, b"", fin=False), masked(9, b"") + masked(0, b"x", fin=False), masked(10, b"x")],
    ids=["empty", "pings-between", "pongs"],
)
def test_frames_without_content_end_a_message_that_never_ends(
    make_lab: MakeLab, monkeypatch: pytest.MonkeyPatch, frame: bytes
) -> None:
    monkeypatch.setattr(websocket_heartbeat, "FLOOD_SECONDS", 2)
    lab = make_lab(InterfaceSettings(max_control_rate=40))
    client = lab.open()
    client.send(masked(1, b"", fin=False))
    client.send(frame * 2_000)
    lab.reactor.until(lambda: client.shell._exchange.state == "closing", 20)
    assert lab.context.counters["flooding_clients"] == 1
    assert ends_with_close(client.until(b"frames"), 1008)
    client.close()
    assert lab.told().message["code"] == 1008


def test_a_read_full_of_small_fragments_leaves_the_others_their_turn(make_lab: MakeLab) -> None:
    lab = make_lab()
    client, other = lab.open(), lab.open()
    fragments = masked(1, b"x", fin=False) + masked(0, b"x", fin=False) * 9_000 + masked(0, b"x")
    client.send_some(fragments)
    lab.reactor.until(lambda: client.shell._reader._ws.later)
    other.send(masked(1, b"soon"))
    lab.reactor.until(lambda: frames(lab))
    assert frames(lab) == ["soon"]
    lab.reactor.until(lambda: len(frames(lab)) == 2)
    assert frames(lab)[1] == "x" * 9_002


def test_a_client_that_does_not_read_sees_whole_frames_and_then_1008(
    make_lab: MakeLab, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "headrace.interface")
    lab = make_lab(
        InterfaceSettings(max_pending_bytes=100_000, deadlines=Deadlines(slow_client=0.5, close=0.2))
    )
    client, other = lab.open(), lab.open()
    client.reading = False
    pushed = 0
    while client.shell._exchange.state == "open":
        client.shell.reply({"bytes": b"x" * 10_000})
        pushed += 1
        assert client.shell._writer._direct_transport.pending_bytes <= 300_000
        assert lab.context.slow_sockets.bytes <= 1_700_000
        lab.reactor.turn(0.001)
    assert lab.context.counters["slow_clients"] == 1
    assert "reads too slowly" in caplog.text
    assert lab.context.slow_sockets.bytes < 100
    other.shell.reply({"text": "not delayed"})
    assert other.frame() == (TEXT, b"not delayed")
    lab.reactor.turn(1)
    client.reading = True
    received = 0
    while (frame := client.frame())[0] != CLOSE:
        assert frame == (BINARY, b"x" * 10_000)
        received += 1
    assert int.from_bytes(frame[1][:2], "big") == 1008
    assert 0 < received < pushed
    client.send(masked(8, frame[1]))
    client.until_end()
    assert lab.told().message["code"] == 1008


def test_a_slow_client_that_never_reads_again_is_told_as_1008(
    make_lab: MakeLab, reactor: HandReactor
) -> None:
    stream = io.BytesIO()
    log = AccessLog(reactor, stream=stream)
    seconds = Deadlines(slow_client=0.3, close=0.1, write=0.5)
    lab = make_lab(InterfaceSettings(max_pending_bytes=100_000, deadlines=seconds), access_log=log)
    client = lab.open()
    client.reading = False
    for _ in range(80):
        client.shell.reply({"bytes": b"x" * 60_000})
    started = reactor.seconds()
    assert lab.told().message["code"] == 1008
    assert reactor.seconds() - started > 0.5
    log.flush()
    assert " 1008 " in stream.getvalue().decode().splitlines()[-1]
    assert lab.context.slow_sockets.bytes == 0


def test_what_comes_at_once_is_no_slowness(make_lab: MakeLab) -> None:
    lab = make_lab(InterfaceSettings(max_pending_bytes=1_000_000))
    client = lab.open()
    for _ in range(200):
        client.shell.reply({"bytes": b"x" * 60_000})
    assert lab.context.slow_sockets.bytes > 1_000_000
    for _ in range(200):
        assert client.frame() == (BINARY, b"x" * 60_000)
    lab.reactor.until(lambda: client.shell._writer.keeps_up)
    assert lab.context.slow_sockets.bytes == 0
    assert lab.context.counters["slow_clients"] == 0
    client.shell.reply({"text": "and on"})
    assert client.frame() == (TEXT, b"and on")


def test_a_client_is_closed_at_once_when_far_too_much_waits(make_lab: MakeLab) -> None:
    lab = make_lab(InterfaceSettings(max_pending_bytes=500_000))
    client = lab.open()
    client.reading = False
    for _ in range(300):
        client.shell.reply({"bytes": b"x" * 60_000})
    assert client.shell._exchange.state == "closing"


def test_a_close_by_the_application_follows_what_waits(make_lab: MakeLab) -> None:
    lab = make_lab(quick(close=0.1))
    client = lab.open()
    client.reading = False
    for _ in range(100):
        client.shell.reply({"bytes": b"x" * 60_000})
    client.shell.reply({"close": 4000})
    lab.reactor.turn(0.7)
    client.reading = True
    assert [client.frame() for _ in range(100)] == [(BINARY, b"x" * 60_000)] * 100
    assert close_frame(client) == (4000, b"")
    client.until_end()


def test_a_client_that_closes_gets_what_waits(make_lab: MakeLab) -> None:
    lab = make_lab()
    client = lab.open()
    client.reading = False
    for _ in range(100):
        client.shell.reply({"bytes": b"x" * 60_000})
    client.send(masked(8, struct.pack("!H", 1001)))
    lab.reactor.turn(0.1)
    client.reading = True
    assert [client.frame() for _ in range(100)] == [(BINARY, b"x" * 60_000)] * 100
    assert close_frame(client)[0] == 1000
    client.until_end()
    assert lab.told().message["code"] == 1001


def test_pings_of_a_client_that_does_not_read_pile_up_nowhere(make_lab: MakeLab) -> None:
    seconds = Deadlines(slow_client=0.5, close=0.2, write=0.2)
    lab = make_lab(InterfaceSettings(max_pending_bytes=10_000, deadlines=seconds))
    client = lab.open()
    client.reading = False
    client.shell.reply({"bytes": b"x" * 8_000_000})
    for number in range(50):
        client.send(masked(9, b"%d" % number))
    lab.reactor.until(lambda: lab.context.slow_sockets.bytes)
    lab.reactor.turn(0.05)
    assert lab.context.slow_sockets.bytes == 4
    lab.told()
    assert lab.context.counters["slow_clients"] == 1


def test_the_last_of_many_pings_is_answered_once_the_client_reads(make_lab: MakeLab) -> None:
    lab = make_lab(InterfaceSettings(max_pending_bytes=32_000_000))
    client = lab.open()
    client.reading = False
    client.shell.reply({"bytes": b"x" * 8_000_000})
    client.shell.reply({"text": "behind"})
    for number in range(20):
        client.send(masked(9, b"%d" % number))
        lab.reactor.turn(0.005)
    client.reading = True
    assert client.frame() == (BINARY, b"x" * 8_000_000)
    assert client.frame() == (PONG, b"19")
    assert client.frame() == (TEXT, b"behind")


# Life and end.


def test_a_vanished_client_is_noticed_while_it_is_sent_to_s9_rt6(make_lab: MakeLab) -> None:
    """Pushes do not postpone the ping."""
    lab = make_lab(quick(ping_interval=0.3, ping=0.3))
    client = lab.open()
    kinds = set()

    def push() -> bool:
        client.shell.reply({"text": "push"})
        lab.reactor.turn(0.02)
        client.poll()
        return bool(lab.port.of("disconnect"))

    lab.reactor.until(push, 3)
    while len(client.received) >= 2:
        kinds.add(client.frame()[0])
    assert PING in kinds
    assert lab.told().message["code"] == 1006
    assert lab.context.counters["silent_clients"] == 1


def test_a_client_that_answers_pings_stays(make_lab: MakeLab) -> None:
    lab = make_lab(quick(ping_interval=0.2, ping=0.2))
    client = lab.open()
    for _ in range(3):
        assert client.frame() == (PING, b"")
        client.send(masked(10, b""))
    assert lab.port.of("disconnect") == []


def test_an_old_socket_is_closed_1000(make_lab: MakeLab) -> None:
    lab = make_lab(quick(socket_age=0.3))
    client = lab.open()
    assert close_frame(client)[0] == 1000
    client.send(masked(8, struct.pack("!H", 1000)))
    client.until_end()
    assert lab.told().message["code"] == 1000


def test_a_close_that_is_not_answered_ends_by_itself(make_lab: MakeLab) -> None:
    lab = make_lab(quick(close=0.2))
    client = lab.open()
    client.shell.reply({"close": True})
    assert close_frame(client) == (1000, b"")
    client.until_end()
    assert lab.told().message["code"] == 1006


def test_a_close_without_a_code_is_1005(lab: Lab) -> None:
    client = lab.open()
    client.send(masked(8, b""))
    client.until_end()
    assert lab.told().message["code"] == 1005


def test_a_client_that_closes_and_never_leaves_is_dropped(make_lab: MakeLab) -> None:
    lab = make_lab(quick(close=0.2))
    client = lab.open()
    client.reading = False
    client.shell.reply({"bytes": b"x" * 8_000_000})
    client.send(masked(8, struct.pack("!H", 1001)))
    assert lab.told().message["code"] in (1001, 1006)


@pytest.mark.parametrize("code", [1, 1006, 5000])
def test_an_application_may_ask_for_any_close_code_s10(
    lab: Lab, caplog: pytest.LogCaptureFixture, code: int
) -> None:
    client = lab.open()
    client.shell.reply({"close": code})
    assert close_frame(client)[0] == 1011
    assert len([record for record in caplog.records if str(code) in record.getMessage()]) == 1


def test_a_drain_closes_1012_and_ends_handshakes_with_503(lab: Lab) -> None:
    opened, opening = lab.open(), lab.client()
    lab.reactor.until(lambda: opening.shell.local in lab.port.connected)
    for shell in lab.context.connections.sockets():
        shell.close(1012, "server restarts")
    assert close_frame(opened) == (1012, b"server restarts")
    assert answer(opening.until_end())[0] == 503
    opened.send(masked(8, struct.pack("!H", 1012)))
    opened.until_end()
    lab.reactor.until(lambda: len(lab.port.of("disconnect")) == 2)


def test_the_layer_may_close_a_socket_whose_messages_have_a_gap(lab: Lab) -> None:
    client = lab.open()
    client.shell.control("close", {"code": 1013})
    assert close_frame(client)[0] == 1013


def test_every_way_to_end_is_told_once_and_leaves_nothing(lab: Lab) -> None:
    ends = [
        lambda client: client.close(),
        lambda client: client.reset(),
        lambda client: client.send(masked(8, struct.pack("!H", 1001))),
        lambda client: client.send(b"\xff\xff"),
        lambda client: client.shell.abort(),
    ]
    shells = []
    for end in ends:
        client = lab.open()
        shells.append(weakref.ref(client.shell._reader._ws))
        end(client)
        if client._socket.fileno() >= 0:
            lab.reactor.turn(0.02)
            client.close()
    lab.reactor.until(lambda: len(lab.port.of("disconnect")) == len(ends))
    lab.reactor.turn(0.05)
    assert len(lab.port.of("disconnect")) == len(ends)
    assert lab.context.connections.socket_count == 0
    assert len(lab.context.connections) == 0
    assert all(shell() is None for shell in shells), "Autobahn's object outlives its connection"
    assert not any(lab.context.timers._buckets.values())


def test_the_http_shell_is_gone_once_the_socket_is_open(lab: Lab) -> None:
    client = lab.open()
    assert client.shell._transport.protocol is client.shell
    assert client.shell._writer._direct_transport.when_drained is None


def test_an_idle_socket_is_small(lab: Lab) -> None:
    for _ in range(20):
        lab.open()
    clients = []
    gc.collect()
    tracemalloc.start()
    for _ in range(100):
        clients.append(lab.open(request(DEFLATE)))
        clients[-1].send(masked(1, deflated(b"hello" * 100), rsv=4))
    lab.reactor.until(lambda: len(lab.port.of("frame")) == 100)
    lab.port.asked.clear()
    gc.collect()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held / 100 < 10_000  # with the client's end, which is here too


def test_the_access_log_has_a_line_for_each_step(make_lab: MakeLab, reactor: HandReactor) -> None:
    stream = io.BytesIO()
    log = AccessLog(reactor, stream=stream)
    lab = make_lab(access_log=log)
    client = lab.open()
    client.close()
    lab.told()
    denied = lab.client()
    denied.shell.reply({"close": True})
    denied.until_end()
    log.flush()
    lines = stream.getvalue().decode().splitlines()
    assert [line.split('"')[1].split()[0] for line in lines] == [
        "WSCONNECTING",
        "WSCONNECT",
        "WSDISCONNECT",
        "WSCONNECTING",
        "WSREJECT",
    ]
    assert " 1006 " in lines[2]
    assert " 403 " in lines[4]


def test_a_path_cannot_begin_a_line_of_the_log(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    client = lab.client(request(target=b"/%0aERROR%20forged"))
    lab.reactor.until(lambda: client.shell.local in lab.port.connected)
    client.shell.reply({"accept": True, "subprotocol": "never offered"})
    [record] = [record for record in caplog.records if "never offered" in record.getMessage()]
    assert "\n" not in record.getMessage()

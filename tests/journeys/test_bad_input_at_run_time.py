"""Bad input while the tiers run: each gets its status, close code or log line, and the next one is served."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest
import redis
from websockets.exceptions import ConnectionClosed, InvalidStatus

from headrace_asgi.envelope import encode, pack_message
from headrace_asgi.layers.redis.blocking.layer import RedisPlaceLayer
from tests.support.every_key import Spoiler, documented_kinds
from tests.support.rubbish import Rubbish
from tests.support.stack import Process, Stack, eventually
from tests.support.wsclient import open_socket

#: Rounds of rubbish in all keys, each of some thousand pieces.
ROUNDS = 200 if os.environ.get("HEADRACE_FULL") else 6
#: Bytes that are no entry, in every way there is.
GARBAGE = [
    b"",
    b"\x01",
    b"anything",
    b"\x02" + bytes(9),
    bytes((1, 0x02)) + bytes(8) + b"\xffab",
    bytes((1, 0x02)) + bytes(8) + b"\x02\xff\xfe\x80",
    encode(b""),
    encode(b"\xc1"),
    encode(pack_message({"text": "x"})[:-1]),
    encode(msgpack.packb([1])),
    encode(msgpack.packb({1: 2})),
    encode(msgpack.packb({"text": b"\xff"}, use_bin_type=False)),
]
HEAD = b"Host: a\r\nConnection: close\r\n"
UPGRADE = (
    b"GET /ws/badly HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


class Scene:
    """One stack for all tests, with a way around its interface: a layer, and Redis itself."""

    def __init__(self, stack: Stack, interface: Process, worker: Process) -> None:
        self.stack, self.interface, self.worker = stack, interface, worker
        self.layer = RedisPlaceLayer(**stack.config)
        self.redis: Any = redis.Redis.from_url(stack.config["hosts"][0])

    def exchange(self, data: bytes) -> bytes:
        """Send bytes over a connection of their own; everything that comes back."""
        with socket.create_connection(("127.0.0.1", self.stack.port), timeout=10) as link:
            link.sendall(data)
            answer = b""
            try:
                while part := link.recv(65536):
                    answer += part
            except ConnectionResetError:
                assert answer, f"no answer to {data[:60]!r}"
        return answer

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and body of a page."""
        head, _, body = self.exchange(b"GET %s HTTP/1.1\r\n%s\r\n" % (path.encode(), HEAD)).partition(
            b"\r\n\r\n"
        )
        return int(head.split()[1]), body

    def close_code(self, frame: bytes) -> int:
        """The code with which a WebSocket that sends these bytes is closed."""
        with socket.create_connection(("127.0.0.1", self.stack.port), timeout=10) as link:
            link.sendall(UPGRADE)
            answer = b""
            while b"\r\n\r\n" not in answer:
                answer += link.recv(4096)
            assert answer.startswith(b"HTTP/1.1 101"), answer
            link.sendall(frame)
            answer = answer.partition(b"\r\n\r\n")[2]
            while len(answer) < 4:
                answer += link.recv(4096)
        assert answer[0] == 0x88, answer
        return int.from_bytes(answer[2:4], "big")

    def key(self, channel: str) -> str:
        """The Redis key of a channel's list."""
        return str(self.layer.plan.key("0", "c", channel))

    def serves(self) -> None:
        """Both processes live, and the next request and the next frame are answered."""
        assert self.interface.popen.poll() is None
        assert self.worker.popen.poll() is None
        assert self.get("/hello") == (200, b"Hello, world!")
        with open_socket(self.stack.port, "/ws/badly") as client:
            client.send("still")
            assert client.recv(timeout=10) == "still"

    def logs(self, process: Process, text: str, count: int = 1) -> None:
        """`text` is logged `count` times by the end of the test."""
        eventually(
            lambda: process.output().count(text) >= count, what=f"{text!r} in {process.output()[-2000:]}"
        )
        assert process.output().count(text) == count


@pytest.fixture(scope="module")
def running(redis_server: Any) -> Iterator[Scene]:
    with Stack.over(f"{redis_server.url}?prefix=badinput") as stack:
        stack.unaccounted = "the tests write to the channels themselves"
        interface = stack.interface("--max-body-size", "1000000")
        scene = Scene(stack, interface, stack.worker())
        yield scene
        scene.layer.close()
        scene.redis.close()
        assert scene.worker.end() == 0
        assert scene.interface.end() == 0
        assert "failed" in scene.worker.output().splitlines()[-1], "the counters are told at the end"


@pytest.fixture
def scene(running: Scene) -> Iterator[Scene]:
    yield running
    running.serves()


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("unknown_key", "unknown key 'contents'"),
        ("wrong_type", "'status' must be an int from 200 to 999, not '200' (str)"),
        ("missing_key", "missing 'status'"),
        ("text_content", "'content' must be bytes, not 'x' (str)"),
        ("impossible_status", "'status' must be an int from 200 to 999, not 99"),
        ("split_header", "has bytes a header must not have"),
    ],
)
def test_an_answer_that_is_no_response_is_a_500_and_a_line_that_names_the_key(
    scene: Scene, what: str, said: str
) -> None:
    assert scene.get(f"/badly/{what}") == (500, b"The application could not answer this request.\n")
    scene.logs(scene.interface, f"GET /badly/{what} from ")
    scene.logs(scene.interface, said)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("unpackable", "A message holds only bytes, str, int"),
        ("no_dict", "TypeError: A message is a dict, not str"),
        ("too_large", "over the limit of 2097152; send it in chunks or raise max_message_bytes"),
        ("channel_name", "A channel name must be a str of 1 to 200 ASCII letters"),
        ("group_name", "A group name must be a str of 1 to 200 ASCII letters"),
        ("exit", "SystemExit: 3"),
    ],
)
def test_a_send_that_cannot_be_is_an_error_in_the_consumers_own_line(
    scene: Scene, what: str, said: str
) -> None:
    before = scene.worker.output().count(said)
    blamed = scene.worker.output().count("Whoever sent that message")
    assert scene.get(f"/badly/{what}")[0] == 500
    scene.logs(scene.worker, said, before + 1)
    with open_socket(scene.stack.port, "/ws/badly") as client:
        client.send(f"!{what}")
        client.send("next")
        assert client.recv(timeout=10) == "next"
    scene.logs(scene.worker, said, before + 2)
    assert scene.worker.output().count("Whoever sent that message") == blamed


def test_a_channel_that_nobody_reads_takes_the_message_and_harms_nobody(scene: Scene) -> None:
    assert scene.get("/badly/unknown_channel") == (200, b"sent")
    (taken,) = scene.layer.receive_many(["nobody.reads.this"], timeout_seconds=5)
    assert taken[1] == {"text": "x"}


@pytest.mark.parametrize("name", ["bad name", "ü", "", "x" * 300, "a!b!c", 7])
def test_an_invalid_channel_name_is_refused_to_whoever_sends(scene: Scene, name: Any) -> None:
    with pytest.raises(TypeError, match="A channel name must be"):
        scene.layer.send(name, {"text": "x"})


def test_frames_that_are_no_frames_are_dropped_with_a_line_and_the_socket_lives(scene: Scene) -> None:
    with open_socket(scene.stack.port, "/ws/badly") as client:
        for what in ("unknown_key", "wrong_type", "next"):
            client.send(what)
        assert client.recv(timeout=10) == "next"
        scene.logs(scene.interface, "is dropped: websocket.send: unknown key 'txet' (str)")
        scene.logs(scene.interface, "is dropped: websocket.send: 'text' must be str or None, not 7 (int)")
        client.send("impossible_close")
        with pytest.raises(ConnectionClosed):
            client.recv(timeout=10)
        assert client.close_code == 1011
    scene.logs(scene.interface, "asked for the close code 7, which may not be sent")


def test_a_group_that_hears_nonsense_does_not_flood_the_log(scene: Scene) -> None:
    sockets = [open_socket(scene.stack.port, "/ws/room") for _ in range(5)]
    for _ in range(20):
        scene.layer.send_group("room", {"nonsense": 1})
    scene.layer.send_group("room", {"text": '"sense"'})
    assert [client.recv(timeout=10) for client in sockets] == ['"sense"'] * 5
    for client in sockets:
        client.close()
    assert 1 <= scene.interface.output().count("unknown key 'nonsense'") <= 10


def test_unreadable_entries_of_a_channel_cost_a_line_and_no_message(scene: Scene) -> None:
    channels = ["http.request", "websocket.connect", "websocket.receive", "websocket.disconnect"]
    for channel in [*channels, "journey.background"]:
        scene.redis.rpush(scene.key(channel), *GARBAGE)
    scene.layer.send("journey.mark", {"from": "behind the garbage"})
    (taken,) = scene.layer.receive_many(["journey.marks"], timeout_seconds=10)
    assert taken[1] == {"from": "behind the garbage"}
    eventually(lambda: not any(scene.redis.exists(scene.key(channel)) for channel in channels))
    scene.logs(scene.worker, "ERROR headrace.layer")
    assert "Dropped from " in scene.worker.output()


def test_a_channel_whose_key_something_else_wrote_is_named_and_the_others_are_served(scene: Scene) -> None:
    scene.redis.set(scene.key("journey.count"), "mine now")
    scene.layer.send("journey.mark", {"from": "beside it"})
    (taken,) = scene.layer.receive_many(["journey.marks"], timeout_seconds=10)
    assert taken[1] == {"from": "beside it"}
    scene.serves()
    scene.logs(scene.worker, "Nothing is taken from journey.count: its key ")
    scene.redis.delete(scene.key("journey.count"))


def test_an_interface_server_whose_queue_something_else_wrote_hears_again(scene: Scene) -> None:
    (up,) = scene.redis.scan_iter(scene.layer.plan.key("0", "up", "*"))
    queue = scene.layer.plan.key("0", "q", up.decode().rpartition(":")[2])
    scene.redis.set(queue, "mine now")
    # It waits for that very list, which is none: only a connection that comes anew finds out.
    for client in scene.redis.client_list():
        if client["name"] == "headrace-interface-take":
            scene.redis.client_kill_filter(_id=client["id"])
    eventually(lambda: not scene.redis.exists(queue))
    scene.serves()


def test_unreadable_entries_of_the_interface_process_are_counted_and_told_once(scene: Scene) -> None:
    (up,) = scene.redis.scan_iter(scene.layer.plan.key("0", "up", "*"))
    process = up.decode().rpartition(":")[2]
    notes = [{"control": 7}, {"control": "unheard-of", "local": "x"}, {"control": "failed"}]
    with open_socket(scene.stack.port, "/ws/badly") as client:
        scene.redis.rpush(
            scene.layer.plan.key("0", "q", process),
            *GARBAGE,
            *(encode(pack_message(note), control=True) for note in notes),
            encode(pack_message({"text": "x"}), channel=f"{process}nobody"),
        )
        client.send("next")
        assert client.recv(timeout=10) == "next"
    scene.logs(scene.interface, "Discarded from the process queue, further ones are only counted")


@pytest.mark.seeds(1)
def test_rubbish_in_every_key_ends_no_process_and_does_not_flood_the_log_st12(
    scene: Scene, seed: int
) -> None:
    rubbish, kinds = Rubbish(seed), documented_kinds()
    before = [process.output().count("\n") for process in (scene.interface, scene.worker)]
    for _ in range(ROUNDS):
        (up,) = scene.redis.scan_iter(scene.layer.plan.key("0", "up", "*"))
        spoiler = Spoiler(scene.redis, scene.layer.plan, up.decode().rpartition(":")[2])
        for kind, type_ in kinds.items():
            for key in spoiler.keys(kind):
                spoiler.fill(key, type_, rubbish, 25)
        scene.serves()
    for process, lines in zip((scene.interface, scene.worker), before, strict=True):
        output = process.output()
        # Consumers may fail over what passes for a message: nothing of ours does.
        assert output.count("Traceback") == output.count(" failed on ")
        assert output.count("\n") - lines < 100 + 20 * ROUNDS
    for kind in ("r", "x", "body", "due", "tries", "why", "f", "n"):
        scene.redis.delete(*spoiler.keys(kind))


REQUEST = {"http_version": "1.1", "method": "GET", "path": "/hello", "query_string": b"", "headers": []}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"path": 7}, "http.request: 'path' must be str"),
        ({"headers": 7}, "http.request: 'headers' must be"),
        ({"query_string": "ü"}, "http.request: 'query_string' must be bytes"),
        ({"method": None}, "http.request: 'method' must be"),
    ],
)
def test_a_request_of_a_foreign_sender_that_breaks_the_specification_is_a_500_that_says_so(
    scene: Scene, wrong: dict[str, Any], said: str
) -> None:
    answers = scene.layer.new_channel("foreign?")
    scene.layer.send("http.request", {**REQUEST, "reply_channel": answers, **wrong})
    (taken,) = scene.layer.receive_many([answers], timeout_seconds=10)
    assert taken[1]["status"] == 500
    scene.logs(scene.worker, f"Whoever sent that message broke the specification: {said}")


def test_messages_that_no_client_waits_for_may_lack_everything(scene: Scene) -> None:
    for channel in ("http.request", "websocket.connect", "websocket.receive", "websocket.disconnect"):
        scene.layer.send(channel, {})
        scene.layer.send(channel, {"reply_channel": 7})
        scene.layer.send(channel, {"reply_channel": "bad name", "path": "/ws/echo", "text": 7})
    scene.logs(scene.worker, "The layer failed", 0)


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"garbage\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", 400),
        (b"GET /hello HTTP/9.9\r\n%s\r\n" % HEAD, 400),
        (b"GET /hello HTTP/1.1\r\n\r\n", 400),
        (b"GET /%%ff%%fe HTTP/1.1\r\n%s\r\n" % HEAD, 400),
        (b"GET /\xff\xfe HTTP/1.1\r\n%s\r\n" % HEAD, 400),
        (b"GET /hello?\xff HTTP/1.1\r\n%s\r\n" % HEAD, 400),
        (b"GET /hello?a=%%ff HTTP/1.1\r\n%s\r\n" % HEAD, 200),
        (b"GET /hello HTTP/1.1\r\nX-Name: \xff\xfe\r\n%s\r\n" % HEAD, 200),
        (b"GET /hello HTTP/1.1\r\nCookie: a=\xff; b=\xc3\xbc\r\n%s\r\n" % HEAD, 200),
        (b"GET /hello HTTP/1.1\r\nHost: \xff\r\nConnection: close\r\n\r\n", 400),
        (b"GET /hello HTTP/1.1\r\nX\xff: 1\r\n%s\r\n" % HEAD, 400),
        (b"POST /digest HTTP/1.1\r\nContent-Length: many\r\n%s\r\n" % HEAD, 400),
        (b"POST /digest HTTP/1.1\r\nContent-Length: 2000000\r\n%s\r\n" % HEAD, 413),
        (b"POST /digest HTTP/1.1\r\nTransfer-Encoding: chunked\r\n%s\r\nzz\r\n" % HEAD, 400),
        (
            b"POST /digest HTTP/1.1\r\nContent-Type: a/b; charset=none\r\nContent-Length: 1\r\n%s\r\nx"
            % HEAD,
            200,
        ),
        (b"GET /%s HTTP/1.1\r\n%s\r\n" % (b"a" * 100_000, HEAD), 414),
        (b"GET /hello HTTP/1.1\r\nX: %s\r\n%s\r\n" % (b"a" * 100_000, HEAD), 431),
    ],
)
def test_malformed_requests_have_their_status(scene: Scene, request_bytes: bytes, status: int) -> None:
    answer = scene.exchange(request_bytes)
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer[:200]


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"\x81\x82\0\0\0\0\xff\xfe", 1007),
        (b"\x88\x84\0\0\0\0\x03\xe8\xff\xfe", 1007),
        (b"\x88\x82\0\0\0\0\x00\x07", 1002),
        (b"\xf1\x80\0\0\0\0", 1002),
        (b"\x83\x80\0\0\0\0", 1002),
        (b"\x81\x01a", 1002),
        (b"\x89\xfe\x01\x00\0\0\0\0", 1002),
        (b"\x81\xff" + struct.pack(">Q", 5_000_000) + bytes(4), 1009),
    ],
)
def test_malformed_frames_close_the_socket_with_their_code(scene: Scene, frame: bytes, code: int) -> None:
    assert scene.close_code(frame) == code


def test_a_websocket_to_a_path_that_no_route_takes_gets_404_and_a_log_line(scene: Scene) -> None:
    with pytest.raises(InvalidStatus) as refused:
        open_socket(scene.stack.port, "/ws/nowhere%0Aforged")
    assert refused.value.response.status_code == 404
    scene.worker.wait_for(
        r"Refused a WebSocket for '/ws/nowhere\\nforged' with 404: no route of websocket.conn"
    )
    # Only frames have a route there: Channels 1.x accepts such a socket.
    open_socket(scene.stack.port, "/ws/numbered").close()

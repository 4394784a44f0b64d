"""With symmetric_encryption_keys both tiers work as without, and Redis never sees what they say."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import redis

from headrace_asgi.layers.from_config import layer_from_config
from tests.support.services import RedisServer
from tests.support.stack import Stack
from tests.support.wsclient import open_socket, receive_json, send_json

KEYS = {"symmetric_encryption_keys": ["the key of the journeys' project"]}
#: Stands in everything that the clients of this test say.
WORD = "Nobody-else-reads-this"


@contextmanager
def all_that_redis_is_told(server: RedisServer) -> Iterator[list[bytes]]:
    """Every command that anybody sends while the block runs; complete behind it."""
    told: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as monitor:
        monitor.connect(server.path)
        monitor.sendall(b"MONITOR\r\n")
        assert monitor.recv(5) == b"+OK\r\n"

        def listen() -> None:
            while data := monitor.recv(65536):
                told.append(data)
                if b'"the last"' in b"".join(told[-2:]):
                    return

        listener = threading.Thread(target=listen)
        listener.start()
        try:
            yield told
        finally:
            server.command("ECHO", "the last")
            listener.join(10)


def post(port: int, body: str) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("POST", f"/digest?{WORD}", body, {"X-Word": WORD})
    answer = connection.getresponse().read()
    connection.close()
    return answer


def speak(stack: Stack) -> None:
    """Requests, frames plain and ordered, groups, and background work: all there is."""
    assert json.loads(post(stack.port, WORD * 10_000))["bytes"] == len(WORD) * 10_000
    with open_socket(stack.port, "/ws/echo") as echo:
        for number in range(20):
            send_json(echo, [WORD, number])
        assert sorted(receive_json(echo) for _ in range(20)) == [[WORD, number] for number in range(20)]
    with open_socket(stack.port, "/ws/numbered") as ordered:
        for number in range(50):
            send_json(ordered, {"n": number, "word": WORD})
        assert [receive_json(ordered)["n"] for _ in range(50)] == list(range(50))
    with open_socket(stack.port, "/ws/room") as one, open_socket(stack.port, "/ws/room") as other:
        send_json(one, WORD)
        assert receive_json(one) == receive_json(other) == WORD


def test_both_tiers_say_everything_and_redis_is_told_no_word_st13(private_redis_server: RedisServer) -> None:
    for config, is_told in (({"prefix": "plain"}, True), ({"prefix": "sealed", **KEYS}, False)):
        with Stack.over(private_redis_server.url, config) as stack:
            stack.interface()
            stack.worker(processes=2, threads=2)
            with all_that_redis_is_told(private_redis_server) as told:
                speak(stack)
        text = b"".join(told)
        assert b'"the last"' in text
        assert b"EVALSHA" in text
        assert (WORD.encode() in text) is is_told


def test_a_process_with_other_keys_is_named_in_the_log_and_ends_nothing_st13(
    private_redis_server: RedisServer,
) -> None:
    said = "another process uses other symmetric_encryption_keys"
    with Stack.over(private_redis_server.url, KEYS) as stack:
        interface, worker = stack.interface(), stack.worker()
        stranger = layer_from_config(
            {
                "BACKEND": "headrace_asgi.RedisChannelLayer",
                "CONFIG": {**stack.config, "symmetric_encryption_keys": ["the key of quite another project"]},
            }
        )
        stranger.send("journey.background", {"from": "a stranger"})
        worker.wait_for(f"Dropped from journey.background: .*{said}")
        client = redis.Redis.from_url(private_redis_server.url)
        (process,) = (key.decode().rpartition(":up:")[2] for key in client.keys("*:up:*"))
        stranger.send(process + "a", {"text": "from a stranger"})
        interface.wait_for(f"Discarded from the process queue.*{said}")
        client.close()
        stranger.close()
        speak(stack)
        assert worker.end() == 0
        assert interface.end() == 0

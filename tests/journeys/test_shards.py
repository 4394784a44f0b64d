"""The two tiers over three Redis of which one is killed and comes back: it costs its own clients only."""

from __future__ import annotations

import contextlib
import threading
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from typing import Any

from tests.support.services import RedisServer, valkey_binary
from tests.support.stack import Stack, eventually
from tests.support.wsclient import open_socket, receive_json, send_json

OUTAGE_SECONDS = 4


def get(port: int, path: str) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=3) as response:
        body: bytes = response.read()
    return body


def load(port: int, stop: threading.Event, answers: list[tuple[float, object]]) -> None:
    """Ask again and again, each time over a new connection; when, and what came."""
    while not stop.is_set():
        begun = time.monotonic()
        try:
            answers.append((begun, get(port, "/hello")))
        except (urllib.error.URLError, OSError) as error:
            answers.append((begun, error))
            time.sleep(0.05)


def echoes(sockets: list[Any], text: str) -> list[bool]:
    """Which of these sockets answer at once."""
    answered = []
    for socket in sockets:
        send_json(socket, text)
        found = False
        with contextlib.suppress(TimeoutError):
            found = receive_json(socket, 1) == text
        answered.append(found)
    return answered


def test_a_killed_redis_of_three_costs_its_own_clients_only_and_comes_back() -> None:
    with ExitStack() as servers:
        redises = [servers.enter_context(RedisServer(valkey_binary())) for _ in range(3)]
        hosts = [redis.url for redis in redises]
        with Stack.over(redises[0].url, {"hosts": hosts}) as stack:
            interface, worker = stack.interface("--layer-grace", "60"), stack.worker(processes=2)
            sockets = [open_socket(stack.port, "/ws/echo") for _ in range(12)]
            rooms = [open_socket(stack.port, "/ws/room") for _ in range(6)]
            send_json(rooms[0], "all")
            assert [receive_json(socket) for socket in rooms] == ["all"] * 6
            assert all(echoes(sockets, "before"))

            stop, answers = threading.Event(), list[tuple[float, object]]()
            servers.callback(stop.set)
            clients = [
                threading.Thread(target=load, args=(stack.port, stop, answers), daemon=True) for _ in range(3)
            ]
            for client in clients:
                client.start()
            time.sleep(0.5)
            redises[1].kill()
            time.sleep(0.5)
            known = time.monotonic()  # what was on its way to the killed one is lost with it
            there = echoes(sockets, "during")
            assert there.count(True) == 8, there
            time.sleep(OUTAGE_SECONDS)
            served = [answer for begun, answer in answers if begun > known]
            assert len(served) > 50
            assert set(served) == {b"Hello, world!"}, "a new client met the Redis that is away"

            redises[1].start()
            away = [socket for socket, answered in zip(sockets, there, strict=True) if not answered]
            # What they said meanwhile was held.
            eventually(lambda: all(receive_json(socket, 5) == "during" for socket in away), 10)
            assert all(echoes(sockets, "after"))
            send_json(rooms[0], "all again")
            assert [receive_json(socket) for socket in rooms] == ["all again"] * 6
            stop.set()
            for client in clients:
                client.join()
            for socket in (*sockets, *rooms):
                socket.close()
            assert worker.end() == 0
            assert interface.end() == 0

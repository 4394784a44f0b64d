"""Redis is killed under load: no process ends, and service is back by itself, groups included."""

from __future__ import annotations

import contextlib
import threading
import time
import urllib.error
import urllib.request
from typing import Any

from tests.support.stack import Stack, eventually
from tests.support.wsclient import open_socket, receive_json, send_json

OUTAGE_SECONDS = 5
BACK_WITHIN_SECONDS = 5


def get(port: int, path: str) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=3) as response:
        body: bytes = response.read()
    return body


def load(port: int, stop: threading.Event, answers: list[object]) -> None:
    """Ask again and again; what went wrong during the outage is part of the answer."""
    while not stop.is_set():
        try:
            answers.append(get(port, "/hello"))
        except (urllib.error.URLError, OSError) as error:
            answers.append(error)
            time.sleep(0.05)


def test_a_killed_redis_ends_no_process_and_everything_is_back_within_5_seconds(
    private_redis_server: Any,
) -> None:
    with Stack.over(private_redis_server.url) as stack:
        interface, worker = stack.interface(), stack.worker(processes=2)
        sockets = [open_socket(stack.port, "/ws/room") for _ in range(5)]
        send_json(sockets[0], "before")
        assert [receive_json(socket) for socket in sockets] == ["before"] * 5

        stop, answers = threading.Event(), list[object]()
        clients = [threading.Thread(target=load, args=(stack.port, stop, answers)) for _ in range(4)]
        for client in clients:
            client.start()
        time.sleep(1)
        private_redis_server.kill()
        time.sleep(OUTAGE_SECONDS)
        private_redis_server.start()
        back = time.monotonic()

        eventually(lambda: get(stack.port, "/hello") == b"Hello, world!", BACK_WITHIN_SECONDS)
        while time.monotonic() < back + BACK_WITHIN_SECONDS:
            send_json(sockets[1], "again")
            with contextlib.suppress(TimeoutError):
                if all(receive_json(socket, 0.5) == "again" for socket in sockets):
                    break
        else:
            raise AssertionError("the group did not come back within 5 s")
        stop.set()
        for client in clients:
            client.join()
        assert interface.popen.poll() is None
        assert worker.popen.poll() is None
        assert answers.count(b"Hello, world!") > 10
        for socket in sockets:
            socket.close()
        assert worker.end() == 0
        assert interface.end() == 0

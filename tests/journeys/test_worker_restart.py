"""Workers are stopped and started while sockets are open and requests wait."""

from __future__ import annotations

import concurrent.futures
import time
import urllib.request

from tests.support.stack import Stack
from tests.support.wsclient import open_socket, receive_json, send_json


def get(port: int, path: str, seconds: float = 30) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=seconds) as response:
        body: bytes = response.read()
    return body


def test_no_socket_is_closed_and_every_request_answered_while_workers_are_away(redis_url: str) -> None:
    with Stack.over(redis_url) as stack, concurrent.futures.ThreadPoolExecutor(20) as pool:
        stack.interface()
        worker = stack.worker()
        sockets = [open_socket(stack.port, "/ws/echo") for _ in range(50)]
        assert worker.end() == 0
        waiting = [pool.submit(get, stack.port, "/hello") for _ in range(20)]
        for number, socket in enumerate(sockets):
            send_json(socket, number)
        time.sleep(1)
        assert not any(request.done() for request in waiting)
        stack.worker()
        assert [request.result(20) for request in waiting] == [b"Hello, world!"] * 20
        assert [receive_json(socket) for socket in sockets] == list(range(50))
        for socket in sockets:
            socket.close()


def test_a_stopping_worker_finishes_what_runs_and_gives_back_what_it_has_not_started(redis_url: str) -> None:
    with Stack.over(redis_url) as stack, concurrent.futures.ThreadPoolExecutor(20) as pool:
        stack.interface()
        first = stack.worker()
        requests = [pool.submit(get, stack.port, "/slow/300") for _ in range(10)]
        time.sleep(0.5)
        assert first.end() == 0
        assert not all(request.done() for request in requests)
        stack.worker(threads=4)
        assert [request.result(20) for request in requests] == [b"slept 300"] * 10

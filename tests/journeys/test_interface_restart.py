"""Interface servers are stopped while their clients send one request after the other."""

from __future__ import annotations

import concurrent.futures
import os
import signal
import socket
import sys
import threading
import time
from http.client import HTTPResponse

from tests.support.services import RedisServer
from tests.support.stack import PROJECT, Process, Stack

GET = b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"


def start(stack: Stack, layer: str, listening: socket.socket, *options: str) -> Process:
    """An interface server on a socket that is shared with others."""
    ready, tell = os.pipe()
    descriptors = (listening.fileno(), tell)
    arguments = [sys.executable, "-m", "headrace_interface", "--layer", layer, "--no-access-log"]
    arguments += ["--fd", str(listening.fileno()), "--ready-fd", str(tell), *options]
    process = Process(arguments, {}, PROJECT, "interface", descriptors)
    stack.processes.append(process)
    os.close(tell)
    with os.fdopen(ready) as pipe:
        assert pipe.read(), process.output()
    return process


class Looping:
    """A client that sends request after request on connections that are kept as long as they may be."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connection: socket.socket | None = None
        self.answered = self.unanswered = self.connections = 0

    def run(self, enough: threading.Event) -> Looping:
        while not enough.is_set():
            self._request()
        if self._connection is not None:
            self._connection.close()
        return self

    def _request(self) -> None:
        connection = self._open()
        try:
            connection.sendall(GET)
            response = HTTPResponse(connection)
            response.begin()
            assert (response.status, response.read()) == (200, b"Hello, world!")
        except OSError:
            self.unanswered += 1
            self._leave(connection)
            return
        self.answered += 1
        if response.will_close:
            self._leave(connection)

    def _open(self) -> socket.socket:
        """The connection, if the server has not closed it before the request is sent; else a new one."""
        if self._connection is not None:
            self._connection.setblocking(False)
            try:
                self._connection.recv(1)
            except BlockingIOError:
                self._connection.settimeout(20)
                return self._connection
            self._leave(self._connection)
        self.connections += 1
        self._connection = socket.create_connection(("127.0.0.1", self._port), timeout=20)
        return self._connection

    def _leave(self, connection: socket.socket) -> None:
        connection.close()
        self._connection = None


def test_every_request_of_a_kept_connection_is_answered_while_its_server_is_replaced(redis_url: str) -> None:
    with (
        Stack.over(redis_url) as stack,
        socket.create_server(("127.0.0.1", 0), backlog=128) as listening,
        concurrent.futures.ThreadPoolExecutor(8) as pool,
    ):
        stack.worker(threads=2)
        servers = [start(stack, redis_url, listening) for _ in range(2)]
        clients = [Looping(listening.getsockname()[1]) for _ in range(8)]
        enough = threading.Event()
        running = [pool.submit(client.run, enough) for client in clients]
        try:
            for _ in range(4):
                time.sleep(0.3)
                servers.append(start(stack, redis_url, listening))
                assert servers.pop(0).end() == 0
        finally:
            enough.set()
        done = [each.result() for each in running]
        assert sum(client.connections for client in done) > len(done), "nobody met a server that ended"
        assert [client.unanswered for client in done] == [0] * 8
        assert sum(client.answered for client in done) > 400


def test_a_server_ends_in_time_while_redis_hangs(private_redis_server: RedisServer) -> None:
    layer = private_redis_server.tcp_url
    with Stack.over(layer) as stack, socket.create_server(("127.0.0.1", 0)) as listening:
        server = start(stack, layer, listening, "--drain-timeout", "3")
        with socket.create_connection(("127.0.0.1", listening.getsockname()[1])) as client:
            client.sendall(GET)
            time.sleep(0.5)
            private_redis_server.pause()
            try:
                begun = time.monotonic()
                assert server.end(signal.SIGTERM, 15) == 0
                took = time.monotonic() - begun
            finally:
                private_redis_server.resume()
        assert took < 5, server.output()

"""Datagrams through both tiers as real processes: there and back, floods, a Redis that goes, an end."""

from __future__ import annotations

import json
import signal
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.support.ports import free_port
from tests.support.services import RedisServer
from tests.support.stack import PROJECT, Process, Stack, eventually


class Client:
    """Somebody with a UDP socket."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((host, 0))
        self.address = list(self.socket.getsockname())
        self.server = ("127.0.0.1", port)

    def say(self, data: bytes) -> None:
        self.socket.sendto(data, self.server)

    def hear(self, seconds: float = 1.0) -> Any:
        """What comes within so many seconds, or None."""
        self.socket.settimeout(seconds)
        try:
            return json.loads(self.socket.recv(65_536))
        except TimeoutError:
            return None

    def ask(self, data: bytes) -> dict[str, Any]:
        """Say it until it is answered: datagrams may be lost."""

        def answered() -> Any:
            self.say(data)
            return self.hear(0.5)

        answer: dict[str, Any] = eventually(answered, 20, "an answer")
        return answer


@pytest.fixture
def clients() -> Iterator[list[Client]]:
    made: list[Client] = []
    yield made
    for each in made:
        each.socket.close()


def start_udp(stack: Stack, *options: str) -> tuple[Process, int]:
    """The UDP server on a free port; its process and the port."""
    (url,) = stack.config["hosts"]
    options_of_layer = {name: value for name, value in stack.config.items() if name != "hosts"}
    layer = f"{url}?{urlencode(options_of_layer)}"
    arguments = [sys.executable, "-m", "headrace_interface.udp", "--layer", layer]
    arguments += ["--listen", f"127.0.0.1:{free_port()}/journey", *options]
    process = Process(arguments, {}, PROJECT, "udp")
    stack.processes.append(process)
    return process, int(process.wait_for(r"udp://127\.0\.0\.1:(\d+)")[1])


def state(process: Process) -> dict[str, Any]:
    """What the server says of itself when it is asked."""
    seen = process.output().count("the state is")
    process.popen.send_signal(signal.SIGUSR1)
    eventually(lambda: process.output().count("the state is") > seen)
    line = process.output().rpartition("the state is ")[2].partition("\n")[0]
    found: dict[str, Any] = json.loads(line)
    return found


def test_a_datagram_reaches_a_consumer_and_its_answer_the_sender(
    redis_url: str, clients: list[Client]
) -> None:
    with Stack.over(redis_url, routing="udp") as stack:
        server, port = start_udp(stack)
        stack.worker()
        clients += [Client(port), Client(port, "127.0.0.2")]
        for number, client in enumerate(clients):
            data = bytes([number]) * 1000
            answer = client.ask(data)
            assert answer == {"data": data.hex(), "path": "/journey", "client": client.address}
        assert server.end() == 0
        assert "Stopped." in server.output()


def test_a_flood_costs_its_sender_and_nobody_else(redis_url: str, clients: list[Client]) -> None:
    with Stack.over(redis_url, routing="udp") as stack:
        server, port = start_udp(stack, "--address-rate", "50", "--max-datagram-size", "1000")
        stack.worker()
        loud, quiet = Client(port), Client(port, "127.0.0.2")
        clients += [loud, quiet]
        quiet.ask(b"hello")
        loud.say(b"x" * 1001)
        for _ in range(2000):
            loud.say(b"x")
        assert quiet.ask(b"still there")["data"] == b"still there".hex()
        counters = state(server)["counters"]
        assert counters["address_rate"] > 100
        assert counters["too_large"] == 1
        assert server.output().count("sends more than --address-rate allows") == 1


def test_a_full_channel_drops_and_the_server_goes_on_when_a_worker_comes(
    redis_url: str, clients: list[Client]
) -> None:
    with Stack.over(redis_url, {"capacity": 20}, routing="udp") as stack:
        server, port = start_udp(stack)
        clients.append(Client(port))
        eventually(lambda: state(server)["places"][0]["up"])
        for _ in range(60):
            clients[0].say(b"x")
        server.wait_for("udp.receive is full, so messages are refused: does a worker take it")
        stack.worker()
        for _ in range(20):
            assert clients[0].hear(5) is not None
        assert clients[0].ask(b"again")["data"] == b"again".hex()


def test_it_survives_a_redis_that_goes_and_comes_back(
    private_redis_server: RedisServer, clients: list[Client]
) -> None:
    with Stack.over(f"{private_redis_server.tcp_url}?prefix=udp", routing="udp") as stack:
        server, port = start_udp(stack)
        stack.worker()
        clients.append(Client(port))
        clients[0].ask(b"before")
        private_redis_server.kill()
        server.wait_for("cannot be reached")
        clients[0].say(b"lost")
        eventually(lambda: state(server)["counters"].get("away", 0) >= 1)
        private_redis_server.start()
        server.wait_for("is back")
        assert clients[0].ask(b"after")["data"] == b"after".hex()
        assert server.end() == 0


def test_it_ends_in_time_while_redis_is_away(
    private_redis_server: RedisServer, clients: list[Client]
) -> None:
    stack = Stack(f"{private_redis_server.tcp_url}?prefix=udp", routing="udp")
    try:
        server, _ = start_udp(stack)
        private_redis_server.kill()
        server.wait_for("cannot be reached")
        began = time.monotonic()
        assert server.end() == 0
        assert time.monotonic() - began < 8
    finally:
        stack.close()


def test_what_cannot_work_is_one_line_and_status_1(redis_url: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        arguments = [sys.executable, "-m", "headrace_interface.udp", "--layer", redis_url]
        process = Process([*arguments, "--listen", f"127.0.0.1:{port}"], {}, PROJECT, "udp")
        assert process.popen.wait(20) == 1
    line = f"python -m headrace_interface.udp: Cannot listen on UDP 127.0.0.1 port {port}: "
    assert process.output().startswith(line)
    assert process.output().count("\n") == 1
    process.log.close()

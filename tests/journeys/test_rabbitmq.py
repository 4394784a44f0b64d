"""The two tiers over RabbitMQ: requests, sockets and groups; an outage; what it lacks is refused."""

from __future__ import annotations

import http.client
import json
import os
import signal
from typing import Any

from headrace_asgi.layers.rabbitmq import RabbitMQChannelLayer
from tests.support.rabbitmq_server import RabbitMQServer
from tests.support.stack import Stack, children_of, eventually
from tests.support.wsclient import open_socket, receive_json, send_json

BACKEND = "headrace_asgi.RabbitMQChannelLayer"


def post(port: int, body: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=15)
    try:
        connection.request("POST", "/digest", body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def speak(stack: Stack) -> None:
    """A request, an echo, and two in a room who hear each other and background work."""
    status, answer = post(stack.port, "x" * 1000)
    assert (status, json.loads(answer)["bytes"]) == (200, 1000)
    with open_socket(stack.port, "/ws/echo") as echo:
        for number in range(10):
            send_json(echo, {"number": number})
        assert sorted(receive_json(echo)["number"] for _ in range(10)) == list(range(10))
    with open_socket(stack.port, "/ws/room") as one, open_socket(stack.port, "/ws/room") as other:
        send_json(one, "hello")
        assert receive_json(one) == receive_json(other) == "hello"
        layer = RabbitMQChannelLayer(**stack.config)
        layer.send("journey.background", {"from": "a command"})
        assert receive_json(one) == receive_json(other) == {"from": "a command"}
        layer.close()


def test_a_site_serves_requests_sockets_and_groups_over_rabbitmq(rabbitmq_config: dict[str, Any]) -> None:
    with Stack.over("", rabbitmq_config, backend=BACKEND, routing="unordered") as stack:
        interface = stack.interface()
        worker = stack.worker(processes=2)
        for _ in range(3):
            speak(stack)
        assert worker.end() == 0
        assert interface.end() == 0


def test_both_tiers_outlive_a_restart_of_rabbitmq_and_open_sockets_stay(
    private_rabbitmq_server: RabbitMQServer,
) -> None:
    config = {"url": private_rabbitmq_server.url}
    with Stack.over("", config, backend=BACKEND, routing="unordered") as stack:
        interface = stack.interface()
        worker = stack.worker(processes=2)
        speak(stack)
        with open_socket(stack.port, "/ws/room") as one, open_socket(stack.port, "/ws/room") as other:
            private_rabbitmq_server.restart()
            eventually(lambda: post(stack.port, "x")[0] == 200, 30)
            send_json(one, "still here")
            assert receive_json(one) == receive_json(other) == "still here"
        speak(stack)
        assert worker.end() == 0
        assert interface.end() == 0
        for process in (interface, worker):
            assert "Traceback" not in process.output()
        # Workers are forked: their parent must have none.
        assert "These threads were started" not in worker.output()


def test_a_killed_worker_costs_the_message_that_it_ran_at_most_and_none_runs_twice(
    rabbitmq_config: dict[str, Any],
) -> None:
    count = 100
    layer = RabbitMQChannelLayer(**rabbitmq_config)
    layer.send_many([("journey.mark", {"from": number, "seconds": 0.01}) for number in range(count)])
    with Stack.over("", rabbitmq_config, backend=BACKEND, routing="unordered") as stack:
        worker = stack.worker(processes=2)
        marks: list[Any] = []
        while len(marks) < count // 4:
            marks += layer.receive_many(["journey.marks"], count, 10)
        os.kill(children_of(worker.pid)[0], signal.SIGKILL)
        while found := layer.receive_many(["journey.marks"], count, 3):
            marks += found
        assert worker.end() == 0
        numbers = [message["from"] for _, message in marks]
        assert len(set(numbers)) == len(numbers)
        assert len(numbers) >= count - 1, sorted(numbers)
        assert "was killed by SIGKILL" in worker.output()
    layer.close()


def test_a_worker_whose_consumers_need_what_the_layer_lacks_does_not_start(
    rabbitmq_config: dict[str, Any],
) -> None:
    with Stack.over("", rabbitmq_config, backend=BACKEND) as stack:
        worker = stack.start_worker()
        assert worker.popen.wait(30) == 1
        (line,) = worker.output().strip().splitlines()
    assert "cannot keep the messages of a socket in order, as" in line
    assert "journey.routing.numbered" in line
    assert "headrace_asgi.RedisChannelLayer" in line


def test_a_wrong_password_ends_both_tiers_at_their_start_in_one_line(rabbitmq_server: RabbitMQServer) -> None:
    config = {"url": rabbitmq_server.url.replace("guest:guest", "guest:Wrong-Word")}
    with Stack.over("", config, backend=BACKEND, routing="unordered") as stack:
        for process in (stack.start_interface(), stack.start_worker()):
            assert process.popen.wait(30) != 0
            (line,) = process.output().strip().splitlines()
            assert "refused the login of the user 'guest': correct user and password in url" in line
            assert "Wrong-Word" not in line

"""Messages for background consumers arrive from wherever they are sent."""

from __future__ import annotations

from headrace_asgi.layers.from_config import layer_from_config
from tests.support.stack import Stack
from tests.support.wsclient import open_socket, receive_json


def test_sends_from_a_command_a_thread_and_a_forked_child_reach_the_consumer(redis_url: str) -> None:
    with Stack.over(redis_url) as stack:
        stack.worker()
        stack.manage("send_everywhere")
        layer = layer_from_config({"BACKEND": "headrace_asgi.RedisChannelLayer", "CONFIG": stack.config})
        marks: list[str] = []
        while len(marks) < 4:
            taken = layer.receive_many(["journey.marks"], limit=4, timeout_seconds=10)
            assert taken, f"only {marks} arrived"
            marks += [message["from"] for _, message in taken]
        layer.close()
    assert sorted(marks) == ["command", "command again", "fork", "thread"]


def test_a_background_consumer_reaches_the_sockets_of_a_group(redis_url: str) -> None:
    with Stack.over(redis_url) as stack:
        stack.interface()
        stack.worker()
        socket = open_socket(stack.port, "/ws/room")
        layer = layer_from_config({"BACKEND": "headrace_asgi.RedisChannelLayer", "CONFIG": stack.config})
        layer.send("journey.background", {"from": "the test"})
        assert receive_json(socket) == {"from": "the test"}
        layer.close()
        socket.close()

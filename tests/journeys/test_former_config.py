"""A site that kept the CONFIG of asgi_redis or channels_redis, as the Redis user who may do the least."""

from __future__ import annotations

import urllib.request
from typing import Any

import pytest

from headrace_asgi.layers.redis.plan.outcomes import ACL
from tests.support.services import RedisServer
from tests.support.stack import Stack
from tests.support.wsclient import open_socket, receive_json, send_json

LOGIN = {"username": "least", "password": "s@crt/1", "db": 3}


def asgi_redis(server: RedisServer) -> dict[str, Any]:
    return {
        "hosts": [("127.0.0.1", server.port)],
        "prefix": "site:",
        "connection_kwargs": {**LOGIN, "socket_timeout": 10},
        "channel_capacity": {"http.request": 300, "http.response!*": 10},
        "stats_prefix": "site-meta:",
    }


def channels_redis(server: RedisServer) -> dict[str, Any]:
    return {
        "hosts": [{"address": f"redis://127.0.0.1:{server.port}", **LOGIN}],
        "prefix": "site",
        "random_prefix_length": 12,
        "serializer_format": "json",
    }


@pytest.mark.parametrize("style", [asgi_redis, channels_redis])
def test_a_site_with_a_config_of_channels_serves_and_is_told_what_can_go(
    private_redis_server: RedisServer, style: Any
) -> None:
    server = private_redis_server
    server.command("ACL", "SETUSER", "least", "reset", "on", f">{LOGIN['password']}", *ACL.split())
    config = style(server)
    retired = config.keys() & {"stats_prefix", "random_prefix_length", "serializer_format"}
    with Stack.over(server.tcp_url, config) as stack:
        stack.interface()
        stack.worker(processes=2)
        with urllib.request.urlopen(f"http://127.0.0.1:{stack.port}/hello", timeout=15) as response:
            assert response.read() == b"Hello, world!"
        socket = open_socket(stack.port, "/ws/room")
        send_json(socket, {"say": "hello"})
        assert receive_json(socket)
        socket.close()
        outputs = []
        for process in stack.processes:
            process.end()
            outputs.append(process.output())
    for output in outputs:
        for option in retired:
            assert output.count(f"CONFIG: {option!r} has no meaning and can go: ") == 1
        assert f"redis://127.0.0.1:{server.port}/3, prefix {config['prefix']!r}" in output
        assert str(LOGIN["password"]) not in output
    assert server.command("ACL", "LOG") == b"*0\r\n"

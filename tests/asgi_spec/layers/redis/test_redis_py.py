"""The names of redis-py that are used: a version that lacks one fails here, with what it is for."""

from __future__ import annotations

import ast
import inspect
import socket
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.connection

import headrace_asgi
from headrace_asgi.layers.redis.redis_py import SocketOpener, is_tls, is_unix, url_options
from tests.support.services import RedisServer

HERE = f"redis-py {redis.__version__}"
SOURCE = Path(headrace_asgi.__file__).parent


@pytest.mark.parametrize(
    "name", ["ConnectionPool", "SSLConnection", "UnixDomainSocketConnection", "parse_url"]
)
def test_the_module_of_connections_has_what_is_used_of_it(name: str) -> None:
    assert hasattr(redis.connection, name), f"{HERE} has no redis.connection.{name}: see redis_py.py"


@pytest.mark.parametrize("name", ["connection_class", "connection_kwargs"])
def test_a_pool_says_how_it_would_connect(name: str) -> None:
    pool: Any = redis.ConnectionPool(host="localhost")
    assert hasattr(pool, name), f"the pools of {HERE} have no {name}: see redis_py.py"


@pytest.mark.parametrize("option", ["redis_connect_func", "socket_keepalive_options", "protocol"])
def test_a_connection_takes_the_options_that_we_add(option: str) -> None:
    taken = inspect.signature(redis.connection.AbstractConnection.__init__).parameters.keys()
    taken |= inspect.signature(redis.Connection.__init__).parameters.keys()
    assert option in taken, f"the connections of {HERE} take no {option}: see redis_py.py"


@pytest.mark.parametrize("name", ["connect", "disconnect", "_sock"])
def test_an_open_connection_gives_its_socket(name: str, redis_server: RedisServer) -> None:
    connection: Any = redis.Connection(port=redis_server.port)
    connection.connect()
    assert hasattr(connection, name), f"the connections of {HERE} have no {name}: see redis_py.py"
    connection.disconnect()


def test_an_opened_socket_was_told_nothing_by_redis_py(redis_server: RedisServer) -> None:
    for url in (redis_server.url, redis_server.tcp_url, redis_server.tcp_url + "?db=3&password=x&protocol=3"):
        opened, close = SocketOpener(url_options(url)).open()
        assert isinstance(opened, socket.socket)
        opened.settimeout(5.0)
        opened.sendall(b"PING\r\n")
        assert opened.recv(100) == b"+PONG\r\n"
        close()
        assert opened.fileno() == -1


def test_a_connect_function_of_the_settings_is_called(redis_server: RedisServer) -> None:
    connected: list[object] = []
    _, close = SocketOpener(
        url_options(redis_server.tcp_url, {"redis_connect_func": connected.append})
    ).open()
    assert len(connected) == 1
    close()


def test_nobody_listening_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="o such file"):
        SocketOpener(url_options(f"unix://{tmp_path}/none.sock")).open()


def test_a_url_says_its_options_and_its_kind() -> None:
    unix, plain, tls = map(url_options, ("unix:///r.sock?db=2", "redis://me:pw@h:7/1", "rediss://h"))
    assert (unix["path"], unix["db"], is_unix(unix["connection_class"])) == ("/r.sock", 2, True)
    assert [plain[name] for name in ("username", "password", "host", "port", "db")] == ["me", "pw", "h", 7, 1]
    assert [is_tls(one.get("connection_class")) for one in (unix, plain, tls)] == [False, False, True]


def test_options_win_over_the_url_and_say_the_kind_too() -> None:
    over = url_options("redis://:old@h/1", {"password": "new", "db": 2})
    assert (over["password"], over["db"], over["host"]) == ("new", 2, "h")
    assert is_unix(url_options("redis://", {"path": "/r.sock"})["connection_class"])
    secure = url_options("redis://", {"ssl": True})
    assert is_tls(secure["connection_class"])
    assert "ssl" not in secure, "no connection of redis-py takes it"
    assert "connection_class" not in url_options("redis://", {"ssl": False})


def test_an_option_that_redis_py_refuses_is_a_wrong_value() -> None:
    with pytest.raises(ValueError, match="no_such_option"):
        SocketOpener({"no_such_option": 1})


@pytest.mark.parametrize(
    ("library", "door"), [("redis", "layers/redis/redis_py.py"), ("hiredis", "layers/redis/plan/resp.py")]
)
def test_each_library_has_one_door(library: str, door: str) -> None:
    users = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            named = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                named = [node.module or ""]
            if any(name.partition(".")[0] == library for name in named):
                users.add(path.relative_to(SOURCE).as_posix())
    assert users == {door}

"""For every test: real Redis servers, with a prefix of its own for each test; more seeds for longer runs."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from itertools import count

import pytest

from tests.support.services import RedisServer, redis_binary, skip_or_fail, valkey_binary

# A run that was started in the background ignores Ctrl-C, and so would every process that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

_prefixes = count(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--long",
        type=int,
        default=1,
        metavar="TIMES",
        help="run tests with random input so many times as long, with new seeds (`-m seeds`: only these)",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`@pytest.mark.seeds(20)` gives a test its argument `seed`: 0 to 19, and on from there with `--long`."""
    marker = metafunc.definition.get_closest_marker("seeds")
    if marker is not None:
        (at_least,) = marker.args
        metafunc.parametrize("seed", range(at_least * metafunc.config.getoption("long")))


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A Valkey server that all tests share. Do not stop it: take `private_redis_server` for that."""
    with RedisServer(valkey_binary()) as server:
        yield server


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """URL of the shared Valkey server, with a prefix that no other test has."""
    return f"{redis_server.url}?prefix=t{next(_prefixes)}"


@pytest.fixture
def private_redis_server() -> Iterator[RedisServer]:
    """A Valkey server for one test, which may kill it."""
    with RedisServer(valkey_binary()) as server:
        yield server


@pytest.fixture(scope="session")
def redis7_server() -> Iterator[RedisServer]:
    """A Redis server (7.0 or later) from PATH that all tests share; skipped at home where there is none."""
    binary = redis_binary()
    if binary is None:
        skip_or_fail("there is no redis-server >= 7.0 on PATH; `make services` installs one")
    assert binary is not None
    with RedisServer(binary) as server:
        yield server


@pytest.fixture
def redis7_url(redis7_server: RedisServer) -> str:
    """URL of the shared Redis server, with a prefix that no other test has."""
    return f"{redis7_server.url}?prefix=t{next(_prefixes)}"


@pytest.fixture(params=["valkey", "redis"])
def any_redis_url(request: pytest.FixtureRequest) -> str:
    """Runs the test twice: over Valkey and over Redis."""
    url: str = request.getfixturevalue("redis_url" if request.param == "valkey" else "redis7_url")
    return url

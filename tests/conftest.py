"""For every test: real servers, with a prefix of its own for each test; more seeds for longer runs."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from tests.support.rabbitmq_server import RabbitMQServer, rabbitmq_programs
from tests.support.redis_cluster import RedisCluster
from tests.support.services import RedisServer, SentinelSet, redis_binary, skip_or_fail, valkey_binary
from tests.support.unclosed import pytest_runtest_makereport, remember_makers

__all__ = ["pytest_runtest_makereport"]

# A run that was started in the background ignores Ctrl-C, and so would every process that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

remember_makers()
_prefixes = count(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--long",
        type=int,
        default=1,
        metavar="TIMES",
        help="run tests with random input so many times as long, with new seeds (`-m seeds`: only these)",
    )


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes that are no text are no name: random ones would be another one in each process of a run."""
    return argname if isinstance(val, bytes) and not val.isascii() else None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`@pytest.mark.seeds(20)` gives a test its argument `seed`: 0 to 19, and on from there with `--long`."""
    marker = metafunc.definition.get_closest_marker("seeds")
    if marker is not None:
        (at_least,) = marker.args
        metafunc.parametrize("seed", range(at_least * metafunc.config.getoption("long")))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One of the processes that share a run has all tests with a broker: a start of one takes ten seconds."""
    for item in items:
        if {"rabbitmq_server", "private_rabbitmq_server"}.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.xdist_group("rabbitmq"))


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


@pytest.fixture(scope="session")
def sentinel_set() -> Iterator[SentinelSet]:
    """Servers with Sentinels that all tests share. For a failover take `private_sentinel_set`."""
    with SentinelSet(valkey_binary()) as servers:
        yield servers


@pytest.fixture
def sentinel_url(sentinel_set: SentinelSet) -> str:
    """URL of the shared servers with Sentinels, with a prefix that no other test has."""
    return f"{sentinel_set.url}?prefix=t{next(_prefixes)}"


@pytest.fixture
def private_sentinel_set() -> Iterator[SentinelSet]:
    """A primary, a replica and three Sentinels for one test, which may kill any of them."""
    with SentinelSet(valkey_binary()) as servers:
        yield servers


@pytest.fixture(scope="session")
def redis_cluster() -> Iterator[RedisCluster]:
    """A Redis Cluster of three masters that all tests share. To move slots take `private_redis_cluster`."""
    with RedisCluster(valkey_binary()) as cluster:
        yield cluster


@pytest.fixture
def cluster_url(redis_cluster: RedisCluster) -> str:
    """URL of the shared Redis Cluster, with a prefix that no other test has."""
    return f"{redis_cluster.url}?prefix=t{next(_prefixes)}"


@pytest.fixture
def private_redis_cluster() -> Iterator[RedisCluster]:
    """A Redis Cluster of three masters for one test, which may move slots and kill nodes."""
    with RedisCluster(valkey_binary()) as cluster:
        yield cluster


def _rabbitmq() -> RabbitMQServer:
    programs = rabbitmq_programs()
    if programs is None:
        skip_or_fail("there is no rabbitmq-server; `make services` installs one")
    assert programs is not None
    return RabbitMQServer(*programs)


@pytest.fixture(scope="session")
def rabbitmq_server() -> Iterator[RabbitMQServer]:
    """A RabbitMQ that all tests share; skipped at home where there is none."""
    with _rabbitmq() as server:
        yield server


@pytest.fixture
def rabbitmq_config(rabbitmq_server: RabbitMQServer) -> dict[str, Any]:
    """CONFIG of a layer on the shared RabbitMQ, with a prefix that no other test has."""
    return {"url": rabbitmq_server.url, "prefix": f"t{next(_prefixes)}"}


@pytest.fixture
def private_rabbitmq_server() -> Iterator[RabbitMQServer]:
    """A RabbitMQ for one test, which may kill it; skipped at home where there is none."""
    with _rabbitmq() as server:
        yield server

"""Runs one of the shipped conformance mix-ins against a layer, to see which of its cases fail."""

from __future__ import annotations

import unittest
from collections.abc import Callable
from typing import Any

import pytest

from headrace_asgi.contract import ChannelLayer
from headrace_asgi.layers.memory.layer import InMemoryChannelLayer
from headrace_asgi.layers.memory.process import MemoryProcess
from headrace_asgi.layers.redis.plan.outcomes import ACL
from tests.support.services import RedisServer


class HandClock:
    """A clock that moves when it is told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class OnValkey:
    """Gives a class of cases the `url` of a Valkey server."""

    url: str

    @pytest.fixture(autouse=True)
    def _server(self, redis_url: str) -> None:
        self.url = redis_url


class OnRedis:
    """Gives a class of cases the `url` of a Redis server."""

    url: str

    @pytest.fixture(autouse=True)
    def _server(self, redis7_url: str) -> None:
        self.url = redis7_url


class OverSentinel:
    """Gives a class of cases the `url` of a Valkey server that Sentinels name."""

    url: str

    @pytest.fixture(autouse=True)
    def _server(self, sentinel_url: str) -> None:
        self.url = sentinel_url


class OnCluster:
    """Gives a class of cases the `url` of a Redis Cluster."""

    url: str

    @pytest.fixture(autouse=True)
    def _server(self, cluster_url: str) -> None:
        self.url = cluster_url


class AsTheLeastUser:
    """Gives a class of cases the `url` of a Valkey server for a user who may do no more than is needed."""

    url: str

    @pytest.fixture(autouse=True)
    def _server(self, redis_server: RedisServer, redis_url: str) -> None:
        set_up = redis_server.command("ACL", "SETUSER", "least", "reset", "on", ">pw", *ACL.split())
        assert set_up == b"+OK\r\n"
        self.url = redis_url.replace("unix://", "unix://least:pw@")


def only(mixin: type, case: str) -> type:
    """A mix-in with one case of another one."""
    others = [name for name in dir(mixin) if name.startswith("test_") and name != case]
    assert hasattr(mixin, case)
    return type("Only", (mixin,), dict.fromkeys(others))


def failed_cases(
    mixin: type, make_layer: Callable[..., ChannelLayer] = InMemoryChannelLayer, **attributes: Any
) -> set[str]:
    """Names of the cases that fail for a layer: `make_layer` is called like InMemoryChannelLayer."""

    class Case(mixin, unittest.TestCase):  # type: ignore[misc]
        capacity_limit = 5
        expiry_delay = 1.1

        def setUp(self) -> None:
            self.clock = HandClock()
            self.channel_layer = make_layer(expiry=1, group_expiry=2, capacity=5, clock=self.clock)
            super().setUp()

        def wait_for_expiry(self) -> None:
            self.clock.now += 1.1

        def wait_for_group_expiry(self) -> None:
            self.clock.now += 2.1

        def let_leases_lapse(self) -> None:
            self.clock.now += 1000

        def pass_time(self, seconds: float) -> None:
            self.clock.now += seconds

        def open_process(self) -> MemoryProcess:
            return self.channel_layer.open_process()

        def put_raw(self, channel: str, entry: bytes) -> None:
            self.channel_layer.put_raw(channel, entry)

    attributes = {"patience_seconds": 0.4, **attributes}
    for name, value in attributes.items():
        setattr(Case, name, value)
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(Case).run(result)
    assert result.testsRun > 0
    # A failed subtest is reported with its arguments behind its name.
    return {case.id().split()[0].rpartition(".")[2] for case, _ in result.failures + result.errors}

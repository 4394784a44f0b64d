"""How long to wait for a Redis that says nothing."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any

import pytest

from headrace_asgi.errors import LayerUnavailable
from headrace_asgi.layers.redis.address import parse_address
from headrace_asgi.layers.redis.blocking import silence as redis_patience
from headrace_asgi.layers.redis.blocking.layer import RedisPlaceLayer
from headrace_asgi.layers.redis.blocking.silence import ANSWER_SECONDS, LATE_SECONDS, SilenceTimeout, hangs
from tests.support.ports import free_port
from tests.support.services import RedisServer


def test_an_answer_is_waited_for_while_redis_answers_nobody_and_a_second_longer() -> None:
    hanging = [True, True, False, False]
    silence = SilenceTimeout(lambda: hanging.pop(0), lambda: False)
    assert [silence.more_seconds() for _ in range(4)] == [ANSWER_SECONDS, ANSWER_SECONDS, LATE_SECONDS, 0.0]


def test_who_has_to_end_waits_no_longer() -> None:
    assert SilenceTimeout(lambda: True, lambda: True).more_seconds() == 0.0


def test_a_paused_redis_hangs_and_one_that_works_or_is_gone_does_not(
    private_redis_server: RedisServer,
) -> None:
    by_path, by_port = parse_address(private_redis_server.url), parse_address(private_redis_server.tcp_url)
    assert not hangs(by_path)
    assert not hangs(by_port)
    private_redis_server.pause()
    assert hangs(by_path)
    assert hangs(by_port)
    private_redis_server.resume()
    private_redis_server.kill()
    assert not hangs(by_path)
    assert not hangs(replace(by_port, port=free_port()))
    private_redis_server.start()


def test_a_take_that_waits_while_redis_hangs_loses_nothing(
    private_redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace_asgi.layers.redis.blocking.worker_port.ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(redis_patience, "ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(redis_patience, "PROBE_SECONDS", 0.2)
    layer = RedisPlaceLayer(hosts=[private_redis_server.url])
    port = layer.open_worker_port(lambda item, outcome: None)
    taken: list[Any] = []
    taking = threading.Thread(target=lambda: taken.extend(port.turn([], ["work"], 1, 0.3)))
    private_redis_server.pause()
    taking.start()
    time.sleep(2.5)
    assert taking.is_alive()
    private_redis_server.resume()
    layer.send("work", {"n": 1})
    taking.join(10)
    taken = taken or port.turn([], ["work"], 1, 2)
    assert [delivery.message["n"] for delivery in taken] == [1]
    assert layer.statistics("work")["pending"] == 0
    port.close()
    layer.close()


def test_a_take_whose_worker_ends_is_given_up_while_redis_hangs(
    private_redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace_asgi.layers.redis.blocking.worker_port.ANSWER_SECONDS", 0.2)
    layer = RedisPlaceLayer(hosts=[private_redis_server.url])
    port = layer.open_worker_port(lambda item, outcome: None)
    private_redis_server.pause()
    port.wake()
    begun = time.monotonic()
    with pytest.raises(LayerUnavailable):
        port.turn([], ["work"], 1, 0.1)
    assert time.monotonic() - begun < 15
    private_redis_server.resume()
    port.close()
    layer.close()

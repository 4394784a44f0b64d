"""Acknowledged channels over a Redis that something else writes to, or that goes away."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from headrace_asgi.contract import Out, Send, SendLater
from headrace_asgi.envelope import pack_message
from headrace_asgi.later import Due
from headrace_asgi.layers.redis.blocking.acknowledged import claim_messages
from headrace_asgi.layers.redis.blocking.layer import RedisPlaceLayer
from headrace_asgi.layers.redis.plan.command import RedisCommand, as_is
from tests.support.services import RedisServer


class Bench:
    def __init__(self, url: str, **options: Any) -> None:
        self.url = url
        self.options = {"acknowledged": ["kept"], "acknowledged_attempts": 1, **options}
        self.layer = RedisPlaceLayer([url], **self.options)

    def raw(self, *args: Any) -> Any:
        return self.layer.ask(RedisCommand("0", args, as_is))


@pytest.fixture
def bench(redis_url: str) -> Iterator[Bench]:
    bench = Bench(redis_url)
    yield bench
    bench.layer.close()


def test_a_message_that_cannot_be_read_is_tried_elsewhere_or_laid_aside(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    layer = bench.layer
    other = RedisPlaceLayer([bench.url], acknowledged=["kept"], symmetric_encryption_keys=["k" * 16])
    other.send("kept", {"n": 1})
    layer.send("kept", {"n": 2})
    port = layer.open_worker_port(lambda item, outcome: None)
    assert [one.message for one in claim_messages(layer, "0", "kept", 5)] == [{"n": 2}]
    port.close()
    assert "encrypted" in caplog.text
    [letter] = layer.dead_letters("kept")
    assert letter.message == {}
    assert "encrypted" in letter.reason
    [readable] = other.dead_letters("kept")
    assert readable.message == {"n": 1}
    other.close()


def test_so_many_messages_as_one_likes_are_claimed_at_once(bench: Bench) -> None:
    layer = RedisPlaceLayer([bench.url], acknowledged=["kept"], capacity=10_000)
    layer.send_many([("kept", {"n": number}) for number in range(4_500)])
    taken = layer.receive_many(["kept"], 5_000)
    assert [message["n"] for _, message in taken] == list(range(4_500))
    assert layer.statistics("kept")["done"] == 4_500
    layer.close()


def test_a_claim_that_fails_costs_nothing_but_time(
    private_redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(private_redis_server.url, acknowledged=["spoilt"])
    bench.layer.send("spoilt", {"n": 1})
    tries = bench.layer.plan.key("0", "tries")
    bench.raw("SET", tries, "no hash")
    with caplog.at_level(logging.ERROR):
        assert claim_messages(bench.layer, "0", "spoilt", 1) == []
    assert "was not claimed" in caplog.text
    assert tries in caplog.text
    bench.raw("DEL", tries)
    assert [one.message for one in claim_messages(bench.layer, "0", "spoilt", 1)] == [{"n": 1}]
    bench.layer.close()


def test_encrypted_bells_ring(redis_url: str) -> None:
    bench = Bench(redis_url, symmetric_encryption_keys=["k" * 16])
    layer = bench.layer
    layer.send("kept", {"n": 1})
    layer.send_later("kept", {"n": 2}, delay=0)
    layer.move_due(["kept"])
    port = layer.open_worker_port(lambda item, outcome: None)
    taken = port.turn([], ["kept"], 5, 1)
    assert [one.message["n"] for one in taken] == [1, 2]
    port.close()
    layer.close()


def test_without_the_pattern_a_process_takes_what_is_there_for_it_all_the_same(bench: Bench) -> None:
    bench.layer.send("kept", {"n": 1})
    plain = RedisPlaceLayer([bench.url])
    assert plain.receive(["kept"]) == ("kept", {"n": 1})
    plain.close()


def test_what_a_worker_says_again_is_there_once_also_when_it_was_done_meanwhile(bench: Bench) -> None:
    layer = bench.layer
    port = layer.open_worker_port(lambda item, outcome: None)
    for last in (False, True):
        said: list[Out] = [
            Send("kept", pack_message({"n": 1}), id=layer.new_message_id("kept")),
            Send("kept", pack_message({"n": 2})),
            SendLater("kept", pack_message({"n": 3}), layer.new_message_id("kept"), Due(0, from_now=True)),
        ]
        port.turn(said, (), 0, 0)
        if last:
            layer.move_due()
            assert [message["n"] for _, message in layer.receive_many(["kept"], 5)] == [1, 2, 3]
        port.turn([said[0], said[2]], (), 0, 0)
        layer.move_due()
        found = [message["n"] for _, message in layer.receive_many(["kept"], 5)]
        assert found == ([] if last else [1, 2, 3])
    port.close()

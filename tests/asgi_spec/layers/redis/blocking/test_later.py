"""Moving what is due, where something else wrote to a channel, and what a message for later expires by."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from headrace_asgi.contract import SendLater
from headrace_asgi.envelope import decode, pack_message
from headrace_asgi.errors import LayerUnavailable
from headrace_asgi.later import Due
from headrace_asgi.layers.redis.blocking.later import kept
from headrace_asgi.layers.redis.blocking.layer import RedisPlaceLayer
from headrace_asgi.layers.redis.plan.acknowledged import entry_of
from headrace_asgi.layers.redis.plan.command import RedisCommand, as_is
from tests.support.services import RedisServer


@pytest.fixture
def layer(redis_url: str) -> Iterator[RedisPlaceLayer]:
    layer = RedisPlaceLayer([redis_url], expiry=10)
    yield layer
    layer.close()


def test_a_spoilt_channel_keeps_nothing_from_the_others(
    layer: RedisPlaceLayer, caplog: pytest.LogCaptureFixture
) -> None:
    spoilt = layer.plan.queue_key("0", "spoilt")
    layer.ask(RedisCommand("0", (b"SET", spoilt, b"no list"), as_is))
    for channel in ("spoilt", "work", "other"):
        layer.send_later(channel, {"to": channel}, delay=0)
    time.sleep(0.01)
    seconds = layer.move_due()
    assert 5 < seconds <= 20
    assert spoilt in caplog.text
    found = [layer.receive([channel]) for channel in ("work", "other")]
    assert found == [("work", {"to": "work"}), ("other", {"to": "other"})]
    layer.ask(RedisCommand("0", (b"DEL", spoilt), as_is))


def test_a_message_expires_from_when_it_was_due(layer: RedisPlaceLayer) -> None:
    now = layer.now_ms("0")
    for due, expected in (
        (Due(60_000, from_now=True), now + 70_000),
        (Due(now + 60_000, from_now=False), now + 70_000),
        (Due(5, from_now=False), now + 10_000),
    ):
        item = SendLater("work", pack_message({}), layer.new_message_id("work"), due)
        command = kept(layer, item.channel, item.packed, item.id, item.due)
        value = next(part for part in command.args if isinstance(part, bytes) and part.startswith(b"work "))
        assert abs(decode(entry_of(value)).expiry_ms - expected) < 500


def test_a_layer_that_is_away_says_so(private_redis_server: RedisServer) -> None:
    layer = RedisPlaceLayer([private_redis_server.url])
    layer.move_due()
    private_redis_server.stop()
    with pytest.raises(LayerUnavailable):
        layer.move_due()
    with pytest.raises(LayerUnavailable):
        layer.send_later("work", {}, delay=1)
    layer.close()

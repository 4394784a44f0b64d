"""What is said of channels that nobody takes; on a real Redis, which workers announce theirs to."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from headrace import Channel, outbox, takers
from headrace.asgi import ChannelLayerWrapper
from headrace_asgi import InMemoryChannelLayer
from headrace_asgi.errors import LayerUnavailable
from headrace_asgi.layers.redis.blocking.layer import RedisPlaceLayer
from headrace_asgi.layers.redis.plan.command import RedisCommand, as_is
from headrace_asgi.limits import ANNOUNCED_SECONDS
from tests.support.conformance import HandClock


class Layer(RedisPlaceLayer):
    """Counts how often it is asked who takes what; may be away for that."""

    asked = 0
    away = False

    def takers(self) -> dict[str, float]:
        self.asked += 1
        if self.away:
            raise LayerUnavailable("for a test")
        return super().takers()


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(takers, "settled", set())
    monkeypatch.setattr(takers, "_look_at", 0.0)
    monkeypatch.setattr(takers, "_noted", {})


@pytest.fixture
def layer(redis_url: str) -> Iterator[Layer]:
    made = Layer([redis_url])
    yield made
    made.close()


def send(layer: Layer, *names: str) -> None:
    for name in names:
        Channel(name, channel_layer=ChannelLayerWrapper(layer, "default", [])).send({})


def test_a_channel_that_nobody_ever_took_is_named_once_with_the_likely_word(
    layer: Layer, caplog: pytest.LogCaptureFixture
) -> None:
    layer.announce(["chat.reminder", "http.request"])
    send(layer, "chat.reminders", "chat.reminders", "chat.reminder")
    (said,) = caplog.messages
    assert said.startswith(
        f"A message was sent to 'chat.reminders' at {layer.label}, which no worker has ever"
    )
    assert said.endswith("did you mean 'chat.reminder'?")
    assert layer.asked == 1
    assert len(layer.receive_many(["chat.reminders"], 9)) == 2


def test_without_a_likely_word_the_question_is_open(layer: Layer, caplog: pytest.LogCaptureFixture) -> None:
    send(layer, "work")
    assert caplog.messages[0].endswith("is it in the routing of a worker, or misspelt?")


def test_a_channel_whose_workers_are_stopped_is_not_misspelt(
    layer: Layer, caplog: pytest.LogCaptureFixture
) -> None:
    layer.announce(["work"])
    key = layer.plan.key("0", "takers")
    an_hour_ago = int(time.time() * 1000) - 3_600_000
    layer.ask(RedisCommand("0", (b"ZADD", key, an_hour_ago, "work"), as_is))
    send(layer, "work")
    assert caplog.messages == []
    assert 3590 < layer.takers()["work"] < 3700


def test_replies_and_channels_with_one_reader_are_not_asked_for(layer: Layer) -> None:
    send(layer, "hr1.0.feed!a", "daphne.response.x!a", "http.request.body?x")
    assert layer.asked == 0
    assert takers.settled == set()


def test_it_is_asked_every_ten_seconds_at_most_and_later_if_the_layer_was_away(
    layer: Layer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer.away = True
    send(layer, "one", "two")
    assert (layer.asked, caplog.messages) == (1, [])
    layer.away = False
    monkeypatch.setattr(takers, "_look_at", 0.0)
    send(layer, "one", "two")
    assert layer.asked == 2
    assert len(caplog.messages) == 1
    monkeypatch.setattr(takers, "_look_at", 0.0)
    send(layer, "one", "two", "two")
    assert layer.asked == 3
    assert len(caplog.messages) == 2


def test_a_consumer_does_not_wait_for_the_answer_which_the_watcher_gets(
    layer: Layer, caplog: pytest.LogCaptureFixture
) -> None:
    before = outbox.enter(collecting := outbox.Outbox(layer, "a consumer"))
    try:
        send(layer, "work", "work", "http.request.body?x")
    finally:
        outbox.leave(before)
    assert len(collecting.elsewhere) == 3
    assert (layer.asked, caplog.messages) == (0, [])
    layer.away = True
    takers.look_at_noted()
    assert (layer.asked, caplog.messages) == (1, [])
    layer.away = False
    takers._look_at = 0.0
    takers.look_at_noted()
    takers.look_at_noted()
    assert layer.asked == 2
    assert len(caplog.messages) == 1


def test_a_layer_of_one_process_has_nobody_to_ask(caplog: pytest.LogCaptureFixture) -> None:
    Channel("work", channel_layer=InMemoryChannelLayer()).send({})
    assert caplog.messages == []
    assert takers.settled == {"work"}


def test_the_number_of_names_is_bounded(layer: Layer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(takers, "_MOST", 3)
    monkeypatch.setattr(takers, "LOOK_SECONDS", 0.0)
    send(layer, *(f"made.up.{number}" for number in range(5)))
    assert layer.asked == 3


def test_memory_remembers_who_took_what_longer_than_it_counts() -> None:
    clock = HandClock()
    layer = InMemoryChannelLayer(clock=clock)
    layer.announce(["work"])
    process = layer.open_process()
    clock.now += ANNOUNCED_SECONDS + 1
    assert process.taken_channels == frozenset()
    assert layer.takers() == {"work": ANNOUNCED_SECONDS + 1}
    clock.now += 8 * 86_400
    assert layer.takers() == {}

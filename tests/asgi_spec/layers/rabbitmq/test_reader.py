"""Whose turn it is to be looked at; no broker is needed for that."""

from __future__ import annotations

from headrace_asgi.layers.rabbitmq.address import parse_address
from headrace_asgi.layers.rabbitmq.link import AmqpLink
from headrace_asgi.layers.rabbitmq.reader import TakingLine


def test_a_taker_of_ever_new_channels_remembers_a_bounded_number_of_them() -> None:
    line = TakingLine(AmqpLink(parse_address("amqp://127.0.0.1")))
    for number in range(25_000):
        line.served(f"http.request.body?{number}")
    line.heard([f"http.request.body?{number}" for number in range(25_000, 50_000)])
    assert len(line._served) <= 10_000
    line.served("work")
    assert line.in_turn(["work", "idle"]) == ["idle", "work"]
    assert line.busy(["work", "idle"]) == ["work"]

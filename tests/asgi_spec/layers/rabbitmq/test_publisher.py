"""Publishing with confirms, as coroutines of one event loop."""

from __future__ import annotations

import asyncio
from typing import Any

from headrace_asgi.contract import Outcome
from headrace_asgi.layers.rabbitmq.address import parse_address
from headrace_asgi.layers.rabbitmq.link import AmqpLink
from headrace_asgi.layers.rabbitmq.publisher import ConfirmedPublisher, Publication
from headrace_asgi.layers.rabbitmq.topology import QueueDeclaration


def message(queue: str, number: int = 0) -> Publication:
    return Publication(queue, b"%d" % number, 60_000)


async def with_queue(link: AmqpLink, name: str) -> None:
    """A queue with room for three."""
    channel = await link.channel()
    await channel.declare(
        QueueDeclaration(name, {"x-max-length": 3, "x-overflow": "reject-publish", "x-expires": 60_000})
    )
    await channel.close()


def test_each_message_has_its_outcome_in_the_order_of_the_messages(rabbitmq_config: dict[str, Any]) -> None:
    async def main() -> list[Outcome]:
        link = AmqpLink(parse_address(rabbitmq_config["url"]))
        name = f"{rabbitmq_config['prefix']}.publisher"
        await with_queue(link, name)
        publisher = ConfirmedPublisher(link)
        missing = message(f"{name}.missing")
        outcomes = await publisher.publish(
            [message(name), missing, message(name), message(name), message(name), missing]
        )
        await link.close()
        return outcomes

    assert asyncio.run(main()) == [
        *(Outcome.SENT, Outcome.GONE, Outcome.SENT, Outcome.SENT, Outcome.FULL, Outcome.GONE)
    ]


def test_several_who_publish_at_once_get_their_own_outcomes(rabbitmq_config: dict[str, Any]) -> None:
    async def main() -> list[list[Outcome]]:
        link = AmqpLink(parse_address(rabbitmq_config["url"]))
        name = f"{rabbitmq_config['prefix']}.several"
        await with_queue(link, name)
        publisher = ConfirmedPublisher(link)
        asked = [publisher.publish([message(queue)]) for queue in (name, "missing", name, "missing", name)]
        outcomes = await asyncio.gather(*asked)
        await link.close()
        return outcomes

    assert asyncio.run(main()) == [
        *([Outcome.SENT], [Outcome.GONE], [Outcome.SENT], [Outcome.GONE], [Outcome.SENT])
    ]


def test_a_broker_that_takes_nothing_is_like_a_full_channel_and_nothing_is_written(
    rabbitmq_config: dict[str, Any],
) -> None:
    async def main() -> tuple[list[Outcome], int]:
        link = AmqpLink(parse_address(rabbitmq_config["url"]))
        name = f"{rabbitmq_config['prefix']}.blocked"
        await with_queue(link, name)
        publisher = ConfirmedPublisher(link)
        await publisher.connect()
        link.is_blocked = True
        outcomes = await publisher.publish([message(name)] * 2)
        channel = await link.channel()
        waiting = (await channel.ask("queue_declare", name, passive=True)).method.message_count
        await link.close()
        return outcomes, waiting

    assert asyncio.run(main()) == ([Outcome.FULL] * 2, 0)

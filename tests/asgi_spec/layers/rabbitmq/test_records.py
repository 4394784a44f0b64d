"""Records at the broker: added and read by several at once, the latest of a key counts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from headrace_asgi.layers.rabbitmq.address import parse_address
from headrace_asgi.layers.rabbitmq.declared import DeclaredQueues
from headrace_asgi.layers.rabbitmq.link import AmqpLink
from headrace_asgi.layers.rabbitmq.publisher import ConfirmedPublisher
from headrace_asgi.layers.rabbitmq.records import RecordQueue
from headrace_asgi.layers.rabbitmq.topology import QueueDeclaration

T = TypeVar("T")
LONG_MS = 60_000


def run(config: dict[str, Any], act: Callable[[list[RecordQueue], DeclaredQueues], Awaitable[T]]) -> T:
    """Do something with three processes' sights of the same records."""

    async def main() -> T:
        queue = QueueDeclaration(f"{config['prefix']}.records", {"x-expires": LONG_MS})
        links, records = [], []
        for _ in range(3):
            publishing, taking = (AmqpLink(parse_address(config["url"])) for _ in range(2))
            declared = DeclaredQueues(taking, f"{config['prefix']}.groups", lambda name: ())
            links += [publishing, taking]
            records.append(RecordQueue(queue, taking, declared, ConfirmedPublisher(publishing)))
        done = await act(records, declared)
        for link in links:
            await link.close()
        return done

    return asyncio.run(main())


def test_the_latest_word_on_each_key_counts_and_reading_changes_nothing(
    rabbitmq_config: dict[str, Any],
) -> None:
    async def act(records: list[RecordQueue], declared: DeclaredQueues) -> list[Any]:
        one, other, third = records
        await one.add("a", {"n": 1}, LONG_MS)
        await other.add("b", {"n": 2}, LONG_MS)
        await third.add("a", {"n": 3}, LONG_MS)
        await one.add("short", {"n": 4}, 1)
        await asyncio.sleep(0.05)
        return [await each.read() for each in (one, other, one)]

    for read in run(rabbitmq_config, act):
        assert sorted(each["n"] for each in read) == [2, 3]


def test_several_may_read_and_add_at_once_and_each_reader_sees_what_was_there(
    rabbitmq_config: dict[str, Any],
) -> None:
    async def act(records: list[RecordQueue], declared: DeclaredQueues) -> list[list[Any]]:
        for number in range(5):
            await records[0].add(str(number), {"n": number}, LONG_MS)
        asked = [each.read() for each in records * 3]
        added = [records[number % 3].add(str(number), {"n": number}, LONG_MS) for number in range(5, 10)]
        answers = await asyncio.gather(*asked, *added)
        return [*answers[: len(asked)], await records[1].read()]

    *meanwhile, after = run(rabbitmq_config, act)
    for read in meanwhile:
        assert {0, 1, 2, 3, 4} <= {each["n"] for each in read}
    assert {each["n"] for each in after} == set(range(10))


def test_what_a_later_word_made_pointless_does_not_pile_up(rabbitmq_config: dict[str, Any]) -> None:
    async def act(records: list[RecordQueue], declared: DeclaredQueues) -> tuple[list[Any], int]:
        for number in range(400):
            await records[number % 2].add("same", {"n": number}, LONG_MS)
        waiting = await declared.count(QueueDeclaration(f"{rabbitmq_config['prefix']}.records", {}))
        return await records[2].read(), waiting

    read, waiting = run(rabbitmq_config, act)
    assert read == [{"n": 399}]
    assert waiting < 300

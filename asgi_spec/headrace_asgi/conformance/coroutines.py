"""Conformance cases for coroutines: the methods of a layer that begin with an "a"."""

# Shipped to be run by unittest as well, and under -O, where an assert statement is not there.
# ruff: noqa: PT009, PT027

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

from ..envelope import Message
from .case import ConformanceCase

__all__ = ["CoroutineConformance"]

T = TypeVar("T")
#: Seconds after which a task is cancelled, one after the other: before, in and behind the moment of the take.
_MOMENTS = [0.0, 0.0002, 0.0005, 0.001, 0.0015, 0.002, 0.003, 0.005]


class CoroutineConformance(ConformanceCase):
    """Sending and receiving in an event loop, which goes on meanwhile."""

    def run_async(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in an event loop of its own."""
        return asyncio.run(coroutine)

    def test_what_a_coroutine_sends_a_coroutine_receives(self) -> None:
        async def main() -> None:
            layer = self.channel_layer
            self.assertEqual(await layer.areceive(["test.one"]), (None, None))
            await layer.asend("test.one", {"number": 1})
            await layer.asend("test.process!me", {"number": 2})
            self.assertEqual(await self.atake(["test.one"]), ("test.one", {"number": 1}))
            self.assertEqual(await self.atake(["test.process!"]), ("test.process!me", {"number": 2}))

        self.run_async(main())

    def test_what_is_wrong_is_raised_where_it_is_awaited(self) -> None:
        async def main() -> None:
            with self.assertRaises(TypeError):
                await self.channel_layer.asend("te st", {})
            with self.assertRaises(TypeError):
                await self.channel_layer.asend("test.one", {"value": object()})
            with self.assertRaises(TypeError):
                await self.channel_layer.areceive([])
            for _ in range(self.capacity()):
                await self.channel_layer.asend("test.full", {})
            with self.assertRaises(self.channel_layer.ChannelFull):
                await self.channel_layer.asend("test.full", {})

        self.run_async(main())

    def test_coroutines_join_groups_speak_to_them_and_leave(self) -> None:
        self.need("groups")

        async def main() -> None:
            layer = self.channel_layer
            for channel in ("test.one", "test.two"):
                await layer.agroup_add("test-group", channel)
            await layer.asend_group("test-group", {"number": 1})
            await layer.agroup_discard("test-group", "test.one")
            await layer.asend_group("test-group", {"number": 2})
            await layer.asend_groups(["test-group", "test-nobody"], {"number": 3})
            received = await self.atake_all(["test.one"], 1) + await self.atake_all(["test.two"], 3)
            self.assertEqual([message["number"] for _, message in received], [1, 1, 2, 3])
            self.assertEqual(await layer.areceive(["test.one"]), (None, None))

        self.run_async(main())

    def test_the_event_loop_goes_on_while_a_coroutine_waits(self) -> None:
        async def main() -> None:
            started = time.monotonic()
            waiting = asyncio.create_task(self.channel_layer.areceive(["test.one"], block=True))
            for _ in range(10):
                await asyncio.sleep(0.01)
            self.assertFalse(waiting.done())
            await self.channel_layer.asend("test.one", {"number": 1})
            self.assertEqual(await waiting, ("test.one", {"number": 1}))
            self.assertLess(time.monotonic() - started, 2.5)

        self.run_async(main())

    def test_a_wait_ends_when_it_was_to_end(self) -> None:
        async def main() -> float:
            started = time.monotonic()
            self.assertEqual(await self.channel_layer.areceive_many(["test.empty"], 5, 0.2), [])
            return time.monotonic() - started

        waited = self.run_async(main())
        self.assertGreater(waited, 0.15)
        self.assertLess(waited, 4)

    def test_several_coroutines_that_wait_get_each_message_once(self) -> None:
        count = 40
        numbers: list[int] = []

        async def receiver() -> None:
            # No message says that it is the last one: over several servers it may come first.
            give_up = time.monotonic() + self.patience_seconds
            while len(numbers) < count and time.monotonic() < give_up:
                taken = await self.channel_layer.areceive_many(["test.shared"], 3, 0.5)
                numbers.extend(message["number"] for _, message in taken)

        async def main() -> None:
            tasks = [asyncio.create_task(receiver()) for _ in range(4)]
            for number in range(count):
                await self.asend_patiently("test.shared", {"number": number})
            await asyncio.gather(*tasks)

        self.run_async(main())
        self.assertEqual(sorted(numbers), list(range(count)))

    def test_a_wait_that_is_cancelled_ends_at_once_and_takes_nothing(self) -> None:
        async def main() -> None:
            waiting = asyncio.create_task(self.channel_layer.areceive(["test.one"], block=True))
            await asyncio.sleep(0.1)
            started = time.monotonic()
            waiting.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await waiting
            self.assertLess(time.monotonic() - started, 1.5)
            await self.channel_layer.asend("test.one", {"number": 1})
            await asyncio.sleep(0.1)
            self.assertEqual(await self.atake(["test.one"]), ("test.one", {"number": 1}))

        self.run_async(main())

    def test_no_message_is_lost_or_doubled_or_overtaken_when_receivers_are_cancelled(self) -> None:
        """Whenever a task is cancelled: what it did not return is there for the next one."""
        count = 3 * len(_MOMENTS)

        async def main() -> list[int]:
            numbers: list[int] = []
            sending = asyncio.create_task(self._asend_numbers("test.cancelled", count))
            give_up = time.monotonic() + self.patience_seconds
            turn = 0
            while len(numbers) < count and time.monotonic() < give_up:
                task = asyncio.create_task(self.channel_layer.areceive(["test.cancelled"], block=True))
                await asyncio.sleep(_MOMENTS[turn % len(_MOMENTS)])
                turn += 1
                if turn % 10:
                    task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    _, message = await task
                    if message is not None:
                        numbers.append(message["number"])
            await sending
            return numbers

        self.assert_in_order(self.run_async(main()), range(count))
        self.assert_nothing(["test.cancelled"])

    async def atake(self, channels: Iterable[str]) -> tuple[str, Message]:
        """The next message, which is there."""
        return (await self.atake_all(list(channels), 1))[0]

    async def atake_all(self, channels: list[str], count: int) -> list[tuple[str, Message]]:
        """Exactly `count` messages, in the order in which they came; waits for them."""
        received: list[tuple[str, Message]] = []
        give_up = time.monotonic() + self.patience_seconds
        while len(received) < count and time.monotonic() < give_up:
            received += await self.channel_layer.areceive_many(channels, count - len(received), 0.5)
        self.assertEqual(len(received), count, f"received from {channels}: {received}")
        return received

    async def asend_patiently(self, channel: str, message: Message) -> None:
        """Send, and try again while the channel is full."""
        give_up = time.monotonic() + self.patience_seconds
        while True:
            try:
                return await self.channel_layer.asend(channel, message)
            except self.channel_layer.ChannelFull:
                if time.monotonic() > give_up:
                    raise
                await asyncio.sleep(0.002)

    async def _asend_numbers(self, channel: str, count: int) -> None:
        for number in range(count):
            await self.asend_patiently(channel, {"number": number})

"""Queues and bindings as they are needed: declared once for each connection, and again when one was lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from headrace_asgi.errors import LayerUnavailable
from headrace_asgi.log_limit import LogLimit, left_out_note

from .faults import DIFFERENT, ChannelRefused
from .link import AmqpChannel, AmqpLink
from .topology import QueueDeclaration

__all__ = ["DeclaredQueues"]

log = logging.getLogger("headrace.layer")

#: Names of queues that are remembered; those of single-reader channels are unlimited.
_MOST = 10_000


class DeclaredQueues:
    """The one channel on which a process declares, binds and deletes."""

    def __init__(self, link: AmqpLink, exchange: str, bound: Callable[[str], Iterable[str]]) -> None:
        """Take the exchange of the groups, and `bound`: to which groups a queue of ours must be bound."""
        self._link = link
        self._exchange = exchange
        self._bound = bound
        self._channel: AmqpChannel | None = None
        self._one_at_a_time = asyncio.Lock()
        self._known: set[str] = set()
        self._generation = 0
        self._complaints = LogLimit()

    async def connect(self) -> None:
        """See that the exchange of the groups is there. Raises LayerUnavailable, LayerRefused."""
        if self._channel is None or not self._channel.is_open:
            await self._link.ready()  # before the lock: those who wait for it fail together
        async with self._one_at_a_time:
            await self._opened()

    async def need(self, *queues: QueueDeclaration) -> None:
        """See that queues are there. Costs nothing for those that were seen. Raises LayerUnavailable."""
        if self._generation != self._link.generation:
            self._known.clear()
        for queue in queues:
            if queue.name not in self._known:
                await self._declare(queue)

    async def declare(self, queue: QueueDeclaration) -> int:
        """Declare a queue, also one that was seen; how many messages wait in it."""
        await self._link.ready()  # before the lock: those who wait for it fail together
        async with self._one_at_a_time:
            channel = await self._opened()
            return await channel.declare(queue)

    async def count(self, queue: QueueDeclaration) -> int:
        """How many messages wait in a queue that is there, whatever its arguments."""
        await self._link.ready()  # before the lock: those who wait for it fail together
        async with self._one_at_a_time:
            channel = await self._opened()
            frame = await channel.ask("queue_declare", queue.name, passive=True)
            count: int = frame.method.message_count
            return count

    async def declare_or_count(self, queue: QueueDeclaration) -> int:
        """Declare a queue whose arguments need not be these; how many messages wait in it."""
        try:
            return await self.declare(queue)
        except ChannelRefused as refusal:
            if refusal.code != DIFFERENT:
                raise
            return await self.count(queue)

    async def bind(self, queue: str, group: str) -> None:
        """Let a queue have what is sent to a group."""
        await self._link.ready()  # before the lock: those who wait for it fail together
        async with self._one_at_a_time:
            await self._bind(await self._opened(), queue, group)

    async def renew(self, queue: QueueDeclaration) -> None:
        """Declare a queue so that it lives from now on; one with other arguments is replaced."""
        try:
            await self.declare(queue)
        except ChannelRefused as refusal:
            if refusal.code != DIFFERENT:
                raise
            await self.delete(queue.name)
            await self.declare(queue)

    async def delete(self, queue: str) -> None:
        """Remove a queue with its bindings, if it is there."""
        await self._link.ready()  # before the lock: those who wait for it fail together
        async with self._one_at_a_time:
            channel = await self._opened()
            await channel.ask("queue_delete", queue)

    def forget_all(self) -> None:
        """Some of the queues that were seen are not there any more."""
        self._known.clear()

    def forget(self, queue: str) -> None:
        """A queue that was seen is not there any more."""
        self._known.discard(queue)

    async def _declare(self, queue: QueueDeclaration) -> None:
        await self._link.ready()  # before the lock: those who wait for it fail together
        async with self._one_at_a_time:
            channel = await self._opened()
            try:
                await channel.declare(queue)
            except ChannelRefused as refusal:
                if refusal.code != DIFFERENT:
                    raise
                self._complain(queue, refusal)
                channel = await self._opened()
            for group in self._bound(queue.name):
                await self._bind(channel, queue.name, group)
            if len(self._known) >= _MOST:
                self._known.clear()
            self._known.add(queue.name)

    async def _bind(self, channel: AmqpChannel, queue: str, group: str) -> None:
        await channel.ask("queue_bind", queue, self._exchange, group)

    async def _opened(self) -> AmqpChannel:
        if self._channel is None or not self._channel.is_open:
            channel = await self._link.channel()
            self._generation = self._link.generation
            self._known.clear()
            await channel.ask("exchange_declare", self._exchange, "direct", durable=True)
            self._channel = channel
        return self._channel

    def _complain(self, queue: QueueDeclaration, refusal: LayerUnavailable) -> None:
        left_out = self._complaints.ask("different")
        if left_out is not None:
            log.warning(
                "The queue %s has other limits than this process would give it, and keeps them (%s): give "
                "all processes the same CONFIG; to change it, stop them all and delete the queue%s",
                queue.name,
                refusal,
                left_out_note(left_out),
            )

"""Records that any process may add to and read, kept by the broker: a queue that nobody takes from.

A record says something under a key; the latest one of a key counts, until its time is over. To add one is
to publish it. To read them is to hear all that lie in the queue as its only consumer and to leave them there,
but for those that a later one made pointless. What is not acknowledged goes back to where it stood.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from typing import Any

from headrace_asgi.contract import Outcome
from headrace_asgi.envelope import Message, pack_message, unpack_message
from headrace_asgi.errors import LayerUnavailable, OutcomeUnknown, UnreadableEntry

from .declared import DeclaredQueues
from .faults import ChannelRefused
from .link import ANSWER_SECONDS, AmqpLink, GotMessage
from .publisher import ConfirmedPublisher, Publication
from .topology import QueueDeclaration

__all__ = ["RecordQueue"]

#: Seconds for which another reader is waited for, and between two looks meanwhile.
_READER_SECONDS, _READER_PAUSE_SECONDS = 5.0, 0.01
#: Records from which on some of those who add one read them all, so that pointless ones go: with each so many
#: of the records in the queue it happens once.
_MANY = 64
#: The key of what a reader writes to know the end, and how long that may stay behind.
_END, _END_MS = "end", 10_000


class RecordQueue:
    """One kind of records."""

    def __init__(
        self,
        queue: QueueDeclaration,
        link: AmqpLink,
        declared: DeclaredQueues,
        publisher: ConfirmedPublisher,
    ) -> None:
        """Take the queue; it is heard on a channel of `link`."""
        self._queue = queue
        self._link = link
        self._declared = declared
        self._publisher = publisher

    async def add(self, key: str, said: Message, lives_ms: int) -> None:
        """Say something under a key for a while. Raises LayerUnavailable, OutcomeUnknown."""
        count = await self._declared.declare_or_count(self._queue)
        await self._write({"key": key, "said": said}, lives_ms)
        if count >= _MANY and random.random() * count < _MANY:
            await self.read()

    async def add_if_any(self, key: str, said: Message, lives_ms: int) -> None:
        """The same where there are records already."""
        await self._write({"key": key, "said": said}, lives_ms)

    async def _write(self, record: Message, lives_ms: int) -> None:
        one = Publication(self._queue.name, pack_message(record), lives_ms, persistent=True)
        (outcome,) = await self._publisher.publish([one])
        if outcome is Outcome.UNKNOWN:
            raise OutcomeUnknown("the connection broke before RabbitMQ answered")
        if outcome not in (Outcome.SENT, Outcome.GONE):
            raise LayerUnavailable(
                f"{self._link.address.label} takes nothing at present: see its memory and its disk"
            )

    async def read(self) -> list[Message]:
        """What is said, the latest of each key in the order in which the keys came up.

        Waits for other readers. Raises LayerUnavailable.
        """
        await self._declared.declare_or_count(self._queue)
        give_up = time.monotonic() + _READER_SECONDS
        while True:
            try:
                return await self._read()
            except ChannelRefused:
                if time.monotonic() > give_up:
                    raise
            await asyncio.sleep(_READER_PAUSE_SECONDS)

    async def _read(self) -> list[Message]:
        heard: asyncio.Queue[GotMessage | LayerUnavailable] = asyncio.Queue()
        channel = await self._link.channel()
        channel.on_end = heard.put_nowait
        try:
            await channel.consume(self._queue.name, heard.put_nowait, exclusive=True)
            end = secrets.token_hex(8)
            await self._write({"key": _END, "said": {"end": end}}, _END_MS)
            latest: dict[str, tuple[int, Message]] = {}
            while True:
                got = await asyncio.wait_for(heard.get(), ANSWER_SECONDS)
                if isinstance(got, LayerUnavailable):
                    raise got
                key, said = _record(got)
                if key == _END:
                    channel.acknowledge(got.delivery_tag)
                    if said.get("end") == end:
                        return [said for _, said in latest.values()]
                    continue
                if key in latest:
                    channel.acknowledge(latest[key][0])
                latest[key] = got.delivery_tag, said
        except TimeoutError:
            raise LayerUnavailable(f"{self._link.address.label} did not hand out its records") from None
        finally:
            await channel.close()


def _record(got: GotMessage) -> tuple[str, Message]:
    """Key and content; what is no record is like the end of another reader, and goes."""
    try:
        record: dict[str, Any] = unpack_message(got.body)
    except UnreadableEntry:
        return _END, {}
    key, said = record.get("key"), record.get("said")
    if not isinstance(key, str) or not isinstance(said, dict):
        return _END, {}
    return key, said

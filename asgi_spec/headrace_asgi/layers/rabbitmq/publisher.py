"""Publishing with confirms: what became of each message, several of them under way at once, in order."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pika
from pika.spec import Basic

from headrace_asgi.contract import Outcome
from headrace_asgi.errors import LayerUnavailable

from .link import ANSWER_SECONDS, AmqpChannel, AmqpLink

__all__ = ["ConfirmedPublisher", "Publication"]

#: Delivery modes of AMQP.
_TRANSIENT, _PERSISTENT = 1, 2


@dataclass(frozen=True, slots=True)
class Publication:
    """A message as it is published: with no `exchange`, to the queue that `key` names."""

    key: str
    body: bytes = field(repr=False)
    #: How long it may lie in its queue, in milliseconds.
    lives_ms: int
    exchange: str = ""
    headers: Mapping[str, Any] = field(default_factory=dict)
    #: Whether it survives a restart of the broker, which then answers once it is on its disk.
    persistent: bool = False


class ConfirmedPublisher:
    """The one channel on which a process publishes."""

    def __init__(self, link: AmqpLink) -> None:
        self._link = link
        self._line: _ConfirmedLine | None = None
        self._opening = asyncio.Lock()

    async def connect(self) -> None:
        """See that messages can be published. Raises LayerUnavailable, LayerRefused."""
        await self._opened()

    async def publish(self, messages: list[Publication]) -> list[Outcome]:
        """Publish messages in order; one Outcome each.

        GONE for a queue that is not there, FULL if it refused, or if the broker takes nothing at present.
        Raises LayerUnavailable if nothing was sent; what was sent and not answered is UNKNOWN.
        """
        if not messages:
            return []
        line = await self._opened()
        if self._link.is_blocked:
            return [Outcome.FULL] * len(messages)
        waiting: list[asyncio.Future[Outcome]] = []
        for one in messages:
            try:
                waiting.append(line.send(one))
            except LayerUnavailable:
                if not waiting:
                    raise
                break
        done, silent = await asyncio.wait(waiting, timeout=ANSWER_SECONDS)
        if silent:
            self._line = None
            self._link.give_up()
        outcomes = [each.result() if each in done else Outcome.UNKNOWN for each in waiting]
        return outcomes + [Outcome.UNAVAILABLE] * (len(messages) - len(outcomes))

    async def _opened(self) -> _ConfirmedLine:
        await self._link.ready()  # before the lock: those who wait for it fail together
        async with self._opening:
            if self._line is None or not self._line.channel.is_open:
                line = _ConfirmedLine(await self._link.channel())
                await line.open()
                self._link.on_blocked = line.give_up_waiting
                self._line = line
            return self._line


class _ConfirmedLine:
    """A channel, and who waits for the confirmations on it."""

    def __init__(self, channel: AmqpChannel) -> None:
        self.channel = channel
        self._tag = 0
        #: Delivery tag -> who waits for its confirmation, in the order of tags.
        self._unconfirmed: dict[int, asyncio.Future[Outcome]] = {}
        #: Tags of what the broker returned: it answers "accepted" behind that.
        self._returned: set[int] = set()

    async def open(self) -> None:
        """Let everything be confirmed."""
        self.channel.on_end = lambda error: self.give_up_waiting()
        self.channel.call("add_on_return_callback", self._was_returned)
        await self.channel.ask("confirm_delivery", self._was_confirmed)

    def give_up_waiting(self) -> None:
        """What was sent and not answered is UNKNOWN: the broker is gone, or reads on only some time later."""
        for answer in self._unconfirmed.values():
            if not answer.done():
                answer.set_result(Outcome.UNKNOWN)

    def send(self, one: Publication) -> asyncio.Future[Outcome]:
        """Write a message; its outcome comes later. Raises LayerUnavailable if the channel ended."""
        tag = self._tag + 1
        properties = pika.BasicProperties(
            delivery_mode=_PERSISTENT if one.persistent else _TRANSIENT,
            expiration=str(one.lives_ms),
            headers=dict(one.headers) or None,
            message_id=str(tag),
        )
        # A group without members is not an error: what is for it is for nobody.
        mandatory = not one.exchange
        self.channel.call("basic_publish", one.exchange, one.key, one.body, properties, mandatory)
        self._tag = tag
        answer = self._unconfirmed[tag] = asyncio.get_running_loop().create_future()
        return answer

    def _was_returned(self, channel: object, method: object, properties: Any, body: object) -> None:
        self._returned.add(int(properties.message_id))

    def _was_confirmed(self, frame: Any) -> None:
        method = frame.method
        outcome = Outcome.SENT if isinstance(method, Basic.Ack) else Outcome.FULL
        tags = [method.delivery_tag]
        if method.multiple:
            tags = [tag for tag in self._unconfirmed if tag <= method.delivery_tag]
        for tag in tags:
            answer = self._unconfirmed.pop(tag, None)
            returned = tag in self._returned
            self._returned.discard(tag)
            if answer is not None and not answer.done():
                answer.set_result(Outcome.GONE if returned else outcome)

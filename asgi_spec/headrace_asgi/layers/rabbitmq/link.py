"""A connection to RabbitMQ and the channels on it, with pika, as coroutines of one event loop.

A link opens its connection when it is first needed and again after it broke, with pauses that grow: however
many ask, one of them tries, and the others wait for what comes of it.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import pika
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.exceptions import AMQPError
from pika.spec import Basic

from headrace_asgi.backoff import Backoff
from headrace_asgi.errors import ConfigurationError, LayerUnavailable

from .address import BrokerAddress
from .faults import channel_error, connect_error
from .topology import QueueDeclaration

__all__ = ["ANSWER_SECONDS", "AmqpChannel", "AmqpLink", "GotMessage"]

T = TypeVar("T")

#: Seconds that the broker has to answer; after these it hangs, and the connection is given up.
ANSWER_SECONDS = 10.0
#: Seconds between two signs of life of an idle connection, which both sides send.
_HEARTBEAT_SECONDS = 30
#: Seconds until a TCP connection is there, and until the broker has let us in.
_CONNECT_SECONDS, _LOGIN_SECONDS = 5.0, 10.0
#: Pauses between tries to connect: at first, and at most.
_FIRST_PAUSE_SECONDS, _LAST_PAUSE_SECONDS = 0.05, 1.0

# What pika would log at every outage, with tracebacks, we say in our own words and once. Whoever wants to
# read it sets a level.
if logging.getLogger("pika").level == logging.NOTSET:
    logging.getLogger("pika").setLevel(logging.CRITICAL)


@dataclass(frozen=True, slots=True)
class GotMessage:
    """What came out of a queue."""

    body: bytes
    headers: Mapping[str, Any]
    #: What its sender gave it to live, in milliseconds; None if the broker does not say.
    lives_ms: int | None
    delivery_tag: int


class AmqpLink:
    """One connection of this process. For coroutines of one event loop."""

    def __init__(self, address: BrokerAddress) -> None:
        """Take where the broker is. Raises ConfigurationError for files of TLS that cannot be read."""
        self.address = address
        self._parameters = _parameters(address)
        self._connection: AsyncioConnection | None = None
        self._connecting: asyncio.Future[AsyncioConnection] | None = None
        self._backoff = Backoff(_FIRST_PAUSE_SECONDS, _LAST_PAUSE_SECONDS, random.random)
        self._not_before = 0.0
        #: Connections made so far: what was learnt over one of them may be wrong with the next.
        self.generation = 0
        #: Whether the broker, low on memory or disk, reads nothing from us at present: it says so when
        #: something is published. `on_blocked` is called then.
        self.is_blocked = False
        self.on_blocked: Callable[[], None] = lambda: None

    async def ready(self) -> None:
        """See that the connection is open. Raises LayerUnavailable; LayerRefused for a refused login."""
        await self._opened()

    async def channel(self) -> AmqpChannel:
        """A new channel. Raises LayerUnavailable; LayerRefused for a login that is refused."""
        connection = await self._opened()
        channel = AmqpChannel(self)
        await channel.open(connection)
        return channel

    async def _opened(self) -> AsyncioConnection:
        if self._connection is not None and self._connection.is_open:
            return self._connection
        if self._connecting is None:
            self._connecting = asyncio.ensure_future(self._connect())
            self._connecting.add_done_callback(self._connected)
        # Who is cancelled takes nobody else along.
        return await asyncio.shield(self._connecting)

    def _connected(self, connecting: asyncio.Future[AsyncioConnection]) -> None:
        self._connecting = None
        if not connecting.cancelled():
            connecting.exception()  # those who wait have it

    async def _connect(self) -> AsyncioConnection:
        pause = self._not_before - time.monotonic()
        if pause > 0:
            await asyncio.sleep(pause)
        loop = asyncio.get_running_loop()
        opened: asyncio.Future[None] = loop.create_future()

        def fail(connection: object, error: object) -> None:
            if not opened.done():
                opened.set_exception(connect_error(error, self.address))

        connection = AsyncioConnection(
            self._parameters,
            on_open_callback=lambda connection: _settle(opened, None),
            on_open_error_callback=fail,
            on_close_callback=self._closed,
            custom_ioloop=loop,
        )
        try:
            await opened
        except LayerUnavailable:
            self._not_before = time.monotonic() + self._backoff.next_seconds()
            raise
        self._backoff.reset()
        connection.add_on_connection_blocked_callback(self._blocked)
        connection.add_on_connection_unblocked_callback(self._unblocked)
        self.is_blocked = False
        self.generation += 1
        self._connection = connection
        return connection

    def _closed(self, connection: AsyncioConnection, reason: object) -> None:
        if connection is self._connection:
            self._connection = None

    def _blocked(self, connection: object, frame: object) -> None:
        self.is_blocked = True
        self.on_blocked()

    def _unblocked(self, connection: object, frame: object) -> None:
        self.is_blocked = False

    def give_up(self) -> None:
        """End a connection on which the broker does not answer: the next call opens another one."""
        connection, self._connection = self._connection, None
        if connection is not None and connection.is_open:
            connection.close()

    async def close(self) -> None:
        """End the connection in order. Waits for that, but not for a broker that does not answer."""
        connection, self._connection = self._connection, None
        if self._connecting is not None:
            self._connecting.cancel()
        if connection is None or not connection.is_open:
            return
        closed = asyncio.Event()
        connection.add_on_close_callback(lambda *_: closed.set())
        connection.close()
        try:
            await asyncio.wait_for(closed.wait(), 1.0)
        except TimeoutError:
            return


class AmqpChannel:
    """One channel: what is asked on it is answered in order. It ends when the broker refuses something."""

    def __init__(self, link: AmqpLink) -> None:
        self.link = link
        #: Called when the channel has ended, in order or not.
        self.on_end: Callable[[LayerUnavailable], None] = lambda error: None
        self._pika: Any = None
        self._error: LayerUnavailable | None = None
        self._waiting: set[asyncio.Future[Any]] = set()
        self._got: asyncio.Future[GotMessage | None] | None = None

    async def open(self, connection: AsyncioConnection) -> None:
        """Open it on a connection."""
        opened = self._awaited_later()
        try:
            self._pika = connection.channel(on_open_callback=lambda channel: _settle(opened, None))
        except AMQPError as error:
            raise channel_error(error, self.link.address) from None
        self._pika.add_on_close_callback(self._ended)
        self._pika.add_callback(self._got_nothing, [Basic.GetEmpty], one_shot=False)
        await self._answer(opened)

    @property
    def is_open(self) -> bool:
        """Whether it can be used."""
        return self._error is None

    def _ended(self, channel: object, reason: object) -> None:
        self._error = error = channel_error(reason, self.link.address)
        for future in self._waiting:
            if not future.done():
                future.set_exception(error)
        self.on_end(error)

    def call(self, method: str, *args: Any, **options: Any) -> Any:
        """Call a method of pika's channel that is not answered. Raises LayerUnavailable if it ended."""
        if self._error is not None:
            raise LayerUnavailable(str(self._error))
        try:
            return getattr(self._pika, method)(*args, **options)
        except AMQPError as error:
            raise channel_error(error, self.link.address) from None

    async def ask(self, method: str, *args: Any, **options: Any) -> Any:
        """Call a method of pika's channel and wait for its answer, a frame. Raises LayerUnavailable."""
        answer = self._awaited_later()
        self.call(method, *args, callback=lambda frame: _settle(answer, frame), **options)
        return await self._answer(answer)

    async def declare(self, queue: QueueDeclaration) -> int:
        """Declare a durable queue; how many messages wait in it."""
        frame = await self.ask("queue_declare", queue.name, durable=True, arguments=dict(queue.arguments))
        count: int = frame.method.message_count
        return count

    async def get(self, queue: str) -> GotMessage | None:
        """Take one message out of a queue, if there is one."""
        self._got = answer = self._awaited_later()
        self.call("basic_get", queue, self._got_message, auto_ack=True)
        got: GotMessage | None = await self._answer(answer)
        return got

    def _got_message(self, channel: object, method: Any, properties: Any, body: bytes) -> None:
        if self._got is not None:
            _settle(self._got, _message(method, properties, body))

    def _got_nothing(self, frame: object) -> None:
        if self._got is not None:
            _settle(self._got, None)

    async def consume(self, queue: str, heard: Callable[[GotMessage], None], exclusive: bool = False) -> None:
        """Have the messages of a queue told as they come, until the channel ends; none is acknowledged."""

        def told(channel: object, method: Any, properties: Any, body: bytes) -> None:
            heard(_message(method, properties, body))

        await self.ask("basic_consume", queue, told, exclusive=exclusive)

    def acknowledge(self, delivery_tag: int) -> None:
        """Remove a message that was told from its queue."""
        self.call("basic_ack", delivery_tag)

    async def close(self) -> None:
        """End the channel: what was told and not acknowledged is in its queue again, where it stood."""
        if self._error is not None:
            return
        closed = asyncio.get_running_loop().create_future()
        self.on_end = lambda error: _settle(closed, None)
        self.call("close")
        await self._within(closed)

    def _awaited_later(self) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        return future

    async def _answer(self, future: asyncio.Future[T]) -> T:
        try:
            return await self._within(future)
        finally:
            self._waiting.discard(future)

    async def _within(self, future: asyncio.Future[T]) -> T:
        try:
            return await asyncio.wait_for(future, ANSWER_SECONDS)
        except TimeoutError:
            self.link.give_up()
            self._error = LayerUnavailable(
                f"{self.link.address.label} did not answer within {ANSWER_SECONDS:g} s"
            )
            raise self._error from None


def _settle(future: asyncio.Future[Any], answer: Any) -> None:
    if not future.done():
        future.set_result(answer)


def _message(method: Any, properties: Any, body: bytes) -> GotMessage:
    expiration = properties.expiration
    return GotMessage(
        body=bytes(body),
        headers=properties.headers or {},
        lives_ms=int(expiration) if expiration and expiration.isdecimal() else None,
        delivery_tag=method.delivery_tag,
    )


def _parameters(address: BrokerAddress) -> pika.ConnectionParameters:
    return pika.ConnectionParameters(
        host=address.host,
        port=address.port,
        virtual_host=address.vhost,
        credentials=pika.PlainCredentials(address.username, address.password),
        heartbeat=_HEARTBEAT_SECONDS,
        connection_attempts=1,
        socket_timeout=_CONNECT_SECONDS,
        stack_timeout=_LOGIN_SECONDS,
        ssl_options=_tls(address) if address.tls else None,
        client_properties={"connection_name": "headrace"},
    )


def _tls(address: BrokerAddress) -> pika.SSLOptions:
    try:
        context = ssl.create_default_context(cafile=address.ca_file)
        if address.certificate_file or address.key_file:
            context.load_cert_chain(address.certificate_file or "", address.key_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"a file of ssl_ca_certs, ssl_certfile or ssl_keyfile in url cannot be used: {error}"
        ) from None
    return pika.SSLOptions(context, address.host)

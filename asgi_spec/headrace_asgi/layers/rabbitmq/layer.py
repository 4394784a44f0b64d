"""The RabbitMQ layer with blocking calls: for workers, views, commands, threads and interface servers."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from headrace_asgi import names
from headrace_asgi.contract import ChannelLayer, Outcome, RefusedHandler, WorkerPort
from headrace_asgi.envelope import Message, pack_message
from headrace_asgi.errors import (
    ChannelFull,
    ConfigurationError,
    LayerRefused,
    LayerUnavailable,
    OutcomeUnknown,
)
from headrace_asgi.layers.options import number_option, seconds_option
from headrace_asgi.limits import (
    DEFAULT_CAPACITY,
    DEFAULT_EXPIRY_SECONDS,
    DEFAULT_GROUP_EXPIRY_SECONDS,
    MAX_MESSAGE_BYTES,
    Capacities,
)

from .address import DEFAULT_URL, parse_address
from .reader import Bell, ReadMessage, TakingLine
from .session import BrokerSession
from .thread import BrokerThread
from .topology import Topology
from .worker_port import RabbitMQWorkerPort

__all__ = ["RabbitMQChannelLayer"]

T = TypeVar("T")


class RabbitMQChannelLayer(ChannelLayer):
    """A channel layer over one RabbitMQ (3.8 or later).

    It has channels, groups, expiry and capacity. It has no sockets in order (`enforce_ordering`), no counters
    and no way to empty itself: see docs/rabbitmq.md.
    """

    extensions = ("groups", "batch")

    def __init__(
        self,
        url: str = DEFAULT_URL,
        prefix: str = "",
        expiry: float = DEFAULT_EXPIRY_SECONDS,
        group_expiry: float = DEFAULT_GROUP_EXPIRY_SECONDS,
        capacity: int = DEFAULT_CAPACITY,
        channel_capacity: Mapping[Any, int] | None = None,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
    ) -> None:
        """Take where RabbitMQ is and the limits; nothing is connected before the first use.

        `url` is amqp://user:password@host:5672/vhost, or amqps:// for TLS; `prefix` sets the layer apart in
        its virtual host. `expiry` and `group_expiry` are seconds, `capacity` is messages per channel and
        `channel_capacity` its exceptions by glob or compiled pattern. Raises ConfigurationError for a value
        that cannot work.
        """
        address = parse_address(url)
        self.expiry = seconds_option("expiry", expiry)
        self.group_expiry = seconds_option("group_expiry", group_expiry)
        self.capacities = Capacities(capacity, channel_capacity)
        self.max_message_bytes = number_option("max_message_bytes", max_message_bytes)
        topology = Topology(prefix, self.capacities, self.expiry, self.group_expiry)
        self.label = f"{address.label}, prefix {prefix!r}"
        self._has_connected = False
        self._open_session = lambda: BrokerSession(address, topology, self.expiry, self.group_expiry)
        self._thread = BrokerThread(self._open_session)
        #: Channels for those who take, and the sessions that they are of, kept for the next one.
        self._lines: list[tuple[BrokerSession, TakingLine]] = []

    def _ask(
        self, act: Callable[[BrokerSession], Coroutine[Any, Any, T]], thread: BrokerThread | None = None
    ) -> T:
        """Do something at the broker. Raises ConfigurationError if it refuses us and never let us in."""
        try:
            done = (thread or self._thread).ask(act)
        except LayerRefused as error:
            # What worked once works again: later, a wrong setting of the broker shall end no process.
            if self._has_connected:
                raise
            raise ConfigurationError(str(error)) from None
        self._has_connected = True
        return done

    # Sending

    def send(self, channel: str, message: Message) -> None:
        (outcome,) = self._send([(channel, message)])
        if outcome is Outcome.FULL:
            raise ChannelFull(
                f"the channel {channel} is full: {self.capacities.of(names.non_local_name(channel))} "
                "messages wait in it, or RabbitMQ is low on memory or disk and takes none"
            )
        if outcome is Outcome.UNKNOWN:
            raise OutcomeUnknown(f"the connection to {self.label} broke before it answered")
        if not outcome.accepted:
            raise LayerUnavailable(f"{self.label} did not take a message for {channel}")

    def send_many(self, messages: Sequence[tuple[str, Message]]) -> list[Outcome]:
        try:
            return self._send(messages)
        except LayerUnavailable:
            return [Outcome.UNAVAILABLE] * len(messages)

    def _send(self, messages: Sequence[tuple[str, Message]]) -> list[Outcome]:
        packed = [
            (names.require_channel_name(channel), pack_message(message, self.max_message_bytes))
            for channel, message in messages
        ]
        return self._ask(lambda session: session.send(packed))

    def new_channel(self, pattern: str) -> str:
        return names.new_single_reader(pattern)

    # Receiving

    def receive_many(
        self, channels: Iterable[str], limit: int = 1, timeout_seconds: float = 0
    ) -> list[tuple[str, Message]]:
        listed = names.require_channel_names(channels)

        async def take(session: BrokerSession) -> list[ReadMessage]:
            line = self._line_of(session)
            try:
                return await session.reader.take(line, listed, limit, timeout_seconds, Bell())
            finally:
                self._lines.append((session, line))

        return [(one.channel, one.message) for one in self._ask(take)]

    def _line_of(self, session: BrokerSession) -> TakingLine:
        """A channel to take on. Called in the thread of the session only."""
        while self._lines:
            of, line = self._lines.pop()
            if of is session:
                return line
        return session.reader.new_line()

    # Groups

    def group_add(self, group: str, channel: str) -> None:
        names.require_group_name(group)
        names.require_channel_name(channel)
        self._ask(lambda session: session.join(group, channel))

    def group_discard(self, group: str, channel: str) -> None:
        names.require_group_name(group)
        names.require_channel_name(channel)
        self._ask(lambda session: session.leave(group, channel))

    def group_channels(self, group: str) -> list[str]:
        names.require_group_name(group)
        return self._ask(lambda session: session.members(group))

    def send_group(self, group: str, message: Message) -> None:
        names.require_group_name(group)
        payload = pack_message(message, self.max_message_bytes)
        (outcome,) = self._ask(lambda session: session.send_group([(group, payload)]))
        if outcome is Outcome.UNKNOWN:
            raise OutcomeUnknown(f"the connection to {self.label} broke before it answered")

    # Upkeep

    def flush(self) -> None:
        """Nothing: raises ConfigurationError, as AMQP has no way to list what a layer has at the broker."""
        raise ConfigurationError(
            "RabbitMQ cannot be emptied over AMQP, which lists no queues: give the layer a virtual host of "
            "its own, and remove and add that (rabbitmqctl delete_vhost, add_vhost, set_permissions)"
        )

    def statistics(self, channel: str) -> dict[str, int]:
        """How many messages wait in a channel, `pending`; RabbitMQ counts nothing else for us."""
        names.require_channel_name(channel)
        return {"pending": self._ask(lambda session: session.waiting(channel))}

    def announce(self, channels: Iterable[str]) -> None:
        listed = [names.require_channel_name(channel) for channel in channels]
        if listed:
            self._ask(lambda session: session.announce(listed))

    def takers(self) -> dict[str, float]:
        return self._ask(lambda session: session.takers())

    def ensure_usable(self) -> None:
        # A process may fork behind this: then no thread may be left.
        thread = BrokerThread(self._open_session)
        try:
            self._ask(lambda session: session.connect(), thread)
        except LayerUnavailable:
            return
        finally:
            thread.close()

    def open_worker_port(self, on_refused: RefusedHandler) -> WorkerPort:
        self._ask(lambda session: session.connect())
        return RabbitMQWorkerPort(self._thread, on_refused, self.expiry)

    def close(self) -> None:
        super().close()
        self._thread.close()

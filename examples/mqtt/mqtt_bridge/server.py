"""The interface server: connections of MQTT clients on one side, messages on the other."""

# ruff: noqa: N802 (Twisted's names, called by Twisted)

from __future__ import annotations

import logging
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from twisted.internet import endpoints
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.protocols.policies import TimeoutMixin
from twisted.python.failure import Failure

from headrace_asgi.contract import InterfacePort, Outcome
from headrace_asgi.envelope import Message
from headrace_asgi.errors import ConfigurationError
from headrace_asgi.messages import Kind
from headrace_interface.bridge import Bridge, BridgePlace

from . import codec, messages
from .codec import Connect, Disconnect, MalformedPacket, Packet, PacketReader, Puback, Publish, Subscribe
from .delivery import Deliveries

__all__ = ["MqttClient", "MqttFactory", "MqttServer"]

logger = logging.getLogger("headrace.interface")

MAX_CLIENTS = 10_000
#: Bytes of a packet; the standard allows 256 MiB.
MAX_PACKET_BYTES = 256 * 1024
#: Seconds for a CONNECT to come, and for a consumer to answer it.
CONNECT_SECONDS = 10
#: Seconds that a client may say nothing that asks for no keep-alive.
SILENCE_SECONDS = 3600
#: Seconds that a client may take to read what waits for it, once that is more than 64 KiB.
SLOW_SECONDS = 5
#: Seconds between two tries to put what a client said on a channel, and how many there are.
RETRY_SECONDS, RETRIES = 0.5, 40

_VERSION_REFUSED = 1


class Patience:
    """Twisted tells it when 64 KiB wait for a client, and when all has been read: it has some seconds."""

    def __init__(self, client: MqttClient) -> None:
        self._client = client
        self._deadline: Any = None

    @property
    def waits(self) -> bool:
        """Whether the client has yet to read."""
        return self._deadline is not None

    def pauseProducing(self) -> None:
        if self._deadline is None:
            self._deadline = self._client.callLater(SLOW_SECONDS, self._client.abort)

    def resumeProducing(self) -> None:
        deadline, self._deadline = self._deadline, None
        if deadline is not None and deadline.active():
            deadline.cancel()

    def stopProducing(self) -> None:
        self.resumeProducing()


class MqttClient(Protocol, TimeoutMixin):
    """One connection. It is read packet by packet: the next one when the last is done."""

    transport: Any

    def __init__(self, server: MqttServer) -> None:
        self.server = server
        self.place = server.next_place()
        self.local = secrets.token_hex(8)
        self.callLater = server.reactor.callLater
        self.deliveries = Deliveries()
        self.username: str | None = None
        self.client_id = ""
        self.is_accepted = False
        self._asked: Connect | None = None
        self._will: Publish | None = None
        self._patience = Patience(self)
        self._reader = PacketReader(MAX_PACKET_BYTES)
        self._packets: deque[Packet] = deque()
        #: Whether a packet is not done yet, and whether `_work` runs, which must not be called again then.
        self._busy = self._working = False
        self._closing = self._gone = False

    # The connection

    def connectionMade(self) -> None:
        self.server.clients[self.local] = self
        self.transport.registerProducer(self._patience, True)
        self.setTimeout(CONNECT_SECONDS)

    def dataReceived(self, data: bytes) -> None:
        if self._closing:
            return
        if self.is_accepted:
            self.resetTimeout()
        try:
            self._packets += self._reader.feed(data)
            self._work()
        except MalformedPacket as error:
            self._malformed(error)

    def _malformed(self, error: MalformedPacket) -> None:
        peer = self.transport.getPeer()
        self.server.trouble(
            "malformed",
            "A connection of {peer} is closed: {error}. So are others like it.",
            "{count} connections were closed within {seconds} s: they broke the protocol.",
            peer=str(getattr(peer, "host", peer)),
            error=str(error),
        )
        if isinstance(error, codec.WrongVersion):
            self.transport.write(codec.connack(_VERSION_REFUSED))
        self.close()

    def timeoutConnection(self) -> None:
        """Neither a word nor a ping. Who is held up cannot be heard."""
        if self._busy and self.is_accepted and not self._closing:
            self.resetTimeout()
        else:
            self.abort()

    def close(self) -> None:
        """Close it once what was said has left, which it has some seconds for."""
        self._closing = True
        self._packets.clear()
        self.setTimeout(CONNECT_SECONDS)
        self.transport.loseConnection()

    def abort(self) -> None:
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._closing = self._gone = True
        self.setTimeout(None)
        self._patience.stopProducing()
        self._packets.clear()
        self.server.forget(self)
        self.place.leave_groups(self.local)
        if not self.is_accepted:
            return
        if self._will is not None:
            self._tell_publish(self._will, RETRIES, will=True)
        self._tell(messages.DISCONNECT, lambda outcome: None)

    # What the client says

    def _work(self) -> None:
        if self._working:
            return
        self._working = True
        try:
            while self._packets and not self._busy:
                self._handle(self._packets.popleft())
        finally:
            self._working = False
        if self._closing:
            return
        if self._busy:
            self.transport.pauseProducing()
        else:
            self.transport.resumeProducing()

    def _done(self) -> None:
        """The packet that kept the client from being read is done."""
        self._busy = False
        if self._closing:
            return
        try:
            self._work()
        except MalformedPacket as error:
            self._malformed(error)

    def _handle(self, packet: Packet) -> None:
        if isinstance(packet, Connect) is (self._asked is not None):
            raise MalformedPacket("a connection begins with one CONNECT")
        match packet:
            case Connect():
                self._connect(packet)
            case Publish():
                self._busy = True
                self._tell_publish(packet, RETRIES)
            case Subscribe():
                self._busy = True
                filters = [[wanted, min(qos, 1)] for wanted, qos in packet.filters]
                self._tell(messages.SUBSCRIBE, self._subscribed, packet=packet.packet_id, filters=filters)
            case codec.Unsubscribe():
                self.deliveries.unsubscribe(packet)
                self.transport.write(codec.unsuback(packet.packet_id))
            case Puback():
                self.transport.write(self.deliveries.acknowledged(packet.packet_id))
            case codec.Pingreq():
                self.transport.write(codec.pingresp())
            case Disconnect():
                self._will = None
                self.close()

    def _connect(self, packet: Connect) -> None:
        if not packet.client_id and not packet.clean_session:
            self._refuse(2)
            return
        self._asked = packet
        self._busy = True
        self.client_id = packet.client_id or self.local
        self.username = packet.username
        self._tell(messages.CONNECT, self._asked_to_connect, password=packet.password)

    def _asked_to_connect(self, outcome: Outcome) -> None:
        if not outcome.accepted:
            self._refuse(3)

    def _refuse(self, code: int) -> None:
        if not self._closing:
            self.transport.write(codec.connack(code))
            self.close()

    def _subscribed(self, outcome: Outcome) -> None:
        """A consumer answers in its time; a SUBSCRIBE that found no room is answered by closing."""
        if not outcome.accepted:
            self.abort()
        self._done()

    def _tell_publish(self, packet: Publish, tries: int, will: bool = False) -> None:
        values = {"topic": packet.topic, "payload": packet.payload, "retain": packet.retain}
        done = partial(self._published, packet, tries, will)
        self._tell(messages.RECEIVE, done, **values, qos=packet.qos, will=will)

    def _published(self, packet: Publish, tries: int, will: bool, outcome: Outcome) -> None:
        """Acknowledge what the layer has; QoS 1 that it has not is tried again, and the client waits."""
        if not outcome.accepted and packet.qos and tries:
            self.callLater(RETRY_SECONDS, self._tell_publish, packet, tries - 1, will)
            return
        if self._closing:
            return
        if packet.qos and outcome.accepted:
            self.transport.write(codec.puback(packet.packet_id))
        elif packet.qos:
            self.abort()
        self._done()

    def _tell(self, kind: Kind, done: Callable[[Outcome], None], **values: Any) -> None:
        message = kind.build(
            reply_channel=self.place.reply_channel(self.local),
            client_id=self.client_id,
            username=self.username,
            **values,
        )
        self.place.send(kind.channel, message, done=done)

    # What is said to the client

    def say(self, said: Message) -> None:
        """Do what a consumer said, of which every key is there."""
        if self._closing:
            return
        if not self.is_accepted:
            if said["refuse"] is not None:
                self._refuse(said["refuse"])
            elif said["accept"]:
                self._accept()
            return
        if said["granted"] is not None:
            self._grant(said["packet"], said["granted"])
        if said["topic"] is not None:
            self.deliver(Publish(said["topic"], said["payload"], said["qos"], said["retain"]))
        if said["close"]:
            self.close()

    def _accept(self) -> None:
        if self._asked is None:
            return
        self.is_accepted = True
        self._will = self._asked.will
        self.server.accepted(self)
        # One and a half times the keep-alive (3.1.2.10).
        self.setTimeout(self._asked.keep_alive_seconds * 1.5 or SILENCE_SECONDS)
        self.transport.write(codec.connack(codec.ACCEPTED))
        self._done()

    def _grant(self, packet_id: int, granted: Sequence[Any]) -> None:
        """Take what a consumer granted: each filter, with its QoS or FAILURE."""
        codes = []
        for wanted, qos in granted:
            fits = qos in (0, 1) and self.deliveries.subscribe(wanted, qos)
            codes.append(qos if fits else codec.FAILURE)
        self.transport.write(codec.suback(packet_id, codes))

    def deliver(self, message: Publish) -> None:
        """Send a message that some filter of the client is about."""
        self.transport.write(self.deliveries.publish(message, may_drop=self._patience.waits))
        if self.deliveries.is_too_slow:
            self.abort()


class MqttFactory(ServerFactory):
    """Makes an `MqttClient` for each connection, up to a limit."""

    noisy = False

    def __init__(self, server: MqttServer) -> None:
        self._server = server

    def buildProtocol(self, address: Any) -> MqttClient | None:
        return MqttClient(self._server) if len(self._server.clients) < MAX_CLIENTS else None


class MqttServer(Bridge):
    """Everybody who is connected."""

    drain_seconds = 5.0

    def __init__(self, endpoint: str, reactor: Any, ports: Sequence[InterfacePort]) -> None:
        super().__init__(reactor, ports)
        self._endpoint = endpoint
        self._listening: Any = None
        #: By the local part of the reply channel; and those that were accepted, by the name of the client.
        self.clients: dict[str, MqttClient] = {}
        self._by_id: dict[str, MqttClient] = {}

    async def listen(self) -> list[str]:
        try:
            endpoint: Any = endpoints.serverFromString(self.reactor, self._endpoint)
            self._listening = await endpoint.listen(MqttFactory(self))
        except Exception as error:
            raise ConfigurationError(f"Cannot listen on {self._endpoint}: {error}") from None
        return [f"mqtt {self._listening.getHost()}"]

    def accepted(self, client: MqttClient) -> None:
        """A second connection of the same name ends the first (3.1.4)."""
        former = self._by_id.get(client.client_id)
        self._by_id[client.client_id] = client
        if former is not None:
            former.abort()

    def forget(self, client: MqttClient) -> None:
        """A client is gone."""
        del self.clients[client.local]
        if self._by_id.get(client.client_id) is client:
            del self._by_id[client.client_id]

    def reply(self, local: str, message: Message) -> None:
        client = self.clients.get(local)
        if client is None:
            self.counters["discarded"] += 1
        else:
            client.say(messages.SEND.check(message))

    def is_open(self, local: str) -> bool:
        return local in self.clients

    def fenced(self, place: BridgePlace) -> None:
        for client in [each for each in self.clients.values() if each.place is place]:
            client.abort()

    def stop_listening(self) -> None:
        if self._listening is not None:
            self._listening.stopListening()
        for client in list(self.clients.values()):
            client.close()

    def is_busy(self) -> bool:
        return bool(self.clients)

    def close(self) -> None:
        for client in list(self.clients.values()):
            client.abort()

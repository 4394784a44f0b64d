"""The UDP server: a datagram is a message, and a reply a datagram of the socket that the first one reached.

It keeps nothing of its clients: a reply channel says to whom it leads, so none is ever closed, and none can
be in a group. What is too much is dropped and counted, as UDP allows everybody on the way.
"""

# ruff: noqa: N802 (Twisted's names, called by Twisted)

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Sequence
from typing import Any

from twisted.internet import error, protocol

from headrace_asgi.contract import InterfacePort
from headrace_asgi.envelope import Message
from headrace_asgi.errors import BadMessage, ConfigurationError
from headrace_asgi.messages import UDP_RECEIVE, UDP_SEND

from ..bridge import Bridge
from .admission import Admission, DropReason, plain_host
from .options import UdpAddress, UdpSettings

__all__ = ["UdpListener", "UdpServer", "client_of", "local_of"]

logger = logging.getLogger("headrace.interface")

#: Datagrams that are read in one turn of the reactor. Twisted counts bytes, so that small ones, or empty ones
#: without end, would keep everything else waiting.
_MOST_IN_A_TURN = 256
#: Listener, address and port of a client, in hexadecimal digits.
_LOCAL = re.compile(r"([0-9a-f]{1,4})-([0-9a-f]{8}|[0-9a-f]{32})-([0-9a-f]{1,4})")
_IPV4_BYTES = 4

_REFUSED = {
    DropReason.TOO_LARGE: (
        "A datagram of {host} is larger than --max-datagram-size and is dropped; so are others like it.",
        "{count} datagrams were dropped within {seconds} s: they were larger than --max-datagram-size.",
    ),
    DropReason.ADDRESS_RATE: (
        "{host} sends more than --address-rate allows; what is too much is dropped, also of others.",
        "{count} datagrams were dropped within {seconds} s: their addresses sent more than --address-rate.",
    ),
    DropReason.RATE: (
        "More datagrams come than --rate allows, the last one of {host}; what is too much is dropped.",
        "{count} datagrams were dropped within {seconds} s: more came than --rate allows.",
    ),
}

_UNSENT = (
    "A datagram to {host} could not be sent and is lost: {failure}. So may be others.",
    "{count} datagrams could not be sent within {seconds} s.",
)


def local_of(listener: int, host: str, port: int) -> str:
    """The local part of a client's reply channel: it is its address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return f"{listener:x}-{socket.inet_pton(family, host).hex()}-{port:x}"


def client_of(local: str) -> tuple[int, str, int] | None:
    """Listener, address and port of a local part; None for what is none."""
    found = _LOCAL.fullmatch(local)
    if found is None:
        return None
    packed = bytes.fromhex(found[2])
    family = socket.AF_INET if len(packed) == _IPV4_BYTES else socket.AF_INET6
    return int(found[1], 16), socket.inet_ntop(family, packed), int(found[3], 16)


class UdpListener(protocol.DatagramProtocol):
    """One socket: what comes goes to the server, with this listener."""

    def __init__(self, server: UdpServer, number: int, path: str) -> None:
        self._server = server
        self.number = number
        self.path = path
        #: Host and port that it listens on, for messages.
        self.address: list[Any] = []
        self._is_ipv6 = False
        self._read = 0

    def startProtocol(self) -> None:
        transport: Any = self.transport
        host = transport.getHost()
        self.address = [host.host, host.port]
        self._is_ipv6 = ":" in host.host

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        self._read += 1
        if self._read % _MOST_IN_A_TURN == 0:
            self._end_turn()
        self._server.received(self, datagram, plain_host(addr[0]), addr[1])

    def _end_turn(self) -> None:
        """Read on when everything else has had its turn."""
        transport: Any = self.transport
        most_bytes, transport.maxThroughput = transport.maxThroughput, 0
        self._server.reactor.callLater(0, setattr, transport, "maxThroughput", most_bytes)

    def send(self, data: bytes, host: str, port: int) -> str:
        """Send a datagram; why that failed, or "". Never waits: what the kernel has no room for is lost."""
        transport: Any = self.transport
        if self._is_ipv6 and ":" not in host:
            host = f"::ffff:{host}"
        try:
            transport.write(data, (host, port))
        except (OSError, OverflowError, error.MessageLengthError, error.InvalidAddressError) as problem:
            return str(getattr(problem, "strerror", None) or problem)
        return ""

    def describe(self) -> str:
        """Where it listens, for people."""
        host, port = self.address
        return f"udp://{f'[{host}]' if ':' in host else host}:{port}{self.path}"


class UdpServer(Bridge):
    """Datagrams to messages and back, at as many addresses as are given."""

    def __init__(self, settings: UdpSettings, reactor: Any, ports: Sequence[InterfacePort]) -> None:
        super().__init__(reactor, ports)
        self.drain_seconds = settings.linger_seconds
        self._settings = settings
        self._admission = Admission(settings)
        self._listeners: list[UdpListener] = []
        self._transports: list[Any] = []
        self._received_at = -settings.linger_seconds
        self._listening = True

    async def listen(self) -> list[str]:
        for number, address in enumerate(self._settings.listen):
            listener = UdpListener(self, number, address.path)
            self._transports.append(self._open(listener, address))
            self._listeners.append(listener)
        return [listener.describe() for listener in self._listeners]

    def _open(self, listener: UdpListener, address: UdpAddress) -> Any:
        # One byte more than is let in, so that a larger one is seen and not cut.
        size = self._settings.max_datagram_bytes + 1
        try:
            return self.reactor.listenUDP(address.port, listener, interface=address.host, maxPacketSize=size)
        except error.CannotListenError as problem:
            reason = getattr(problem.socketError, "strerror", None) or problem.socketError
            where = f"{address.host} port {address.port}"
            raise ConfigurationError(f"Cannot listen on UDP {where}: {reason}") from None

    def received(self, listener: UdpListener, data: bytes, host: str, port: int) -> None:
        """A datagram came."""
        if not self._listening:
            return
        now = self.reactor.seconds()
        refused = self._admission.refusal(host, len(data), now)
        if refused is not None:
            self.trouble(refused, *_REFUSED[refused], host=host)
            return
        self._received_at = now
        place = self.next_place()
        message = UDP_RECEIVE.build(
            reply_channel=place.reply_channel(local_of(listener.number, host, port)),
            data=data,
            client=[host, port],
            server=listener.address,
            path=listener.path,
        )
        place.send(UDP_RECEIVE.channel, message, self._settings.queue_seconds)

    def reply(self, local: str, message: Message) -> None:
        """A datagram of the application's."""
        client = client_of(local)
        if client is None or client[0] >= len(self._listeners):
            self.counters["discarded"] += 1
            return
        try:
            said = UDP_SEND.check(message)
        except BadMessage as problem:
            self.counters["bad_replies"] += 1
            logger.error("A reply to %s is dropped: %s", local, problem)
            return
        number, host, port = client
        if said["address"] is not None:
            host, port = said["address"]
        failure = self._listeners[number].send(said["data"], host, port)
        if failure:
            self.trouble("unsent", *_UNSENT, host=f"{host} port {port}", failure=failure)
        else:
            self.counters["datagrams_sent"] += 1

    def is_busy(self) -> bool:
        """Whether the last datagram came so lately that its answer may be on its way."""
        return bool(self.reactor.seconds() - self._received_at < self._settings.linger_seconds)

    def stop_listening(self) -> None:
        """Read no more; the sockets stay open for answers."""
        self._listening = False
        for each in self._transports:
            each.stopReading()

    def close(self) -> None:
        transports, self._transports = self._transports, []
        for each in transports:
            each.stopListening()

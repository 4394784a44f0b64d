"""Telnet for Django: a client's line is a message, and what a worker replies is a line."""

# ruff: noqa: N802 (Twisted's names, called by Twisted)

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from twisted.internet import endpoints
from twisted.internet.protocol import ServerFactory, connectionDone
from twisted.protocols.basic import LineReceiver
from twisted.protocols.policies import TimeoutMixin
from twisted.python.failure import Failure

from headrace_asgi.contract import InterfacePort, Outcome
from headrace_asgi.envelope import Message
from headrace_asgi.errors import ConfigurationError
from headrace_asgi.messages import Field, Kind, Shape
from headrace_interface.bridge import Bridge, BridgePlace, serve

TEXT = Shape("str", (str,))
REPLY_CHANNEL = Field("reply_channel", TEXT)
RECEIVE = Kind("line.receive", "line.receive", (REPLY_CHANNEL, Field("text", TEXT)))
DISCONNECT = Kind("line.disconnect", "line.disconnect", (REPLY_CHANNEL,))
SEND = Kind("line.send", "", (Field("text", TEXT, ""), Field("close", Shape("bool", (bool,)), False)))

MAX_CLIENTS = 1000
MAX_LINE_BYTES = 1000
IDLE_SECONDS = 300


class TooSlow:
    """Twisted tells it when 64 KiB wait for a client that does not read: then the client is cut off."""

    def __init__(self, client: LineClient) -> None:
        self.pauseProducing: Callable[[], None] = client.abort
        self.resumeProducing = self.stopProducing = lambda: None


class LineClient(LineReceiver, TimeoutMixin):
    """One connection. It is read line by line: the next one when the layer has the last."""

    delimiter = b"\n"
    MAX_LENGTH = MAX_LINE_BYTES
    transport: Any

    def __init__(self, server: LineServer) -> None:
        self.server = server
        self.place = server.next_place()
        self.local = secrets.token_hex(8)

    def connectionMade(self) -> None:
        self.server.clients[self.local] = self
        self.transport.registerProducer(TooSlow(self), True)
        self.setTimeout(IDLE_SECONDS)

    def lineReceived(self, line: bytes) -> None:
        self.resetTimeout()
        self.pauseProducing()
        self.tell(RECEIVE, self.accepted, text=line.decode("utf-8", "replace").rstrip("\r"))

    def accepted(self, outcome: Outcome) -> None:
        if not outcome.accepted:
            self.say("Busy, please say that again.")
        self.resumeProducing()

    def tell(self, kind: Kind, done: Callable[[Outcome], None], **values: str) -> None:
        message = kind.build(reply_channel=self.place.reply_channel(self.local), **values)
        self.place.send(kind.channel, message, done=done)

    def say(self, text: str) -> None:
        self.transport.write(text.encode() + b"\r\n")

    def lineLengthExceeded(self, line: bytes) -> None:
        self.abort()

    def timeoutConnection(self) -> None:
        self.abort()

    def abort(self) -> None:
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.setTimeout(None)
        del self.server.clients[self.local]
        self.place.leave_groups(self.local)
        self.tell(DISCONNECT, lambda outcome: None)


class LineFactory(ServerFactory):
    noisy = False

    def __init__(self, server: LineServer) -> None:
        self.server = server

    def buildProtocol(self, address: Any) -> LineClient | None:
        return LineClient(self.server) if len(self.server.clients) < MAX_CLIENTS else None


class LineServer(Bridge):
    """Everybody who is connected, by the local part of the reply channel."""

    drain_seconds = 5.0

    def __init__(self, endpoint: str, reactor: Any, ports: Sequence[InterfacePort]) -> None:
        super().__init__(reactor, ports)
        self.endpoint = endpoint
        self.clients: dict[str, LineClient] = {}
        self.listening: Any = None

    async def listen(self) -> list[str]:
        try:
            endpoint: Any = endpoints.serverFromString(self.reactor, self.endpoint)
            self.listening = await endpoint.listen(LineFactory(self))
        except Exception as error:
            raise ConfigurationError(f"Cannot listen on {self.endpoint}: {error}") from None
        return [self.endpoint]

    def reply(self, local: str, message: Message) -> None:
        client = self.clients.get(local)
        if client is None:
            self.counters["discarded"] += 1
            return
        said = SEND.check(message)
        if said["text"]:
            client.say(said["text"])
        if said["close"]:
            client.transport.loseConnection()

    def is_open(self, local: str) -> bool:
        return local in self.clients

    def fenced(self, place: BridgePlace) -> None:
        for client in [each for each in self.clients.values() if each.place is place]:
            client.abort()

    def stop_listening(self) -> None:
        self.listening.stopListening()
        for client in list(self.clients.values()):
            client.transport.loseConnection()

    def is_busy(self) -> bool:
        return bool(self.clients)

    def close(self) -> None:
        for client in list(self.clients.values()):
            client.abort()


if __name__ == "__main__":
    _, layer, where = sys.argv
    sys.exit(serve("lines", layer, partial(LineServer, where)))

"""Goes on with what another image of this process had open: the same clients, with all that was under way."""

# ruff: noqa: N802, N803 (Twisted's names, called by Twisted)

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from twisted.internet import defer
from twisted.internet.protocol import Protocol
from twisted.protocols.tls import TLSMemoryBIOFactory

from headrace_asgi.envelope import Message
from headrace_asgi.errors import ConfigurationError

from ..context import ServerContext
from ..direct_send import adopt_port, adopted
from ..http.head import RequestHead
from ..http.protocol import HttpProtocol
from ..proxy_protocol import Introduced
from ..websocket.protocol import WebSocketShell

__all__ = ["AdoptingReactor", "take_over"]

logger = logging.getLogger("headrace.interface")


class AdoptingReactor:
    """Passes for the reactor with endpoints: what they would listen on is the next of some descriptors."""

    def __init__(self, reactor: Any, descriptors: Iterable[int]) -> None:
        self._reactor = reactor
        self._descriptors = iter(descriptors)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Any:
        return self._adopted(factory)

    def listenUNIX(self, address: str, factory: Any, *args: Any, **more: Any) -> Any:
        return self._adopted(factory, path=address)

    def listenSSL(
        self, port: int, factory: Any, contextFactory: Any, backlog: int = 50, interface: str = ""
    ) -> Any:
        return self._adopted(TLSMemoryBIOFactory(contextFactory, False, factory), encrypted=True)

    @property
    def next_endpoint(self) -> Any:
        """An endpoint on the next descriptor, whatever it was opened for."""
        return _NextEndpoint(self._adopted)

    def _adopted(self, factory: Any, encrypted: bool = False, path: str | None = None) -> Any:
        descriptor = next(self._descriptors, None)
        if descriptor is None:
            raise ConfigurationError("there are more endpoints than before: restart this process instead")
        with socket.socket(fileno=descriptor) as listening:  # what adopts it makes a copy
            return adopt_port(self._reactor, descriptor, listening.family, factory, encrypted, path)


class _NextEndpoint:
    """Listens where an image before this one did."""

    def __init__(self, adopt: Callable[[Any], Any]) -> None:
        self._adopt = adopt

    def listen(self, factory: Any) -> Any:
        return defer.execute(self._adopt, factory)


def take_over(places: Sequence[ServerContext], handed_over: Message, reactor: Any) -> None:
    """Be what another image was, as far as it could say; before the ports start. One costs no other."""
    for place, state in zip(places, handed_over["ports"], strict=True):
        place.port.take_over(state)
    lost = 0
    for record in handed_over["connections"]:
        try:
            _adopt(places[record["place"]], record, reactor)
        except Exception:
            lost += 1
            logger.exception("A connection cannot go on, and is closed.")
    sockets = sum(place.connections.socket_count for place in places)
    logger.info(
        "Went on from the image before this one, with %d connections, %d of them WebSockets; %d were lost.",
        len(handed_over["connections"]) - lost,
        sockets,
        lost,
    )


def _adopt(place: ServerContext, record: Message, reactor: Any) -> None:
    transport = adopted(reactor, socket.socket(fileno=record["fd"]), _UNCLAIMED)
    try:
        _resume(place, record, transport)
    except Exception:
        if "socket" in record:
            # The layer tells its end, as that of a socket which nobody here knows.
            place.connections.remove(record["socket"]["local"])
        transport.protocol = _UNCLAIMED
        transport.abortConnection()
        raise


def _resume(place: ServerContext, record: Message, transport: Any) -> None:
    ends = record["ends"]
    transport.introduced = None if ends is None else tuple(Introduced(*one) for one in ends)
    if "http" in record:
        protocol = transport.protocol = HttpProtocol(place, WebSocketShell)
        protocol.makeConnection(transport)
        protocol.resume(record["http"])
    else:
        plain = record["socket"]
        WebSocketShell(place, transport, _head_of(plain)).resume(plain)


class _Unclaimed(Protocol):
    """Has a connection until it is known whose it is."""


_UNCLAIMED = _Unclaimed()


def _head_of(plain: Message) -> RequestHead:
    """The head of a socket's request, as far as somebody still asks about it."""
    if plain["head"] is not None:
        return RequestHead.from_plain(plain["head"])
    client = [plain["address"], 0] if plain["address"] else None
    return RequestHead("GET", b"", plain["path"], b"", "1.1", [], "http", client, None, "", True)

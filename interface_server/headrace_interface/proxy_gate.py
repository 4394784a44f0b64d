"""Where connections wait that have to say first for whom they are: the PROXY protocol of trusted proxies.

A gate is the protocol of its transport until the header is whole. Then the transport has the addresses that
it says, and what was listened with (TLS, HTTP) takes over: nothing of the gate stays on the connection's way.
"""

# ruff: noqa: N802 (Twisted's names, called by Twisted)

from __future__ import annotations

import math
from typing import Any

from twisted.internet import protocol
from twisted.python.failure import Failure

from . import proxy_protocol
from .context import ServerContext
from .forwarded import is_proxy

__all__ = ["GateFactory", "ProxyGate"]

#: Seconds for the header when the process ends: a proxy sends it with the connection.
_DRAIN_SECONDS = 1.0


class GateFactory(protocol.Factory):
    """Makes a gate for each connection; `behind` makes what takes over."""

    noisy = False

    def __init__(self, context: ServerContext, behind: Any) -> None:
        self._context = context
        self._behind = behind

    def buildProtocol(self, address: Any) -> Any:
        return ProxyGate(self._context, self._behind)

    def doStop(self) -> None:
        """It was started before it had a gate."""
        self._behind.doStop()


class ProxyGate:
    """One connection that has yet to say for whom it is. For the drain it is one more HTTP shell."""

    __slots__ = ("_behind", "_context", "_received", "due", "transport", "watched")

    #: No request has come yet that could be late.
    busy = False

    def __init__(self, context: ServerContext, behind: Any) -> None:
        self._context = context
        self._behind = behind
        self._received = b""
        self.due = self.watched = math.inf

    # Called by Twisted.

    def makeConnection(self, transport: Any) -> None:
        self.transport = transport
        context = self._context
        if not is_proxy(transport.getPeer(), context.settings):
            context.stranger(self._peer())
            transport.abortConnection()
            return
        context.http_shells.add(self)
        context.timers.set(self, context.timers.now() + context.settings.deadlines.introduction)
        if context.draining:
            self.drain()

    def dataReceived(self, data: bytes) -> None:
        self._received += data
        try:
            header = proxy_protocol.read(self._received)
        except proxy_protocol.BadHeader as problem:
            self._refuse(str(problem))
            return
        if header is not None:
            self._enter(header)

    def connectionLost(self, reason: Failure) -> None:
        self._leave()

    # Called by timers and server.

    def deadline_passed(self, now: float) -> None:
        """The header did not come."""
        if self._context.draining:
            self.abort()
            return
        self._refuse(f"it was not whole within {self._context.settings.deadlines.introduction:g} s")

    def drain(self) -> None:
        """The process ends."""
        timers = self._context.timers
        timers.set(self, min(self.due, timers.now() + _DRAIN_SECONDS))

    def abort(self) -> None:
        """Drop the connection now."""
        self.transport.abortConnection()

    # What becomes of it.

    def _enter(self, header: proxy_protocol.ProxyHeader) -> None:
        self._leave()
        transport, rest = self.transport, self._received[header.size_bytes :]
        peer, host = proxy_protocol.introduced(header, transport.getPeer(), transport.getHost())
        transport.introduced = peer, host
        behind = self._behind.buildProtocol(peer)
        transport.protocol = behind
        behind.makeConnection(transport)
        if rest:
            behind.dataReceived(rest)

    def _refuse(self, reason: str) -> None:
        self._context.not_introduced(self._peer(), reason)
        self.transport.abortConnection()

    def _leave(self) -> None:
        self._context.http_shells.discard(self)
        self._context.timers.forget(self)

    def _peer(self) -> str:
        return getattr(self.transport.getPeer(), "host", None) or "a unix socket"

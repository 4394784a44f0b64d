"""A connection with TLS, and what listens for such ones. Who comes without TLS is told so."""

# ruff: noqa: N802 (Twisted's names, called by Twisted)

from __future__ import annotations

import logging
import math
from typing import Any

from twisted.internet import protocol
from twisted.protocols.tls import BufferingTLSTransport, TLSMemoryBIOFactory
from twisted.python.failure import Failure

from .. import direct_send
from ..context import ServerContext
from ..http.writer import simple_response
from .choice import CertificateChoice

__all__ = ["TlsEndpoint", "TlsFactory", "TlsTransport"]

logger = logging.getLogger("headrace.interface")

#: The first byte of a client: that it begins a handshake (RFC 8446 5.1).
_HANDSHAKE = b"\x16"


class TlsEndpoint:
    """Listens with TLS where `endpoint` listens without it; a unix socket stays without."""

    def __init__(self, endpoint: Any, choice: CertificateChoice, clock: Any) -> None:
        self._endpoint = endpoint
        self._choice = choice
        self._clock = clock

    def listen(self, factory: Any) -> Any:
        """Listen for connections of an `HttpFactory`."""
        return self._endpoint.listen(factory).addCallback(self._with_tls)

    def _with_tls(self, port: Any) -> Any:
        def tls(behind: Any) -> TlsFactory:
            return TlsFactory(self._choice, behind, self._clock)

        if not direct_send.put_tls_before(port, tls):
            logger.warning("No TLS is spoken on %s: --certfile is for TCP.", port.getHost())
        return port


class TlsTransport(BufferingTLSTransport):
    """The TLS of one connection; its first byte says whether the client speaks it."""

    #: Unknown before the first byte.
    speaks_tls: bool | None = None
    _cut: Any = None

    def dataReceived(self, data: bytes) -> None:
        if self.speaks_tls is None:
            self.speaks_tls = data.startswith(_HANDSHAKE)
            if not self.speaks_tls:
                self._turn_away(data)
        if self.speaks_tls:
            super().dataReceived(data)

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        if self._cut is not None and self._cut.active():
            self._cut.cancel()
        tls = self.getHandle()
        if self.speaks_tls and tls is not None and tls.get_peer_finished() is None:
            self._context.counters["tls_failed"] += 1
        super().connectionLost(reason)

    @property
    def _context(self) -> ServerContext:
        factory: Any = self.factory
        context: ServerContext = factory.context
        return context

    def _turn_away(self, data: bytes) -> None:
        """What still comes is thrown away: closing on bytes that were not read would take the answer back."""
        transport: Any = self.transport
        context, peer = self._context, transport.getPeer()
        context.plain_on_tls(peer.host)
        if not b"A" <= data[:1] <= b"Z":  # the method of a request
            transport.loseConnection()
            return
        context.counters["refused_400"] += 1
        if context.access_log is not None:
            context.access_log.refused([peer.host, peer.port], 400)
        text = "A plain HTTP request was sent to an HTTPS port: this address begins with https://."
        transport.write(simple_response(400, text, date=context.date(), server=context.settings.server_name))
        transport.loseWriteConnection()
        seconds = context.settings.deadlines.linger
        if seconds < math.inf:
            self._cut = context.clock.callLater(seconds, self.abortConnection)


class TlsFactory(TLSMemoryBIOFactory):
    """Puts a `TlsTransport` under each connection of an `HttpFactory`."""

    protocol = TlsTransport

    def __init__(self, choice: Any, behind: Any, clock: Any) -> None:
        super().__init__(choice, False, behind, clock)
        self.context = behind.context

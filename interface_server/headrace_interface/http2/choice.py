"""Which HTTP is spoken on a connection: TLS negotiates it (ALPN), without TLS the first bytes say it.

Without TLS only trusted proxies may begin with HTTP/2 (RFC 9113 3.3, prior knowledge): for all others these
bytes are a bad request of HTTP/1.
"""

# ruff: noqa: N802 (Twisted's names, called by Twisted)

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import ISSLTransport
from twisted.python.failure import Failure

from ..context import ServerContext
from ..forwarded import is_proxy
from ..http.protocol import HttpProtocol, SocketFactory
from .floods import PREFACE
from .protocol import Http2Protocol

__all__ = ["HttpChoice"]

#: RFC 9113 3.2: the name of HTTP/2 over TLS.
_ALPN = b"h2"


class HttpChoice:
    """One connection; HTTP/1 has it until it is known that it has HTTP/2, for deadlines and for the drain."""

    __slots__ = ("_chosen", "_context", "_early", "_known", "_make_socket", "_secure", "factory", "transport")

    def __init__(self, context: ServerContext, make_socket: SocketFactory) -> None:
        self._context = context
        self._make_socket = make_socket
        self._chosen: HttpProtocol | Http2Protocol = HttpProtocol(context, make_socket)
        self._known = self._secure = False
        self._early = b""

    # Called by Twisted.

    def makeConnection(self, transport: Any) -> None:
        self.transport = transport
        settings = self._context.settings
        self._secure = ISSLTransport.providedBy(transport)
        self._chosen.makeConnection(transport)
        if not self._secure and not (
            settings.http2_prior_knowledge and is_proxy(transport.getPeer(), settings)
        ):
            self._decide(speaks_http2=False)

    def dataReceived(self, data: bytes) -> None:
        if not self._known:
            data = self._early = self._early + data
            if self._secure:
                self._decide(speaks_http2=getattr(self.transport, "negotiatedProtocol", None) == _ALPN)
            elif not data.startswith(PREFACE[: len(data)]):
                self._decide(speaks_http2=False)
            elif len(data) >= len(PREFACE):
                self._decide(speaks_http2=True)
            else:
                return
        self._chosen.dataReceived(data)

    def connectionLost(self, reason: Failure) -> None:
        self._chosen.connectionLost(reason)

    def _decide(self, speaks_http2: bool) -> None:
        self._known, self._early = True, b""
        if speaks_http2 and isinstance(self._chosen, HttpProtocol):
            self._chosen.leave()
            self._chosen = Http2Protocol(self._context, self._make_socket)
            self._chosen.makeConnection(self.transport)
        if not self._secure:
            # Under TLS it is the wrapper that knows us, and goes on to.
            self.transport.protocol = self._chosen

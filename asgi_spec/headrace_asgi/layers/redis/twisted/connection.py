"""One connection to one Redis inside a Twisted reactor: commands out, answers in their order, no Deferreds.

A callback gets the answer, or an exception instance as the answer: ReplyError for what Redis refused,
OutcomeUnknown if the connection broke after the command was written, LayerUnavailable if it was not written.
A RedisLink opens the next one when it is lost.
"""

from __future__ import annotations

import contextlib
import logging
import socket
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, cast

from twisted.internet.error import (
    ConnectError,
    ConnectionDone,
    ConnectionLost,
    DNSLookupError,
    TimeoutError,
    UnknownHostError,
)
from twisted.internet.protocol import ClientFactory
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.python.failure import Failure

from ..address import ServerAddress, Tls, keepalive_options
from ..plan.faults import Fault, connect_error, fault_of_errno, fault_of_tls
from ..plan.outcomes import connection_lost
from ..plan.resp import NOTHING, ProtocolError, Reader

__all__ = ["Answered", "Reactor", "RespProtocol", "Timer", "connect"]

log = logging.getLogger("headrace.layer")

#: Called once with the answer to a command, or with an exception instance.
Answered = Callable[[Any], None]


class Timer(Protocol):
    """A call that the reactor will make."""

    def cancel(self) -> Any: ...


class Reactor(Protocol):
    """What is used of a reactor."""

    def callLater(self, delay: float, call: Callable[..., object], *args: Any) -> Any: ...  # noqa: N802
    def connectTCP(self, host: str, port: int, factory: Any, timeout: float = ...) -> Any: ...  # noqa: N802
    def connectUNIX(self, address: str, factory: Any, timeout: float = ...) -> Any: ...  # noqa: N802


class RespProtocol(TwistedProtocol):
    """One connection. `send` queues commands, `flush` writes them all at once.

    A connection that owes an answer and says nothing for `answer_timeout_seconds` is aborted: half-open
    connections look like that.
    """

    def __init__(
        self,
        reactor: Reactor,
        label: str,
        answer_timeout_seconds: float,
        direct: bool,
        on_made: Callable[[RespProtocol], None],
        on_lost: Callable[[str, Fault], None],
    ) -> None:
        """`label` says where Redis is; `on_lost` hears why, and what that means if Redis never said a word.

        `direct` lets `flush` hand bytes to the kernel itself; not with TLS between.
        """
        self._reactor = reactor
        self._label = label
        self._answer_timeout_seconds = answer_timeout_seconds
        self._on_made = on_made
        self._on_lost = on_lost
        self._reader = Reader()
        self._waiting: deque[Answered] = deque()
        self._out: list[bytes] = []
        self._timer: Timer | None = None
        self._heard = False
        self._direct = direct
        self._draining = False
        self._why = ""
        self._fault: Fault | None = None

    @property
    def unanswered(self) -> int:
        """Commands whose answer has not come."""
        return len(self._waiting)

    def send(self, command: bytes, answered: Answered) -> None:
        """Queue one command, packed as `plan.resp.pack` does."""
        self._out.append(command)
        self._waiting.append(answered)

    def flush(self) -> None:
        """Write everything queued, at once if the kernel takes it."""
        if not self._out:
            return
        data = b"".join(self._out)
        self._out.clear()
        if self._timer is None:
            self._watch()
        transport: Any = self.transport
        if self._direct and not self._draining:
            sent = transport.writeSomeData(data)
            if isinstance(sent, int):  # else an error, which the reactor's own write will meet
                if sent == len(data):
                    return
                data = data[sent:]
        self._draining = True
        transport.write(data)

    def abort(self, why: str, fault: Fault = Fault.OTHER) -> None:
        """Break the connection; `why` and `fault` are what `on_lost` will be told."""
        self._why = self._why or why
        self._fault = self._fault or fault
        cast(Any, self.transport).abortConnection()

    def close(self) -> None:
        """End the connection once everything queued is written."""
        self.flush()
        self._why = self._why or "closed"
        transport = cast(Any, self.transport)
        if self._direct:
            transport.unregisterProducer()
        transport.loseConnection()

    # Called by Twisted

    def connectionMade(self) -> None:  # noqa: N802
        transport = cast(Any, self.transport)
        _tune(transport if self._direct else transport.transport)
        if self._direct:
            # The reactor asks a pull producer for more whenever its buffer has drained: the one public
            # sign that a direct write would not overtake bytes that wait there.
            transport.registerProducer(self, False)
        self._on_made(self)

    def resumeProducing(self) -> None:  # noqa: N802
        """The reactor's buffer is empty: direct writes are in order again."""
        self._draining = False

    def stopProducing(self) -> None:  # noqa: N802
        """The connection is lost; `connectionLost` says so too."""

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        self._heard = True
        gets = self._reader.gets
        try:
            self._reader.feed(data)
            while (answer := gets()) is not NOTHING:
                if not self._waiting:
                    self.abort("it sent an answer that nobody asked for")
                    return
                self._waiting.popleft()(answer)
        except ProtocolError as error:
            self.abort(f"it does not speak the Redis protocol: {error}", Fault.NO_REDIS)

    def connectionLost(self, reason: Failure | None = None) -> None:  # noqa: N802
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        why = self._why or (_said(reason) if reason is not None else "lost")
        fault = self._fault or _fault_of(reason)
        waiting = list(self._waiting)
        written = len(waiting) - len(self._out)
        self._waiting.clear()
        self._out.clear()
        # First of all: whoever answers an error by sending again must find the connection closed.
        self._on_lost(why, fault)
        for answered in waiting[:written]:
            _tell(answered, connection_lost(self._label, why, written=True))
        for answered in waiting[written:]:
            _tell(answered, connection_lost(self._label, why, written=False))

    # Half-open connections

    def _watch(self) -> None:
        self._heard = False
        self._timer = self._reactor.callLater(self._answer_timeout_seconds, self._check)

    def _check(self) -> None:
        self._timer = None
        if not self._waiting:
            return
        if self._heard:
            self._watch()
        else:
            self.abort(f"no answer for {self._answer_timeout_seconds:g} s", Fault.SILENT)


def _tell(answered: Answered, answer: Any) -> None:
    """A defect in what one lost answer leads to must not keep the others from being told."""
    try:
        answered(answer)
    except Exception:
        log.exception("Telling of a lost connection to Redis failed; going on with the next who waits")


class _Factory(ClientFactory):
    """Builds one protocol for one attempt to connect."""

    noisy = False

    def __init__(self, connection: RespProtocol, on_failed: Callable[[str, Fault], None]) -> None:
        self._connection = connection
        self._on_failed = on_failed

    def buildProtocol(self, addr: object) -> RespProtocol:  # noqa: N802
        return self._connection

    def clientConnectionFailed(self, connector: object, reason: Failure) -> None:  # noqa: N802
        self._on_failed(_said(reason), _fault_of(reason))


def connect(
    address: ServerAddress,
    reactor: Reactor,
    answer_timeout_seconds: float,
    on_made: Callable[[RespProtocol], None],
    on_lost: Callable[[str, Fault], None],
) -> Callable[[], None]:
    """Try once to connect; `on_lost` is also called if that fails. The answer gives the attempt up.

    Raises LayerRefused for certificates that cannot be read.
    """
    connection = RespProtocol(
        reactor, address.label, answer_timeout_seconds, address.tls is None, on_made, on_lost
    )
    factory: Any = _Factory(connection, on_lost)
    timeout = address.connect_timeout_seconds
    if address.path is not None:
        connector = reactor.connectUNIX(address.path, factory, timeout=timeout)
    else:
        if address.tls is not None:
            factory = _with_tls(factory, address, address.tls, reactor)
        connector = reactor.connectTCP(address.host, address.port, factory, timeout=timeout)
    return cast(Callable[[], None], connector.disconnect)


def _tune(transport: Any) -> None:
    """Send small writes at once, and let the kernel find dead peers; a unix socket needs neither."""
    if not hasattr(transport, "setTcpNoDelay"):
        return
    transport.setTcpNoDelay(True)
    transport.setTcpKeepAlive(True)
    for name, value in keepalive_options().items():
        with contextlib.suppress(OSError):
            transport.getHandle().setsockopt(socket.IPPROTO_TCP, name, value)


def _said(reason: Failure) -> str:
    return str(reason.value).rstrip(".") or type(reason.value).__name__


def _fault_of(reason: Failure | None) -> Fault:
    """What Twisted's or OpenSSL's error means."""
    value = reason.value if reason is not None else None
    if isinstance(value, DNSLookupError | UnknownHostError):
        return Fault.UNKNOWN_NAME
    if isinstance(value, TimeoutError):
        return Fault.NO_WAY
    if isinstance(value, ConnectError):
        return fault_of_errno(value.osError)
    if isinstance(value, ConnectionDone | ConnectionLost):
        return Fault.CLOSED
    return fault_of_tls(repr(value))


def _with_tls(factory: _Factory, address: ServerAddress, tls: Tls, reactor: Reactor) -> Any:
    """Put TLS between the socket and the protocol. pyOpenSSL is loaded only where it is spoken."""
    from twisted.protocols.tls import TLSMemoryBIOFactory

    return TLSMemoryBIOFactory(_tls_creator(address, tls), True, cast(Any, factory), cast(Any, reactor))


def _tls_creator(address: ServerAddress, tls: Tls) -> Any:
    from twisted.internet.ssl import CertificateOptions, optionsForClientTLS, platformTrust

    try:
        trust: Any = (_trust_root(tls) or platformTrust()) if tls.verify else None
        own = _own_certificate(tls)
    except Exception as error:  # OpenSSL raises whatever it likes for bad PEM
        raise connect_error(address, Fault.CERTIFICATES, repr(error)) from None
    if tls.check_hostname:
        return optionsForClientTLS(address.host, trust, extraCertificateOptions=own)
    return CertificateOptions(trustRoot=trust, **own)


def _trust_root(tls: Tls) -> Any:
    """The authorities named in the options, or None for those of the platform."""
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509 import load_pem_x509_certificates
    from twisted.internet.ssl import Certificate, trustRootFromCertificates

    pem = tls.ca_data
    if tls.ca_file is not None:
        pem = Path(tls.ca_file).read_bytes()
    if pem is None:
        return None
    raw = pem.encode() if isinstance(pem, str) else pem
    found = [one.public_bytes(Encoding.PEM) for one in load_pem_x509_certificates(raw)]
    return trustRootFromCertificates([Certificate.loadPEM(one) for one in found])


def _own_certificate(tls: Tls) -> dict[str, Any]:
    """What proves to Redis who we are, as arguments of CertificateOptions."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from cryptography.x509 import load_pem_x509_certificates

    if tls.certificate_file is None:
        return {}
    key = load_pem_private_key(Path(tls.key_file or tls.certificate_file).read_bytes(), None)
    own, *chain = load_pem_x509_certificates(Path(tls.certificate_file).read_bytes())
    return {"privateKey": key, "certificate": own, "extraCertChain": chain}

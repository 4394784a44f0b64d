"""Which certificate a client gets, and what is spoken with it: versions, ciphers, sessions, ALPN."""

# ruff: noqa: N802 (Twisted's names, called by Twisted)

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from zope.interface import implementer  # type: ignore[import-untyped]

from .certificates import BadCertificate, Certificate, CertificateFiles, read_certificate

__all__ = ["SESSION_SECONDS", "CertificateChoice", "NameTable", "read_usable"]

#: Ciphers of TLS 1.2: all with forward secrecy and authenticated encryption, as TLS 1.3 has no others.
_CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20"
#: Seconds in which a client may go on with its session by the ticket that it was given. Renewed keys of
#: tickets (`CertificateChoice.serve`) end it, too.
SESSION_SECONDS = 2 * 3600
#: Sessions of one process are those of all its certificates; a client's name is checked by OpenSSL.
_SESSION_ID = b"headrace"


class NameTable:
    """Which of several certificates is for a name: one that has it, else one with a wildcard, else the first.

    A wildcard stands for one whole label, the leftmost one (RFC 6125 6.4.3, RFC 9525 6.3). Pure.
    """

    def __init__(self, hosts_of_each: Sequence[Sequence[str]]) -> None:
        """Take the names in the order of the certificates; in two, a name is of the earlier one."""
        self._numbers: dict[str, int] = {}
        for number, hosts in enumerate(hosts_of_each):
            for host in hosts:
                self._numbers.setdefault(host.lower(), number)

    def find(self, asked: str) -> int:
        """The number of the certificate, from 0."""
        asked = asked.lower().removesuffix(".")
        number = self._numbers.get(asked)
        if number is not None:
            return number
        label, _, parent = asked.partition(".")
        return self._numbers.get(f"*.{parent}", 0) if label and parent else 0


@implementer(IOpenSSLServerConnectionCreator)
class CertificateChoice:
    """Gives each connection the certificate of the name that its client asks for (SNI, RFC 6066 3)."""

    def __init__(self, certificates: Sequence[Certificate]) -> None:
        """Raises BadCertificate, as `serve` does."""
        self.serve(certificates)

    def serve(self, certificates: Sequence[Certificate]) -> None:
        """New connections get one of these from now on, and tickets by a new key; open ones go on.

        Raises BadCertificate where OpenSSL refuses one; then nothing has changed.
        """
        names = NameTable([each.hosts for each in certificates])
        made: list[SSL.Context] = []

        def choose(connection: SSL.Connection) -> None:
            asked = (connection.get_servername() or b"").decode("ascii", "replace")
            connection.set_context(made[names.find(asked)])

        made += [_made(each, choose) for each in certificates]
        self._default = made[0]

    def serverConnectionForTLS(self, protocol: Any) -> SSL.Connection:
        return SSL.Connection(self._default)


def read_usable(files: CertificateFiles, former: Certificate | None = None) -> Certificate:
    """`read_certificate`, of one that OpenSSL takes as well. Raises BadCertificate."""
    certificate = read_certificate(files, former)
    if certificate is not former:
        _made(certificate, lambda connection: None)
    return certificate


def _made(certificate: Certificate, choose: Callable[[SSL.Connection], None]) -> SSL.Context:
    made = SSL.Context(SSL.TLS_SERVER_METHOD)
    made.set_min_proto_version(SSL.TLS1_2_VERSION)
    # A client that asks for a new handshake again and again costs us much and itself little.
    made.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    # An idle connection keeps no buffers: there may be many WebSockets.
    made.set_mode(SSL.MODE_RELEASE_BUFFERS)
    # A session is in the client's ticket, and none in our memory.
    made.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    made.set_session_id(_SESSION_ID)
    made.set_timeout(SESSION_SECONDS)
    made.set_tlsext_servername_callback(choose)
    made.set_alpn_select_callback(_agreed)
    try:
        made.use_certificate(certificate.leaf)
        for issuer in certificate.chain:
            made.add_extra_chain_cert(issuer)
        made.use_privatekey(certificate.key)  # type: ignore[arg-type]
    except (SSL.Error, TypeError, ValueError) as error:
        raise BadCertificate(
            f"--certfile {certificate.files.certificate} cannot be served with ({_reason(error)}): have one "
            "issued for a key of today, such as ECDSA P-256 or RSA with 2048 bits"
        ) from None
    # Last: pyOpenSSL makes a connection to see whether it is right, and takes no changes after that.
    made.set_cipher_list(_CIPHERS)
    return made


def _agreed(connection: SSL.Connection, offered: Sequence[bytes]) -> bytes:
    """The first protocol of ours that the client offers; without any it is refused (RFC 7301 3.2)."""
    ours: Sequence[bytes] = connection.get_app_data().factory.wrappedFactory.acceptableProtocols()
    for protocol in ours:
        if protocol in offered:
            return protocol
    # Twisted expects OpenSSL's own kind of error, with its queue.
    raise SSL.Error([("SSL routines", "", "no application protocol")])


def _reason(error: Exception) -> str:
    """What OpenSSL says, without where in its source it says so."""
    queue = error.args[0] if error.args else ""
    return str(queue[-1][-1]) if isinstance(queue, list) and queue else str(error)

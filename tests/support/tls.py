"""Certificates made for a test, a client of TLS, and TLS in front of a server that speaks none."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

__all__ = [
    "FilePair",
    "TlsClient",
    "certificate",
    "certificate_pem",
    "issue",
    "key_pem",
    "self_signed",
    "tls_in_front",
    "trusting",
]

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class FilePair(NamedTuple):
    """A certificate and its key, each in a file."""

    certificate: Path
    key: Path


def self_signed(
    *names: str, ends_in_days: float = 90, begins_in_days: float = -2, key: PrivateKey | None = None
) -> tuple[x509.Certificate, PrivateKey]:
    """A certificate for these names, without a subjectAltName if there are none, and its key."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0] if names else "nobody")])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + datetime.timedelta(days=begins_in_days))
        .not_valid_after(now + datetime.timedelta(days=ends_in_days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    )
    if names:
        alternative = x509.SubjectAlternativeName([_general_name(name) for name in names])
        builder = builder.add_extension(alternative, critical=False)
    return builder.sign(key, hashes.SHA256()), key


def certificate(directory: Path, name: str = "127.0.0.1", ends_in_days: float = 1) -> Path:
    """A self-signed certificate and its key in one PEM file."""
    made, key = self_signed(name, ends_in_days=ends_in_days)
    path = directory / f"{name}.pem"
    path.write_bytes(key_pem(key) + certificate_pem(made))
    return path


def issue(directory: Path, *names: str, file: str = "server", **how: Any) -> FilePair:
    """A self-signed certificate and its key in two files, which may be there already."""
    made, key = self_signed(*names, **how)
    pair = FilePair(directory / f"{file}.crt", directory / f"{file}.key")
    pair.certificate.write_bytes(certificate_pem(made))
    pair.key.write_bytes(key_pem(key))
    return pair


def certificate_pem(made: x509.Certificate) -> bytes:
    """As it stands in a file."""
    return made.public_bytes(serialization.Encoding.PEM)


def key_pem(key: PrivateKey, passphrase: bytes | None = None) -> bytes:
    """As it stands in a file."""
    encryption: serialization.KeySerializationEncryption = (
        serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    )
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def trusting(*pems: Path, protocols: tuple[str, ...] = ()) -> ssl.SSLContext:
    """What a client needs that trusts these certificates and no others."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for pem in pems:
        context.load_verify_locations(pem)
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


class TlsClient:
    """A TLS client over a way to exchange bytes: what is sent is given to it, what is there it returns."""

    def __init__(
        self,
        exchange: Callable[[bytes], bytes],
        context: ssl.SSLContext,
        name: str | None = None,
        session: ssl.SSLSession | None = None,
    ) -> None:
        """`name` is asked for, and the server's certificate has to be for it."""
        context.check_hostname = name is not None
        self._exchange = exchange
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name, session=session)

    def shake_hands(self, rounds: int = 200) -> ssl.SSLObject:
        """Finish the handshake; fails the test after so many exchanges. Raises SSLError."""
        for _ in range(rounds):
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self._turn()
            except ssl.SSLError:
                self._turn()  # the server is told why
                raise
            else:
                self._turn()
                return self.tls
        raise AssertionError("the handshake does not end")

    def say(self, data: bytes) -> None:
        """Send something."""
        self.tls.write(data)
        self._turn()

    def read(self, until: bytes, rounds: int = 200) -> bytes:
        """Read until this comes; fails the test after so many exchanges."""
        received = b""
        for _ in range(rounds):
            with suppress(ssl.SSLWantReadError):
                received += self.tls.read(65536)
            if until in received:
                return received
            self._turn()
        raise AssertionError(f"there is no {until!r} in {received!r}")

    def _turn(self) -> None:
        received = self._exchange(self._outgoing.read())
        if received:
            self._incoming.write(received)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


@contextmanager
def tls_in_front(address: str | tuple[str, int], pem: Path, ask_certificate: bool = False) -> Iterator[int]:
    """A port of the loopback interface that speaks TLS and passes everything on to `address`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    if ask_certificate:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(pem)
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=_accept, args=(listener, context, address), daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def _accept(listener: socket.socket, context: ssl.SSLContext, address: str | tuple[str, int]) -> None:
    while True:
        try:
            raw, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_serve, args=(raw, context, address), daemon=True).start()


def _serve(raw: socket.socket, context: ssl.SSLContext, address: str | tuple[str, int]) -> None:
    with raw, suppress(OSError):
        client = context.wrap_socket(raw, server_side=True)
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        with client, socket.socket(family) as server:
            server.connect(address)
            back = threading.Thread(target=_pass_on, args=(server, client), daemon=True)
            back.start()
            _pass_on(client, server)
            with suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            back.join(5)


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)

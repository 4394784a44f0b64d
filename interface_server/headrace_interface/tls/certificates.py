"""Certificates as their files have them: checked against their keys, with their names and their days."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from headrace_asgi.errors import ConfigurationError

__all__ = ["BadCertificate", "Certificate", "CertificateFiles", "certificate_files", "read_certificate"]


class BadCertificate(ConfigurationError):
    """A certificate or key that cannot be served with; the text names the file and what to do."""


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """The paths of a certificate, with its issuers' behind it, and of its key; they may be one file."""

    certificate: str
    key: str

    @property
    def key_option(self) -> str:
        """The option that named the key's file."""
        return "--certfile" if self.key == self.certificate else "--keyfile"


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate that can be served with: its issuers' follow in `chain`, as they are sent."""

    files: CertificateFiles
    leaf: x509.Certificate
    chain: tuple[x509.Certificate, ...]
    key: PrivateKeyTypes
    #: The names of hosts that it is for; one may begin with `*.`.
    hosts: tuple[str, ...]
    #: The addresses that it is for.
    addresses: tuple[str, ...]
    #: A digest of what stood in the files.
    content: bytes

    @property
    def begins(self) -> datetime:
        """From when on it is valid."""
        return self.leaf.not_valid_before_utc

    @property
    def ends(self) -> datetime:
        """Until when it is valid."""
        return self.leaf.not_valid_after_utc

    def __str__(self) -> str:
        """As in `cert.pem for example.com, *.example.com until 2027-01-31`."""
        named = ", ".join((*self.hosts, *self.addresses)) or "no name (it has no subjectAltName)"
        return f"{self.files.certificate} for {named} until {self.ends:%Y-%m-%d}"


def certificate_files(certificates: Sequence[str], keys: Sequence[str]) -> tuple[CertificateFiles, ...]:
    """What `--certfile` and `--keyfile` name together: the first key is for the first certificate, and so on.

    Without any key each certificate's file has its key, too. Raises ConfigurationError for other counts.
    """
    if keys and len(keys) != len(certificates):
        raise ConfigurationError(
            f"--certfile is given {len(certificates)} times and --keyfile {len(keys)} times: give a key for "
            "each certificate, in the same order, or no --keyfile where each certificate's file has its key"
        )
    pairs = zip(certificates, keys or certificates, strict=True)
    return tuple(CertificateFiles(certificate, key) for certificate, key in pairs)


def read_certificate(files: CertificateFiles, former: Certificate | None = None) -> Certificate:
    """Read a certificate and its key; `former` where its content still stands there. Raises BadCertificate.

    Blocks: for a key of RSA with 4096 bits, whose primes are tested, about 0.3 s.
    """
    data, key_data = _read("--certfile", files.certificate), _read(files.key_option, files.key)
    content = hashlib.sha256(b"%d " % len(data) + data + key_data).digest()
    if former is not None and former.content == content:
        return former
    leaf, *chain = _certificates(files.certificate, data)
    key = _key(files, key_data)
    numbers = [number for number, each in enumerate((leaf, *chain)) if _is_key_of(key, each)]
    if not numbers:
        raise BadCertificate(
            f"{files.key_option} {files.key} has another key than the certificate in {files.certificate}: "
            "give the two that belong together"
        )
    if numbers[0]:
        raise BadCertificate(
            f"--certfile {files.certificate} has the server's own certificate as number {numbers[0] + 1}: "
            "put it first, and those of its issuers behind it"
        )
    hosts, addresses = _names(files.certificate, leaf)
    return Certificate(files, leaf, tuple(chain), key, hosts, addresses, content)


def _certificates(path: str, data: bytes) -> list[x509.Certificate]:
    if b"-----BEGIN CERTIFICATE-----" not in data:
        raise BadCertificate(
            f"--certfile {path} has no certificate in it: it has to be PEM, the server's own certificate "
            "first, then those of its issuers, as fullchain.pem is"
        )
    try:
        return x509.load_pem_x509_certificates(data)
    except ValueError as error:
        raise BadCertificate(
            f"--certfile {path} is damaged ({error}): copy it again from where it was issued"
        ) from None


def _key(files: CertificateFiles, data: bytes) -> PrivateKeyTypes:
    if b"PRIVATE KEY-----" not in data:
        if files.key == files.certificate:
            raise BadCertificate(
                f"--certfile {files.key} has no key in it: name the file of its key with --keyfile"
            )
        raise BadCertificate(
            f"--keyfile {files.key} has no private key in it: it has to be PEM, as privkey.pem is"
        )
    try:
        return load_pem_private_key(data, None)
    except TypeError:
        raise BadCertificate(
            f"{files.key_option} {files.key}: the key is protected by a passphrase, which nobody can type: "
            f"write it without one, to a file that only this user may read (openssl pkey -in {files.key})"
        ) from None
    except (ValueError, UnsupportedAlgorithm) as error:
        raise BadCertificate(
            f"{files.key_option} {files.key}: the key is damaged, or of an unknown kind ({error}): copy it "
            "again, or have a certificate issued for a key of another kind"
        ) from None


def _read(option: str, path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise BadCertificate(
            f"{option} {path} cannot be read ({error.strerror}): it has to be there, and readable for the "
            "user of this process"
        ) from None


def _is_key_of(key: PrivateKeyTypes, certificate: x509.Certificate) -> bool:
    try:
        return _encoded(key.public_key()) == _encoded(certificate.public_key())
    except (ValueError, UnsupportedAlgorithm):  # an issuer's may be of a kind that nobody here knows
        return False


def _encoded(key: Any) -> bytes:
    encoded: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return encoded


def _names(path: str, leaf: x509.Certificate) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The hosts and the addresses of its subjectAltName: clients look at no other name (RFC 9525 2)."""
    try:
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return (), ()
    except ValueError as error:
        raise BadCertificate(f"--certfile {path} is malformed ({error}): have it issued again") from None
    hosts = tuple(name.lower() for name in found.get_values_for_type(x509.DNSName))
    return hosts, tuple(map(str, found.get_values_for_type(x509.IPAddress)))

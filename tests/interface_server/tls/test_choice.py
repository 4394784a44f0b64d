"""Which certificate a client gets, and what is spoken with it: Python's TLS against OpenSSL in memory."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from OpenSSL import SSL

from headrace_interface.tls.certificates import (
    BadCertificate,
    Certificate,
    CertificateFiles,
    read_certificate,
)
from headrace_interface.tls.choice import CertificateChoice, NameTable, read_usable
from tests.support.tls import FilePair, TlsClient, issue, trusting


@pytest.mark.parametrize(
    ("asked", "number"),
    [
        ("a.example", 0),
        ("A.EXAMPLE.", 0),
        ("b.example", 1),
        ("x.b.example", 1),
        ("special.b.example", 2),
        ("y.x.b.example", 0),
        (".b.example", 0),
        ("unknown", 0),
        ("", 0),
        ("192.0.2.1", 0),
        ("part7.c.example", 0),
    ],
)
def test_an_exact_name_goes_before_a_wildcard_and_the_first_is_the_default(asked: str, number: int) -> None:
    table = NameTable([["a.example"], ["b.example", "*.b.example"], ["special.b.example", "part*.c.example"]])
    assert table.find(asked) == number


def test_a_name_in_two_certificates_is_of_the_earlier_one() -> None:
    assert NameTable([["a"], ["b", "*.c"], ["b", "*.c"]]).find("b") == 1
    assert NameTable([["a"], ["b", "*.c"], ["b", "*.c"]]).find("x.c") == 1


class Site:
    """What Twisted's transport is for ALPN."""

    def __init__(self, protocols: Sequence[bytes]) -> None:
        self.factory = self.wrappedFactory = self
        self._protocols = protocols

    def acceptableProtocols(self) -> Sequence[bytes]:  # noqa: N802
        return self._protocols


class Server:
    """One connection of a choice, in memory."""

    def __init__(self, choice: CertificateChoice, protocols: Sequence[bytes] = (b"http/1.1",)) -> None:
        self.tls = choice.serverConnectionForTLS(None)
        self.tls.set_accept_state()
        self.tls.set_app_data(Site(protocols))
        self.errors: list[str] = []

    def exchange(self, data: bytes) -> bytes:
        """Takes what a client sends; what there is for it."""
        if data:
            self.tls.bio_write(data)
        try:
            self.tls.do_handshake()
        except SSL.WantReadError:
            pass
        except SSL.Error as error:
            self.errors.append(str(error))
        try:
            return self.tls.bio_read(65536)
        except SSL.WantReadError:
            return b""


def chosen(*pairs: FilePair) -> list[Certificate]:
    return [read_certificate(CertificateFiles(str(pair.certificate), str(pair.key))) for pair in pairs]


def connected(choice: CertificateChoice, context: ssl.SSLContext, name: str | None = None, **how: Any) -> Any:
    return TlsClient(Server(choice).exchange, context, name, **how).shake_hands()


def test_each_client_gets_the_certificate_of_its_name(tmp_path: Path) -> None:
    first = issue(tmp_path, "a.example", file="a")
    second = issue(tmp_path, "b.example", "*.b.example", file="b")
    choice = CertificateChoice(chosen(first, second))
    context = trusting(first.certificate, second.certificate)
    for name in ("a.example", "b.example", "www.b.example"):
        connected(choice, context, name)
    with pytest.raises(ssl.SSLCertVerificationError, match=r"not valid for 'c\.example'"):
        connected(choice, context, "c.example")
    received = connected(choice, context).getpeercert(binary_form=True)
    assert x509.load_der_x509_certificate(received) == chosen(first)[0].leaf


def test_issuers_are_sent_along(tmp_path: Path) -> None:
    pair, other = issue(tmp_path, "a.example"), issue(tmp_path, "issuer", file="issuer")
    context = trusting(pair.certificate)
    pair.certificate.write_bytes(pair.certificate.read_bytes() + other.certificate.read_bytes())
    server = Server(CertificateChoice(chosen(pair)))
    seen = bytearray()

    def noting(data: bytes) -> bytes:
        answer = server.exchange(data)
        seen.extend(answer)
        return answer

    context.maximum_version = ssl.TLSVersion.TLSv1_2  # where certificates are readable on the way
    TlsClient(noting, context, "a.example").shake_hands()
    assert b"issuer" in seen


def test_tls_1_3_and_1_2_with_forward_secrecy_and_nothing_older(tmp_path: Path) -> None:
    pair = issue(tmp_path, "a.example")
    choice = CertificateChoice(chosen(pair))
    assert connected(choice, trusting(pair.certificate), "a.example").version() == "TLSv1.3"
    context = trusting(pair.certificate)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    cipher, version, _ = connected(choice, context, "a.example").cipher()
    assert version == "TLSv1.2"
    assert cipher.startswith("ECDHE-")
    for old in ("ECDHE-ECDSA-AES128-SHA256", "AES128-GCM-SHA256"):
        context.set_ciphers(old + ":@SECLEVEL=0")
        with pytest.raises(ssl.SSLError, match=r"(?i)handshake failure"):
            connected(choice, context, "a.example")


@pytest.mark.parametrize(
    ("offered", "ours", "agreed"),
    [
        ((), (b"http/1.1",), None),
        (("h2", "http/1.1"), (b"http/1.1",), "http/1.1"),
        (("http/1.1", "h2"), (b"h2", b"http/1.1"), "h2"),
    ],
)
def test_the_protocol_is_the_first_of_ours_that_the_client_offers(
    offered: tuple[str, ...], ours: tuple[bytes, ...], agreed: str | None, tmp_path: Path
) -> None:
    first, second = issue(tmp_path, "a.example", file="a"), issue(tmp_path, "b.example", file="b")
    choice = CertificateChoice(chosen(first, second))
    context = trusting(first.certificate, second.certificate, protocols=offered)
    for name in ("a.example", "b.example"):
        client = TlsClient(Server(choice, ours).exchange, context, name)
        assert client.shake_hands().selected_alpn_protocol() == agreed


def test_a_client_with_other_protocols_only_is_told_so(tmp_path: Path) -> None:
    pair = issue(tmp_path, "a.example")
    server = Server(CertificateChoice(chosen(pair)))
    context = trusting(pair.certificate, protocols=("acme-tls/1",))
    with pytest.raises(ssl.SSLError, match=r"(?i)no application protocol"):
        TlsClient(server.exchange, context, "a.example").shake_hands()
    assert "no application protocol" in server.errors[0]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_session_goes_on_by_its_ticket_until_its_key_is_renewed(
    version: ssl.TLSVersion, tmp_path: Path
) -> None:
    first, second = issue(tmp_path, "a.example", file="a"), issue(tmp_path, "b.example", file="b")
    choice = CertificateChoice(chosen(first, second))
    context = trusting(first.certificate, second.certificate)
    context.minimum_version = context.maximum_version = version
    session = ticket(choice, context)
    assert connected(choice, context, "b.example", session=session).session_reused
    choice.serve(chosen(first, second))
    assert not connected(choice, context, "b.example", session=session).session_reused


def ticket(choice: CertificateChoice, context: ssl.SSLContext) -> ssl.SSLSession:
    tls = connected(choice, context, "b.example")
    with pytest.raises(ssl.SSLWantReadError):
        tls.read(1)  # tickets of TLS 1.3 come behind the handshake
    return tls.session  # type: ignore[no-any-return]


def test_a_key_that_openssl_finds_too_weak_is_refused_and_the_former_ones_stay(tmp_path: Path) -> None:
    pair = issue(tmp_path, "a.example")
    choice = CertificateChoice(chosen(pair))
    weak = issue(tmp_path, "a.example", file="weak", key=rsa.generate_private_key(65537, 1024))
    with pytest.raises(BadCertificate, match=rf"{weak.certificate} cannot be served with \(.*too small"):
        read_usable(CertificateFiles(str(weak.certificate), str(weak.key)))
    with pytest.raises(BadCertificate):
        choice.serve(chosen(weak))
    connected(choice, trusting(pair.certificate), "a.example")

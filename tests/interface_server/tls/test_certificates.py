"""Files of certificates and keys: what can be served with, and what is said of the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace_asgi.errors import ConfigurationError
from headrace_interface.tls.certificates import (
    BadCertificate,
    Certificate,
    CertificateFiles,
    certificate_files,
    read_certificate,
)
from tests.support.tls import certificate, certificate_pem, issue, key_pem, self_signed


def read(certificate: Path, key: Path) -> Certificate:
    return read_certificate(CertificateFiles(str(certificate), str(key)))


def trouble(certificate: Path, key: Path) -> str:
    with pytest.raises(BadCertificate) as raised:
        read(certificate, key)
    return str(raised.value)


def test_keys_belong_to_certificates_in_their_order() -> None:
    assert certificate_files(["a", "b"], ["x", "y"]) == (
        CertificateFiles("a", "x"),
        CertificateFiles("b", "y"),
    )
    assert certificate_files(["a", "b"], []) == (CertificateFiles("a", "a"), CertificateFiles("b", "b"))
    assert certificate_files([], []) == ()


@pytest.mark.parametrize(("certificates", "keys"), [(["a", "b"], ["x"]), ([], ["x"]), (["a"], ["x", "y"])])
def test_other_counts_are_refused(certificates: list[str], keys: list[str]) -> None:
    with pytest.raises(
        ConfigurationError, match=f"{len(certificates)} times and --keyfile {len(keys)} times"
    ):
        certificate_files(certificates, keys)


def test_names_and_days_are_read(tmp_path: Path) -> None:
    found = read(*issue(tmp_path, "Example.com", "*.example.com", "192.0.2.7"))
    assert found.hosts == ("example.com", "*.example.com")
    assert found.addresses == ("192.0.2.7",)
    assert found.begins < found.ends
    assert str(found) == (
        f"{tmp_path}/server.crt for example.com, *.example.com, 192.0.2.7 until {found.ends:%Y-%m-%d}"
    )


def test_one_file_may_have_both(tmp_path: Path) -> None:
    path = certificate(tmp_path)
    assert read(path, path).addresses == ("127.0.0.1",)


def test_what_has_not_changed_is_not_read_anew(tmp_path: Path) -> None:
    pair = issue(tmp_path, "a.example")
    files = CertificateFiles(str(pair.certificate), str(pair.key))
    first = read_certificate(files)
    pair.certificate.write_bytes(pair.certificate.read_bytes())
    assert read_certificate(files, first) is first
    issue(tmp_path, "a.example")
    assert read_certificate(files, first).leaf != first.leaf


def test_issuers_follow(tmp_path: Path) -> None:
    pair = issue(tmp_path, "example.com")
    issuer, _ = self_signed("An issuer")
    pair.certificate.write_bytes(pair.certificate.read_bytes() + certificate_pem(issuer))
    assert read(*pair).chain == (issuer,)


def test_a_certificate_without_names_says_so(tmp_path: Path) -> None:
    assert "no subjectAltName" in str(read(*issue(tmp_path)))


def test_what_is_not_there_is_named_with_its_option(tmp_path: Path) -> None:
    pair, nowhere = issue(tmp_path, "example.com"), tmp_path / "nowhere"
    assert trouble(nowhere, pair.key).startswith(f"--certfile {nowhere} cannot be read (No such file")
    assert trouble(pair.certificate, nowhere).startswith(f"--keyfile {nowhere} cannot be read (No such file")
    assert "Is a directory" in trouble(tmp_path, pair.key)


def test_the_wrong_kind_of_file_is_told_apart_from_a_damaged_one(tmp_path: Path) -> None:
    pair = issue(tmp_path, "example.com")
    assert "has no certificate in it: it has to be PEM" in trouble(pair.key, pair.key)
    other = issue(tmp_path, "b.example", file="other").certificate
    assert trouble(pair.certificate, other).startswith(f"--keyfile {other} has no private key in it")
    damaged = tmp_path / "damaged"
    for each, words in ((pair.certificate, "--certfile .* is damaged"), (pair.key, "the key is damaged")):
        lines = each.read_bytes().splitlines(keepends=True)
        damaged.write_bytes(lines[0] + b"AAAA" + lines[-1])
        given = (damaged, pair.key) if each == pair.certificate else (pair.certificate, damaged)
        with pytest.raises(BadCertificate, match=words):
            read(*given)


def test_a_certificate_alone_asks_for_its_key(tmp_path: Path) -> None:
    alone = issue(tmp_path, "example.com").certificate
    assert trouble(alone, alone).endswith("has no key in it: name the file of its key with --keyfile")


def test_a_key_with_a_passphrase_says_how_to_take_it_off(tmp_path: Path) -> None:
    made, key = self_signed("example.com")
    pair = issue(tmp_path, "example.com")
    pair.certificate.write_bytes(certificate_pem(made))
    pair.key.write_bytes(key_pem(key, b"secret"))
    assert f"openssl pkey -in {pair.key}" in trouble(*pair)


def test_a_key_of_another_certificate_is_named(tmp_path: Path) -> None:
    first, second = issue(tmp_path, "a.example"), issue(tmp_path, "b.example", file="second")
    said = trouble(first.certificate, second.key)
    assert said.startswith(
        f"--keyfile {second.key} has another key than the certificate in {first.certificate}"
    )
    both = tmp_path / "both.pem"
    both.write_bytes(first.certificate.read_bytes() + second.key.read_bytes())
    assert trouble(both, both).startswith(f"--certfile {both} has another key")


def test_certificates_in_the_wrong_order_are_noticed(tmp_path: Path) -> None:
    pair = issue(tmp_path, "example.com")
    issuer, _ = self_signed("An issuer")
    pair.certificate.write_bytes(certificate_pem(issuer) + pair.certificate.read_bytes())
    assert "as number 2: put it first" in trouble(*pair)

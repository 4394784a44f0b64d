"""URLs and options as redis-py reads them."""

from __future__ import annotations

import socket

import pytest

from headrace_asgi.errors import ConfigurationError
from headrace_asgi.layers.redis.address import ServerAddress, Tls, keepalive_options, parse_address


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://", ServerAddress()),
        ("redis://r.example:6380/3", ServerAddress("r.example", 6380, db=3)),
        ("redis://:s%40crt@r/1", ServerAddress("r", password="s@crt", db=1)),
        ("redis://me:pw@r", ServerAddress("r", username="me", password="pw")),
        ("redis://r?db=4&socket_connect_timeout=2.5", ServerAddress("r", db=4, connect_timeout_seconds=2.5)),
        ("unix:///run/v.sock?db=2", ServerAddress(path="/run/v.sock", db=2)),
        ("unix://me:pw@/run/v.sock", ServerAddress(path="/run/v.sock", username="me", password="pw")),
        ("rediss://r", ServerAddress("r", tls=Tls())),
        ("rediss://r?ssl_ca_certs=/ca.pem", ServerAddress("r", tls=Tls(ca_file="/ca.pem"))),
        ("rediss://r?ssl_cert_reqs=none", ServerAddress("r", tls=Tls(verify=False, check_hostname=False))),
        ("rediss://r?ssl_check_hostname=false", ServerAddress("r", tls=Tls(check_hostname=False))),
    ],
)
def test_a_url_says_where_and_how(url: str, address: ServerAddress) -> None:
    assert parse_address(url) == address


def test_options_win_over_the_url() -> None:
    address = parse_address("redis://:old@r/1", {"password": "new", "db": 2, "socket_keepalive": True})
    assert (address.password, address.db) == ("new", 2)


@pytest.mark.parametrize(
    ("url", "options", "names"),
    [
        ("http://r", {}, "redis://"),
        ("redis://:secret@r?db=x", {}, "Invalid value"),
        ("redis://r", {"port": "many"}, "port must be a whole number from 1 to 65535, not a str"),
        ("redis://r", {"db": 1.5}, "db must be a whole number of 0 or more, not 1.5"),
        ("redis://r?password=secret&db=x", {}, "'redis://r' is no URL of a Redis"),
        ("me:secret@r", {}, "'r' is no URL of a Redis"),
        ("redis://r", {"ssl_ciphers": "ALL"}, "needs a rediss:// URL"),
        ("redis://r:99999999", {}, "no URL"),
        ("unix://", {}, "path"),
        ("redis://r", {"ssl_ca_certs": "/ca.pem"}, "rediss://"),
        ("rediss://r", {"ssl_validate_ocsp": True}, "ssl_validate_ocsp"),
        ("rediss://r", {"ssl_cert_reqs": "perhaps"}, "perhaps"),
        ("redis://r", {"credential_provider": object()}, "credential_provider"),
    ],
)
def test_what_cannot_work_is_named(url: str, options: dict[str, object], names: str) -> None:
    with pytest.raises(ConfigurationError, match=names) as caught:
        parse_address(url, options)
    assert "secret" not in str(caught.value)


def test_what_only_redis_py_can_do_is_let_pass_where_it_opens_the_socket() -> None:
    options = {"ssl_ciphers": "ALL", "credential_provider": object()}
    assert parse_address("rediss://r", options, all_options=True) == ServerAddress("r", tls=Tls())
    with pytest.raises(ConfigurationError, match="needs a rediss:// URL"):
        parse_address("redis://r", options, all_options=True)


def test_an_address_that_is_printed_shows_no_password() -> None:
    assert "secret" not in repr(parse_address("redis://me:secret@r"))


def test_dead_peers_are_found_within_a_minute() -> None:
    options = keepalive_options()
    assert options[socket.TCP_KEEPINTVL] * options[socket.TCP_KEEPCNT] <= 30
    assert all(isinstance(name, int) for name in options)


def test_the_label_for_log_lines_has_no_password() -> None:
    assert parse_address("rediss://me:secret@r:6380/2").label == "rediss://r:6380/2"
    assert parse_address("unix://me:secret@/run/v.sock").label == "unix:///run/v.sock"
    assert parse_address("redis://[::1]:6380/2").label == "redis://[::1]:6380/2"


@pytest.mark.parametrize(
    "url",
    [
        "redis://:secret/second@r:6379/0",
        "redis://me:secret#second@r:6379/0",
        "redis://me:secret?second@r/0",
        "redis://me:a[secret]b@r/0",
        "unix://me:secret/second@/run/v.sock?db=x",
    ],
)
def test_a_password_that_is_not_encoded_is_not_told_in_pieces(url: str) -> None:
    with pytest.raises(ConfigurationError, match="percent-encoded") as caught:
        parse_address(url)
    assert "secret" not in str(caught.value)
    assert "second" not in str(caught.value)

"""URLs of a RabbitMQ: what they say, and one line without the password for those that cannot work."""

from __future__ import annotations

from typing import Any

import pytest

from headrace_asgi.errors import ConfigurationError
from headrace_asgi.layers.rabbitmq.address import DEFAULT_URL, BrokerAddress, parse_address


def test_a_url_says_where_the_broker_is_and_who_we_are() -> None:
    assert parse_address("amqp://me:p%40ss%2Fword@broker:1234/my%2Fsite") == BrokerAddress(
        host="broker", port=1234, vhost="my/site", username="me", password="p@ss/word"
    )


@pytest.mark.parametrize(
    "url", [DEFAULT_URL, "amqp://127.0.0.1", "amqp://127.0.0.1:5672/", "amqp://127.0.0.1/%2f"]
)
def test_what_is_left_out_is_as_after_an_installation(url: str) -> None:
    assert parse_address(url) == BrokerAddress("127.0.0.1", 5672, "/", "guest", "guest")


def test_tls_has_its_own_port_and_files() -> None:
    found = parse_address("amqps://me:pw@host/v?ssl_ca_certs=/ca.pem&ssl_certfile=/c.pem&ssl_keyfile=/k.pem")
    assert (found.tls, found.port) == (True, 5671)
    assert (found.ca_file, found.certificate_file, found.key_file) == ("/ca.pem", "/c.pem", "/k.pem")


def test_the_label_names_the_broker_and_neither_user_nor_password() -> None:
    assert parse_address("amqp://me:secret@h").label == "amqp://h:5672/%2F"
    assert parse_address("amqps://me:secret@[::1]:7/a%2Fb").label == "amqps://[::1]:7/a%2Fb"
    assert "secret" not in repr(parse_address("amqp://me:secret@h"))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (7, "url must be a str"),
        ("redis://me:secret@h", "must begin with amqp:// or amqps://"),
        ("amqp://", "names no host"),
        ("amqp://me:secret@", "names no host"),
        ("amqp://me:secret@h:port/", "percent-encoded"),
        ("amqp://me:se/cret@h/v", "percent-encoded"),
        ("amqp://me:se#cret@h/v", "percent-encoded"),
        ("amqp://me:secret@h/v/w", "percent-encoded"),
        ("amqp://me:secret@h/v?heartbeat=3", "no option 'heartbeat'; there are ssl_ca_certs"),
        ("amqp://me:secret@h/v?ssl_ca_certs=/ca.pem", "begin with amqps://"),
    ],
)
def test_a_url_that_cannot_work_is_told_in_one_line_without_the_password(url: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as raised:
        parse_address(url)
    text = str(raised.value)
    assert "\n" not in text
    assert "secret" not in text
    assert "cret" not in text

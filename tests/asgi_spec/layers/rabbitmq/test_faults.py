"""What pika raises, in our words."""

from __future__ import annotations

import pytest
from pika.exceptions import (
    AMQPConnectionError,
    ChannelClosedByBroker,
    ConnectionClosedByBroker,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
    StreamLostError,
)

from headrace_asgi.errors import LayerRefused, LayerUnavailable
from headrace_asgi.layers.rabbitmq.address import parse_address
from headrace_asgi.layers.rabbitmq.faults import ChannelRefused, channel_error, connect_error

ADDRESS = parse_address("amqp://me:secret@broker/site")


@pytest.mark.parametrize(
    "error",
    [
        ProbableAuthenticationError("what it said"),
        ConnectionClosedByBroker(403, "ACCESS_REFUSED"),
        AMQPConnectionError(ProbableAuthenticationError("what it said")),
    ],
)
def test_a_refused_login_names_user_and_setting(error: Exception) -> None:
    found = connect_error(error, ADDRESS)
    assert isinstance(found, LayerRefused)
    assert "refused the login of the user 'me': correct user and password in url" in str(found)


@pytest.mark.parametrize(
    "error", [ProbableAccessDeniedError("what it said"), ConnectionClosedByBroker(530, "NOT_ALLOWED")]
)
def test_a_virtual_host_that_is_not_there_is_named_with_what_to_do(error: Exception) -> None:
    found = connect_error(error, ADDRESS)
    assert isinstance(found, LayerRefused)
    assert "no virtual host 'site'" in str(found)
    assert "rabbitmqctl add_vhost" in str(found)


def test_whatever_else_is_an_outage_with_its_innermost_reason() -> None:
    found = connect_error(AMQPConnectionError(OSError(111, "Connection refused")), ADDRESS)
    assert type(found) is LayerUnavailable
    assert str(found) == "amqp://broker:5672/site cannot be reached: [Errno 111] Connection refused"


def test_a_channel_that_the_broker_closed_has_a_code_and_one_that_was_cut_off_has_none() -> None:
    refused = channel_error(ChannelClosedByBroker(404, "NOT_FOUND - no queue 'x'"), ADDRESS)
    assert isinstance(refused, ChannelRefused)
    assert refused.code == 404
    assert type(channel_error(StreamLostError("reset"), ADDRESS)) is LayerUnavailable


def test_missing_permissions_are_told_with_the_command_that_gives_them() -> None:
    refused = channel_error(ChannelClosedByBroker(403, "ACCESS_REFUSED - access to queue"), ADDRESS)
    assert "rabbitmqctl set_permissions -p site me" in str(refused)


def test_no_text_holds_the_password() -> None:
    for error in (ProbableAuthenticationError("x"), ProbableAccessDeniedError("x"), OSError("x")):
        assert "secret" not in str(connect_error(error, ADDRESS))

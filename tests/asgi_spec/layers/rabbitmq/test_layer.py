"""RabbitMQChannelLayer: the contract, as far as it goes, and what is its own."""

from __future__ import annotations

import logging
import shlex
import time
import unittest
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from headrace_asgi.conformance.interface_port import InterfacePortConformance
from headrace_asgi.conformance.layer import ChannelLayerConformance
from headrace_asgi.contract import Outcome
from headrace_asgi.errors import ChannelFull, ConfigurationError, LayerUnavailable
from headrace_asgi.layers.from_config import layer_from_url
from headrace_asgi.layers.rabbitmq import RabbitMQChannelLayer
from headrace_asgi.layers.rabbitmq.faults import PERMISSIONS
from tests.support.rabbitmq_server import RabbitMQServer
from tests.support.reactors import HandReactor, hand_reactor
from tests.support.source import ROOT
from tests.support.stack import eventually
from tests.support.tls import certificate, tls_in_front


class OnRabbitMQ:
    """Gives a class of cases the `config` of a layer."""

    config: dict[str, Any]
    #: A copy for a member of a group takes a moment more than the send: the broker passes it on by itself.
    receive_tries = 20

    @pytest.fixture(autouse=True)
    def _server(self, rabbitmq_config: dict[str, Any]) -> None:
        self.config = rabbitmq_config


class TestTheContract(OnRabbitMQ, ChannelLayerConformance, unittest.TestCase):
    expiry_delay = 2.2
    capacity_limit = 5
    several_processes = True

    def setUp(self) -> None:
        # Longer than the case waits that cancels again and again what has just begun.
        self.channel_layer = RabbitMQChannelLayer(**self.config, expiry=2, group_expiry=1, capacity=5)
        self.addCleanup(self.channel_layer.close)
        super().setUp()


class TestAnInterfacePort(OnRabbitMQ, InterfacePortConformance, unittest.TestCase):
    capacity_limit = 5
    is_native = False
    reactor: HandReactor

    def setUp(self) -> None:
        self.reactor = self.enterContext(hand_reactor())
        self.channel_layer = RabbitMQChannelLayer(
            **self.config, capacity=5, channel_capacity={"headrace.*!": 100}
        )
        self.addCleanup(self.channel_layer.close)
        super().setUp()

    def turn_reactor(self) -> None:
        self.reactor.iterate(0.005)


@pytest.fixture
def layer(rabbitmq_config: dict[str, Any]) -> Iterator[RabbitMQChannelLayer]:
    made = RabbitMQChannelLayer(**rabbitmq_config)
    yield made
    made.close()


def test_it_says_which_extensions_it_has(layer: RabbitMQChannelLayer) -> None:
    assert layer.extensions == ("groups", "batch")


def test_a_url_gives_a_layer_that_works(rabbitmq_config: dict[str, Any]) -> None:
    layer = layer_from_url(f"{rabbitmq_config['url']}?prefix={rabbitmq_config['prefix']}&capacity=7")
    assert isinstance(layer, RabbitMQChannelLayer)
    layer.send("test", {"value": 1})
    assert layer.receive(["test"], block=True) == ("test", {"value": 1})
    assert layer.capacities.default == 7
    layer.close()


def test_layers_with_another_prefix_never_meet(rabbitmq_config: dict[str, Any]) -> None:
    one = RabbitMQChannelLayer(**rabbitmq_config)
    other = RabbitMQChannelLayer(rabbitmq_config["url"], prefix=rabbitmq_config["prefix"] + "x")
    one.group_add("group", "test")
    other.group_add("group", "test")
    one.send("test", {"value": 1})
    one.send_group("group", {"value": 2})
    assert other.receive_many(["test"], 5, 0.2) == []
    one.close()
    other.close()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("amqp://guest:Wrong-Word@127.0.0.1:{port}/", "refused the login of the user 'guest'"),
        ("amqp://nobody:Wrong-Word@127.0.0.1:{port}/", "refused the login of the user 'nobody'"),
        ("amqp://guest:guest@127.0.0.1:{port}/missing", "no virtual host 'missing'"),
    ],
)
def test_a_broker_that_never_let_us_in_is_told_in_one_line(
    rabbitmq_server: RabbitMQServer, wrong: str, said: str
) -> None:
    layer = RabbitMQChannelLayer(wrong.format(port=rabbitmq_server.port))
    asked = (
        layer.ensure_usable,
        lambda: layer.send("test", {}),
        lambda: layer.open_worker_port(lambda item, outcome: None),
    )
    for ask in asked:
        with pytest.raises(ConfigurationError, match=said) as raised:
            ask()
        assert "\n" not in str(raised.value)
        assert "Wrong-Word" not in str(raised.value)
        assert "in url" in str(raised.value) or "end of url" in str(raised.value)
    layer.close()


def test_the_permissions_that_are_recommended_suffice_and_fewer_are_told_with_them(
    rabbitmq_server: RabbitMQServer,
) -> None:
    rabbitmq_server.control("add_vhost", "least")
    rabbitmq_server.control("add_user", "least", "Word")
    rabbitmq_server.control("set_permissions", "-p", "least", "least", "^$", ".*", ".*")
    layer = RabbitMQChannelLayer(f"amqp://least:Word@127.0.0.1:{rabbitmq_server.port}/least")
    with pytest.raises(ConfigurationError) as raised:
        layer.ensure_usable()
    command = f"set_permissions -p least least {PERMISSIONS}"
    assert command in str(raised.value)
    assert f"set_permissions -p chat chat {PERMISSIONS}" in (ROOT / "docs" / "rabbitmq.md").read_text()
    rabbitmq_server.control(*shlex.split(command))
    layer.ensure_usable()
    layer.group_add("group", "test")
    layer.group_add("group", "server!a")
    layer.send_group("group", {"number": 1})
    assert layer.receive(["test"], block=True) == ("test", {"number": 1})
    assert layer.receive(["server!"], block=True) == ("server!a", {"number": 1})
    layer.group_discard("group", "test")
    assert layer.group_channels("group") == ["server!a"]
    layer.announce(["test"])
    assert list(layer.takers()) == ["test"]
    layer.close()


def test_it_works_over_tls_and_trusts_only_whom_it_is_told_to_trust(
    rabbitmq_server: RabbitMQServer, rabbitmq_config: dict[str, Any], tmp_path: Path
) -> None:
    pem = certificate(tmp_path)
    prefix = rabbitmq_config["prefix"]
    with tls_in_front(("127.0.0.1", rabbitmq_server.port), pem) as port:
        url = f"amqps://guest:guest@127.0.0.1:{port}/%2F"
        layer = RabbitMQChannelLayer(f"{url}?ssl_ca_certs={pem}", prefix)
        layer.send("test", {"value": 1})
        assert layer.receive(["test"], block=True) == ("test", {"value": 1})
        layer.close()
        stranger = RabbitMQChannelLayer(url, prefix)
        with pytest.raises(LayerUnavailable, match="certificate"):
            stranger.send("test", {})
        stranger.close()
        unfounded = RabbitMQChannelLayer(f"{url}?ssl_ca_certs={tmp_path}/missing.pem", prefix)
        with pytest.raises(ConfigurationError, match="ssl_ca_certs"):
            unfounded.ensure_usable()
        unfounded.close()


def test_a_broker_that_is_away_is_unavailable_and_no_wrong_setting() -> None:
    layer = RabbitMQChannelLayer("amqp://127.0.0.1:1")
    layer.ensure_usable()
    with pytest.raises(LayerUnavailable, match=r"amqp://127\.0\.0\.1:1/%2F cannot be reached"):
        layer.send("test", {})
    assert layer.send_many([("test", {}), ("test", {})]) == [Outcome.UNAVAILABLE] * 2
    with pytest.raises(LayerUnavailable):
        layer.receive(["test"])
    layer.close()


def test_it_cannot_be_emptied_and_says_what_to_do(layer: RabbitMQChannelLayer) -> None:
    with pytest.raises(ConfigurationError, match="rabbitmqctl delete_vhost"):
        layer.flush()


def test_what_waits_in_a_channel_is_counted(layer: RabbitMQChannelLayer) -> None:
    assert layer.statistics("test") == {"pending": 0}
    layer.send_many([("test", {})] * 3)
    assert layer.statistics("test") == {"pending": 3}


def test_a_full_channel_names_its_capacity(rabbitmq_config: dict[str, Any]) -> None:
    layer = RabbitMQChannelLayer(**rabbitmq_config, capacity=100, channel_capacity={"small": 3})
    layer.send_many([("small", {})] * 3)
    with pytest.raises(ChannelFull, match="the channel small is full: 3 messages wait"):
        layer.send("small", {})
    layer.close()


def test_a_queue_keeps_the_limits_it_was_made_with_and_that_is_said_once(
    rabbitmq_config: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    first = RabbitMQChannelLayer(**rabbitmq_config, capacity=3)
    other = RabbitMQChannelLayer(**rabbitmq_config, capacity=9)
    first.send("test", {"number": 0})
    first.send("another", {})
    with caplog.at_level(logging.WARNING, "headrace.layer"):
        assert other.send_many([("test", {"number": 1})] * 3) == [Outcome.SENT] * 2 + [Outcome.FULL]
        other.send("another", {})
    (said,) = [record.getMessage() for record in caplog.records]
    assert "has other limits than this process would give it" in said
    assert "CONFIG" in said
    assert other.statistics("test") == {"pending": 3}
    first.close()
    other.close()


def test_a_copy_for_a_member_expires_like_any_message(rabbitmq_config: dict[str, Any]) -> None:
    layer = RabbitMQChannelLayer(**rabbitmq_config, expiry=0.5)
    layer.group_add("group", "test")
    layer.send_group("group", {"number": "old"})
    eventually(lambda: layer.statistics("test")["pending"] == 1)
    time.sleep(0.7)
    layer.send_group("group", {"number": "fresh"})
    assert layer.receive_many(["test"], 5, 2) == [("test", {"number": "fresh"})]
    layer.close()


def test_the_group_expiry_may_change_between_two_starts(rabbitmq_config: dict[str, Any]) -> None:
    for group_expiry in (1000, 2000):
        layer = RabbitMQChannelLayer(**rabbitmq_config, group_expiry=group_expiry)
        layer.group_add("group", "test")
        layer.send_group("group", {"number": group_expiry})
        assert layer.receive(["test"], block=True) == ("test", {"number": group_expiry})
        layer.close()


def test_a_client_that_joined_while_its_reader_slept_gets_what_is_sent_behind_that(
    layer: RabbitMQChannelLayer, rabbitmq_config: dict[str, Any]
) -> None:
    worker = RabbitMQChannelLayer(**rabbitmq_config)
    worker.group_add("group", "server!a")
    worker.send_group("group", {"number": 1})
    worker.group_add("group", "server!b")
    worker.send_group("group", {"number": 2})
    got = [message["number"] for _, message in layer.receive_many(["server!"], 10, 1)]
    got += [message["number"] for _, message in layer.receive_many(["server!"], 10, 1)]
    # "b" may hear the first one too, which its reader had not read yet when it joined.
    assert sorted(got) in ([1, 2, 2], [1, 1, 2, 2])
    worker.group_discard("group", "server!a")
    worker.send_group("group", {"number": 3})
    assert layer.receive_many(["server!"], 10, 1) == [("server!b", {"number": 3})]
    worker.close()


def test_members_of_a_process_that_do_not_fit_into_one_answer_are_in_the_next(
    layer: RabbitMQChannelLayer,
) -> None:
    for local in "abc":
        layer.group_add("group", f"server!{local}")
    layer.send_group("group", {"number": 1})
    got = [layer.receive(["server!"], block=True)[0] for _ in range(3)]
    assert got == ["server!a", "server!b", "server!c"]
    assert layer.receive(["server!"]) == (None, None)


def test_many_threads_share_two_connections(layer: RabbitMQChannelLayer) -> None:
    def talk(number: int) -> int:
        for turn in range(10):
            layer.send(f"test.{number}", {"turn": turn})
            assert layer.receive([f"test.{number}"], block=True) == (f"test.{number}", {"turn": turn})
        return number

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(talk, range(8))) == list(range(8))


def test_a_layer_that_was_closed_opens_again(layer: RabbitMQChannelLayer) -> None:
    port = layer.open_worker_port(lambda item, outcome: None)
    layer.send("test", {"number": 1})
    layer.close()
    assert layer.receive(["test"], block=True) == ("test", {"number": 1})
    layer.send("test", {"number": 2})
    assert [one.message for one in port.turn([], ["test"], 1, 2)] == [{"number": 2}]
    port.close()

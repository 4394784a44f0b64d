"""Outages: a broker that dies, comes back, or hangs; nobody who uses the layer ends with it."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from headrace_asgi.conformance.receiver import Recorder
from headrace_asgi.contract import Delivery, Outcome, WorkerPort
from headrace_asgi.errors import ChannelFull, HeadraceError, LayerUnavailable, OutcomeUnknown
from headrace_asgi.layers.rabbitmq import RabbitMQChannelLayer, link, publisher
from headrace_asgi.layers.threaded_port import open_interface_ports
from tests.support.rabbitmq_server import RabbitMQServer
from tests.support.reactors import hand_reactor
from tests.support.stack import eventually


def worked(act: Any) -> bool:
    """Whether a call is answered."""
    try:
        act()
    except LayerUnavailable:
        return False
    return True


def taken(port: WorkerPort, channel: str, seconds: float = 15) -> list[Delivery]:
    """What a worker takes that goes on after each error."""
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        try:
            found = port.turn([], [channel], 1, 1)
        except LayerUnavailable:
            time.sleep(0.05)
            continue
        if found:
            return found
    raise AssertionError(f"nothing came on {channel}")


def test_after_a_restart_of_the_broker_everything_goes_on_and_members_are_members(
    private_rabbitmq_server: RabbitMQServer,
) -> None:
    layer = RabbitMQChannelLayer(private_rabbitmq_server.url)
    port = layer.open_worker_port(lambda item, outcome: None)
    for channel in ("test.member", "server!a"):
        layer.group_add("group", channel)
    layer.receive(["server!"])
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(taken, port, "test.waiting", 60)
        time.sleep(0.3)
        private_rabbitmq_server.kill()
        with pytest.raises(LayerUnavailable):
            layer.send("test", {})
        assert layer.send_many([("test", {})]) == [Outcome.UNAVAILABLE]
        private_rabbitmq_server.start()
        eventually(lambda: worked(lambda: layer.send("test.waiting", {"number": 1})), 20)
        assert waiting.result()[0].message == {"number": 1}
    layer.send_group("group", {"number": 2})
    assert layer.receive(["test.member"], block=True) == ("test.member", {"number": 2})
    assert layer.receive(["server!"], block=True) == ("server!a", {"number": 2})
    assert sorted(layer.group_channels("group")) == ["server!a", "test.member"]
    port.close()
    layer.close()


def test_an_interface_server_hears_that_the_broker_is_away_and_back_and_keeps_its_members(
    private_rabbitmq_server: RabbitMQServer,
) -> None:
    layer = RabbitMQChannelLayer(private_rabbitmq_server.url)
    worker = RabbitMQChannelLayer(private_rabbitmq_server.url)
    receiver = Recorder()
    with hand_reactor() as reactor:
        port = open_interface_ports(layer, reactor)[0]
        port.start(receiver)
        reactor.until(lambda: receiver.of("back"))
        worker.group_add("group", port.process + "a")
        private_rabbitmq_server.kill()
        reactor.until(lambda: receiver.of("lost"), 20)
        private_rabbitmq_server.start()
        reactor.until(lambda: len(receiver.of("back")) == 2, 20)
        eventually(lambda: worked(lambda: worker.send_group("group", {"number": 1})), 20)
        worker.send(port.process + "a", {"number": 2})
        reactor.until(lambda: len(receiver.heard_by("a")) >= 2)
        assert {"number": 2} in receiver.heard_by("a")
        ended: list[None] = []
        port.stop(lambda: ended.append(None))
        reactor.until(lambda: ended)
    layer.close()
    worker.close()


def test_a_broker_that_hangs_is_given_up_and_its_answer_is_not_waited_for(
    private_rabbitmq_server: RabbitMQServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (link, publisher):
        monkeypatch.setattr(module, "ANSWER_SECONDS", 1.0)
    layer = RabbitMQChannelLayer(private_rabbitmq_server.url)
    layer.send("test", {"number": 0})
    private_rabbitmq_server.pause()
    try:
        started = time.monotonic()
        with pytest.raises(OutcomeUnknown):
            layer.send("test", {"number": 1})
        with pytest.raises(LayerUnavailable):
            layer.receive(["test"])
        assert time.monotonic() - started < 8
    finally:
        private_rabbitmq_server.resume()
    eventually(lambda: worked(lambda: layer.send("test", {"number": 2})), 20)
    numbers = [message["number"] for _, message in _all(layer, "test")]
    assert numbers[-1] == 2
    layer.close()


def _all(layer: RabbitMQChannelLayer, channel: str) -> list[Any]:
    found: list[Any] = []
    while got := layer.receive_many([channel], 10, 1):
        found += got
    return found


def test_a_broker_that_is_low_on_memory_is_like_a_full_channel_and_what_waits_in_it_is_taken(
    private_rabbitmq_server: RabbitMQServer,
) -> None:
    layer = RabbitMQChannelLayer(private_rabbitmq_server.url)
    layer.send("test", {"number": 0})
    private_rabbitmq_server.control("set_vm_memory_high_watermark", "0.0000001")
    started = time.monotonic()
    # The broker says so when it hears of something to take, which it takes once it has memory again.
    with pytest.raises(OutcomeUnknown):
        layer.send("test", {"number": 1})
    with pytest.raises(ChannelFull, match="low on memory or disk"):
        layer.send("test", {"number": 2})
    assert layer.send_many([("test", {})] * 2) == [Outcome.FULL] * 2
    assert layer.receive(["test"]) == ("test", {"number": 0})
    assert time.monotonic() - started < 5
    private_rabbitmq_server.control("set_vm_memory_high_watermark", "0.4")
    eventually(lambda: layer.send_many([("test", {"number": 3})]) == [Outcome.SENT])
    assert [message["number"] for _, message in _all(layer, "test")] == [1, 3]
    layer.close()


def test_however_many_ask_one_of_them_tries_to_connect(caplog: pytest.LogCaptureFixture) -> None:
    before = set(threading.enumerate())
    layer = RabbitMQChannelLayer("amqp://127.0.0.1:1")
    errors: list[HeadraceError] = []

    def ask() -> None:
        try:
            layer.send("test", {})
        except HeadraceError as error:
            errors.append(error)

    threads = [threading.Thread(target=ask) for _ in range(20)]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert [type(error) for error in errors] == [LayerUnavailable] * 20
    assert time.monotonic() - started < 5
    assert caplog.records == []  # those who asked are told, and say it
    layer.close()
    eventually(lambda: set(threading.enumerate()) <= before)

"""The memory layer: the contract of every layer, and what is its own."""

from __future__ import annotations

import re
import time
import unittest
from typing import Any

import pytest

from headrace_asgi.conformance.layer import ChannelLayerConformance
from headrace_asgi.conformance.processes import ChildProcess
from headrace_asgi.contract import Outcome
from headrace_asgi.errors import ChannelFull, ConfigurationError, MessageTooLarge
from headrace_asgi.layers.memory.layer import InMemoryChannelLayer
from tests.support.conformance import HandClock
from tests.support.rubbish import Rubbish


class TestTheContract(ChannelLayerConformance, unittest.TestCase):
    capacity_limit = 5
    expiry_delay = 1.1

    def setUp(self) -> None:
        self.clock = HandClock()
        self.channel_layer = InMemoryChannelLayer(expiry=1, group_expiry=2, capacity=5, clock=self.clock)
        super().setUp()

    def wait_for_expiry(self) -> None:
        self.clock.now += 1.1

    def wait_for_group_expiry(self) -> None:
        self.clock.now += 2.1


def test_the_capacity_of_single_channels_counts_i2() -> None:
    layer = InMemoryChannelLayer(capacity=5, channel_capacity={"one.*": 1, re.compile("two"): 2})
    outcomes = layer.send_many([("one.x", {}), ("one.x", {}), ("two", {}), ("two", {}), ("two", {})])
    assert outcomes == [Outcome.SENT, Outcome.FULL, Outcome.SENT, Outcome.SENT, Outcome.FULL]
    with pytest.raises(ChannelFull, match=r"one\.x .*1 message"):
        layer.send("one.x", {})


def test_a_blocking_receive_really_blocks_i2() -> None:
    layer = InMemoryChannelLayer()
    started = time.monotonic()
    assert layer.receive_many(["test"], timeout_seconds=0.1) == []
    assert time.monotonic() - started > 0.09


def test_the_real_size_limit_is_enforced() -> None:
    layer = InMemoryChannelLayer(max_message_bytes=100)
    layer.send("test", {"text": "x" * 80})
    with pytest.raises(MessageTooLarge, match="100"):
        layer.send("test", {"text": "x" * 100})


def test_the_defaults_are_those_of_every_layer() -> None:
    layer = InMemoryChannelLayer()
    assert (layer.expiry, layer.group_expiry, layer.capacities.default) == (60, 86_400, 1_000)
    assert layer.local_only


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("expiry", 0),
        ("expiry", "60"),
        ("group_expiry", -1),
        ("capacity", 0),
        ("channel_capacity", {"x": "many"}),
        ("max_message_bytes", 0),
        ("ordering_lease_seconds", 0),
    ],
)
def test_an_option_that_cannot_work_is_named(option: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=option):
        InMemoryChannelLayer(**{option: value})


def test_use_in_a_forked_child_is_an_error_that_says_what_to_take_instead() -> None:
    layer = InMemoryChannelLayer()
    port = layer.open_worker_port(lambda out, outcome: None)

    def try_everything() -> list[str]:
        errors = []
        for call in (
            lambda: layer.send("test", {}),
            lambda: layer.receive(["test"], block=True),
            lambda: layer.group_add("test", "test"),
            lambda: layer.send_group("test", {}),
            lambda: port.turn([], ["test"], 1, 0),
            layer.open_process,
            layer.flush,
        ):
            try:
                call()
            except ConfigurationError as error:
                errors.append(str(error))
        return errors

    errors = ChildProcess(try_everything).result()
    assert len(errors) == 7
    assert all("forked child" in error and "RedisChannelLayer" in error for error in errors)


def test_a_message_for_a_process_that_is_gone_is_dropped() -> None:
    layer = InMemoryChannelLayer()
    process = layer.open_process()
    process.close()
    layer.send(process.process + "client", {})
    assert layer.send_many([(process.process + "client", {})]) == [Outcome.GONE]


def test_bytes_that_are_no_entry_are_counted_and_skipped() -> None:
    layer = InMemoryChannelLayer()
    layer.put_raw("test", b"rubbish")
    layer.put_raw("test", b"\x01\x00" + bytes(8) + b"\xc1")
    layer.send("test", {"number": 1})
    assert layer.receive_many(["test"], 5) == [("test", {"number": 1})]
    counted = {what: number for what, number in layer.statistics("test").items() if number}
    assert counted == {"offered": 3, "sent": 3, "taken": 3, "done": 1, "unreadable": 2}


@pytest.mark.seeds(3)
def test_good_messages_arrive_among_rubbish(seed: int) -> None:
    layer = InMemoryChannelLayer(capacity=10_000)
    port = layer.open_worker_port(lambda item, outcome: None)
    for number, blob in enumerate(Rubbish(seed).blobs(1000)):
        layer.put_raw("test", blob)
        layer.send("test", {"good": number})
    good = []
    while layer.statistics("test")["pending"] > 500:
        good += [message["good"] for _, message in layer.receive_many(["test"], 7) if "good" in message]
    while layer.statistics("test")["pending"]:
        good += [one.message["good"] for one in port.turn([], ["test"], 7, 0) if "good" in one.message]
    assert good == list(range(1000))
    assert layer.statistics("test")["unreadable"] > 500


def test_close_keeps_the_messages() -> None:
    layer = InMemoryChannelLayer()
    layer.send("test", {})
    layer.close()
    assert layer.receive(["test"]) == ("test", {})

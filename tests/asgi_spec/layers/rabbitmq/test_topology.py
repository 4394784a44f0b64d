"""Names and arguments of queues: never two meanings, and within what AMQP allows."""

from __future__ import annotations

from typing import Any

import pytest

from headrace_asgi.errors import ConfigurationError
from headrace_asgi.layers.rabbitmq.topology import Topology, milliseconds
from headrace_asgi.limits import Capacities

#: Bytes of a name, at most, by the protocol.
LONGEST_NAME = 255


def made(prefix: Any = "site", expiry: float = 60, group_expiry: float = 86_400) -> Topology:
    return Topology(prefix, Capacities(100, {"big": 5000}), expiry, group_expiry)


def test_a_channel_has_a_queue_and_a_process_one_for_all_its_clients() -> None:
    topology = made()
    assert topology.channel("http.request").name == "hr1:site:c:http.request"
    assert topology.channel("server!one") == topology.channel("server!two") == topology.channel("server!")
    assert topology.channel("server").name != topology.channel("server!").name


def test_a_queue_refuses_beyond_its_capacity_and_forgets_what_is_too_old() -> None:
    arguments = made(expiry=1.5).channel("big").arguments
    assert (arguments["x-max-length"], arguments["x-overflow"]) == (5000, "reject-publish")
    assert arguments["x-message-ttl"] == 1500
    assert made().channel("other").arguments["x-max-length"] == 100


def test_a_queue_outlives_every_message_in_it() -> None:
    for expiry in (1, 60, 86_400):
        arguments = made(expiry=expiry).channel("x").arguments
        assert arguments["x-expires"] > arguments["x-message-ttl"]


def test_a_membership_passes_on_at_once_and_ends_by_itself() -> None:
    topology = made(group_expiry=7)
    arguments = topology.membership("room", "worker.news").arguments
    assert arguments["x-message-ttl"] == 0
    assert arguments["x-dead-letter-routing-key"] == topology.channel("worker.news").name
    assert arguments["x-expires"] == 7000
    assert topology.members("room").arguments["x-expires"] > 7000


def test_names_of_different_things_never_meet() -> None:
    topology, other = made(), made("site.c")
    names = [
        topology.channel("a").name,
        topology.channel("c.a").name,
        topology.notes("a!").name,
        topology.members("a").name,
        topology.membership("a", "a").name,
        topology.membership("a", "b").name,
        topology.membership("ab", "a").name,
        topology.takers().name,
        topology.groups,
        other.channel("a").name,
        other.groups,
    ]
    assert len(set(names)) == len(names)


def test_the_longest_names_fit() -> None:
    topology = made("p" * 40)
    for name in (
        topology.channel("c" * 200).name,
        topology.notes("c" * 199 + "!").name,
        topology.members("g" * 200).name,
        topology.membership("g" * 200, "c" * 200).name,
    ):
        assert len(name) <= LONGEST_NAME


@pytest.mark.parametrize("prefix", ["p" * 41, "a:b", "a b", "ä", None, 7])
def test_a_prefix_that_cannot_stand_in_a_name_is_refused(prefix: Any) -> None:
    with pytest.raises(ConfigurationError, match="prefix must consist of"):
        made(prefix)


@pytest.mark.parametrize(("seconds", "expected"), [(0.0001, 1), (1.5, 1500), (1e9, 2**32 - 2)])
def test_a_time_is_one_that_the_broker_can_measure(seconds: float, expected: int) -> None:
    assert milliseconds(seconds) == expected

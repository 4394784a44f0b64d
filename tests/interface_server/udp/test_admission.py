"""Which datagrams are let in."""

from __future__ import annotations

import random

import pytest

from headrace_interface.udp.admission import Admission, DropReason, plain_host
from headrace_interface.udp.options import UdpSettings


def gate(**settings: int) -> Admission:
    return Admission(UdpSettings(**settings))


def test_a_datagram_of_the_largest_size_is_let_in_and_a_larger_one_is_not() -> None:
    this = gate(max_datagram_bytes=10)
    assert this.refusal("192.0.2.1", 10, 0) is None
    assert this.refusal("192.0.2.1", 11, 0) is DropReason.TOO_LARGE
    assert this.refusal("192.0.2.1", 0, 0) is None


def test_one_address_has_its_rate_and_leaves_what_is_for_all_to_the_others() -> None:
    this = gate(address_rate=3, rate=5)
    said = [this.refusal("192.0.2.1", 1, 7.0 + step / 100) for step in range(50)]
    assert said == [None] * 3 + [DropReason.ADDRESS_RATE] * 47
    assert [this.refusal("192.0.2.2", 1, 7.9) for _ in range(2)] == [None, None]
    assert this.refusal("192.0.2.3", 1, 7.9) is DropReason.RATE
    assert this.refusal("192.0.2.1", 1, 8.0) is None


def test_all_addresses_of_one_network_of_ipv6_are_one() -> None:
    this = gate(address_rate=1)
    assert this.refusal("2001:db8::1", 1, 0) is None
    assert this.refusal("2001:db8::2", 1, 0) is DropReason.ADDRESS_RATE
    assert this.refusal("2001:db8:0:1::1", 1, 0) is None


def test_without_a_rate_of_one_address_only_that_of_all_counts() -> None:
    this = gate(address_rate=0, rate=1000)
    said = [this.refusal("192.0.2.1", 1, 0) for _ in range(1001)]
    assert said == [None] * 1000 + [DropReason.RATE]


@pytest.mark.seeds(20)
def test_forged_addresses_never_take_more_memory_than_may_come_in_a_second(seed: int) -> None:
    source = random.Random(seed)
    this = gate(rate=100)
    for step in range(2000):
        host = f"10.{source.randrange(256)}.{source.randrange(256)}.{source.randrange(256)}"
        this.refusal(host, 1, step / 500)
        assert len(this._by_address) <= 100


def test_an_address_of_ipv4_is_the_same_through_a_socket_of_ipv6() -> None:
    assert plain_host("::ffff:192.0.2.1") == "192.0.2.1"
    assert plain_host("2001:db8::1") == "2001:db8::1"
    assert plain_host("192.0.2.1") == "192.0.2.1"

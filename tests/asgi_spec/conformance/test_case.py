"""What the cases share: attributes that skip, and helpers that fail."""

from __future__ import annotations

import unittest

import pytest

from headrace_asgi.conformance.case import ConformanceCase
from headrace_asgi.layers.memory.layer import InMemoryChannelLayer


class Bare(ConformanceCase, unittest.TestCase):
    __test__ = False

    def runTest(self) -> None:  # noqa: N802 - unittest's name
        pass


@pytest.fixture
def case() -> Bare:
    case = Bare()
    case.channel_layer = InMemoryChannelLayer()
    return case


def test_set_up_flushes_the_layer(case: Bare) -> None:
    case.channel_layer.send("test", {})
    case.setUp()
    case.assert_nothing(["test"])


def test_an_attribute_that_is_not_set_skips(case: Bare) -> None:
    for need in (case.capacity, case.wait_for_expiry, case.wait_for_group_expiry):
        with pytest.raises(unittest.SkipTest):
            need()
    with pytest.raises(unittest.SkipTest, match="'twisted'"):
        case.need("groups", "twisted")
    case.need("groups")


def test_what_is_missing_fails(case: Bare) -> None:
    with pytest.raises(AssertionError, match="Nothing was received"):
        case.take(["test"])
    case.channel_layer.send("test", {})
    with pytest.raises(AssertionError):
        case.assert_nothing(["test"])


def test_a_patient_sender_waits_for_room(case: Bare) -> None:
    case.channel_layer = InMemoryChannelLayer(capacity=1)
    case.send_patiently("test", {"number": 0})
    case.channel_layer.receive(["test"])
    case.send_numbers("test", 1)
    assert case.take(["test"]) == ("test", {"number": 0})


def test_a_receiver_that_took_too_many_stops_puts_them_back(case: Bare) -> None:
    case.send_numbers_and_stops("test", 1, 2)
    assert case.take_until_stop("test") == [0]
    assert case.take_until_stop("test") == []

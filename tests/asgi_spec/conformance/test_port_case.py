"""What the cases about a worker's port share."""

from __future__ import annotations

import unittest

import pytest

from headrace_asgi.conformance.port_case import PortCase, numbers
from headrace_asgi.contract import Outcome, Send
from headrace_asgi.envelope import pack_message
from headrace_asgi.layers.memory.layer import InMemoryChannelLayer


class Bare(PortCase, unittest.TestCase):
    __test__ = False

    def runTest(self) -> None:  # noqa: N802 - unittest's name
        pass


@pytest.fixture
def case() -> Bare:
    case = Bare()
    case.channel_layer = InMemoryChannelLayer(capacity=3)
    case.setUp()
    return case


def test_a_layer_that_gives_no_process_or_raw_access_skips(case: Bare) -> None:
    with pytest.raises(unittest.SkipTest, match="open_process"):
        case.open_process()
    with pytest.raises(unittest.SkipTest, match="put_raw"):
        case.put_raw("test", b"")


def test_refusals_are_noted(case: Bare) -> None:
    out = [Send("test", pack_message({"number": number})) for number in range(4)]
    case.port.turn(out, [], 1, 0)
    assert case.refused == [(out[3], Outcome.FULL)]


def test_turns_are_taken_until_there_are_enough_messages(case: Bare) -> None:
    case.send_all("one", 2)
    case.send_all("two", 1)
    assert sorted(numbers(case.turns(["one", "two"], 3))) == [0, 0, 1]

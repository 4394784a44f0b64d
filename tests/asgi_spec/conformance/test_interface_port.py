"""The cases about an interface server's port catch ports that break the contract."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.task import Clock

from headrace_asgi.conformance.interface_port import InterfacePortConformance
from headrace_asgi.contract import Done, Outcome
from headrace_asgi.envelope import Message
from headrace_asgi.layers.memory.interface_port import MemoryInterfacePort
from headrace_asgi.layers.memory.layer import InMemoryChannelLayer
from tests.support.conformance import failed_cases, only


def failures(port: type[MemoryInterfacePort], *cases: str) -> set[str]:
    """Those of the cases that a port of the memory layer fails."""

    class Layer(InMemoryChannelLayer):
        def open_interface_port(self, reactor: Any, version_label: str = "") -> MemoryInterfacePort:
            return port(self._hub, reactor, self.max_message_bytes, self.label)

    ports: list[MemoryInterfacePort] = []

    class Case(InterfacePortConformance):
        def setUp(self) -> None:
            ports.clear()
            self.reactor = Clock()
            self.reactor.callFromThread = lambda call: self.reactor.callLater(0, call)
            super().setUp()

        def turn_reactor(self) -> None:
            self.reactor.advance(0.02)

        def open_port(self, receiver: Any) -> Any:
            ports.append(super().open_port(receiver))  # type: ignore[arg-type]
            return ports[-1]

        def lose_layer(self) -> None:
            ports[0].lose()

        def restore_layer(self) -> None:
            ports[0].restore()

    failed: set[str] = set()
    for case in cases:
        failed |= failed_cases(only(Case, case), Layer)
    return failed


class AnswersAtOnce(MemoryInterfacePort):
    def send(self, channel: str, message: Message, expiry_seconds: float, done: Done) -> None:
        super().send(channel, message, expiry_seconds, lambda outcome: None)
        done(Outcome.SENT)


class AnswersTwice(MemoryInterfacePort):
    def send(self, channel: str, message: Message, expiry_seconds: float, done: Done) -> None:
        def twice(outcome: Outcome) -> None:
            done(outcome)
            done(outcome)

        super().send(channel, message, expiry_seconds, twice)


class ForgetsDisconnects(MemoryInterfacePort):
    def lose(self, reason: str = "") -> None:
        super().lose(reason)
        self._held.clear()


class StopsAtOnce(MemoryInterfacePort):
    def stop(self, done: Callable[[], None], seconds: float = 0) -> None:
        super().stop(lambda: None, seconds)
        done()


class TellsNoLevels(MemoryInterfacePort):
    def ask_level(self, channel: str) -> None:
        pass


class KeepsGroups(MemoryInterfacePort):
    def leave_groups(self, local: str) -> None:
        pass


class TellsEachOutageTwice(MemoryInterfacePort):
    def lose(self, reason: str = "") -> None:
        super().lose(reason)
        if self._receiver is not None:
            self._receiver.layer_lost(reason)


@pytest.mark.parametrize(
    ("port", "case"),
    [
        (AnswersAtOnce, "test_what_became_of_a_message_is_told_once_and_later"),
        (AnswersTwice, "test_what_became_of_a_message_is_told_once_and_later"),
        (ForgetsDisconnects, "test_a_disconnect_that_meets_an_outage_is_told_once_after_it"),
        (StopsAtOnce, "test_a_stop_waits_for_the_answers_that_are_due"),
        (TellsNoLevels, "test_how_full_the_channel_is_comes_before_the_outcome_of_a_frame"),
        (KeepsGroups, "test_who_ended_is_in_no_group_any_more"),
        (TellsEachOutageTwice, "test_an_outage_and_its_end_are_told_once"),
    ],
)
def test_a_port_that_breaks_the_contract_is_caught(port: type[MemoryInterfacePort], case: str) -> None:
    assert failures(MemoryInterfacePort, case) == set()
    assert failures(port, case) == {case}

"""The suite for worker ports catches those that break the contract. `test_memory_port` runs a good one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from headrace_asgi.conformance.worker_port import WorkerPortConformance
from headrace_asgi.contract import Delivery, Out, RefusedHandler
from headrace_asgi.layers.memory.layer import InMemoryChannelLayer
from headrace_asgi.layers.memory.worker_port import MemoryWorkerPort
from tests.support.conformance import failed_cases, only


class DeafToWake(MemoryWorkerPort):
    def wake(self) -> None:
        pass


class GivesBackInReverse(MemoryWorkerPort):
    def give_back(self, deliveries: Sequence[Delivery]) -> None:
        super().give_back(deliveries[::-1])


class KeepsRefusalsToItself(MemoryWorkerPort):
    def _write(self, out: Sequence[Out]) -> None:
        told, self._on_refused = self._on_refused, lambda item, outcome: None
        super()._write(out)
        self._on_refused = told


class TellsOnlyWhenItHasTaken(MemoryWorkerPort):
    def turn(self, out: Any, channels: Any, limit: int, block_seconds: float) -> list[Delivery]:
        told, self.on_said = self.on_said, None
        try:
            return super().turn(out, channels, limit, block_seconds)
        finally:
            self.on_said = told
            if told is not None:
                told()


class LetsExpiredOnesStart(MemoryWorkerPort):
    def may_start(self, delivery: Delivery, now: float) -> bool:
        return delivery.order is None or super().may_start(delivery, now)


class CountsNoRetries(MemoryWorkerPort):
    def requeue(self, delivery: Delivery) -> bool:
        self.turn([], [], 1, 0)
        with self._hub as store:
            store.put_again(delivery.channel, delivery.entry)
        return True


def layer_with(port: type[MemoryWorkerPort]) -> type[InMemoryChannelLayer]:
    class Layer(InMemoryChannelLayer):
        def open_worker_port(self, on_refused: RefusedHandler) -> MemoryWorkerPort:
            return port(self._hub, on_refused, self.expiry, self.max_message_bytes)

    return Layer


@pytest.mark.parametrize(
    ("port", "case"),
    [
        (DeafToWake, "test_wake_from_another_thread_ends_a_waiting_turn_and_later_turns_wait_again"),
        (GivesBackInReverse, "test_what_is_given_back_is_at_the_head_again_in_its_order"),
        (KeepsRefusalsToItself, "test_what_was_refused_is_told_once_with_its_outcome_and_the_rest_arrives"),
        (
            TellsOnlyWhenItHasTaken,
            "test_it_is_known_that_a_turn_has_said_everything_before_it_waits_for_messages",
        ),
        (LetsExpiredOnesStart, "test_a_message_that_expired_after_its_take_may_not_start"),
        (CountsNoRetries, "test_what_is_requeued_is_at_the_tail_with_one_retry_more"),
    ],
)
def test_a_port_that_breaks_the_contract_is_caught(port: type[MemoryWorkerPort], case: str) -> None:
    assert case in failed_cases(only(WorkerPortConformance, case), layer_with(port))

"""The cases about acknowledged channels catch layers that break the contract."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from headrace_asgi.conformance.acknowledged import AcknowledgedConformance
from headrace_asgi.contract import Acknowledge, Delivery, Out, RefusedHandler
from headrace_asgi.layers.memory.layer import InMemoryChannelLayer
from headrace_asgi.layers.memory.worker_port import MemoryWorkerPort
from tests.support.conformance import failed_cases


class ForgetsToFinish(MemoryWorkerPort):
    def turn(self, out: Sequence[Out], *args: Any) -> list[Delivery]:
        return super().turn([one for one in out if not isinstance(one, Acknowledge)], *args)


class FinishesWhatFailed(MemoryWorkerPort):
    def turn(self, out: Sequence[Out], *args: Any) -> list[Delivery]:
        for one in out:
            if isinstance(one, Acknowledge):
                one.failure = None
        return super().turn(out, *args)


class KeepsWhatIsGivenBack(MemoryWorkerPort):
    def give_back(self, deliveries: Sequence[Delivery]) -> None:
        pass


class RenewsForEverybody(MemoryWorkerPort):
    def renew(self, delivery: Delivery) -> bool:
        return True


def layer_with(port: type[MemoryWorkerPort]) -> type[InMemoryChannelLayer]:
    class Layer(InMemoryChannelLayer):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options, acknowledged=["test.kept"], acknowledged_attempts=3)

        def open_worker_port(self, on_refused: RefusedHandler) -> MemoryWorkerPort:
            return port(self._hub, on_refused, self.expiry, self.max_message_bytes)

    return Layer


def failed(port: type[MemoryWorkerPort], **attributes: Any) -> set[str]:
    return failed_cases(
        AcknowledgedConformance, layer_with(port), acknowledged_channel="test.kept", **attributes
    )


def test_a_good_layer_fails_nothing() -> None:
    assert failed(MemoryWorkerPort, patience_seconds=5) == set()


@pytest.mark.parametrize(
    ("port", "case"),
    [
        (ForgetsToFinish, "test_a_message_that_was_acknowledged_is_gone"),
        (FinishesWhatFailed, "test_a_message_that_failed_comes_again_after_a_pause"),
        (KeepsWhatIsGivenBack, "test_what_was_not_started_goes_back_to_the_head_and_that_was_no_try"),
        (RenewsForEverybody, "test_a_message_whose_worker_says_nothing_any_more_comes_again"),
    ],
)
def test_a_port_that_breaks_it_is_caught(port: type[MemoryWorkerPort], case: str) -> None:
    assert case in failed(port)

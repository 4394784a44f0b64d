"""The cases in an event loop catch a layer that forgets what a cancelled task was waiting for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from headrace_asgi.conformance.coroutines import CoroutineConformance
from headrace_asgi.envelope import Message
from headrace_asgi.layers.memory.layer import InMemoryChannelLayer
from tests.support.conformance import failed_cases, only


def test_a_good_layer_fails_nothing() -> None:
    assert failed_cases(CoroutineConformance, patience_seconds=10) == set()


class LosesWhatIsCancelled(InMemoryChannelLayer):
    async def areceive_many(
        self, channels: Iterable[str], limit: int = 1, timeout_seconds: float = 0
    ) -> list[tuple[str, Message]]:
        return await asyncio.to_thread(self.receive_many, list(channels), limit, min(timeout_seconds, 0.3))


def test_a_layer_that_loses_what_a_cancelled_task_would_have_got_is_caught() -> None:
    at_once = "test_a_wait_that_is_cancelled_ends_at_once_and_takes_nothing"
    assert is_caught(at_once, tries=1)
    # Whether a task is cancelled in the moment in which that matters is chance.
    assert is_caught("test_no_message_is_lost_or_doubled_or_overtaken_when_receivers_are_cancelled", tries=30)


def is_caught(case: str, tries: int) -> bool:
    """Whether a case fails on the layer, at one try of so many."""
    alone = only(CoroutineConformance, case)
    return any(case in failed_cases(alone, LosesWhatIsCancelled, patience_seconds=1) for _ in range(tries))


class HoldsTheLoop(InMemoryChannelLayer):
    async def areceive_many(
        self, channels: Iterable[str], limit: int = 1, timeout_seconds: float = 0
    ) -> list[tuple[str, Message]]:
        time.sleep(0.01)
        return self.receive_many(list(channels), limit, min(timeout_seconds, 0.3))


def test_a_layer_that_holds_up_the_event_loop_is_caught() -> None:
    case = "test_the_event_loop_goes_on_while_a_coroutine_waits"
    assert case in failed_cases(only(CoroutineConformance, case), HoldsTheLoop)

"""The cases about ordered sockets catch ports that break the order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from headrace_asgi.conformance_order import OrderConformance
from headrace_asgi.contract import Control, Delivery, Finish, Out, RefusedHandler, Send
from headrace_asgi.layers.memory import InMemoryChannelLayer
from headrace_asgi.layers.memory_port import MemoryWorkerPort
from tests.support.conformance import failed_cases, only


def test_a_good_port_fails_nothing() -> None:
    assert failed_cases(OrderConformance, patience_seconds=10) == set()


class AlwaysDrains(MemoryWorkerPort):
    def turn(
        self, out: Sequence[Out], channels: Sequence[str], limit: int, block_seconds: float
    ) -> list[Delivery]:
        drained = [replace(item, drain=True) if isinstance(item, Finish) else item for item in out]
        return super().turn(drained, channels, limit, block_seconds)


class LetsEverybodyStart(MemoryWorkerPort):
    def may_start(self, delivery: Delivery, now: float) -> bool:
        return True


class SaysNotesLast(MemoryWorkerPort):
    def turn(
        self, out: Sequence[Out], channels: Sequence[str], limit: int, block_seconds: float
    ) -> list[Delivery]:
        late = sorted(out, key=lambda item: isinstance(item, Control))
        return super().turn(late, channels, limit, block_seconds)


class SendsNotesToStrangers(MemoryWorkerPort):
    def turn(
        self, out: Sequence[Out], channels: Sequence[str], limit: int, block_seconds: float
    ) -> list[Delivery]:
        sent = [Send(item.reply_channel, item.body) if isinstance(item, Control) else item for item in out]
        return super().turn(sent, channels, limit, block_seconds)


@pytest.mark.parametrize(
    ("port", "case"),
    [
        (AlwaysDrains, "test_a_finish_lets_the_next_message_of_the_socket_out_and_the_disconnect_comes_last"),
        (LetsEverybodyStart, "test_a_late_holder_whose_successor_went_on_may_not_start_or_come_back"),
        (SaysNotesLast, "test_replies_and_notes_reach_the_process_in_the_order_they_were_said"),
        (SendsNotesToStrangers, "test_a_note_for_a_foreign_server_is_not_sent_and_is_no_refusal"),
    ],
)
def test_a_port_that_breaks_the_order_is_caught(port: type[MemoryWorkerPort], case: str) -> None:
    class Layer(InMemoryChannelLayer):
        def open_worker_port(self, on_refused: RefusedHandler) -> MemoryWorkerPort:
            return port(self._hub, on_refused, self.expiry, self.max_message_bytes)

    assert case in failed_cases(only(OrderConformance, case), Layer)

"""The cases about ordered sockets catch ports that break the order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from headrace_asgi.conformance.ordering import OrderConformance
from headrace_asgi.conformance.port_case import PortCase
from headrace_asgi.contract import Control, Delivery, Finish, Out, Outcome, RefusedHandler, Send
from headrace_asgi.envelope import pack_message
from headrace_asgi.layers.memory.layer import InMemoryChannelLayer
from headrace_asgi.layers.memory.store import Store
from headrace_asgi.layers.memory.worker_port import MemoryWorkerPort
from headrace_asgi.names import local_part, non_local_name
from tests.support.conformance import failed_cases, only


def test_a_good_port_fails_nothing() -> None:
    assert failed_cases(OrderConformance, patience_seconds=10) == set()


def test_who_claims_ordering_and_gives_no_process_to_test_it_with_is_caught() -> None:
    assert failed_cases(OrderConformance, open_process=PortCase.open_process) == {"test_ordering_is_declared"}


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
        sent = [
            Send(item.reply_channel, pack_message(item.body)) if isinstance(item, Control) else item
            for item in out
        ]
        return super().turn(sent, channels, limit, block_seconds)


def test_a_layer_that_looks_at_no_numbers_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def frame(
        self: Store, socket: str, payload: bytes, order: int, now_ms: int, ordered: bool = True
    ) -> Outcome:
        if local_part(socket) in self.processes[non_local_name(socket)]:
            self.processes[non_local_name(socket)][local_part(socket)].order = 0
        return real(self, socket, payload, order, now_ms, ordered)

    real = Store.frame
    monkeypatch.setattr(Store, "frame", frame)
    assert failed_cases(OrderConformance) >= {"test_a_frame_that_is_repeated_is_a_duplicate_and_starts_once"}


def test_a_layer_that_takes_a_lost_message_for_a_done_one_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def flying(self: Store, socket: str, now_ms: int) -> object:
        found = real(self, socket, now_ms)
        if found is None:
            self._idle.add(socket)
        return found

    real = Store._flying
    monkeypatch.setattr(Store, "_flying", flying)
    lapsed = "test_a_frame_behind_a_lost_message_is_lapsed_and_the_disconnect_still_told"
    assert lapsed in failed_cases(OrderConformance)


def test_a_layer_that_only_finishes_an_expired_connect_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        Store, "_drop_connect", lambda self, socket, now_ms: self.finish(socket, 0, False, now_ms)
    )
    assert failed_cases(OrderConformance) >= {
        "test_nobody_is_told_the_end_of_a_socket_whose_connect_expired_unseen",
        "test_a_connect_that_expired_after_its_take_is_dropped_like_one_that_expired_before",
    }


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

"""Who waits, for what, and who goes on when."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.task import Clock

from headrace_asgi.contract import Outcome
from headrace_interface.context import ServerContext
from headrace_interface.deadlines import Deadlines
from headrace_interface.settings import InterfaceSettings
from headrace_interface.websocket.waiting_room import DRAIN_SECONDS, LEVEL_SECONDS, LOOK_SECONDS, Waiting

QUEUE_SECONDS, GRACE_SECONDS = 3.0, 7.0


class Socket:
    """One with frames to send; `entry` is what becomes of each try: how many left, or why it comes back."""

    def __init__(self, room: Room) -> None:
        self.waiting: Waiting | None = None
        self.room = room
        self.tries = 0
        self.fate: int | Outcome | None = 1
        self.gave_up_at: float | None = None
        self.aborted = False

    def send_on(self) -> int:
        self.tries += 1
        if self.fate.__class__ is int:
            self.waiting = None
            return int(self.fate)
        self.room.context.waiting_room.enter(self, self.fate)  # type: ignore[arg-type]
        return 0

    def give_up(self) -> None:
        self.gave_up_at = self.room.clock.seconds()

    def abort(self) -> None:
        self.aborted = True


class Room:
    """A waiting room over a port that counts questions."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.questions = 0
        settings = InterfaceSettings(deadlines=Deadlines(queue=QUEUE_SECONDS, layer_grace=GRACE_SECONDS))
        port: Any = self
        self.context = ServerContext(settings, port, self.clock)
        self.context.layer_up = True
        self.room = self.context.waiting_room

    def ask_level(self, channel: str) -> None:
        assert channel == "websocket.receive"
        self.questions += 1

    def socket(self, outcome: Outcome | None, fate: int | Outcome | None = 1) -> Socket:
        socket = Socket(self)
        socket.fate = fate
        self.room.enter(socket, outcome)
        return socket

    def pass_seconds(self, seconds: float) -> None:
        for _ in range(round(seconds / LEVEL_SECONDS)):
            self.clock.advance(LEVEL_SECONDS)


@pytest.fixture
def room() -> Room:
    return Room()


def test_nothing_runs_while_nobody_waits(room: Room) -> None:
    assert room.clock.getDelayedCalls() == []
    socket = room.socket(None)
    room.room.level(100, 0, 1000)
    assert socket.tries == 1
    room.pass_seconds(0.1)
    assert room.clock.getDelayedCalls() == []
    assert not room.room
    assert room.questions == 1


def test_those_who_wait_for_room_go_on_in_their_order_as_it_drains(room: Room) -> None:
    sockets = [room.socket(None, fate=16) for _ in range(4)]
    assert room.questions == 1
    room.room.level(1_000, 1_000, 1_000)
    assert [each.tries for each in sockets] == [0, 0, 0, 0]
    room.pass_seconds(LEVEL_SECONDS)
    room.room.level(1_020, 1_000, 1_020)
    assert [each.tries for each in sockets] == [1, 1, 0, 0]
    room.pass_seconds(LEVEL_SECONDS)
    assert room.questions == 3


def test_how_full_it_is_is_asked_once_per_interval_for_all(room: Room) -> None:
    for _ in range(10):
        room.socket(None, fate=None)
    for _ in range(50):
        room.pass_seconds(LEVEL_SECONDS)
        room.room.level(1_000, 999, 1_000)
    assert 45 <= room.questions <= 52


def test_a_layer_that_does_not_say_how_full_it_is_is_tried_all_the_same(room: Room) -> None:
    socket = room.socket(Outcome.FULL)
    room.pass_seconds(3 * LOOK_SECONDS)
    assert socket.tries == 1


def test_what_waits_for_the_layer_goes_on_when_it_is_back_and_asks_nothing_before(room: Room) -> None:
    room.context.layer_up = False
    sockets = [room.socket(Outcome.UNAVAILABLE), room.socket(Outcome.UNKNOWN), room.socket(Outcome.FULL)]
    room.pass_seconds(2)
    assert [each.tries for each in sockets] == [0, 0, 0]
    assert room.clock.getDelayedCalls() == []
    room.context.layer_up = True
    room.room.layer_back()
    assert [each.tries for each in sockets] == [1, 1, 1]
    assert not room.room


def test_a_refusal_by_a_layer_that_is_there_is_tried_again_soon(room: Room) -> None:
    socket = room.socket(Outcome.UNAVAILABLE, fate=Outcome.UNAVAILABLE)
    room.pass_seconds(1)
    assert 5 <= socket.tries <= 10
    assert room.questions == 0


@pytest.mark.parametrize(
    ("outcome", "seconds"), [(Outcome.FULL, QUEUE_SECONDS), (Outcome.UNKNOWN, GRACE_SECONDS)]
)
def test_who_can_send_nothing_for_long_is_given_up(room: Room, outcome: Outcome, seconds: float) -> None:
    socket = room.socket(outcome, fate=outcome)
    room.pass_seconds(seconds + 1)
    assert socket.gave_up_at == pytest.approx(seconds, abs=0.1)
    assert not room.room


@pytest.mark.parametrize("outcome", [None, Outcome.BOXED])
def test_who_only_has_to_wait_for_workers_is_not_given_up(room: Room, outcome: Outcome | None) -> None:
    socket = room.socket(outcome, fate=outcome)
    room.pass_seconds(20)
    assert socket.gave_up_at is None
    assert len(room.room) == 1


@pytest.mark.parametrize("outcome", [None, Outcome.BOXED, Outcome.FULL])
def test_a_server_that_ends_waits_for_nobody_for_long(room: Room, outcome: Outcome | None) -> None:
    socket = room.socket(outcome, fate=outcome)
    room.pass_seconds(1)
    room.context.draining = True
    room.pass_seconds(DRAIN_SECONDS + 0.2)
    assert socket.gave_up_at is not None


def test_time_without_the_layer_is_not_counted_against_who_waits_for_room(room: Room) -> None:
    socket = room.socket(Outcome.FULL, fate=Outcome.FULL)
    room.pass_seconds(QUEUE_SECONDS - 0.5)
    room.context.layer_up = False
    room.pass_seconds(1)
    room.context.layer_up = True
    room.room.layer_back()
    room.pass_seconds(QUEUE_SECONDS - 0.5)
    assert socket.gave_up_at is None
    room.pass_seconds(1)
    assert socket.gave_up_at is not None


def test_a_mailbox_that_nobody_empties_is_asked_ever_less(room: Room) -> None:
    socket = room.socket(Outcome.BOXED, fate=Outcome.BOXED)
    room.pass_seconds(10)
    first = socket.tries
    assert first <= 12
    room.pass_seconds(10)
    assert socket.tries - first <= 2


def test_who_left_is_forgotten(room: Room) -> None:
    socket = room.socket(None)
    room.room.leave(socket)
    room.room.level(100, 0, 1000)
    room.room.layer_back()
    assert socket.tries == 0


def test_one_that_fails_is_dropped_and_the_others_go_on(room: Room, caplog: pytest.LogCaptureFixture) -> None:
    bad, good = room.socket(None), room.socket(None)
    fail: Callable[[], int] = lambda: 1 // 0  # noqa: E731
    bad.send_on = fail  # type: ignore[method-assign]
    room.room.level(100, 0, 1000)
    assert bad.aborted
    assert good.tries == 1
    assert "dropped" in caplog.text

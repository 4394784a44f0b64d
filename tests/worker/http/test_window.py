from __future__ import annotations

from collections.abc import Callable
from typing import Any

from headrace.http.window import ASK_SECONDS, AWAY_SECONDS, LOOK_SECONDS, Window
from headrace_asgi import InMemoryChannelLayer, LayerUnavailable
from headrace_asgi.limits import RESPONSE_WINDOW_BYTES
from tests.support.http import request_message
from tests.support.workers import Clock


class Waiting(InMemoryChannelLayer):
    """Waits in no time; `while_waiting` is called each time somebody waits in vain."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._time = clock
        self.while_waiting: Callable[[], None] = lambda: None
        self.looks: list[float] = []

    def receive_many(self, channels: Any, limit: int = 1, timeout_seconds: float = 0) -> Any:
        self.looks.append(timeout_seconds)
        taken = super().receive_many(channels, limit)
        if not taken and timeout_seconds:
            self._time.now += timeout_seconds
            self.while_waiting()
        return taken


class Case:
    """The window of a response, and the interface process that gives it credit."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.layer = Waiting(self.clock)
        self.process = self.layer.open_process()
        message = request_message(layer=self.layer, reply_channel=self.process.process + "a")
        self.window = Window(message, self.clock, self.clock.sleep)

    def tell(self, **values: Any) -> None:
        """What the interface process says."""
        assert self.window.channel is not None
        self.layer.send(self.window.channel, values)


def test_a_stream_that_is_short_costs_nothing() -> None:
    case = Case()
    for _ in range(100):
        assert case.window.has_room()
        case.window.sent(1000)
    assert case.layer.looks == []
    assert case.process.heard() == []


def test_at_the_end_of_the_window_the_reader_is_waited_for() -> None:
    case = Case()
    case.window.sent(RESPONSE_WINDOW_BYTES)
    case.layer.while_waiting = lambda: case.tell(bytes=1)
    assert case.window.has_room()
    assert case.layer.looks == [0.0, 1.0, 1.0]
    assert case.window.has_room()
    case.window.sent(1)
    case.tell(bytes=2)
    assert case.window.has_room()


def test_a_wait_has_no_end_while_the_interface_process_lives_and_asks_it_every_second() -> None:
    case = Case()
    case.window.sent(RESPONSE_WINDOW_BYTES)

    def after_an_hour() -> None:
        if case.clock.now >= 4600:
            case.tell(bytes=RESPONSE_WINDOW_BYTES)

    case.layer.while_waiting = after_an_hour
    assert case.window.has_room()
    heard = case.process.heard()
    assert 3590 < len(heard) <= 3600
    assert heard[0].message == {"control": "credit?", "local": "a", "channel": case.window.channel}


def test_totals_that_come_late_or_twice_take_nothing_back() -> None:
    case = Case()
    case.window.sent(2 * RESPONSE_WINDOW_BYTES)
    for total in (RESPONSE_WINDOW_BYTES + 1, 1, RESPONSE_WINDOW_BYTES + 1):
        case.tell(bytes=total)
    assert case.window.has_room()
    assert case.layer.looks == [0.0]


def test_a_client_that_left_is_noticed_at_the_next_look() -> None:
    case = Case()
    case.tell(closed=True)
    assert case.window.has_room()
    case.clock.now += LOOK_SECONDS
    assert not case.window.has_room()
    assert not case.window.has_room()


def test_a_client_that_leaves_ends_a_wait() -> None:
    case = Case()
    case.window.sent(RESPONSE_WINDOW_BYTES)
    case.layer.while_waiting = lambda: case.tell(closed=True)
    assert not case.window.has_room()


def test_while_there_is_room_it_looks_twice_a_second_at_most_and_asks_seldom() -> None:
    case = Case()
    for _ in range(10_000):
        case.clock.now += 0.01
        assert case.window.has_room()
    assert len(case.layer.looks) <= 100 / LOOK_SECONDS
    assert len(case.process.heard()) == 100 // ASK_SECONDS


def test_an_interface_process_that_is_gone_ends_a_wait() -> None:
    case = Case()
    case.window.sent(RESPONSE_WINDOW_BYTES)
    case.process.close()
    assert not case.window.has_room()
    assert case.clock.now == 1001.0


def test_a_layer_that_is_away_for_a_while_ends_nothing() -> None:
    case = Case()
    case.window.sent(RESPONSE_WINDOW_BYTES)
    working = case.layer.receive_many

    def away(*_: Any) -> Any:
        if case.clock.now < 1010:
            raise LayerUnavailable("away")
        return working(*_)

    case.layer.receive_many = away  # type: ignore[method-assign]
    case.layer.while_waiting = lambda: case.tell(bytes=1)
    assert case.window.has_room()
    assert case.clock.now >= 1010


def test_a_layer_that_stays_away_ends_the_response() -> None:
    case = Case()
    case.window.sent(RESPONSE_WINDOW_BYTES)

    def away(*_: Any) -> Any:
        raise LayerUnavailable("away")

    case.layer.receive_many = away  # type: ignore[method-assign]
    assert not case.window.has_room()
    assert AWAY_SECONDS <= case.clock.now - 1000 < AWAY_SECONDS + 1


def test_other_servers_give_no_credit_and_need_none() -> None:
    window = Window(request_message(layer=InMemoryChannelLayer()))
    assert window.channel is None
    window.sent(100 * RESPONSE_WINDOW_BYTES)
    assert window.has_room()
    window.close()

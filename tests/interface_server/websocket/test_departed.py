"""Whose turn it is among clients that are gone."""

from __future__ import annotations

from headrace_interface.websocket.departed import Departed


class Socket:
    """A shell of which only the address counts."""

    def __init__(self, address: str) -> None:
        self.address = address

    def send_on(self) -> int:
        return 0

    def give_up_alone(self) -> None:
        pass


def test_one_of_an_address_has_its_turn_and_the_next_when_nothing_of_it_is_left() -> None:
    departed = Departed()
    first, second, third, other = Socket("a"), Socket("a"), Socket("a"), Socket("b")
    for socket in (first, second, third, other):
        departed.join(socket)
    assert [departed.is_first(socket) for socket in (first, second, third, other)] == [
        True,
        False,
        False,
        True,
    ]
    assert [departed.count(address) for address in "abc"] == [3, 1, 0]
    assert departed.leave(second) is None  # not its turn: nobody waited for it
    assert departed.with_the_same_address(first) == [first, third]
    assert departed.leave(first) is third
    assert departed.leave(third) is None
    assert departed.leave(other) is None
    assert not departed._queues

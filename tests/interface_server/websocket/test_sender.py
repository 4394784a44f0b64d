"""One client's messages on their way to the layer."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence

import pytest
from twisted.internet.task import Clock

from headrace_asgi.contract import Outcome
from headrace_asgi.messages import WEBSOCKET_DISCONNECT, WEBSOCKET_RECEIVE
from headrace_interface.context import ServerContext
from headrace_interface.settings import InterfaceSettings
from headrace_interface.websocket.actions import Accept, Action, Close, Go, Pause, Tell, Wait
from headrace_interface.websocket.exchange import Exchange
from headrace_interface.websocket.reply import Reply
from headrace_interface.websocket.sender import FrameSender
from headrace_interface.websocket.shares import HEAVY_BYTES
from tests.support.recording_port import RecordingPort


class Owner:
    """A shell that notes what it is to do, and does what is about sending."""

    sender: FrameSender

    def __init__(self) -> None:
        self.did: list[Action] = []
        self.metered_bytes: list[int] = []
        self.aborted = False

    def perform(self, actions: Sequence[Action]) -> None:
        for action in actions:
            if isinstance(action, Go):
                self.sender.send_on()
            elif isinstance(action, Wait):
                self.sender.wait(action.outcome)
            else:
                self.did.append(action)

    def meter_bytes(self, size_bytes: int) -> None:
        self.metered_bytes.append(size_bytes)

    def abort(self) -> None:
        self.aborted = True


class Case:
    """Open sockets of one process, by a real exchange each."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.port = RecordingPort(self.clock)
        self.port.auto = None
        self.context = ServerContext(InterfaceSettings(), self.port, self.clock)
        self.context.layer_up = True

    def socket(self, name: str = "one", ordered: bool = False) -> Owner:
        exchange = Exchange(1000, 1 << 24)
        exchange.connect_answered(Outcome.SENT)
        exchange.verdict(ordered)
        exchange.reply(Reply(accept=True, acceptance=Accept(None, [])))
        owner = Owner()
        owner.sender = FrameSender(self.context, exchange, "127.0.0.1", "/chat/", owner)
        owner.sender.begin(name, "process!" + name)
        return owner

    def texts(self) -> list[str]:
        return [asked.message["text"] for asked in self.port.of("frame")]


@pytest.fixture
def case() -> Case:
    return Case()


def test_a_message_is_sent_at_once_as_the_specification_says(case: Case) -> None:
    case.socket().sender.received(["hello"])
    (asked,) = case.port.of("frame")
    message = WEBSOCKET_RECEIVE.check(asked.message)
    assert (message["text"], message["order"], message["path"]) == ("hello", 1, "/chat/")
    assert message["reply_channel"] == "process!one"
    assert (asked.local, asked.order, asked.ordered) == ("one", 1, False)


def test_messages_of_an_ordered_socket_leave_one_after_the_other(case: Case) -> None:
    case.socket(ordered=True).sender.received(["a", "b"])
    assert case.texts() == ["a"]
    case.port.of("frame")[-1].answer()
    assert case.texts() == ["a", "b"]


def test_what_the_layer_refuses_is_counted_and_sent_again_after_a_wait(case: Case) -> None:
    owner = case.socket()
    owner.sender.received(["a"])
    case.port.of("frame")[-1].answer(Outcome.UNAVAILABLE)
    assert owner.did == [Pause()]
    assert owner.sender.waiting is not None
    assert case.context.counters["frame_unavailable"] == 1
    for _ in range(50):
        case.clock.advance(0.01)
    assert case.texts() == ["a", "a"]
    assert [asked.order for asked in case.port.of("frame")] == [1, 1]


def test_heavy_messages_are_metered_once_they_were_accepted(case: Case) -> None:
    owner = case.socket()
    owner.sender.received(["x" * HEAVY_BYTES])
    assert owner.metered_bytes == []
    case.port.of("frame")[-1].answer()
    (metered,) = owner.metered_bytes
    assert metered >= HEAVY_BYTES


def test_what_two_that_are_gone_left_behind_leaves_one_after_the_other(case: Case) -> None:
    first, second = case.socket("one", ordered=True), case.socket("two", ordered=True)
    for owner, name in ((first, "a"), (second, "b")):
        owner.sender.received([name + "1", name + "2"])
        owner.sender.depart()
    ones, twos = case.port.of("frame")
    twos.answer()
    assert case.texts() == ["a1", "b1"]
    ones.answer()
    assert case.texts() == ["a1", "b1", "a2"]
    first.sender.end()
    case.clock.advance(0)
    assert case.texts() == ["a1", "b1", "a2", "b2"]


def test_with_one_that_is_gone_all_of_its_address_are_given_up(case: Case) -> None:
    sockets = [case.socket(name) for name in ("one", "two")]
    for owner in sockets:
        owner.sender.depart()
    sockets[1].sender.give_up()
    assert case.context.counters["socket_given_up"] == 2


def test_an_open_socket_that_is_given_up_is_closed_alone(case: Case) -> None:
    first, second = case.socket("one"), case.socket("two")
    first.sender.give_up()
    assert [action.code for action in first.did if isinstance(action, Close)] == [1013]
    assert second.did == []


def test_the_disconnect_says_code_and_order(case: Case) -> None:
    case.socket().sender.tell(Tell(1001, 7))
    (asked,) = case.port.of("disconnect")
    message = WEBSOCKET_DISCONNECT.check(asked.message)
    assert (message["code"], message["order"], asked.order) == (1001, 7, 7)


def test_after_the_end_the_owner_is_let_go_and_nothing_waits(case: Case) -> None:
    owner = case.socket()
    owner.sender.received(["a"])
    case.port.of("frame")[-1].answer(Outcome.FULL)
    sender, gone = owner.sender, weakref.ref(owner)
    assert case.context.waiting_room
    sender.end()
    assert not case.context.waiting_room
    gc.disable()
    try:
        del owner
        assert gone() is None
    finally:
        gc.enable()
    sender.abort()

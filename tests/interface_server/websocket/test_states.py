"""The table of a WebSocket's states is what runs: each row of it happens to real sockets."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from headrace_asgi.contract import Outcome
from headrace_interface.deadlines import Deadlines
from headrace_interface.settings import InterfaceSettings
from headrace_interface.websocket import protocol
from headrace_interface.websocket.exchange import Exchange
from headrace_interface.websocket.states import TABLE, Fact, SocketState
from tests.support.reactors import hand_reactor
from tests.support.recording_port import PASS_ON
from tests.support.websocket_lab import Client, Lab, masked, request

Row = tuple[SocketState, Fact]


def test_every_state_is_reached_and_none_but_the_last_is_a_dead_end() -> None:
    reached = {state for row in TABLE.values() for state, _ in row.values()} | {SocketState.CONNECTING}
    assert reached == set(SocketState)
    assert [state for state in SocketState if not TABLE[state]] == [SocketState.ENDED]


class NotingExchange(Exchange):
    """The real one; it notes each row that it takes, those of the fast ways too."""

    __slots__ = ()
    taken: set[Row] = set()

    def happened(self, fact: Fact, detail: Any = None) -> Any:
        if fact in TABLE[self.state]:
            self.taken.add((self.state, fact))
        return super().happened(fact, detail)

    def at_once(self, payload: str | bytes) -> Any:
        frame = super().at_once(payload)
        if frame is not None:
            self.taken.add((self.state, Fact.RECEIVED))
        return frame

    @property
    def may_write(self) -> bool:
        """Who asks and hears yes writes."""
        may: bool = vars(Exchange)["may_write"].__get__(self)
        if may:
            self.taken.add((self.state, Fact.SAID))
        return may

    @may_write.setter
    def may_write(self, value: bool) -> None:
        vars(Exchange)["may_write"].__set__(self, value)


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> set[Row]:
    rows: set[Row] = set()
    monkeypatch.setattr(NotingExchange, "taken", rows)
    monkeypatch.setattr(protocol, "Exchange", NotingExchange)
    return rows


@pytest.fixture
def lab() -> Iterator[Lab]:
    with hand_reactor() as reactor:
        lab = Lab(reactor, InterfaceSettings(deadlines=Deadlines(close=0.1)))
        yield lab
        lab.close()


def unanswered(lab: Lab) -> Client:
    """A client of whose connect nobody knows yet whether it arrived."""
    lab.port.auto = None
    client = lab.client()
    lab.port.auto = PASS_ON
    return client


def asking(lab: Lab) -> Client:
    """A client whose connect was sent."""
    client = lab.client()
    lab.reactor.until(lambda: client.shell.local in lab.port.connected)
    return client


def leave(lab: Lab, client: Client) -> None:
    """The client goes, and the server has seen it."""
    client.close()
    lab.reactor.until(lambda: not client.shell._transport.connected)


def speaking(lab: Lab) -> Client:
    """An open client with a message that the layer has yet to answer."""
    client = lab.open(ordered=True)
    lab.port.auto = None
    count = len(lab.port.of("frame"))
    client.send(masked(1, b"a"))
    lab.reactor.until(lambda: len(lab.port.of("frame")) > count)
    lab.port.auto = PASS_ON
    return client


def handshakes(lab: Lab) -> None:
    """Every way to end one before it is known whether its connect arrived, and after."""
    lab.client(request(without=(b"sec-websocket-key",))).until_end()
    for begin in (unanswered, asking):
        begin(lab).shell.reply({"accept": True})
        begin(lab).shell.reply({"close": True})
        begin(lab).shell.control("failed", {})
        leave(lab, begin(lab))
    for outcome in (Outcome.SENT, Outcome.FULL):
        client = unanswered(lab)
        leave(lab, client)
        lab.port.of("connect")[-1].answer(outcome)


def conversations(lab: Lab) -> None:
    """Frames both ways, the ways to close, and the ways to leave."""
    client = lab.open()
    client.send(masked(1, b"hello"))
    client.shell.reply({"text": "hello"})
    client.frame()
    client.shell.reply({"close": True})
    client.until_end()
    leaving = lab.open()
    leaving.send(masked(8, struct.pack("!H", 1001)))
    leaving.until_end()
    leave(lab, lab.open())


def losses(lab: Lab) -> None:
    """The layer refuses for a time, or for good: of an open socket, a closing one, and one that is gone."""
    client = speaking(lab)
    lab.port.of("frame")[-1].answer(Outcome.FULL)
    client.shell.control("lapsed", {})
    client.shell.control("lapsed", {})
    leave(lab, client)
    gone = speaking(lab)
    leave(lab, gone)
    gone.shell.control("lapsed", {})
    lab.port.of("frame")[-1].answer(Outcome.SENT)


SCENES: tuple[Callable[[Lab], None], ...] = (handshakes, conversations, losses)


def unreached(lab: Lab, taken: set[Row]) -> set[Row]:
    """The rows of the table that no scene has come through."""
    for scene in SCENES:
        scene(lab)
    return {(state, fact) for state, row in TABLE.items() for fact in row} - taken


def test_every_row_happens_to_a_real_socket(lab: Lab, taken: set[Row]) -> None:
    assert unreached(lab, taken) == set()


def test_a_row_to_which_no_way_leads_is_found(
    lab: Lab, taken: set[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    row: Any = TABLE[SocketState.LEFT]
    monkeypatch.setitem(row, Fact.OVERDUE, (SocketState.ENDED, ()))
    assert unreached(lab, taken) == {(SocketState.LEFT, Fact.OVERDUE)}


def test_the_fast_ways_are_shut_where_the_table_has_no_row(
    lab: Lab, taken: set[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    row: Any = TABLE[SocketState.OPEN]
    for fact in (Fact.SAID, Fact.RECEIVED):
        monkeypatch.delitem(row, fact)
    client = lab.open()
    client.send(masked(1, b"hello"))
    client.shell.reply({"text": "hello"})
    client.shell.group_message({"text": "hello"}, {})
    lab.reactor.turn(0.05)
    assert client.poll() == b""
    assert lab.port.of("frame") == []
    assert taken.isdisjoint({(SocketState.OPEN, Fact.SAID), (SocketState.OPEN, Fact.RECEIVED)})

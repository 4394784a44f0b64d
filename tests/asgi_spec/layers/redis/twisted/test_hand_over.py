"""Another image of an interface process goes on under its name: nothing is lost, doubled, or told at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from headrace_asgi import control
from headrace_asgi.contract import Outcome
from headrace_asgi.envelope import decode, encode, pack_message, unpack_message
from headrace_asgi.layers.redis.plan.membership import LEAVE_DELAY_SECONDS
from tests.support.interfaces import InterfaceSide
from tests.support.reactors import hand_reactor

SECONDS = 2.0


class Images:
    """Images of one process, one after the other."""

    def __init__(self, url: str, ending: ExitStack) -> None:
        self._url = url
        self._ending = ending
        self.reactor = ending.enter_context(hand_reactor())
        self.side = self._image().start()

    def _image(self) -> InterfaceSide:
        side = InterfaceSide(self.reactor, self._url)
        self._ending.callback(side.close)
        return side

    def handed_over(self, seconds: float = SECONDS) -> Any:
        given: list[Any] = []
        self.side.port.hand_over(given.append, seconds)
        self.reactor.until(lambda: given)
        return given[0]

    def replace(self) -> InterfaceSide:
        """Let the next image take over, as the process does whose old image is gone."""
        state = self.handed_over()
        assert state is not None
        before, self.side = self.side, self._image()
        before.close()
        self.side.receiver = before.receiver
        self.side.port.take_over(state)
        backs = len(before.receiver.of("back"))
        self.side.port.start(self.side.receiver)
        self.side.until_back(backs + 1)
        return self.side


@pytest.fixture
def images(redis_url: str) -> Iterator[Images]:
    with ExitStack() as ending:
        yield Images(redis_url, ending)


def push(side: InterfaceSide, local: str, number: int) -> None:
    entry = encode(pack_message({"number": number}), channel=side.port.process + local)
    assert side.ask(side.plan.push(side.port.process, [entry], [False])) == [Outcome.SENT]


def joins(side: InterfaceSide, group: str, local: str) -> None:
    assert side.ask(side.plan.group_add(group, side.port.process)) >= 1
    side.ask(side.plan.note(side.port.process, control.note(control.ADD, group=group, local=local)))


def numbers(side: InterfaceSide, local: str) -> list[int]:
    return [message["number"] for message in side.receiver.heard_by(local)]


def test_what_is_sent_to_clients_meanwhile_comes_once_and_in_order(images: Images) -> None:
    side = images.side
    assert side.connect("a") is Outcome.SENT
    name = side.port.process
    sent = 0
    for _ in range(5):
        for _ in range(10):
            push(side, "a", sent)
            sent += 1
        given: list[Any] = []
        side.port.hand_over(given.append, SECONDS)
        images.reactor.turn(0.005)
        push(side, "a", sent)
        sent += 1
        images.reactor.until(lambda: given)  # noqa: B023 (called here)
        push(side, "a", sent)
        sent += 1
        side.port.go_on()
        side = images.replace()
    push(side, "a", sent)
    images.reactor.until(lambda: len(numbers(side, "a")) > sent)
    assert numbers(side, "a") == list(range(sent + 1))
    assert side.port.process == name
    for never in ("entries lost", "lost", "fenced", "data lost"):
        assert not side.receiver.of(never)


def test_sockets_and_their_order_go_on_and_each_disconnect_is_told_once(images: Images) -> None:
    side = images.side
    for local in ("a", "b"):
        assert side.connect(local) is Outcome.SENT
    assert side.frame("a", 1) is Outcome.SENT
    side.receiver.orders["a"] = 1
    side = images.replace()
    assert side.channel("websocket.disconnect") == []
    assert side.frame("a", 2) is Outcome.SENT
    assert [unpack_message(decode(one).payload)["text"] for one in side.channel("websocket.receive")] == [
        "1",
        "2",
    ]
    assert side.outcome(side.disconnect("a")).accepted
    assert side.client.llen(side.key("m", side.port.process + "a")) == 1  # behind the connect
    assert side.port.counters["strays"] == 0


def test_groups_go_on_with_the_adds_that_were_read(images: Images) -> None:
    side = images.side
    for local in ("a", "b"):
        side.connect(local)
        joins(side, "room", local)
    joins(side, "left", "a")
    members = side.port._groups.membership.members
    images.reactor.until(lambda: members("left") and len(members("room")) == 2)
    side = images.replace()
    assert side.port._groups.membership.members("room") == ("a", "b")
    said = control.note(control.GROUP, group="room", packed=pack_message({"number": 1}))
    side.ask(side.plan.note(side.port.process, said))
    images.reactor.until(lambda: numbers(side, "b"))
    assert numbers(side, "a") == [1]
    for local in ("a", "b"):
        side.outcome(side.disconnect(local))
    images.reactor.turn(LEAVE_DELAY_SECONDS + 0.2)
    for group in ("room", "left"):
        assert side.client.exists(side.key("g", group)) == 0


def test_who_goes_on_after_all_hears_on(images: Images) -> None:
    side = images.side
    side.connect("a")
    assert images.handed_over() is not None
    push(side, "a", 1)
    images.reactor.turn(0.1)
    assert numbers(side, "a") == []
    side.port.go_on()
    images.reactor.until(lambda: numbers(side, "a") == [1])
    assert images.handed_over() is not None


def test_nothing_is_handed_over_while_the_layer_is_away_and_all_is_as_before(images: Images) -> None:
    side = images.side
    side.connect("a")
    side.port._take_link.drop("a test's own outage")  # type: ignore[arg-type]
    assert images.handed_over() is None
    side.until_back(2)
    push(side, "a", 1)
    images.reactor.until(lambda: numbers(side, "a") == [1])


def test_what_is_no_state_of_a_port_is_refused(images: Images) -> None:
    for wrong in ({}, {"process": "some", "groups": {}}, {"process": images.side.port.process}):
        with pytest.raises(ValueError, match="hands over"):
            images.side.port.take_over(wrong)

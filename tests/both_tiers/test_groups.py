"""Groups: who joined hears what is said afterwards, once and in order, until it leaves."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from headrace import Group
from headrace.generic.websockets import WebsocketConsumer
from tests.support.both_tiers import TwoTiers, WebSocketClient

ROOMS = ["red", "green", "blue"]


class Rooms(WebsocketConsumer):
    """`join red`, `leave red` and `red: words` do what they say."""

    strict_ordering = True

    def receive(self, text: str | None = None, bytes: bytes | None = None, **kwargs: Any) -> None:
        verb, _, rest = (text or "").partition(" ")
        if verb in ("join", "leave"):
            group = Group(rest, channel_layer=self.message.channel_layer)
            (group.add if verb == "join" else group.discard)(self.message.reply_channel)
        else:
            self.group_send(verb.rstrip(":"), text=rest)


class Model:
    """Who is where, and what each must have heard."""

    def __init__(self) -> None:
        self.members: dict[str, set[WebSocketClient]] = {room: set() for room in ROOMS}
        self.heard: dict[WebSocketClient, list[str]] = {}

    def said(self, room: str, words: str) -> None:
        for socket in self.members[room]:
            self.heard[socket].append(words)

    def gone(self, socket: WebSocketClient) -> None:
        for members in self.members.values():
            members.discard(socket)


@pytest.mark.parametrize("seed", range(200))
def test_members_hear_what_is_said_while_they_are_members(seed: int) -> None:
    random = Random(seed)
    tiers, model = TwoTiers([Rooms.as_route()], workers=random.randint(1, 3)), Model()
    sockets = [tiers.websocket() for _ in range(random.randint(2, 5))]
    model.heard = {socket: [] for socket in sockets}
    for number in range(random.randint(5, 25)):
        open_sockets = [socket for socket in sockets if socket.is_open]
        if not open_sockets:
            break
        socket, room = random.choice(open_sockets), random.choice(ROOMS)
        act = random.choice(["join", "join", "leave", "say", "say", "say", "end"])
        if act == "end":
            socket.leave() if random.random() < 0.5 else socket.close()
            model.gone(socket)
        elif act == "say":
            socket.say(f"{room}: {number}")
            model.said(room, str(number))
        else:
            socket.say(f"{act} {room}")
            (model.members[room].add if act == "join" else model.members[room].discard)(socket)
        tiers.run()
    for socket, words in model.heard.items():
        assert socket.heard == words
    for room, members in model.members.items():
        assert len(tiers.layer.group_channels(room)) == len(members)


@pytest.mark.parametrize("count", range(1, 31))
def test_a_message_to_a_group_is_one_entry_for_the_whole_process(count: int) -> None:
    tiers = TwoTiers([Rooms.as_route()])
    sockets = [tiers.websocket() for _ in range(count)]
    for socket in sockets:
        socket.say("join red")
    tiers.run()
    heard: list[int] = []
    real = tiers.port._receiver
    assert real is not None
    told = real.group_message

    def group_message(group: str, members: Any, message: Any) -> None:
        heard.append(len(members))
        told(group, members, message)

    real.group_message = group_message  # type: ignore[method-assign]
    tiers.layer.send_group("red", {"text": "all"})
    tiers.run()
    assert heard == [count]
    assert [socket.heard for socket in sockets] == [["all"]] * count


@pytest.mark.parametrize("seed", range(60))
def test_a_storm_of_words_reaches_all_members_in_one_order(seed: int) -> None:
    random = Random(seed)
    tiers = TwoTiers([Rooms.as_route()], workers=random.randint(1, 3))
    sockets = [tiers.websocket() for _ in range(random.randint(2, 4))]
    for socket in sockets:
        socket.say("join red")
    tiers.run()
    for number in range(random.randint(5, 20)):
        random.choice(sockets).say(f"red: {number}")
        tiers.shuffle(random, random.randint(0, 3))
    tiers.run()
    first, *others = [socket.heard for socket in sockets]
    assert len(first) == len(set(first)) == number + 1
    assert all(heard == first for heard in others)

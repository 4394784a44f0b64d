"""WebSockets, from the client's frames through consumers to the frames of the answer."""

from __future__ import annotations

from random import Random
from typing import Any, ClassVar

import pytest

from headrace.generic.websockets import WebsocketConsumer
from tests.support.both_tiers import TwoTiers, WebSocketClient

SIZES = [0, 1, 125, 126, 127, 1000, 65_535, 65_536, 70_000]


class Echo(WebsocketConsumer):
    """Says what it hears, and writes down what became of the socket."""

    strict_ordering = True
    #: (path, code) of each disconnect.
    ended: ClassVar[list[tuple[str, int]]] = []

    def connect(self, message: Any, **kwargs: Any) -> None:
        if "denied" in self.path:
            self.close()
        else:
            super().connect(message)

    def receive(self, text: str | None = None, bytes: bytes | None = None, **kwargs: Any) -> None:
        if text == "close":
            self.close()
        else:
            self.send(text, bytes)

    def disconnect(self, message: Any, **kwargs: Any) -> None:
        self.ended.append((self.path, message["code"]))


class Loose(Echo):
    strict_ordering = False


@pytest.fixture(autouse=True)
def nobody_ended() -> None:
    Echo.ended.clear()


@pytest.mark.parametrize("kind", [str, bytes])
@pytest.mark.parametrize("consumer", [Echo, Loose])
@pytest.mark.parametrize("size", SIZES)
def test_a_message_of_any_size_is_echoed(size: int, consumer: type[Echo], kind: type) -> None:
    tiers = TwoTiers([consumer.as_route()])
    socket = tiers.websocket()
    message = "x" * size if kind is str else b"x" * size
    socket.say(message)
    tiers.run()
    assert socket.heard == [message]


@pytest.mark.parametrize("seed", range(250))
def test_an_ordered_socket_hears_its_own_words_in_their_order(seed: int) -> None:
    random = Random(seed)
    tiers = TwoTiers([Echo.as_route()], workers=random.randint(1, 3))
    sockets = [tiers.websocket(f"/{number}/", run=False) for number in range(random.randint(1, 3))]
    tiers.shuffle(random, random.randint(0, 6))
    tiers.run()
    said: dict[WebSocketClient, list[str]] = {socket: [] for socket in sockets}
    for number in range(random.randint(2, 15)):
        socket = random.choice(sockets)
        words = [f"{number}.{part}" for part in range(random.choice((1, 1, 1, 3, 10)))]
        socket.say_all(*words)
        said[socket] += words
        tiers.shuffle(random, random.randint(0, 4))
    tiers.run()
    for socket, words in said.items():
        assert socket.heard == words


def leave_in_some_way(socket: WebSocketClient, how: str) -> int:
    """End a socket; the code that its disconnect must carry."""
    if how == "says close":
        socket.say("close")
        return 1000
    if how == "closes":
        socket.close(4001)
        return 4001
    socket.leave()
    return 1006


@pytest.mark.parametrize("seed", range(250))
def test_every_socket_that_was_accepted_has_one_disconnect(seed: int) -> None:
    random = Random(seed)
    consumer = random.choice([Echo, Loose])
    tiers = TwoTiers([consumer.as_route()], workers=random.randint(1, 3))
    expected = []
    for number in range(random.randint(1, 6)):
        path = f"/{random.choice(['room', 'room', 'denied'])}/{number}/"
        socket = tiers.websocket(path)
        if "denied" in path:
            assert socket.status == 403
            continue
        assert socket.is_open
        for word in range(random.randint(0, 3)):
            socket.say(str(word))
        code = leave_in_some_way(socket, random.choice(["says close", "closes", "leaves"]))
        expected.append((path, code))
        tiers.shuffle(random, random.randint(0, 5))
    tiers.run()
    tiers.wait(1)
    assert sorted(Echo.ended) == sorted(expected)
    assert len(tiers.server.context.connections) == 0
    assert tiers.layer.statistics("websocket.disconnect")["sent"] == len(expected)


@pytest.mark.parametrize("seed", range(60))
def test_a_client_that_leaves_during_its_handshake_is_told_once_or_never_accepted(seed: int) -> None:
    random = Random(seed)
    tiers = TwoTiers([Echo.as_route()])
    socket = tiers.websocket("/room/", run=False)
    tiers.shuffle(random, random.randint(0, 4))
    socket.leave()
    tiers.run()
    tiers.wait(1)
    assert Echo.ended in ([], [("/room/", 1006)])
    taken = tiers.layer.statistics("websocket.connect")["taken"]
    assert len(Echo.ended) == taken
    assert len(tiers.server.context.connections) == 0


@pytest.mark.parametrize("count", range(1, 40))
def test_what_is_said_before_the_handshake_is_answered_is_heard_after_it(count: int) -> None:
    tiers = TwoTiers([Echo.as_route()])
    socket = tiers.websocket(run=False)
    words = [str(number) for number in range(count)]
    socket.say_all(*words)
    tiers.run()
    assert socket.heard == words

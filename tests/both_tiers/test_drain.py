"""The end of an interface server: what is open is told, answered or closed, in time."""

from __future__ import annotations

from random import Random
from typing import Any, ClassVar

import pytest

from headrace.generic.websockets import WebsocketConsumer
from tests.support.both_tiers import TwoTiers

DRAIN_SECONDS = 25


class Told(WebsocketConsumer):
    strict_ordering = True
    #: (path, code) of each disconnect, and all words.
    ended: ClassVar[list[tuple[str, int]]] = []
    words: ClassVar[list[str]] = []

    def receive(self, text: str | None = None, bytes: bytes | None = None, **kwargs: Any) -> None:
        self.words.append(text or "")

    def disconnect(self, message: Any, **kwargs: Any) -> None:
        self.ended.append((self.path, message["code"]))


@pytest.fixture(autouse=True)
def nothing_told() -> None:
    Told.ended.clear()
    Told.words.clear()


@pytest.mark.parametrize("seed", range(100))
def test_a_server_that_ends_closes_every_socket_and_tells_each_disconnect_once(seed: int) -> None:
    random = Random(seed)
    tiers = TwoTiers([Told.as_route()], workers=random.randint(1, 2))
    sockets = [tiers.websocket(f"/{number}/") for number in range(random.randint(0, 8))]
    said = []
    for number, socket in enumerate(sockets):
        for word in range(random.randint(0, 4)):
            socket.say(f"{number}.{word}")
            said.append(f"{number}.{word}")
        tiers.shuffle(random, random.randint(0, 2))
    tiers.stop()
    tiers.shuffle(random, random.randint(0, 3))
    assert not tiers.listening
    tiers.until(lambda: tiers.exit_statuses, DRAIN_SECONDS)
    tiers.run()
    assert tiers.exit_statuses == [0]
    assert [socket.close_code for socket in sockets] == [1012] * len(sockets)
    assert all(socket.closed for socket in sockets)
    assert sorted(path for path, _ in Told.ended) == sorted(f"/{number}/" for number in range(len(sockets)))
    assert sorted(Told.words) == sorted(said)


@pytest.mark.parametrize("seed", range(80))
def test_requests_that_were_asked_before_the_end_are_answered(seed: int) -> None:
    random = Random(seed)
    tiers = TwoTiers([], workers=random.randint(1, 2))
    clients = [tiers.http() for _ in range(random.randint(1, 5))]
    idle = [tiers.http() for _ in range(random.randint(0, 2))]
    for client in clients:
        client.ask(random.choice(["/hello/", "/stream/"]))
        tiers.shuffle(random, random.randint(0, 3))
    tiers.stop()
    tiers.until(lambda: tiers.exit_statuses, DRAIN_SECONDS)
    assert [[answer.status for answer in client.answers] for client in clients] == [[200]] * len(clients)
    assert all(client.closed for client in (*clients, *idle))
    assert tiers.exit_statuses == [0]


@pytest.mark.parametrize("count", range(1, 21))
def test_what_does_not_end_in_time_is_cut_and_its_disconnect_told(count: int) -> None:
    tiers = TwoTiers([Told.as_route()])
    sockets = [tiers.websocket(f"/{number}/") for number in range(count)]
    for socket in sockets:
        socket.transport.reading = False
    tiers.server.stop(2.0)
    tiers.until(lambda: tiers.exit_statuses, 10)
    tiers.run()
    assert all(socket.closed for socket in sockets)
    assert len(Told.ended) == count


@pytest.mark.parametrize("seconds", [0.5, 1.0, 5.0, 25.0])
def test_a_request_that_no_worker_takes_holds_the_end_up_no_longer_than_allowed(seconds: float) -> None:
    tiers = TwoTiers([])
    client = tiers.http()
    client.ask("/hello/")
    tiers.server.stop(seconds)
    for _ in range(int(seconds * 4) + 8):
        tiers.reactor.advance(0.25)
    assert client.closed
    assert tiers.exit_statuses == [0]

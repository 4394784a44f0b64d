"""Outages of the layer: what clients said is said once, in order, when it is back; no socket is dropped."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any, ClassVar

import pytest

from headrace import route
from headrace.generic.websockets import WebsocketConsumer
from headrace.message import Message
from tests.support.both_tiers import TwoTiers

ANSWER_SECONDS = 0.05
GRACE_SECONDS = 60


class Diary(WebsocketConsumer):
    """Writes down what ran, by path, and says it back."""

    strict_ordering = True
    ran: ClassVar[dict[str, list[str]]] = {}

    def connect(self, message: Any, **kwargs: Any) -> None:
        self.ran.setdefault(self.path, []).append("connect")
        super().connect(message)

    def receive(self, text: str | None = None, bytes: bytes | None = None, **kwargs: Any) -> None:
        self.ran[self.path].append(text or "")
        self.send(text)

    def disconnect(self, message: Any, **kwargs: Any) -> None:
        self.ran[self.path].append("disconnect")


class Loose(Diary):
    strict_ordering = False


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    Diary.ran.clear()


def stumble(tiers: TwoTiers, random: Random) -> None:
    """Perhaps the layer is lost, or back, and some time passes."""
    if random.random() < 0.3:
        tiers.lose_layer() if random.random() < 0.5 else tiers.restore_layer()
    tiers.wait(random.choice((0, 0.01, 0.04, 0.1, 0.5)))


@pytest.mark.parametrize("consumer", [Diary, Loose])
@pytest.mark.parametrize("seed", range(110))
def test_what_was_said_around_outages_runs_once_and_in_order(seed: int, consumer: type[Diary]) -> None:
    random = Random(seed)
    tiers = TwoTiers([consumer.as_route()], workers=random.randint(1, 2), answer_seconds=ANSWER_SECONDS)
    sockets = {f"/{number}/": tiers.websocket(f"/{number}/") for number in range(random.randint(1, 3))}
    tiers.until(lambda: all(socket.is_open for socket in sockets.values()))
    counts: Counter[str] = Counter()
    for _ in range(random.randint(4, 20)):
        path = random.choice(list(sockets))
        count = random.choice((1, 1, 2, 5))
        sockets[path].say_all(*map(str, range(counts[path], counts[path] + count)))
        counts[path] += count
        stumble(tiers, random)
    tiers.restore_layer()
    tiers.wait(5)
    for path, socket in sockets.items():
        words = list(map(str, range(counts[path])))
        assert socket.is_open
        assert socket.heard == words
        assert Diary.ran[path] == ["connect", *words]


@pytest.mark.parametrize("seed", range(110))
def test_a_socket_that_ends_around_an_outage_has_one_disconnect_behind_all_it_said(seed: int) -> None:
    random = Random(seed)
    tiers = TwoTiers([Diary.as_route()], answer_seconds=ANSWER_SECONDS)
    sockets = {f"/{number}/": tiers.websocket(f"/{number}/") for number in range(random.randint(1, 3))}
    tiers.until(lambda: all(socket.is_open for socket in sockets.values()))
    for socket in sockets.values():
        stumble(tiers, random)
        socket.say_all("0", "1", "2")
        stumble(tiers, random)
        socket.leave() if random.random() < 0.5 else socket.close()
        stumble(tiers, random)
    tiers.restore_layer()
    tiers.wait(10)
    for path in sockets:
        assert Diary.ran[path] == ["connect", "0", "1", "2", "disconnect"]
    assert len(tiers.server.context.connections) == 0


@pytest.mark.parametrize("seed", range(110))
def test_a_request_around_an_outage_runs_at_most_once_and_is_answered(seed: int) -> None:
    random = Random(seed)
    ran: Counter[bytes] = Counter()

    def answer(message: Message) -> None:
        ran[message["query_string"]] += 1
        message.reply_channel.send({"status": 200, "content": message["query_string"]})

    tiers = TwoTiers([route("http.request", answer)], answer_seconds=ANSWER_SECONDS)
    clients = []
    for number in range(random.randint(1, 6)):
        client = tiers.http()
        client.ask(f"/?{number}")
        clients.append(client)
        stumble(tiers, random)
    tiers.restore_layer()
    tiers.wait(1)
    for number, client in enumerate(clients):
        (one,) = client.answers
        assert one.status == 200
        assert one.body == str(number).encode()
    assert set(ran.values()) == {1}


@pytest.mark.parametrize("seconds", [*range(1, 10), 11, 20, 59, 61, 70])
def test_an_outage_costs_new_requests_after_ten_seconds_and_sockets_after_sixty(seconds: int) -> None:
    tiers = TwoTiers([Diary.as_route()])
    socket = tiers.websocket("/one/")
    tiers.lose_layer()
    client = tiers.http()
    client.ask("/hello/")
    tiers.wait(seconds)
    assert [answer.status for answer in client.answers] == ([503] if seconds > 10 else [])
    assert socket.close_code == (1013 if seconds > GRACE_SECONDS else None)
    tiers.restore_layer()
    tiers.wait(5)
    assert [answer.status for answer in client.answers] == [503 if seconds > 10 else 200]
    ended = ["connect", "disconnect"] if seconds > GRACE_SECONDS else ["connect"]
    assert Diary.ran["/one/"] == ended
    assert tiers.get("/hello/").status == 200


@pytest.mark.parametrize("seed", range(80))
def test_a_layer_that_lost_its_data_drops_no_socket_and_goes_on_behind_what_is_known(seed: int) -> None:
    random = Random(seed)
    tiers = TwoTiers([Diary.as_route()], workers=random.randint(1, 2))
    sockets = {f"/{number}/": tiers.websocket(f"/{number}/") for number in range(random.randint(1, 3))}
    for _ in range(random.randint(1, 3)):
        tiers.layer.lose_data()
        tiers.run()
        for path, socket in sockets.items():
            word = str(len(Diary.ran[path]))
            socket.say(word)
            tiers.run()
            assert socket.heard[-1] == word
    for socket in sockets.values():
        socket.leave()
    tiers.run()
    tiers.wait(1)
    assert all(ran.count("disconnect") == 1 and ran[-1] == "disconnect" for ran in Diary.ran.values())

"""Ordered sockets: whichever worker takes what and when, consumers run one after the other, in order."""

from __future__ import annotations

from random import Random
from typing import Any, ClassVar

import pytest

from headrace.exceptions import ConsumeLater
from headrace.generic.websockets import WebsocketConsumer
from tests.support.both_tiers import TwoTiers


class Diary(WebsocketConsumer):
    """Writes down what ran, by path."""

    strict_ordering = True
    ran: ClassVar[dict[str, list[str]]] = {}
    #: What is put off at its first try.
    later: ClassVar[set[tuple[str, str]]] = set()

    def _write(self, what: str) -> None:
        if (self.path, what) in self.later:
            self.later.discard((self.path, what))
            raise ConsumeLater
        self.ran.setdefault(self.path, []).append(what)

    def connect(self, message: Any, **kwargs: Any) -> None:
        self._write("connect")
        super().connect(message)

    def receive(self, text: str | None = None, bytes: bytes | None = None, **kwargs: Any) -> None:
        self._write(text or "")
        if text == "3":
            raise ZeroDivisionError("a test's own")

    def disconnect(self, message: Any, **kwargs: Any) -> None:
        self._write("disconnect")


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    Diary.ran.clear()
    Diary.later.clear()


@pytest.mark.parametrize("seed", range(200))
def test_consumers_of_a_socket_run_in_the_order_of_its_messages(seed: int) -> None:
    random = Random(seed)
    tiers = TwoTiers([Diary.as_route()], workers=random.randint(2, 4))
    counts: dict[str, int] = {}
    sockets = {}
    for number in range(random.randint(1, 4)):
        path = f"/{number}/"
        sockets[path] = tiers.websocket(path, run=random.random() < 0.5)
        tiers.shuffle(random, random.randint(0, 3))
    tiers.run()
    for _ in range(random.randint(3, 20)):
        path = random.choice(list(sockets))
        count = random.choice((1, 1, 2, 5))
        start = counts.get(path, 0)
        sockets[path].say_all(*map(str, range(start, start + count)))
        counts[path] = start + count
        tiers.shuffle(random, random.randint(0, 4))
    for socket in sockets.values():
        socket.leave() if random.random() < 0.5 else socket.close()
        tiers.shuffle(random, random.randint(0, 3))
    tiers.run()
    tiers.wait(1)
    for path in sockets:
        expected = ["connect", *map(str, range(counts.get(path, 0))), "disconnect"]
        assert Diary.ran[path] == expected


@pytest.mark.parametrize("seed", range(80))
def test_a_message_that_is_put_off_is_overtaken_by_none_of_its_socket(seed: int) -> None:
    random = Random(seed)
    tiers = TwoTiers([Diary.as_route()], workers=random.randint(1, 3))
    socket = tiers.websocket("/one/")
    count = random.randint(2, 10)
    Diary.later.update(("/one/", str(number)) for number in range(count) if random.random() < 0.4)
    socket.say_all(*map(str, range(count)))
    tiers.until(lambda: len(Diary.ran["/one/"]) == count + 1)
    assert Diary.ran["/one/"] == ["connect", *map(str, range(count))]
    assert not Diary.later

"""Sequences of what clients, workers and the layer can do, found by machines that look for a bad one."""

from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from headrace import route
from headrace.generic.websockets import WebsocketConsumer
from headrace.message import Message
from tests.support.both_tiers import HttpClient, TwoTiers, WebSocketClient

#: Sequences of each machine, the same in every run: a failure is no accident. `make fuzz` tries others.
SEQUENCES = 60
SETTINGS = settings(
    max_examples=SEQUENCES,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


class TwoTierMachine(RuleBasedStateMachine):
    """What goes on by itself, whatever clients do."""

    tiers: TwoTiers

    @rule(worker=st.integers(0, 1))
    def work(self, worker: int) -> None:
        self.tiers.work(worker)

    @rule()
    def turn(self) -> None:
        self.tiers.turn()


class HttpConnection(TwoTierMachine):
    """One connection: whole, cut and pipelined requests; every answer is that of its request, in its turn."""

    def __init__(self) -> None:
        super().__init__()
        self.ran: Counter[bytes] = Counter()
        self.tiers = TwoTiers([route("http.request", self.answer)], workers=2)
        self.client: HttpClient = self.tiers.http()
        self.rest = b""
        self.asked: list[bytes] = []
        self.number = 0

    def answer(self, message: Message) -> None:
        self.ran[message["query_string"]] += 1
        content = message["query_string"] + b":" + message.get("body", b"")
        message.reply_channel.send({"status": 200, "content": content})

    def _request(self, body: bytes) -> bytes:
        self.number += 1
        token = b"%d" % self.number
        self.asked.append(token + b":" + body)
        head = b"POST /?%b HTTP/1.1\r\nHost: testserver\r\nContent-Length: %d\r\n\r\n" % (token, len(body))
        return head + body

    @precondition(lambda self: not self.rest)
    @rule(body=st.binary(max_size=100))
    def ask(self, body: bytes) -> None:
        self.client.send(self._request(body))

    @precondition(lambda self: not self.rest)
    @rule(body=st.binary(max_size=100), part=st.floats(0, 1))
    def begin(self, body: bytes, part: float) -> None:
        data = self._request(body)
        at = int(len(data) * part)
        self.client.send(data[:at])
        self.rest = data[at:]

    @precondition(lambda self: self.rest)
    @rule()
    def go_on(self) -> None:
        data, self.rest = self.rest, b""
        self.client.send(data)

    @invariant()
    def answers_are_a_beginning_of_what_was_asked(self) -> None:
        bodies = [answer.body for answer in self.client.answers]
        assert bodies == self.asked[: len(bodies)]
        assert set(self.ran.values()) <= {1}

    def teardown(self) -> None:
        if self.rest:
            self.go_on()
        self.tiers.run()
        assert [answer.body for answer in self.client.answers] == self.asked
        assert not self.client.closed


class Echo(WebsocketConsumer):
    strict_ordering = True
    ran: ClassVar[list[str]] = []

    def connect(self, message: Any, **kwargs: Any) -> None:
        self.ran.append("connect")
        super().connect(message)

    def receive(self, text: str | None = None, bytes: bytes | None = None, **kwargs: Any) -> None:
        self.ran.append(text or "")
        self.send(text)

    def disconnect(self, message: Any, **kwargs: Any) -> None:
        self.ran.append("disconnect")


class Socket(TwoTierMachine):
    """One ordered WebSocket, two workers: all that is said runs once, between connect and disconnect."""

    answer_seconds = 0.0

    def __init__(self) -> None:
        super().__init__()
        Echo.ran.clear()
        self.tiers = TwoTiers([Echo.as_route()], workers=2, answer_seconds=self.answer_seconds)
        self.socket: WebSocketClient = self.tiers.websocket("/", run=False)
        self.said: list[str] = []
        self.ended = False

    @precondition(lambda self: not self.ended)
    @rule(count=st.integers(1, 8))
    def say(self, count: int) -> None:
        words = [str(len(self.said) + number) for number in range(count)]
        self.said += words
        self.socket.say_all(*words)

    @precondition(lambda self: not self.ended and self.socket.status == 101)
    @rule(politely=st.booleans())
    def end(self, politely: bool) -> None:
        self.ended = True
        if politely:
            self.socket.close()
        else:
            self.socket.leave()

    @invariant()
    def what_ran_and_was_heard_is_a_beginning_of_what_was_said(self) -> None:
        expected = ["connect", *self.said, "disconnect"]
        if "disconnect" not in Echo.ran:
            expected = expected[:-1]
        assert Echo.ran == expected[: len(Echo.ran)]
        assert self.socket.heard == self.said[: len(self.socket.heard)]

    def teardown(self) -> None:
        self.tiers.wait(15)  # more than 200 words, one after the other
        assert Echo.ran == ["connect", *self.said] + ["disconnect"] * self.ended
        if not self.ended:
            assert self.socket.heard == self.said
            assert self.socket.is_open


class SocketInOutages(Socket):
    """The same while the line to the layer is cut and joined, also between a question and its answer."""

    answer_seconds = 0.05

    @rule()
    def lose(self) -> None:
        self.tiers.lose_layer()

    @rule()
    def restore(self) -> None:
        self.tiers.restore_layer()

    @rule(seconds=st.sampled_from([0.01, 0.04, 0.1, 1.0]))
    def wait(self, seconds: float) -> None:
        if self.tiers.reactor.seconds() < 8:  # below the deadlines of a layer that is away
            self.tiers.wait(seconds)

    def teardown(self) -> None:
        self.tiers.restore_layer()
        super().teardown()


TestHttpConnection = HttpConnection.TestCase
TestSocket = Socket.TestCase
TestSocketInOutages = SocketInOutages.TestCase


@pytest.fixture(autouse=True, scope="module")
def as_long_as_asked(request: pytest.FixtureRequest) -> None:
    times = request.config.getoption("long")
    longer = settings(SETTINGS, max_examples=SEQUENCES * times, derandomize=times == 1)
    TestHttpConnection.settings = TestSocket.settings = TestSocketInOutages.settings = longer


pytestmark = pytest.mark.seeds(SEQUENCES)

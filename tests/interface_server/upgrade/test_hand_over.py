"""One server hands all that is open to another one, in one process: the clients see no difference."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from twisted.internet import defer
from twisted.internet.protocol import Factory, Protocol

from headrace_asgi.contract import Outcome
from headrace_asgi.envelope import Message
from headrace_asgi.errors import ConfigurationError
from headrace_interface.listeners import make_endpoints
from headrace_interface.server import Server
from headrace_interface.settings import InterfaceSettings
from headrace_interface.upgrade.hand_over import HandingOver
from headrace_interface.upgrade.state import packed, unpacked
from headrace_interface.upgrade.take_over import AdoptingReactor
from tests.support.http_lab import GET, response
from tests.support.reactors import HandReactor, hand_reactor
from tests.support.recording_port import RecordingPort
from tests.support.websocket_lab import masked

UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


class HandedPort(RecordingPort):
    """A port that another image can go on with. Every call is answered as the layer would."""

    hands_over = True

    def __init__(self, reactor: Any) -> None:
        super().__init__(reactor)
        self.auto = Outcome.SENT
        self.away = False
        self.went_on = 0
        self._reactor = reactor

    def hand_over(self, done: Callable[[Message | None], None], seconds: float) -> None:
        self._reactor.callLater(0, done, None if self.away else {"process": self.process})

    def go_on(self) -> None:
        self.went_on += 1

    def take_over(self, handed_over: Message) -> None:
        self.process = handed_over["process"]


class Image:
    """One image of the server."""

    def __init__(self, reactor: HandReactor, handed_over: Message | None = None) -> None:
        self.reactor = reactor
        self.port = HandedPort(reactor)
        self.statuses: list[int] = []
        listens: Any = reactor
        if handed_over is not None:
            listens = AdoptingReactor(reactor, handed_over["listening"])
        endpoints = make_endpoints(listens, port=0)
        settings = InterfaceSettings()
        self.server = Server(reactor, [self.port], settings, endpoints, None, self.statuses.append)
        done: list[Any] = []
        defer.ensureDeferred(self.server.start(handed_over)).addBoth(done.append)
        reactor.until(lambda: done)
        assert isinstance(done[0], list), done
        self.number = int(done[0][0].rstrip("/").rpartition(":")[2])
        reactor.until(lambda: self.server.context.layer_up)

    def reply(self, local: str, message: Message) -> None:
        self.server.inboxes[0].reply(local, message)

    def leave(self) -> None:
        """Be gone, as the process's image is: nothing is said to anybody, and nothing comes later."""
        for call in self.reactor.getDelayedCalls():
            call.cancel()
        shells = [*self.server.context.http_shells, *self.server.context.connections.sockets()]
        for shell in shells:
            self.reactor.removeReader(shell.transport)
            self.reactor.removeWriter(shell.transport)
            shell.transport.socket.close()
        for port in self.server.listening:
            self.reactor.removeReader(port)
            port.socket.close()


class Place:
    """The images of one server, one after the other, and its clients."""

    def __init__(self, reactor: HandReactor) -> None:
        self.reactor = reactor
        self.image = Image(reactor)
        self.clients: list[socket.socket] = []
        self.put_off: list[str] = []

    def connect(self, data: bytes = b"") -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self.image.number))
        client.setblocking(False)
        client.sendall(data)
        self.clients.append(client)
        return client

    def read(self, client: socket.socket, enough: Callable[[bytes], bool]) -> bytes:
        received = bytearray()

        def more() -> bool:
            try:
                data = client.recv(1 << 20)
            except BlockingIOError:
                return False
            except ConnectionResetError:
                return True
            received.extend(data)
            return not data or enough(bytes(received))

        self.reactor.until(more)
        return bytes(received)

    def asked(self, channel: str, count: int = 1) -> list[Any]:
        self.reactor.until(lambda: len(self.image.port.of(channel)) >= count)
        return self.image.port.of(channel)

    def open_socket(self) -> tuple[socket.socket, str]:
        count = len(self.image.port.of("websocket.connect"))
        client = self.connect(UPGRADE)
        local = self.asked("websocket.connect", count + 1)[-1].local
        self.image.reply(local, {"accept": True})
        self.read(client, lambda data: data.endswith(b"\r\n\r\n"))
        return client, local

    def hand_over(self) -> Message | None:
        """What is handed over, as the next image reads it; None if that was put off."""
        given: list[Message] = []
        self.put_off.clear()

        def leave(state: Message, descriptors: Sequence[int]) -> None:
            # They are closed when this returns: the next image of a process has them by inheritance.
            copies = {one: os.dup(one) for one in descriptors}
            state["listening"] = [copies[one] for one in state["listening"]]
            for record in state["connections"]:
                record["fd"] = copies[record["fd"]]
            given.append(unpacked(packed(state)))
            self.image.leave()

        HandingOver(self.image.server, self.reactor, leave, self.put_off.append).begin()
        self.reactor.until(lambda: given or self.put_off)
        return given[0] if given else None

    def replace(self) -> Message:
        state = self.hand_over()
        assert state is not None, self.put_off
        self.image = Image(self.reactor, state)
        return state


@pytest.fixture
def place() -> Iterator[Place]:
    with hand_reactor() as reactor:
        this = Place(reactor)
        yield this
        this.image.server.stop(0)
        reactor.until(lambda: this.image.statuses)
        for client in this.clients:
            client.close()
        reactor.turn(0.02)


def test_an_open_socket_goes_on_with_its_name_and_its_numbers(place: Place) -> None:
    client, local = place.open_socket()
    client.sendall(masked(1, b"one"))
    assert place.asked("websocket.receive")[0].order == 1
    place.replace()
    client.sendall(masked(1, b"two"))
    [frame] = place.asked("websocket.receive")
    assert (frame.local, frame.order, frame.message["text"]) == (local, 2, "two")
    place.image.reply(local, {"text": "hi"})
    assert place.read(client, lambda data: len(data) >= 4) == b"\x81\x02hi"
    client.close()
    [told] = place.asked("websocket.disconnect")
    assert (told.local, told.order) == (local, 3)


def test_what_a_client_had_begun_to_say_is_said_to_the_next_image(place: Place) -> None:
    client, _ = place.open_socket()
    whole = masked(1, b"Hello ", fin=False) + masked(0, b"world")
    client.sendall(whole[:-3])
    place.reactor.turn(0.02)
    place.replace()
    client.sendall(whole[-3:])
    assert place.asked("websocket.receive")[0].message["text"] == "Hello world"


def test_what_a_client_has_yet_to_read_comes_in_order(place: Place) -> None:
    client, local = place.open_socket()
    many = [bytes([number]) * 200_000 for number in range(60)]
    for one in many[:50]:
        place.image.reply(local, {"bytes": one})
    place.replace()
    for one in many[50:]:
        place.image.reply(local, {"bytes": one})
    head = 10
    received = place.read(client, lambda data: len(data) >= len(many) * (200_000 + head))
    for one in many:
        assert received[head : head + 200_000] == one
        received = received[head + 200_000 :]


def test_a_request_that_waits_is_answered_and_the_connection_kept(place: Place) -> None:
    client = place.connect(GET)
    local = place.asked("http.request")[0].local
    place.replace()
    place.image.reply(local, response(b"late"))
    assert place.read(client, lambda data: data.endswith(b"late")).startswith(b"HTTP/1.1 200")
    client.sendall(GET)
    place.image.reply(place.asked("http.request")[0].local, response(b"next"))
    assert place.read(client, lambda data: data.endswith(b"next")).startswith(b"HTTP/1.1 200")


def test_a_response_in_parts_goes_on_in_its_chunks(place: Place) -> None:
    client = place.connect(GET)
    local = place.asked("http.request")[0].local
    place.image.reply(local, {**response(b"one"), "more_content": True})
    place.read(client, lambda data: data.endswith(b"3\r\none\r\n"))
    place.replace()
    place.image.reply(local, {"content": b"two", "more_content": True})
    place.image.reply(local, {"content": b"", "more_content": False})
    assert place.read(client, lambda data: data.endswith(b"0\r\n\r\n")) == b"3\r\ntwo\r\n0\r\n\r\n"


def test_a_quiet_connection_and_one_that_nobody_has_accepted_go_on(place: Place) -> None:
    client = place.connect(GET)
    place.image.reply(place.asked("http.request")[0].local, response(b"first"))
    place.read(client, lambda data: data.endswith(b"first"))
    state = place.hand_over()
    assert state is not None
    waiting = place.connect(GET)
    place.image = Image(place.reactor, state)
    place.asked("http.request")
    client.sendall(GET)
    for asked in place.asked("http.request", 2):
        place.image.reply(asked.local, response(b"again"))
    for one in (client, waiting):
        assert place.read(one, lambda data: data.endswith(b"again")).startswith(b"HTTP/1.1 200")


def test_a_request_that_is_still_arriving_is_cut_off_and_costs_no_other(place: Place) -> None:
    half = place.connect(GET[:10])
    client, local = place.open_socket()
    state = place.replace()
    assert [("http" in one, "socket" in one) for one in state["connections"]] == [(False, True)]
    assert place.read(half, lambda data: False) == b""
    place.image.reply(local, {"text": "hi"})
    assert place.read(client, lambda data: len(data) >= 4) == b"\x81\x02hi"


def test_while_the_layer_is_away_everything_goes_on_as_before(place: Place) -> None:
    client, local = place.open_socket()
    place.image.port.away = True
    assert place.hand_over() is None
    assert place.put_off == ["the channel layer is away, or does not answer in time"]
    assert place.image.port.went_on == 1
    client.sendall(masked(1, b"one"))
    assert place.asked("websocket.receive")[0].local == local
    other = place.connect(GET)
    place.image.reply(place.asked("http.request")[0].local, response(b"here"))
    assert place.read(other, lambda data: data.endswith(b"here")).startswith(b"HTTP/1.1 200")


def test_a_layer_that_does_not_answer_closes_no_socket(place: Place) -> None:
    client, local = place.open_socket()
    place.image.port.auto = None
    client.sendall(masked(1, b"one"))
    [frame] = place.asked("websocket.receive")
    assert place.hand_over() is None
    frame.answer()
    place.image.reply(local, {"text": "hi"})
    assert place.read(client, lambda data: len(data) >= 4) == b"\x81\x02hi"
    place.connect(GET)
    place.asked("http.request")
    assert place.hand_over() is None


def test_what_found_no_room_is_sent_by_the_next_image_with_the_same_number(place: Place) -> None:
    client, local = place.open_socket()
    place.image.port.outcomes = [Outcome.FULL]
    client.sendall(masked(1, b"one"))
    place.asked("websocket.receive")
    place.image.port.away = True
    assert place.hand_over() is None
    [shell] = place.image.server.context.connections.sockets()
    assert shell.transport not in place.reactor.getReaders()  # type: ignore[attr-defined]
    place.image.port.away = False
    place.replace()
    frame = place.asked("websocket.receive")[0]
    assert (frame.local, frame.order, frame.message["text"]) == (local, 1, "one")
    client.sendall(masked(1, b"two"))
    assert place.asked("websocket.receive", 2)[1].order == 2


def test_an_image_that_cannot_be_started_leaves_everything_as_it_was(place: Place) -> None:
    client, _ = place.open_socket()

    def leave(state: Message, descriptors: Sequence[int]) -> None:
        raise OSError("no such file")

    HandingOver(place.image.server, place.reactor, leave, place.put_off.append).begin()
    place.reactor.until(lambda: place.put_off)
    assert place.put_off == ["no such file"]
    client.sendall(masked(1, b"one"))
    place.asked("websocket.receive")


def test_a_connection_that_cannot_go_on_is_closed_and_costs_no_other(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    (broken, _), (client, local) = place.open_socket(), place.open_socket()
    state = place.hand_over()
    assert state is not None
    state["connections"][0]["socket"]["exchange"] = {}
    place.image = Image(place.reactor, state)
    assert "A connection cannot go on, and is closed." in caplog.text
    assert place.read(broken, lambda data: False) == b""
    place.image.reply(local, {"text": "hi"})
    assert place.read(client, lambda data: len(data) >= 4) == b"\x81\x02hi"


def test_more_endpoints_than_before_are_an_error_that_says_what_to_do() -> None:
    with hand_reactor() as reactor:
        [(_, endpoint)] = make_endpoints(AdoptingReactor(reactor, []), port=0)
        failed: list[Any] = []
        endpoint.listen(None).addErrback(lambda failure: failed.append(failure.value))
        assert isinstance(failed[0], ConfigurationError)
        assert "restart this process instead" in str(failed[0])


def test_a_unix_socket_is_listened_on_by_the_next_image_with_its_mode(tmp_path: Any) -> None:
    path = str(tmp_path / "s")
    with hand_reactor() as reactor, socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        os.chmod(path, 0o600)
        [(_, endpoint)] = make_endpoints(
            AdoptingReactor(reactor, [os.dup(listening.fileno())]), unix_socket=path
        )
        ports: list[Any] = []
        endpoint.listen(Factory.forProtocol(Protocol)).addCallback(ports.append)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            reactor.turn(0.02)
            assert ports[0].connected
        assert os.stat(path).st_mode & 0o777 == 0o600
        ports[0].stopListening()
        reactor.turn(0.02)
        assert not os.path.exists(path)


def test_a_descriptor_that_was_given_to_the_first_image_is_not_asked_for_again() -> None:
    with hand_reactor() as reactor, socket.create_server(("127.0.0.1", 0)) as listening:
        adopting = AdoptingReactor(reactor, [os.dup(listening.fileno())])
        [(name, endpoint)] = make_endpoints(adopting, fd=999)
        ports: list[Any] = []
        endpoint.listen(Factory.forProtocol(Protocol)).addCallback(ports.append)
        assert (name, ports[0].getHost().port) == ("--fd 999", listening.getsockname()[1])
        ports[0].stopListening()
        reactor.turn(0.02)

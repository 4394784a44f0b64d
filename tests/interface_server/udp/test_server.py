"""The UDP server: datagrams to messages and back, and what it does with too many."""

# ruff: noqa: N802, N803 (names of Twisted)

from __future__ import annotations

import socket
from typing import Any

import pytest
from twisted.internet import defer, error
from twisted.internet.task import Clock

from headrace_asgi.contract import Outcome
from headrace_asgi.errors import ConfigurationError
from headrace_interface.udp.options import UdpAddress, UdpSettings
from headrace_interface.udp.server import UdpServer, client_of, local_of
from tests.support.reactors import hand_reactor
from tests.support.recording_port import RecordingPort

CLIENT = ("192.0.2.7", 4000)


class Socket:
    """A UDP port of Twisted's, in memory."""

    def __init__(self, protocol: Any, interface: str, port: int, max_bytes: int) -> None:
        self.protocol, self.interface, self.number, self.max_bytes = protocol, interface, port, max_bytes
        self.sent: list[tuple[bytes, tuple[str, int]]] = []
        self.fails: Exception | None = None
        self.reading = True
        self.open = True
        self.maxThroughput = 1000
        protocol.makeConnection(self)

    def getHost(self) -> Any:
        return type("Address", (), {"host": self.interface, "port": self.number})

    def write(self, data: bytes, address: tuple[str, int]) -> None:
        if self.fails:
            raise self.fails
        self.sent.append((data, address))

    def stopReading(self) -> None:
        self.reading = False

    def stopListening(self) -> None:
        self.open = False

    def receive(self, data: bytes, client: tuple[str, int] = CLIENT) -> None:
        self.protocol.datagramReceived(data, client)


class UdpReactor(Clock):
    """A clock that listens in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.sockets: list[Socket] = []

    def listenUDP(self, port: int, protocol: Any, interface: str, maxPacketSize: int) -> Socket:
        if port == 1:
            raise error.CannotListenError(interface, port, PermissionError(13, "Permission denied"))
        self.sockets.append(Socket(protocol, interface, port, maxPacketSize))
        return self.sockets[-1]


class UdpLab:
    """A started server."""

    def __init__(self, *listen: UdpAddress, layer_up: bool = True, **settings: Any) -> None:
        self.reactor = UdpReactor()
        self.port = RecordingPort(self.reactor)
        listen = listen or (UdpAddress("127.0.0.1", 5140, "/log"),)
        self.server = UdpServer(UdpSettings(listen=listen, **settings), self.reactor, [self.port])
        if not layer_up:
            self.port.real.lose()
        started = defer.ensureDeferred(self.server.start())
        self.addresses: list[str] = self.result(started)
        self.turn()

    def result(self, deferred: defer.Deferred[Any]) -> Any:
        found: list[Any] = []
        deferred.addBoth(found.append)
        if isinstance(found[0], Exception):
            raise found[0]
        if hasattr(found[0], "raiseException"):
            found[0].raiseException()
        return found[0]

    @property
    def socket(self) -> Socket:
        return self.reactor.sockets[0]

    def turn(self, seconds: float = 0) -> None:
        self.reactor.advance(seconds)
        for _ in range(4):
            self.reactor.advance(0)

    @property
    def messages(self) -> list[dict[str, Any]]:
        return [asked.message for asked in self.port.of("udp.receive")]


def test_a_datagram_is_a_message_with_who_sent_it_where_to_and_the_path() -> None:
    lab = UdpLab()
    assert lab.addresses == ["udp://127.0.0.1:5140/log"]
    lab.socket.receive(b"\x00hello")
    (asked,) = lab.port.of("udp.receive")
    assert asked.message == {
        "reply_channel": f"{lab.port.process}.{local_of(0, *CLIENT)}",
        "data": b"\x00hello",
        "client": ["192.0.2.7", 4000],
        "server": ["127.0.0.1", 5140],
        "path": "/log",
    }
    assert asked.expiry_seconds == UdpSettings().queue_seconds
    lab.turn()
    assert lab.server.counters == {"sent": 1}


def test_a_reply_is_a_datagram_to_the_sender_or_to_the_address_that_it_names() -> None:
    lab = UdpLab(UdpAddress("127.0.0.1", 5140), UdpAddress("::", 5141))
    local = local_of(1, *CLIENT)
    lab.server.places[0].reply(local, {"data": b"back"})
    lab.server.places[0].reply(local, {"data": b"on", "address": ["2001:db8::5", 53]})
    assert lab.socket.sent == []
    assert lab.reactor.sockets[1].sent == [
        (b"back", ("::ffff:192.0.2.7", 4000)),
        (b"on", ("2001:db8::5", 53)),
    ]
    assert lab.server.counters == {"replies": 2, "datagrams_sent": 2}


@pytest.mark.parametrize("host", ["192.0.2.7", "2001:db8::1", "::1", "255.255.255.255"])
def test_a_local_part_says_to_whom_it_leads(host: str) -> None:
    for listener, port in ((0, 1), (255, 65535)):
        assert client_of(local_of(listener, host, port)) == (listener, host, port)


@pytest.mark.parametrize(
    "local", ["", "0", "0-7f00-1", "0-7f000001", "x-7f000001-1", "0-7f000001-1-1", "9-7f000001-1"]
)
def test_a_reply_to_nobody_is_counted(local: str) -> None:
    lab = UdpLab()
    lab.server.places[0].reply(local, {"data": b"x"})
    assert lab.server.counters["discarded"] == 1
    assert lab.socket.sent == []


@pytest.mark.parametrize("message", [{}, {"data": "text"}, {"data": b"x", "address": ["host"]}, {"x": 1}])
def test_a_reply_that_breaks_the_specification_is_dropped_and_named(
    message: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    lab = UdpLab()
    lab.server.places[0].reply(local_of(0, *CLIENT), message)
    assert lab.server.counters["bad_replies"] == 1
    assert "udp.send" in caplog.text


@pytest.mark.parametrize(
    "failure",
    [
        OSError(101, "Network is unreachable"),
        BlockingIOError(11, "Resource temporarily unavailable"),
        error.MessageLengthError("message too long"),
        error.InvalidAddressError("example.com", "write() only accepts IP addresses, not hostnames"),
        OverflowError("port must be 0-65535"),
    ],
)
def test_what_cannot_be_sent_is_counted_and_said_once(
    failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    lab = UdpLab()
    lab.socket.fails = failure
    for _ in range(20):
        lab.server.places[0].reply(local_of(0, *CLIENT), {"data": b"x"})
    assert lab.server.counters["unsent"] == 20
    assert len([each for each in caplog.records if "could not be sent" in each.message]) == 1


def test_what_is_too_much_is_dropped_counted_and_said_at_its_two_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    lab = UdpLab(max_datagram_bytes=4, address_rate=2, rate=3)
    assert lab.socket.max_bytes == 5
    for _ in range(50):
        lab.socket.receive(b"12345")
    for number in range(50):
        lab.socket.receive(b"1234", (f"192.0.2.{number // 10}", 1))
    assert len(lab.messages) == 3
    counters = lab.server.counters
    assert counters["too_large"] == 50
    assert counters["address_rate"] + counters["rate"] == 47
    assert len(caplog.records) == 3
    caplog.clear()
    lab.turn(60)
    assert sum(" were dropped within " in each.message for each in caplog.records) == 3


def test_a_full_channel_drops_counts_and_says_so_once_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    lab = UdpLab()
    lab.port.auto = Outcome.FULL
    for _ in range(30):
        lab.socket.receive(b"x")
    lab.turn()
    assert lab.server.counters == {"full": 30}
    assert [each.message for each in caplog.records] == [
        "udp.receive is full, so messages are refused: does a worker take it?"
    ]
    lab.port.auto = Outcome.SENT
    lab.socket.receive(b"x")
    lab.turn()
    assert lab.server.counters["sent"] == 1


def test_while_the_layer_is_away_datagrams_are_dropped_and_afterwards_they_pass(
    caplog: pytest.LogCaptureFixture,
) -> None:
    lab = UdpLab(layer_up=False)
    lab.socket.receive(b"early")
    assert (lab.messages, lab.server.counters["away"]) == ([], 1)
    lab.port.real.restore()
    lab.turn()
    lab.socket.receive(b"one")
    lab.turn()
    lab.port.real.lose()
    lab.turn()
    for _ in range(10):
        lab.socket.receive(b"lost")
    lab.port.real.restore()
    lab.turn()
    lab.socket.receive(b"two")
    lab.turn()
    assert [each["data"] for each in lab.messages] == [b"one", b"two"]
    assert lab.server.counters["away"] == 11
    said = [each.message for each in caplog.records]
    assert sum("cannot be reached" in each for each in said) == 2
    assert sum("does not answer, so messages for udp.receive are refused" in each for each in said) == 1


def test_a_layer_that_does_not_answer_holds_a_bounded_number_of_datagrams() -> None:
    lab = UdpLab(address_rate=0)
    lab.port.auto = None
    for _ in range(1500):
        lab.socket.receive(b"x")
    assert len(lab.messages) == 1000
    assert lab.server.counters == {"away": 500}
    for asked in lab.port.of("udp.receive"):
        asked.answer()
    lab.socket.receive(b"x")
    assert len(lab.messages) == 1001


def test_so_many_datagrams_are_read_in_a_turn_however_small_they_are() -> None:
    lab = UdpLab()
    for number in range(600):
        lab.socket.receive(b"")
        assert lab.socket.maxThroughput == (0 if number % 256 == 255 else 1000)
        if lab.socket.maxThroughput == 0:
            lab.turn()


def test_a_flood_of_empty_datagrams_does_not_hold_the_reactor_of_twisted() -> None:
    with hand_reactor() as reactor:
        server = UdpServer(
            UdpSettings(listen=(UdpAddress("127.0.0.1", 0),), rate=1), reactor, [RecordingPort(reactor)]
        )
        defer.ensureDeferred(server.start())
        (listener,) = server._listeners
        transport: Any = listener.transport
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flood:
            read = listener.datagramReceived

            def received(datagram: bytes, address: tuple[str, int]) -> None:
                """Each one that is read is followed by another one."""
                flood.sendto(b"", tuple(listener.address))
                read(datagram, address)

            transport.protocol.datagramReceived = received
            flood.sendto(b"", tuple(listener.address))
            reactor.turn(0.2)
        assert listener._read > 256
        server.close()
        reactor.turn(0.02)


def test_a_server_that_ends_reads_no_more_sends_what_is_on_its_way_and_closes() -> None:
    lab = UdpLab(linger_seconds=1.0)
    ended: list[bool] = []
    lab.socket.receive(b"question")
    lab.turn()
    lab.turn(0.4)
    lab.server.stop(lambda: ended.append(True))
    lab.socket.receive(b"too late")
    assert not lab.socket.reading
    lab.server.places[0].reply(local_of(0, *CLIENT), {"data": b"answer"})
    assert lab.socket.sent == [(b"answer", CLIENT)]
    assert len(lab.messages) == 1
    lab.turn(0.5)
    assert lab.socket.open
    for _ in range(10):
        lab.turn(0.1)
    assert (lab.socket.open, lab.port.stopped, ended) == (False, True, [True])


def test_a_quiet_server_ends_at_once_and_one_whose_layer_hangs_within_its_time() -> None:
    quiet, hung = UdpLab(), UdpLab()
    quiet.server.stop(lambda: None)
    assert quiet.port.stopped
    hung.port.auto = None
    hung.socket.receive(b"x")
    hung.server.stop(lambda: None)
    for _ in range(15):
        assert hung.port.stopped == (hung.reactor.seconds() >= 1.0)
        hung.turn(0.1)


def test_a_client_is_in_no_group() -> None:
    lab = UdpLab()
    assert not lab.server.places[0].is_open(local_of(0, *CLIENT))


def test_an_address_that_cannot_be_listened_on_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"UDP 127\.0\.0\.1 port 1: Permission denied"):
        UdpLab(UdpAddress("127.0.0.1", 1))

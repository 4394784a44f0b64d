"""The one table of deadlines."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import pytest
from twisted.internet import defer

from headrace_asgi.contract import ChannelLayer
from headrace_asgi.layers.from_config import interface_ports, layer_from_url
from headrace_interface.deadlines import OFF, Deadlines, rows, takeable_seconds
from headrace_interface.listeners import make_endpoints
from headrace_interface.options import make_parser, settings_from
from headrace_interface.server import Server
from tests.support.http_lab import GET, answers, response
from tests.support.reactors import HandReactor, hand_reactor
from tests.support.websocket_lab import masked, request


def test_every_deadline_has_a_row_with_an_option_of_its_own_and_a_help_text() -> None:
    listed = rows()
    assert [name for name, _, _ in listed] == [field.name for field in fields(Deadlines)]
    assert len({row.option for _, _, row in listed}) == len(listed)
    assert all(row.help and row.option.startswith("--") for _, _, row in listed)


def test_defaults_are_those_of_the_table() -> None:
    defaults = Deadlines()
    assert all(getattr(defaults, name) == seconds > 0 for name, seconds, _ in rows())


def test_what_a_client_is_told_is_an_error_it_can_be_told() -> None:
    for name, _, row in rows():
        assert row.status is None or 400 <= row.status <= 599, name
        assert row.close_code is None or 1000 <= row.close_code <= 1014, name


def test_a_handshake_waits_at_least_as_long_as_a_worker_may_take_to_be_there() -> None:
    defaults = Deadlines()
    assert defaults.handshake >= defaults.queue


def test_a_message_can_be_taken_until_its_taker_could_just_say_so() -> None:
    assert [takeable_seconds(seconds) for seconds in (30, 4, 1)] == [28, 2, 0.5]
    assert takeable_seconds(OFF) == OFF


class Served:
    """A server over a real layer, with one client, and its worker's side."""

    def __init__(self, reactor: HandReactor, layer: ChannelLayer, *options: str) -> None:
        self.reactor = reactor
        self.layer = layer
        self.ended: list[int] = []
        self.server = Server(
            reactor,
            interface_ports(layer, reactor),
            settings_from(make_parser().parse_args(options)),
            make_endpoints(reactor, port=0),
            None,
            self.ended.append,
        )
        done: list[Any] = []
        defer.ensureDeferred(self.server.start()).addBoth(done.append)
        number = int(reactor.until(lambda: done)[0][0].rstrip("/").rpartition(":")[2])
        reactor.until(lambda: self.server.context.layer_up)
        self.client = socket.create_connection(("127.0.0.1", number))
        self.client.setblocking(False)

    def take(self, channel: str) -> dict[str, Any]:
        """The next message of a channel."""
        found: dict[str, Any] = self.reactor.until(lambda: self.layer.receive([channel])[1])
        return found

    def read(self, enough: Callable[[bytes], bool]) -> bytes:
        """What the client receives, until it is enough or ends."""
        received = b""
        ended = False

        def more() -> bool:
            nonlocal received, ended
            try:
                data = self.client.recv(65_536)
            except BlockingIOError:
                return False
            received, ended = received + data, not data
            return ended or enough(received)

        self.reactor.until(more)
        return received


@contextmanager
def served(url: str, *options: str) -> Iterator[Served]:
    layer = layer_from_url(url)
    with hand_reactor() as reactor:
        this = Served(reactor, layer, *options)
        yield this
        this.client.close()
        this.server.stop(1)
        reactor.until(lambda: this.ended)
    layer.close()


@pytest.mark.parametrize("value", ["0", "-1"])
@pytest.mark.parametrize("option", [row.option for _, _, row in rows()])
def test_a_request_and_a_socket_go_through_without_a_deadline(
    redis_url: str, option: str, value: str
) -> None:
    with served(redis_url, option, value) as this:
        this.client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi" + GET)
        this.layer.send(this.take("http.request")["reply_channel"], response(b"one"))
        streamed = this.take("http.request")["reply_channel"]
        this.layer.send(streamed, response(b"two", more_content=True))
        this.layer.send(streamed, {"content": b"three", "more_content": False})
        found = answers(this.read(lambda data: data.endswith(b"0\r\n\r\n")))
        assert [(answer.status, answer.body) for answer in found] == [(200, b"one"), (200, b"twothree")]

        this.client.sendall(request())
        connect = this.take("websocket.connect")
        this.layer.send(connect["reply_channel"], {"accept": True})
        assert this.read(lambda data: data.endswith(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        this.layer.send(connect["reply_channel"], {"text": "hello"})
        assert this.read(lambda data: len(data) == 7) == b"\x81\x05hello"
        this.client.sendall(masked(8, struct.pack("!H", 1000)))
        assert this.read(lambda data: False)[:1] == b"\x88"


@pytest.mark.parametrize("value", ["0", "-1"])
def test_without_a_queue_deadline_a_request_waits_for_a_worker_as_long_as_it_takes(
    redis_url: str, value: str
) -> None:
    with served(redis_url, "--queue-timeout", value, "--http-timeout", "1") as this:
        this.client.sendall(GET)
        entries = this.reactor.until(lambda: this.layer.statistics("http.request").get("pending"))
        assert entries == 1
        this.reactor.turn(1.5)
        this.layer.send(this.take("http.request")["reply_channel"], response(b"late"))
        [answer] = answers(this.read(lambda data: data.endswith(b"late")))
        assert answer.status == 200

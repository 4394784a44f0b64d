"""Frames at random, valid and not: nothing raises, nothing is left behind, others are served."""

from __future__ import annotations

import random

import pytest
from hpack.hpack import Encoder
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from headrace_interface.http2.floods import PREFACE
from headrace_interface.http2.protocol import Http2Protocol
from headrace_interface.settings import InterfaceSettings
from headrace_interface.websocket.protocol import WebSocketShell
from tests.support.http2_lab import fields
from tests.support.http_lab import Lab, SlowTransport, response
from tests.support.websocket_lab import masked

SETTINGS = (
    InterfaceSettings(),
    InterfaceSettings(stream_uploads=True, inline_body_bytes=20, max_body_bytes=3000, http2_streams=3),
)
WEBSOCKET = [(b":protocol", b"websocket"), *fields(b"CONNECT"), (b"sec-websocket-version", b"13")]


def frame(chosen: random.Random, encoder: Encoder) -> bytes:
    """A frame that may be right, is often wrong, and sometimes no frame at all."""
    kind = chosen.choices(range(12), weights=(8, 12, 1, 3, 2, 1, 1, 1, 4, 1, 1, 1))[0]
    flags = chosen.choice((0, 0x1, 0x4, 0x5, 0x5, 0x8, 0x20, chosen.randrange(256)))
    stream = chosen.choice((0, 1, 1, 3, 5, 7, 2 * chosen.randrange(40) + 1, chosen.randrange(9)))
    payload = chosen.randbytes(chosen.choice((0, 1, 4, 5, 6, 8, chosen.randrange(600))))
    if kind == 0:
        payload = chosen.choice((payload, masked(1, b"hello"), masked(8, b"\x03\xe8"), b"abc"))
    elif kind == 1 and chosen.random() < 0.9:
        length = (b"content-length", b"%d" % chosen.randrange(5))
        request = chosen.choice(
            (fields(), fields(b"POST"), fields(b"POST", b"/", length), WEBSOCKET, fields(b"GET", b""))
        )
        payload, flags = encoder.encode(request), chosen.choice((0x4, 0x5))
    elif kind in (3, 8):
        payload = chosen.randrange(1, 2**16).to_bytes(4, "big")
    elif kind == 4:
        payload = chosen.choice((b"", b"\0\4" + chosen.randrange(2**17).to_bytes(4, "big")))
        flags, stream = len(payload) == 0, 0
    size = len(payload) if chosen.random() < 0.99 else chosen.randrange(2**24)
    return size.to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


@pytest.mark.seeds(60)
def test_nothing_that_a_client_sends_breaks_anything_or_stays(seed: int) -> None:
    chosen = random.Random(seed)
    lab = Lab(chosen.choice(SETTINGS))
    transport = SlowTransport() if chosen.random() < 0.3 else StringTransport()
    protocol, encoder = Http2Protocol(lab.context, WebSocketShell), Encoder()
    protocol.makeConnection(transport)
    data = PREFACE + b"\0\0\0\4\0\0\0\0\0"
    for _ in range(chosen.randrange(1, 60)):
        data += frame(chosen, encoder)
        if chosen.random() < 0.7:
            count = chosen.randrange(len(data) + 1)
            protocol.dataReceived(data[:count])
            data = data[count:]
        happen(chosen, lab, transport)
    protocol.connectionLost(Failure(ConnectionDone()))
    lab.wait(1)
    assert len(lab.context.connections) == 0
    assert lab.context.backlog.bytes == lab.context.slow_sockets.bytes == 0
    assert lab.context.bodies.memory_bytes == lab.context.bodies.disk_bytes == 0
    assert not lab.context.http_shells
    assert protocol.shells == protocol.tunnels == {}


def happen(chosen: random.Random, lab: Lab, transport: StringTransport) -> None:
    """Something of the other side, or time."""
    lab.settle()
    for client in list(lab.context.connections.requests())[:2]:
        if chosen.random() < 0.3:
            client.reply(
                chosen.choice(
                    (
                        response(b"a" * chosen.randrange(90_000)),
                        {"status": 200, "content": b"a", "more_content": True},
                        {"content": b"b"},
                    )
                )
            )
    for shell in lab.context.connections.sockets():
        if chosen.random() < 0.5:
            shell.reply(
                chosen.choice(({"accept": True}, {"accept": False}, {"text": "a" * 9000}, {"close": True}))
            )
    if isinstance(transport, SlowTransport) and chosen.random() < 0.5:
        transport.read_all()
    if chosen.random() < 0.1:
        lab.wait(chosen.choice((1, 5, 40)))

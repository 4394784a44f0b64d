"""A socket that is fed what another one had begun goes on exactly as that one would have."""

from __future__ import annotations

import random
import struct
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock

from headrace_interface.settings import InterfaceSettings
from headrace_interface.websocket.autobahn import SocketFactory, SocketProtocol
from headrace_interface.websocket.handshake import Offer

WINDOWS = (15, 15)


class Listener:
    """Hears what a client says, one after the other."""

    local = "a"
    paused = False

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.controls = 0

    def on_unread(self) -> None:
        """The test feeds on."""

    def on_message(self, data: bytes, is_binary: bool, received_bytes: int) -> None:
        self.heard.append((data if is_binary else data.decode(), received_bytes))

    def on_controls(self, count: int) -> None:
        self.controls += count

    def on_close(self, code: int) -> None:
        self.heard.append(code)


class Writer:
    """Takes what is written to a client."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def pong(self, payloads: list[bytes]) -> None:
        self.written += payloads

    def release(self) -> None:
        """Nothing waits."""


class Transport:
    """Where the 101 goes."""

    def write(self, data: bytes) -> None:
        """Nobody reads it."""

    def loseConnection(self) -> None:  # noqa: N802 (Twisted's name)
        """Nobody is there."""


FACTORY = SocketFactory(InterfaceSettings(), Clock())  # type: ignore[arg-type]


def opened(listener: Listener, writer: Any, extension: str = "") -> SocketProtocol:
    offer = Offer(b"AAAAAAAAAAAAAAAAAAAAAA==", (), extension)
    return FACTORY.open(listener, writer, Transport(), offer, None, ())  # type: ignore[arg-type]


def resumed(listener: Listener, writer: Any, windows: tuple[int, int] | None = None) -> SocketProtocol:
    return FACTORY.resume(listener, writer, Transport(), windows)  # type: ignore[arg-type]


def feed(socket: SocketProtocol, data: bytes) -> None:
    socket.feed(data)
    while socket.later:
        socket.feed(b"")


def frame(opcode: int, payload: bytes, fin: bool, rng: random.Random, rsv1: bool = False) -> bytes:
    mask = rng.randbytes(4)
    first = opcode | (0x80 if fin else 0) | (0x40 if rsv1 else 0)
    size = len(payload)
    head = bytes((first, 0x80 | size)) if size < 126 else bytes((first, 0xFE)) + struct.pack("!H", size)
    return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


def said_by(seed: int) -> bytes:
    """What a client says: plain and fragmented messages, with pings between fragments."""
    rng = random.Random(seed)
    said = b""
    for _ in range(4):
        text = "".join(rng.choice("aäß€😀 xyz") for _ in range(rng.randrange(200))).encode()
        opcode = rng.choice((1, 2))
        cuts = sorted(rng.randrange(len(text) + 1) for _ in range(rng.randrange(4)))
        parts = [text[one:other] for one, other in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        for number, part in enumerate(parts):
            said += frame(0 if number else opcode, part, number == len(parts) - 1, rng)
            if rng.random() < 0.4:
                said += frame(9, rng.randbytes(rng.randrange(20)), True, rng)
    return said


@settings(max_examples=400, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.floats(0, 1), min_size=1, max_size=3))
def test_wherever_the_bytes_of_a_client_are_cut(seed: int, cuts: list[float]) -> None:
    said = said_by(seed)
    whole, whole_writer = Listener(), Writer()
    feed(opened(whole, whole_writer), said)
    listener, writer = Listener(), Writer()
    socket, at = opened(listener, writer), 0
    for cut in sorted(int(part * len(said)) for part in cuts):
        feed(socket, said[at:cut])
        at = cut
        begun = socket.begun()
        assert begun is not None
        socket = resumed(listener, writer)
        feed(socket, begun)
    feed(socket, said[at:])
    assert listener.heard == whole.heard
    assert writer.written == whole_writer.written


@pytest.mark.parametrize("cut", [0, 1, 5])
def test_a_client_that_may_compress_still_may_and_a_message_that_was_begun_so_cannot_go_on(cut: int) -> None:
    rng = random.Random(cut)
    deflater = zlib.compressobj(wbits=-15)
    packed = (deflater.compress(b"said " * 40) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]
    said = frame(1, packed, True, rng, rsv1=True)
    listener, writer = Listener(), Writer()
    socket = opened(listener, writer, "permessage-deflate; client_max_window_bits")
    feed(socket, said[:cut])
    begun, windows = socket.begun(), socket.both_window_bits
    assert windows == WINDOWS
    assert begun == said[:cut]
    after = resumed(listener, writer, windows)
    assert after.window_bits == socket.window_bits
    feed(after, begun + said[cut:])
    assert listener.heard == [("said " * 40, len(packed))]
    feed(after, said[:-1])
    assert after.begun() is None

"""Autobahn made small and fast behaves as Autobahn does."""

# ruff: noqa: N802, N803, N815 (Twisted's and Autobahn's names)

from __future__ import annotations

import ast
import inspect
import itertools
import logging
import random
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket import protocol as autobahn_protocol
from autobahn.websocket.utf8validator import Utf8Validator
from twisted.internet.task import Clock

import headrace_interface
from headrace_asgi.contract import Outcome
from headrace_interface.context import ServerContext
from headrace_interface.settings import InterfaceSettings
from headrace_interface.websocket import autobahn
from headrace_interface.websocket.autobahn import (
    BEYOND_THE_INTERFACE,
    OPEN,
    SocketFactory,
    Utf8Check,
    socket_factory,
)
from headrace_interface.websocket.handshake import Offer, canonical_head
from headrace_interface.websocket.protocol import WebSocketShell
from tests.support.websocket_lab import KEY, make_head, masked

LIMIT = 2000
SETTINGS = InterfaceSettings(
    max_websocket_message_bytes=LIMIT, max_websocket_frame_bytes=LIMIT, max_unanswered_bytes=1 << 20
)
DEFLATE = (b"sec-websocket-extensions", b"permessage-deflate; client_max_window_bits")

Event = tuple[str, Any]


class DirectTransport:
    """A transport that notes what is done to it."""

    def __init__(self, events: list[Event]) -> None:
        self.events = events

    def write(self, data: bytes) -> None:
        self.events.append(("write", data))

    def loseConnection(self) -> None:
        self.events.append(("lose", None))

    def abortConnection(self) -> None:
        self.events.append(("abort", None))

    def unregisterProducer(self) -> None:
        pass

    pauseProducing = resumeProducing = unregisterProducer

    def getPeer(self) -> None:
        return None

    getHost = getPeer


class Port:
    """A port that notes the frames; what it says of them comes later if it has a `clock`."""

    process = "hr1.0.x!"

    def __init__(self, events: list[Event]) -> None:
        self.events = events
        self.clock: Clock | None = None

    def connect(self, *args: Any) -> None:
        args[-1](Outcome.SENT)

    def frame(self, local: str, message: Any, order: int, ordered: bool, done: Any) -> None:
        self.events.append(("message", message.get("text", message.get("bytes"))))
        if self.clock is None:
            done(Outcome.SENT)
        else:
            self.clock.callLater(0, done, Outcome.SENT)

    def disconnect(self, *args: Any) -> None:
        self.events.append(("closed", args[1]["code"]))


class Plain(WebSocketServerProtocol):
    """Autobahn as it comes."""

    events: list[Event]

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.events.append(("message", payload if isBinary else payload.decode()))

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        self.events.append(("closed", 1005 if code is None else code))


def ours(compressed: bool, settings: InterfaceSettings = SETTINGS) -> tuple[Any, list[Event]]:
    events: list[Event] = []
    port: Any = Port(events)
    context = ServerContext(settings, port, Clock())
    context.layer_up = True
    shell = WebSocketShell(context, DirectTransport(events), make_head(extra=[DEFLATE] if compressed else []))
    shell.start()
    shell.control("verdict", {"ordered": False})
    shell.reply({"accept": True})
    assert events.pop()[1].startswith(b"HTTP/1.1 101 ")
    return shell, events


def narrow(compressed: bool) -> tuple[Any, list[Event]]:
    """Ours, of which only one message at a time may wait for the layer."""
    shell, events = ours(compressed, replace(SETTINGS, max_unanswered_messages=1))
    shell._context.port.clock = shell._context.clock
    return shell, events


def theirs(compressed: bool) -> tuple[Any, list[Event]]:
    events: list[Event] = []
    factory = WebSocketServerFactory(reactor=Clock(), server="headrace")
    model = SocketFactory(SETTINGS, Clock())
    factory.setProtocolOptions(
        failByDrop=False,
        openHandshakeTimeout=0,
        closeHandshakeTimeout=0,
        maxFramePayloadSize=LIMIT,
        maxMessagePayloadSize=LIMIT,
        perMessageCompressionAccept=model.perMessageCompressionAccept,
    )
    factory.protocol = Plain
    socket = factory.buildProtocol(None)
    socket.events = events
    extension = DEFLATE[1].decode() if compressed else ""
    socket.makeConnection(DirectTransport(events))
    socket.dataReceived(canonical_head(Offer(KEY, (), extension), None))
    assert events.pop()[1].startswith(b"HTTP/1.1 101 ")
    return socket, events


def deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return (packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


def text(rng: random.Random, size: int) -> bytes:
    return "".join(rng.choice("abcé€🦆") for _ in range(size)).encode()


def bad_length(rng: random.Random) -> bytes:
    size = rng.choice([0, 5, 125])
    if rng.random() < 0.5:
        return b"\x82\xfe" + struct.pack("!H", size) + b"abcd" + b"x" * size
    return b"\x82\xff" + struct.pack("!Q", rng.choice([size, 1000, 65535, 1 << 63])) + b"abcd" + b"x" * size


GOOD: list[Callable[[random.Random], bytes]] = [
    lambda rng: masked(1, text(rng, rng.choice([0, 1, 10, 60]))),
    lambda rng: masked(2, rng.randbytes(rng.choice([0, 1, 7, 125, 126, 130, 1030, LIMIT]))),
    lambda rng: masked(1, text(rng, 5), fin=False) + masked(0, text(rng, 5)),
    lambda rng: (
        masked(2, b"ab", fin=False) + masked(9, b"in between") + masked(0, b"", fin=False) + masked(0, b"c")
    ),
    lambda rng: masked(1, b"\xe2\x82", fin=False) + masked(0, b"\xac"),
    lambda rng: masked(9, rng.randbytes(rng.choice([0, 4, 125]))),
    lambda rng: masked(10, b"unasked"),
]
DEFLATED: list[Callable[[random.Random], bytes]] = [
    lambda rng: masked(1, deflated(text(rng, 300)), rsv=4),
    lambda rng: masked(2, deflated(b"x" * LIMIT), rsv=4),
    lambda rng: masked(1, deflated(b"hello")[:3], rsv=4, fin=False) + masked(0, deflated(b"hello")[3:]),
]
BAD: list[Callable[[random.Random], bytes]] = [
    lambda rng: masked(1, b"\xc0\x80"),
    lambda rng: masked(1, b"\xed\xa0\x80"),
    lambda rng: masked(1, b"abc\xe2\x82"),
    lambda rng: masked(1, b"ok", fin=False) + masked(0, b"\xff"),
    lambda rng: masked(1, b"one", fin=False) + masked(1, b"two"),
    lambda rng: masked(0, b"of nothing"),
    lambda rng: masked(rng.choice([3, 7, 11, 15]), b"reserved"),
    lambda rng: masked(1, b"rsv", rsv=rng.choice([1, 2, 3, 4, 5, 6, 7])),
    lambda rng: masked(9, b"x" * 126),
    lambda rng: masked(9, b"cut", fin=False),
    lambda rng: b"\x81\x03abc",
    bad_length,
    lambda rng: masked(2, b"x" * (LIMIT + 1)),
    lambda rng: b"\x82\xff" + struct.pack("!Q", 1 << 30) + b"abcd" + b"x" * 50,
    lambda rng: masked(2, b"x" * LIMIT, fin=False) + masked(0, b"y"),
    lambda rng: masked(8, b""),
    lambda rng: masked(8, b"\x03"),
    lambda rng: masked(
        8, struct.pack("!H", rng.choice([0, 999, 1000, 1001, 1005, 1006, 1015, 3000, 4999, 5000]))
    ),
    lambda rng: masked(8, b"\x03\xe8\xff"),
    lambda rng: masked(1, deflated(b"x" * (LIMIT + 1)), rsv=4),
    lambda rng: masked(1, b"\x06\x06\x06\x06", rsv=4),
]


def conversation(rng: random.Random, compressed: bool) -> bytes:
    good = GOOD + DEFLATED * 2 if compressed else GOOD
    data = b"".join(rng.choice(good)(rng) for _ in range(rng.randrange(0, 5)))
    if rng.random() < 0.7:
        data += rng.choice(BAD)(rng)
    return data + b"".join(rng.choice(good)(rng) for _ in range(rng.randrange(0, 3)))


def run(
    make: Callable[[bool], tuple[Any, list[Event]]], compressed: bool, pieces: list[bytes]
) -> list[Event]:
    """Everything that comes of some bytes; writes next to each other are one."""
    socket, events = make(compressed)
    for piece in pieces:
        socket.dataReceived(piece)
        for _ in range(1000):
            if not isinstance(socket, WebSocketShell) or not (
                socket._reader._ws.later or socket._reader.paused
            ):
                break
            socket._context.clock.advance(0)
    joined: list[Event] = []
    for kind, value in events:
        if kind == "write" and joined and joined[-1][0] == "write":
            joined[-1] = ("write", joined[-1][1] + value)
        else:
            joined.append((kind, value))
    return joined


def cut(data: bytes, *at: int) -> list[bytes]:
    marks = [0, *sorted(at), len(data)]
    return [data[start:stop] for start, stop in itertools.pairwise(marks)]


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.seeds(150)
def test_the_fast_path_equals_plain_autobahn(seed: int, compressed: bool) -> None:
    """The same bytes, cut the same way, give the same messages, answers and ends, in the same order."""
    rng = random.Random(seed)
    data = conversation(rng, compressed)
    expected = run(theirs, compressed, [data])
    assert run(ours, compressed, [data]) == expected
    for _ in range(4):
        marks = [rng.randrange(len(data) + 1) for _ in range(rng.randrange(1, 12))]
        pieces = cut(data, *marks)
        assert run(ours, compressed, pieces) == run(theirs, compressed, pieces)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("number", range(len(BAD)))
def test_every_cut_of_every_violation_gives_the_same(number: int, compressed: bool) -> None:
    rng = random.Random(number)
    data = masked(1, b"a") + BAD[number](rng) + masked(1, b"b")
    places = range(len(data)) if len(data) < 300 else [*range(40), *range(len(data) - 40, len(data))]
    for place in places:
        pieces = cut(data, place)
        assert run(ours, compressed, pieces) == run(theirs, compressed, pieces), place


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.seeds(150)
def test_what_is_looked_at_message_by_message_is_the_same_as_at_once(seed: int, compressed: bool) -> None:
    rng = random.Random(seed)
    data = conversation(rng, compressed)
    assert run(narrow, compressed, [data]) == run(theirs, compressed, [data])
    pieces = cut(data, *(rng.randrange(len(data) + 1) for _ in range(rng.randrange(1, 12))))
    assert run(narrow, compressed, pieces) == run(theirs, compressed, pieces)


def test_byte_by_byte_is_the_same_as_at_once() -> None:
    rng = random.Random(7)
    data = b"".join(make(rng) for make in GOOD)
    pieces = [data[at : at + 1] for at in range(len(data))]
    messages = [event for event in run(ours, False, pieces) if event[0] == "message"]
    assert messages == [event for event in run(ours, False, [data]) if event[0] == "message"]
    assert run(ours, False, pieces) == run(theirs, False, pieces)


#: What Autobahn documents of a protocol, or Twisted of any.
DOCUMENTED = {"connectionMade", "factory", "makeConnection", "onClose", "onConnect", "onMessageBegin"}
DOCUMENTED |= {"onMessageEnd", "onMessageFrame", "onMessageFrameBegin", "onPing", "onPong", "transport"}


def used_of_autobahn() -> set[str]:
    """Names of Autobahn's protocol that our subclass touches or replaces."""
    tree = ast.parse(inspect.getsource(autobahn.SocketProtocol))
    own = {name for name in vars(autobahn.SocketProtocol) if not hasattr(WebSocketServerProtocol, name)}
    read = {node.attr for node in ast.walk(tree) if is_of_self(node)}
    replaced = {name for name in vars(autobahn.SocketProtocol) if hasattr(WebSocketServerProtocol, name)}
    return {name for name in (read - own) | replaced if not name.startswith("__")}


def is_of_self(node: ast.AST) -> bool:
    """`self.x`, `super().x`."""
    if not isinstance(node, ast.Attribute):
        return False
    value = node.value
    return (isinstance(value, ast.Name) and value.id == "self") or (
        isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "super"
    )


def test_all_that_is_used_of_autobahn_is_named_with_its_reason() -> None:
    named = BEYOND_THE_INTERFACE.keys() | DOCUMENTED
    assert used_of_autobahn() - named - {"log", "peer"} == set()


@pytest.mark.parametrize("name", [*BEYOND_THE_INTERFACE, *sorted(DOCUMENTED)])
def test_what_is_used_of_autobahn_is_still_there(name: str) -> None:
    socket, _ = theirs(compressed=True)
    socket.dataReceived(masked(1, b"a", fin=False) + masked(9, b"ping"))
    reason = BEYOND_THE_INTERFACE.get(name, "it is documented")
    assert hasattr(socket, name), f"This Autobahn has no {name}: {reason}."


def test_what_is_used_of_autobahns_compression_and_frames_is_still_there() -> None:
    socket, _ = theirs(compressed=True)
    assert socket._perMessageCompress.server_max_window_bits == 15, "messages would not be compressed"
    assert hasattr(socket._perMessageCompress, "_decompressor"), "an idle socket would keep 40 KB"
    socket.dataReceived(masked(1, b"abc")[:-1])
    assert (socket.current_frame.length, socket.current_frame.fin) == (3, True), "frames could not be sliced"
    assert socket.current_frame_masker.pointer() == 2, "frames could not be sliced"


def test_nobody_else_reaches_into_autobahn() -> None:
    everyday = {"data", "is_open", "is_closed", "state"}  # names of other things as well
    package = Path(headrace_interface.__file__).parent
    for path in package.rglob("*.py"):
        if path == Path(autobahn.__file__):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert names & (BEYOND_THE_INTERFACE.keys() - everyday) == set(), path


def test_autobahn_itself_is_left_as_it_is_for_others_in_this_process() -> None:
    """Our options and overrides are on classes of our own."""
    socket_factory(ServerContext(SETTINGS, Port([]), Clock()))  # type: ignore[arg-type]
    assert WebSocketServerProtocol.CONFIG_ATTRS
    for name, value in vars(autobahn_protocol).items():
        module = getattr(value, "__module__", "") or ""
        assert not module.startswith("headrace"), name
    for owner in (WebSocketServerProtocol, *WebSocketServerProtocol.__mro__[1:-1]):
        for name, value in vars(owner).items():
            assert not (getattr(value, "__module__", "") or "").startswith("headrace"), f"{owner}.{name}"


def test_an_open_socket_holds_only_what_is_its_own() -> None:
    shell, _ = ours(compressed=False)
    assert len(vars(shell._reader._ws)) <= 8
    assert shell._reader._ws.state == OPEN


def test_no_window_outlives_its_message() -> None:
    shell, _ = ours(compressed=True)
    shell.dataReceived(masked(1, deflated(b"hello"), rsv=4))
    assert shell._reader._ws._perMessageCompress._decompressor is None
    assert shell._reader._ws._perMessageCompress._compressor is None


def test_no_context_is_taken_over_in_either_direction() -> None:
    events: list[Event] = []
    factory = SocketFactory(SETTINGS, Clock())
    factory.open(
        None,
        None,
        DirectTransport(events),
        Offer(KEY, (), "permessage-deflate; server_no_context_takeover"),
        None,
        (),
    )
    head = events[0][1]
    assert b"permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n" in head


def test_a_site_has_one_factory() -> None:
    port: Any = Port([])
    context = ServerContext(SETTINGS, port, Clock())
    assert socket_factory(context) is socket_factory(context)


def test_no_limit_is_no_limit() -> None:
    settings = InterfaceSettings(max_websocket_message_bytes=0, max_websocket_frame_bytes=500)
    assert SocketFactory(settings, Clock()).protocol.plain_limit == 500
    settings = InterfaceSettings(max_websocket_message_bytes=0, max_websocket_frame_bytes=0)
    assert SocketFactory(settings, Clock()).protocol.plain_limit > 1 << 60


def test_what_a_client_did_wrong_is_one_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "headrace.interface")
    shell, _ = ours(compressed=False)
    shell.dataReceived(b"\x81\x03abc")
    (record,) = caplog.records
    assert record.levelno == logging.INFO
    assert "unmasked" in record.getMessage()


@pytest.mark.seeds(300)
def test_text_is_judged_as_by_autobahn_wherever_it_is_cut_and_damaged(seed: int) -> None:
    rng = random.Random(seed)
    data = bytearray("".join(rng.choices("a\u00e9\u20ac\ud7ff\ue000\U0001f600\U0010ffff", k=20)).encode())
    for _ in range(rng.choice([0, 1, 2])):
        data[rng.randrange(len(data))] = rng.choice(
            [0x00, 0x80, 0xBF, 0xC0, 0xC1, 0xED, 0xF0, 0xF4, 0xF5, 0xFF]
        )
    ours, theirs = Utf8Check(), Utf8Validator()
    for _ in range(2):
        ours.reset()
        theirs.reset()
        cuts = sorted(rng.choices(range(len(data) + 1), k=4))
        for start, stop in itertools.pairwise([0, *cuts, len(data)]):
            verdict = ours.validate(bytes(data[start:stop]))
            assert verdict == tuple(theirs.validate(bytes(data[start:stop])))
            if not verdict[0]:
                break

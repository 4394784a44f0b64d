"""Autobahn's protocol for a socket that was accepted, made small, and its factory.

Autobahn answers the canonical head with the 101 and from then on has everything that is not a plain frame:
fragments, control frames, compression, violations, the closing handshake. An instance keeps only what differs
between sockets; the rest of what Autobahn stores per connection is the same on all of them and lives on the
class. Autobahn's own timers are off: they run on the global reactor, in whole seconds.

This is the one door to Autobahn's parser: `BEYOND_THE_INTERFACE` names all that is used of it and not
documented, and nobody else in this package touches any of that.
"""

# ruff: noqa: N802, N803, N815 (Autobahn's names, called by Autobahn)

from __future__ import annotations

import logging
import sys
from codecs import utf_8_decode
from typing import TYPE_CHECKING, Any, Protocol, cast
from weakref import WeakKeyDictionary

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.compress import (
    PerMessageDeflate,
    PerMessageDeflateOffer,
    PerMessageDeflateOfferAccept,
)

from headrace_asgi.close_codes import NO_CODE

from .actions import Headers
from .frames import client_frame, close_body, end_of_frames, take_controls, take_messages
from .handshake import Offer, canonical_head

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from twisted.internet.interfaces import IReactorTime, ITransport

    from ..context import ServerContext
    from ..settings import InterfaceSettings
    from .writer import FrameWriter

__all__ = [
    "BEYOND_THE_INTERFACE",
    "OPEN",
    "SocketFactory",
    "SocketProtocol",
    "Utf8Check",
    "socket_factory",
]

logger = logging.getLogger("headrace.interface")

#: Autobahn's name for the state after the 101 and before any close frame.
OPEN: int = WebSocketServerProtocol.STATE_OPEN
#: And for that after its end.
CLOSED: int = WebSocketServerProtocol.STATE_CLOSED

#: What differs from socket to socket; everything else is dropped from an instance once it is open.
_OWN = (
    "factory", "transport", "connected", "reader", "writer", "state", "utf8validator", "_perMessageCompress",
)  # fmt: skip

#: Bytes of small frames given to Autobahn at once: for each frame it copies all that lies behind it.
_SLICE_BYTES = 256
#: What a slice of a compressed message may become, going by the slices before: some two milliseconds' work.
_INFLATED_BYTES = 128 * 1024
#: Slices of one client's bytes in a turn of the reactor, with at most 86 frames: others wait 1 ms for them.
_TURN_SLICES = 2
#: RFC 6455 5.2: those above are of control frames.
_LAST_DATA_OPCODE = 7
#: A handshake that nobody sees.
_PLAIN_OFFER = Offer(b"AAAAAAAAAAAAAAAAAAAAAA==", (), "")
#: Pieces of a message that are kept apart; a piece of one byte takes 40.
_MOST_PIECES = 1024


#: What is used of Autobahn's protocol though it is not documented: what for, and what breaks without it.
BEYOND_THE_INTERFACE: Mapping[str, str] = {
    "CONFIG_ATTRS": "options live on the class and are not copied; else a handshake takes four times as long",
    "STATE_CONNECTING": "tells the handshake from frames; else the 101 is never written",
    "STATE_OPEN": "tells an open socket; else no frame is read here, and a close is not noticed",
    "STATE_CLOSED": "ends the reading; else frames behind a close are read",
    "_closeConnection": "what waits for the client goes before the end; else the last frames are lost",
    "_connectionLost": "ends a socket by the words of Autobahn; else no disconnect is told",
    "_connectionMade": "begins a socket without texts that nobody reads; else handshakes are slow",
    "_isMessageCompressed": "slices what is inflated; else one message holds up all others",
    "_onOpen": "is nothing; else each socket makes a Deferred's callbacks",
    "_perMessageCompress": "drops the window with each message; else an idle socket keeps 40 KB",
    "_transport_details": "is not made; else each socket holds texts about its connection",
    "consumeData": "stops where the client is to wait; else there is no bound on what is inflated",
    "current_frame": "whether a frame was begun; else frames are read from their middle",
    "current_frame_masker": "how much of a frame was read; else slices do not end with the frame",
    "control_frame_data": "what came of a control frame; else an upgrade loses the beginning of a ping",
    "data": "what Autobahn has yet to read; else bytes are lost between it and the fast path",
    "frame_data": "what came of a frame; else an upgrade loses the beginning of a message",
    "failedByMe": "messages behind a violation are dropped; else they reach the application",
    "inside_message": "whether fragments follow; else a message among them is read as plain",
    "is_closed": "two Deferreds that nobody waits for are not made; else a socket weighs 1 KB more",
    "is_open": "see is_closed",
    "message_data": "the pieces of a message; else a message of small fragments weighs many times its size",
    "message_data_total_length": "what was inflated so far; else slices of a bomb are too large",
    "message_is_binary": "text or bytes; else every message is text",
    "processData": "reads one frame; else nothing that is not plain is read",
    "sendCloseFrame": "begins the closing handshake; else sockets are cut off",
    "sendData": "what Autobahn writes waits its turn; else it overtakes frames that wait",
    "state": "see STATE_OPEN",
    "utf8validator": "a quick one takes its place; else text is checked twenty times slower",
}


class SocketListener(Protocol):
    """Who hears what a client says that is not plain, and decides how fast: a `FrameReader`."""

    @property
    def local(self) -> str:
        """Which socket this is, in log lines."""

    @property
    def paused(self) -> bool:
        """Whether nothing more of what the client sent may be looked at now."""

    def on_unread(self) -> None:
        """Not all that was received was looked at."""

    def on_message(self, data: bytes, is_binary: bool, received_bytes: int) -> None:
        """A message, whole and valid; `received_bytes` of it came, before inflation."""

    def on_controls(self, count: int) -> None:
        """Frames that carry nothing."""

    def on_close(self, code: int) -> None:
        """The connection is gone; `code` is the client's, or 1006."""


class _Log:
    """Autobahn's log calls: what clients did wrong is of interest, the rest costs more than it tells."""

    def debug(self, *_: Any, **__: Any) -> None:
        """Nothing."""

    trace = info = debug

    def warn(self, text: str, **values: Any) -> None:
        """A client broke the protocol or vanished; the socket is closed or closing."""
        if logger.isEnabledFor(logging.INFO):
            logger.info("Autobahn: %s", text.format(**values) if values else text)

    def error(self, text: str, **values: Any) -> None:
        """Something failed inside Autobahn."""
        logger.error("Autobahn: %s", text.format(**values) if values else text)

    failure = critical = error


class _Unheard:
    """In the place of two Deferreds per socket that nobody waits for."""

    called = False

    def callback(self, _: Any) -> None:
        """Nothing."""

    errback = callback


class Utf8Check:
    """Checks the text of a message as it comes, in a twentieth of the time that Autobahn's takes."""

    __slots__ = ("_read", "_rest")

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """A message begins."""
        #: Bytes of whole characters read, and the beginning of one more.
        self._read, self._rest = 0, b""

    def validate(self, data: bytes) -> tuple[bool, bool, int, int]:
        """Whether this goes on well, whether it ends with a character, and where: in `data`, in all."""
        unread = self._rest + data
        try:
            _, used = utf_8_decode(unread, "strict", False)
        except UnicodeDecodeError as error:
            wrong = error.start if error.reason == "invalid start byte" else error.end
            return False, False, max(0, wrong - len(self._rest)), self._read + wrong
        self._rest = unread[used:]
        self._read += used
        return True, not self._rest, len(data), self._read + len(self._rest)


class SocketProtocol(WebSocketServerProtocol):
    """One accepted socket. What its client says goes to `reader`, what it is told to `writer`.

    Autobahn gets the client's bytes a slice at a time, and a few slices a turn: a read full of small frames
    holds up nobody else. What it has not got yet waits in `later`, and the client is not read meanwhile.
    """

    log = _Log()
    is_open = is_closed = _Unheard()
    _transport_details = None  # type: ignore[assignment]
    reader: Any = None
    writer: Any = None
    #: What came of the present message, before inflation.
    received_bytes = 0
    #: Autobahn sets it with the first message.
    _isMessageCompressed = False
    #: What `onConnect` answers: subprotocol and headers.
    accepted: tuple[str | None, dict[str, list[str]]] = (None, {})
    #: Received, and not given to Autobahn yet.
    later = b""
    #: Most bytes of a message that is read without Autobahn.
    plain_limit = 0

    def __init__(self) -> None:
        # Not the base's: it makes two Deferreds and a list of observers for each socket.
        pass

    @property
    def peer(self) -> str:  # type: ignore[override]
        """Who this is, in log lines."""
        return str(getattr(self.reader, "local", ""))

    def connectionMade(self) -> None:
        """Not the base's: it describes the transport in texts that nobody reads."""
        self._connectionMade()
        self.utf8validator: Any = Utf8Check()

    def onConnect(self, request: Any) -> Any:
        return self.accepted

    def _onOpen(self) -> None:
        pass

    def consumeData(self) -> None:
        """Not the base's: it goes on to the end of what it has, whatever that inflates to.

        Behind a message for which the reader paused the client, the rest stays in `data` until this is called
        again.
        """
        if self.state == self.STATE_CONNECTING:
            super().consumeData()
            return
        while self.state != CLOSED and (self.inside_message or not self.reader.paused) and self.processData():
            pass

    def take_messages(self, data: bytes, limit: int) -> tuple[Sequence[str | bytes], int]:
        """Read up to `limit` plain messages at the head of `data`: them, and how many bytes they took.

        None while Autobahn has the beginning of something, or the socket is closing.
        """
        if (
            self.state != OPEN
            or self.current_frame is not None
            or self.data
            or self.later
            or self.inside_message
        ):
            return (), 0
        return take_messages(data, self.plain_limit, limit)

    def keep(self, data: bytes) -> None:
        """Keep this for later: the client is paused."""
        self.later += data

    def feed(self, data: bytes) -> None:
        """What does not begin with a plain message."""
        self.later = self._read(self.later + data)
        if self.later or (self.data and self.reader.paused):
            self.reader.on_unread()

    @property
    def closing(self) -> bool:
        """Whether a close frame was sent or received, or all is over."""
        return self.state != OPEN

    def begin_close(self, code: int, reason: str) -> None:
        """Send a close frame, and await the client's."""
        self.sendCloseFrame(code, close_body(reason) or None)

    def lost(self, reason: Any) -> None:
        """The connection is gone; the reader's `on_close` is called."""
        self._connectionLost(reason)

    def unread(self) -> bytes:
        """Take back what was received and not looked at."""
        data, self.later = self.later, b""
        if self.data and self.current_frame is None:
            data, self.data = self.data + data, b""
        return data

    def begun(self) -> bytes | None:
        """What a socket has to be fed to be where this one is: all that came of messages that are not whole.

        None if that cannot be said: of a compressed message only what it became is kept.
        """
        if self.inside_message and self._isMessageCompressed:
            return None
        frame: Any = self.current_frame
        earlier = b""
        if self.inside_message and (frame is None or frame.opcode > _LAST_DATA_OPCODE or not frame.opcode):
            whole = b"".join(self.message_data)
            earlier = client_frame(2 if self.message_is_binary else 1, False, bytes(4), len(whole), whole)
        if frame is None:
            return earlier + self.data + self.later
        came = self.control_frame_data if frame.opcode > _LAST_DATA_OPCODE else self.frame_data
        begun = client_frame(frame.opcode, frame.fin, frame.mask, frame.length, b"".join(came or ()))
        return earlier + begun + self.data + self.later

    def _read(self, data: bytes) -> bytes:
        """Read until the turn or the reader's patience is over; what is left."""
        if self.data and self.current_frame is None:
            self.data, data = b"", self.data + data  # the beginning of a head
        at, slices = 0, 0
        while at < len(data) and self.state != CLOSED:
            if slices == _TURN_SLICES or self.reader.paused:
                return data[at:]
            frame = self.current_frame
            if frame is None:
                pings, count, at = take_controls(data, at)
                if count:
                    self._controls(pings, count)
                stop = end_of_frames(data, at, _SLICE_BYTES)
            else:
                stop = at + frame.length - self.current_frame_masker.pointer()
                if stop == at:
                    return b""  # what cannot be inflated has no end: nothing can be read any more
                if self._isMessageCompressed:
                    stop = min(stop, at + self._inflatable(frame.length))
            self.data += data[at:stop]
            at = stop
            slices += 1
            self.consumeData()
        return b""

    def _inflatable(self, frame_bytes: int) -> int:
        """How many bytes of this compressed message to inflate at once: each may become a thousand."""
        read: int = self.current_frame_masker.pointer()
        inflated = self.message_data_total_length - (frame_bytes - read)
        return max(_SLICE_BYTES, _INFLATED_BYTES * read // max(inflated, 1))

    def _controls(self, pings: list[bytes], count: int) -> None:
        if self.state == OPEN:
            if pings:
                self.writer.pong(pings)
            self.reader.on_controls(count)

    def onMessageFrameBegin(self, length: int) -> None:
        super().onMessageFrameBegin(length)
        self.received_bytes += length
        if not length and not self.current_frame.fin:
            self._controls([], 1)

    def onMessageFrame(self, payload: list[bytes]) -> None:  # type: ignore[override]
        super().onMessageFrame(payload)  # type: ignore[arg-type]
        if len(self.message_data) > _MOST_PIECES:
            self.message_data = [b"".join(self.message_data)]

    def onMessageEnd(self) -> None:
        """A whole message that was not plain. Not the base's: it notifies observers through Deferreds."""
        data, self.message_data = self.message_data, []
        received_bytes, self.received_bytes = self.received_bytes, 0
        if self.failedByMe:
            return
        if self._perMessageCompress is not None:
            # Each message starts anew (no context takeover): 40 KB that an idle socket need not keep.
            self._perMessageCompress._decompressor = None
        self.reader.on_message(b"".join(data), self.message_is_binary, received_bytes)

    def onPing(self, payload: bytes) -> None:
        self._controls([payload], 1)

    def onPong(self, payload: bytes) -> None:
        self._controls([], 1)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        self.reader.on_close(NO_CODE if code is None else code)

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:
        """Not the base's: it formats a debug line per frame, and passes by what waits for the client."""
        target: Any = self.transport
        if self.writer is None:
            target.write(data)
        else:
            self.writer.write(data)

    def _closeConnection(self, abort: bool = False) -> None:
        if not abort and self.writer is not None:
            self.writer.release()
        super()._closeConnection(abort)

    @property
    def window_bits(self) -> int:
        """The largest window for messages to this client, or 0 if they may not be compressed."""
        compress = self._perMessageCompress
        return compress.server_max_window_bits if compress is not None else 0

    @property
    def both_window_bits(self) -> tuple[int, int] | None:
        """The largest windows of server and client, if messages may be compressed."""
        compress = self._perMessageCompress
        return (
            None if compress is None else (compress.server_max_window_bits, compress.client_max_window_bits)
        )

    def slim(self) -> None:
        """Keep what is this socket's own; the rest is found on the class."""
        own = self.__dict__
        self.__dict__ = {name: own[name] for name in _OWN if name in own}


class SocketFactory(WebSocketServerFactory):
    """Options that all sockets of a process share, and the class made for them."""

    def __init__(self, settings: InterfaceSettings, clock: IReactorTime) -> None:
        """Take the size limits from `settings`. Does not block."""
        base: Any = super()
        base.__init__(server=settings.server_name.decode("latin-1") or None, reactor=clock)
        base.setProtocolOptions(
            versions=[13],
            webStatus=False,
            # A violation is answered with its close code, not with a dropped connection.
            failByDrop=False,
            openHandshakeTimeout=0,
            closeHandshakeTimeout=0,
            maxFramePayloadSize=settings.max_websocket_frame_bytes,
            maxMessagePayloadSize=settings.max_websocket_message_bytes,
            perMessageCompressionAccept=_accept_deflate,
            allowNullOrigin=True,
        )
        options = {name: getattr(self, name) for name in WebSocketServerProtocol.CONFIG_ATTRS}
        options["perMessageCompressionAccept"] = staticmethod(_accept_deflate)
        # All are on the class: none is to be copied to each socket, and formatted for a line of the log.
        options["CONFIG_ATTRS"] = ()
        options["plain_limit"] = _least(self.maxFramePayloadSize, self.maxMessagePayloadSize)
        self.protocol: Any = type("SocketProtocol", (SocketProtocol,), options)
        self._share_defaults()

    def open(
        self,
        reader: SocketListener,
        writer: FrameWriter,
        transport: ITransport,
        offer: Offer,
        subprotocol: str | None,
        headers: Headers,
    ) -> SocketProtocol:
        """Write the 101 for a checked acceptance.

        Raises RuntimeError if Autobahn does not do so: our checks let something pass that it refuses.
        """
        socket = self._shake_hands(reader, writer, transport, offer, subprotocol, headers)
        socket.slim()
        return socket

    def resume(
        self,
        reader: SocketListener,
        writer: FrameWriter,
        transport: ITransport,
        window_bits: tuple[int, int] | None,
    ) -> SocketProtocol:
        """A socket that is open already; `window_bits` of the server and the client, if it may compress."""
        socket = self._shake_hands(reader, None, _Nowhere(), _PLAIN_OFFER, None, ())
        socket.writer, socket.transport = writer, transport
        if window_bits is not None:
            compress: Any = PerMessageDeflate
            socket._perMessageCompress = compress(True, True, True, *window_bits, None)
        socket.slim()
        return socket

    def _shake_hands(
        self,
        reader: SocketListener | None,
        writer: FrameWriter | None,
        transport: Any,
        offer: Offer,
        subprotocol: str | None,
        headers: Headers,
    ) -> SocketProtocol:
        socket: SocketProtocol = self.protocol()
        socket.factory = self
        socket.reader, socket.writer = reader, writer
        socket.accepted = (subprotocol, _as_dict(headers))
        socket.makeConnection(transport)  # type: ignore[no-untyped-call]
        socket.data = canonical_head(offer, subprotocol)
        socket.consumeData()
        if socket.state != OPEN:
            raise RuntimeError("Autobahn does not answer the canonical head with 101")
        return socket

    def _share_defaults(self) -> None:
        """Open a socket to nobody and keep on the class what every open socket holds."""
        model = self._shake_hands(None, None, _Nowhere(), _PLAIN_OFFER, None, ())
        for name, value in vars(model).items():
            if name not in _OWN:
                setattr(self.protocol, name, value)


def _least(*limits: int) -> int:
    """The smallest limit; 0 is none."""
    return min([limit for limit in limits if limit], default=sys.maxsize)


def _accept_deflate(offers: list[PerMessageDeflateOffer]) -> PerMessageDeflateOfferAccept:
    # No context takeover in either direction: neither side keeps a window for an idle socket.
    accept: Any = PerMessageDeflateOfferAccept
    return cast(
        PerMessageDeflateOfferAccept,
        accept(offers[0], request_no_context_takeover=True, no_context_takeover=True),
    )


def _as_dict(headers: Headers) -> dict[str, list[str]]:
    """Autobahn's form of headers; values of a repeated name stay apart (Set-Cookie)."""
    listed: dict[str, list[str]] = {}
    for name, value in headers:
        listed.setdefault(name.decode("ascii"), []).append(value.decode())
    return listed


_factories: WeakKeyDictionary[ServerContext, SocketFactory] = WeakKeyDictionary()


def socket_factory(context: ServerContext) -> SocketFactory:
    """The factory of a process, made at the first socket."""
    factory = _factories.get(context)
    if factory is None:
        factory = _factories[context] = SocketFactory(context.settings, context.clock)
    return factory


class _Nowhere:
    """The transport of the model socket."""

    def write(self, data: bytes) -> None:
        """Nothing."""

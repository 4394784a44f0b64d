"""An HTTP/2 client without sockets: the library h2 on the client's side, joined to a shell of ours."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from h2 import events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.settings import SettingCodes
from hpack.hpack import Decoder, Encoder
from hyperframe.frame import (
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from headrace_interface.http.protocol import SocketFactory
from headrace_interface.http2.protocol import Http2Protocol

from .http_lab import Lab

__all__ = ["Http2Answer", "Http2Client", "fields", "head_frame"]

Fields = list[tuple[bytes, bytes]]


def fields(method: bytes = b"GET", path: bytes = b"/hello", *more: tuple[bytes, bytes]) -> Fields:
    """The fields of a request."""
    pseudo = [
        (b":method", method),
        (b":scheme", b"https"),
        (b":authority", b"example.com"),
        (b":path", path),
    ]
    return [*pseudo, *more]


def head_frame(stream_id: int, request: Iterable[tuple[bytes, bytes]], ends: bool = True) -> bytes:
    """A HEADERS frame by hand: its fields are not in any table, and nothing checks them."""
    frame = HeadersFrame(stream_id)
    frame.data = Encoder().encode(list(request), huffman=False)
    frame.flags.add("END_HEADERS")
    if ends:
        frame.flags.add("END_STREAM")
    return frame.serialize()


@dataclass
class Http2Answer:
    """What came on a stream so far."""

    status: int = 0
    headers: Fields = field(default_factory=list)
    body: bytes = b""
    informed: list[int] = field(default_factory=list)
    ended: bool = False
    reset: int | None = None

    def header(self, name: bytes) -> bytes | None:
        """The first value of a header."""
        return next((value for known, value in self.headers if known == name), None)


class Http2Client:
    """One connection, from the client's end. What it is sent it reads at once; `reads` if it says so, too."""

    def __init__(
        self,
        lab: Lab,
        transport: StringTransport | None = None,
        window_bytes: int | None = None,
        reads: bool = True,
        make_socket: SocketFactory | None = None,
    ) -> None:
        self._lab = lab
        self._reads = reads
        self._at = 0
        self.transport = StringTransport() if transport is None else transport
        self.protocol = Http2Protocol(lab.context, make_socket or lab.upgrade)
        self.h2 = H2Connection(
            H2Configuration(
                client_side=True, validate_outbound_headers=False, normalize_outbound_headers=False
            )
        )
        if window_bytes is not None:
            self.h2.local_settings[SettingCodes.INITIAL_WINDOW_SIZE] = window_bytes
            self.h2.local_settings.acknowledge()
        self._answers: dict[int, Http2Answer] = defaultdict(Http2Answer)
        self._farewells: list[tuple[int, int, bytes]] = []
        self._opened: dict[int, int] = defaultdict(int)
        self.settings: dict[int, int] = {}
        #: For streams that were opened by hand.
        self._decoder = Decoder()
        self.pongs = 0
        self.protocol.makeConnection(self.transport)
        self.h2.initiate_connection()
        self.flush()

    # What the client does.

    def ask(self, *more: tuple[bytes, bytes], path: bytes = b"/hello", method: bytes = b"GET") -> int:
        """A request without a body; the number of its stream."""
        return self.open(fields(method, path, *more), ends=True)

    def open(self, request: Fields, ends: bool = False) -> int:
        """Open a stream with these fields."""
        stream_id = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream_id, request, end_stream=ends)
        self.flush()
        return stream_id

    def content(self, stream_id: int, data: bytes, ends: bool = False) -> None:
        """Some of a request's body; as much as its window takes at once, or it fails."""
        for at in range(0, len(data) or 1, 16384):
            last = at + 16384 >= len(data)
            self.h2.send_data(stream_id, data[at : at + 16384], end_stream=ends and last)
        self.flush()

    def give_up(self, stream_id: int) -> None:
        """Reset a stream."""
        self.h2.reset_stream(stream_id, 8)
        self.flush()

    def take(self, count: int, stream_id: int | None = None) -> None:
        """Let the server send more, on a stream or on the connection."""
        self.h2.increment_flow_control_window(count, stream_id)
        self.flush()

    def raw(self, *frames: Frame | bytes) -> None:
        """Send what the library would not."""
        data = b"".join(each if isinstance(each, bytes) else each.serialize() for each in frames)
        self.protocol.dataReceived(data)
        self._lab.settle()
        self.read()

    def leave(self) -> None:
        """Close the connection."""
        self.protocol.connectionLost(Failure(ConnectionDone()))
        self._lab.settle()

    def flush(self) -> None:
        """Send what the library has to send, and read what comes back."""
        data = self.h2.data_to_send()
        if data:
            self.protocol.dataReceived(data)
            self._lab.settle()
        self.read()

    def read(self) -> None:
        """Read what came."""
        data, self._at = self.transport.value()[self._at :], len(self.transport.value())
        for event in self.h2.receive_data(self._for_the_library(data)):
            self._note(event)
        back = self.h2.data_to_send() if self._reads else b""
        if back and not self.closed:
            self.protocol.dataReceived(back)
            self._lab.settle()
            if len(self.transport.value()) > self._at:
                self.read()

    # What the client knows.

    @property
    def answers(self) -> dict[int, Http2Answer]:
        """What came so far, by stream."""
        self.read()
        return self._answers

    @property
    def farewells(self) -> list[tuple[int, int, bytes]]:
        """Error codes and last streams of GOAWAY frames, and what was said besides."""
        self.read()
        return self._farewells

    @property
    def opened(self) -> dict[int, int]:
        """Bytes by which windows grew, by stream; 0 is the connection."""
        self.read()
        return self._opened

    @property
    def closed(self) -> bool:
        """Whether the server closes the connection."""
        return bool(self.transport.disconnecting or self.transport.disconnected)

    @property
    def said(self) -> int | None:
        """The error code of the last GOAWAY."""
        return self.farewells[-1][0] if self.farewells else None

    def _for_the_library(self, data: bytes) -> bytes:
        """What is not read by hand: a GOAWAY ends all for the library, which knows its own streams only."""
        kept = []
        while data:
            frame, size = Frame.parse_frame_header(memoryview(data[:9]))
            whole, data = data[: 9 + size], data[9 + size :]
            frame.parse_body(memoryview(whole[9:]))
            if isinstance(frame, SettingsFrame):
                self.settings.update(frame.settings)
            if isinstance(frame, GoAwayFrame):
                self._farewells.append((frame.error_code, frame.last_stream_id, frame.additional_data))
            elif frame.stream_id > self.h2.highest_outbound_stream_id:
                self._read_by_hand(frame)
            else:
                kept.append(whole)
        return b"".join(kept)

    def _read_by_hand(self, frame: Frame) -> None:
        answer = self._answers[frame.stream_id]
        if isinstance(frame, HeadersFrame):
            decoded = self._decoder.decode(frame.data, raw=True)
            answer.headers = [(name, value) for name, value in decoded]
            answer.status = int(answer.headers[0][1])
        elif isinstance(frame, DataFrame):
            answer.body += frame.data
        elif isinstance(frame, RstStreamFrame):
            answer.reset = frame.error_code
        elif isinstance(frame, WindowUpdateFrame):
            self._opened[frame.stream_id] += frame.window_increment
        answer.ended = answer.ended or "END_STREAM" in frame.flags

    def _note(self, event: events.Event) -> None:
        answer = self._answers[getattr(event, "stream_id", None) or 0]
        if isinstance(event, events.ResponseReceived):
            answer.status = int(dict(event.headers)[b":status"])
            answer.headers = list(event.headers)
        elif isinstance(event, events.InformationalResponseReceived):
            answer.informed.append(int(dict(event.headers)[b":status"]))
        elif isinstance(event, events.DataReceived):
            answer.body += event.data or b""
            if self._reads and event.flow_controlled_length:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, events.StreamEnded):
            answer.ended = True
        elif isinstance(event, events.StreamReset):
            answer.reset = int(event.error_code or 0)
        elif isinstance(event, events.WindowUpdated):
            self._opened[event.stream_id or 0] += event.delta or 0
        elif isinstance(event, events.PingAckReceived):
            self.pongs += 1

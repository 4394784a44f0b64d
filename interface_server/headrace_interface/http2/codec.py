"""The door to the library h2: frames in, events out; what is to be sent in, bytes out. Pure.

h2 keeps the states of RFC 9113 5.1, HPACK and the windows. Where it ends a connection though only a stream is
wrong, or would keep one from ending well, it is kept from that here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import Event
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from h2.stream import H2Stream
from hpack.struct import HeaderTuple, NeverIndexedHeaderTuple
from hyperframe.frame import Frame, GoAwayFrame, RstStreamFrame, SettingsFrame

from ..settings import InterfaceSettings
from .floods import BOMB_FACTOR, MAX_FRAME_BYTES, Violation

__all__ = ["ErrorCodes", "FrameCodec"]

#: RFC 9113 6.9.2: where both windows of a new connection begin.
_FIRST_WINDOW_BYTES = 65535
#: RFC 9113 6.8: says that the last stream is still to be told.
_ANY_STREAM = 2**31 - 1
#: RFC 7541 4.1: what a field counts for besides its bytes.
_FIELD_OVERHEAD_BYTES = 32
#: RFC 7541 4.2: of the table with which responses are packed; what it is unless a client says otherwise.
_MOST_TABLE_BYTES = 4096
#: RFC 9218 2.1: priorities of RFC 7540 are not read here.
_NO_RFC7540_PRIORITIES = 0x9
#: Secrets that must not be guessed from the size of what is compressed with them (RFC 7541 7.1.3).
_NEVER_INDEXED = frozenset((b"set-cookie", b"authorization"))
_PING = b"headrace"
#: h2 counts for itself, and closes a connection that is one stream too far: the streams are counted by us.
_UNCOUNTED = 2**31 - 1


class _Lenient(H2Connection):
    """Leaves the length of a body to us: for h2 a wrong one is an error of the connection."""

    #: What came late for a stream that is over is known by it. It is kept for each connection.
    MAX_CLOSED_STREAMS = 1000

    def __init__(self, config: H2Configuration) -> None:
        super().__init__(config)
        self.is_receiving = False
        #: Frames that came for streams that are over, since this was looked at: each is answered at once.
        self.late_frames = 0

    def receive_data(self, data: Any) -> list[Event]:
        self.is_receiving = True
        try:
            return super().receive_data(data)
        finally:
            self.is_receiving = False

    def _prepare_for_sending(self, frames: list[Frame]) -> None:
        if self.is_receiving:
            self.late_frames += sum(isinstance(frame, RstStreamFrame) for frame in frames)
        super()._prepare_for_sending(frames)

    def _begin_new_stream(self, stream_id: int, allowed_ids: object) -> H2Stream:
        stream: H2Stream = super()._begin_new_stream(stream_id, allowed_ids)  # type: ignore[arg-type]
        stream._initialize_content_length = _ignored  # type: ignore[method-assign, assignment]
        stream._track_content_length = _ignored  # type: ignore[method-assign, assignment]
        return stream


class FrameCodec:
    """One connection of h2, on the server's side. `taken` has what is to be sent."""

    __slots__ = ("_extra", "_h2")

    def __init__(self, settings: InterfaceSettings) -> None:
        config = H2Configuration(
            client_side=False,
            validate_inbound_headers=False,
            normalize_inbound_headers=False,
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
        self._h2 = h2 = _Lenient(config)
        h2.local_settings = Settings(
            client=False,
            initial_values={
                SettingCodes.MAX_CONCURRENT_STREAMS: _UNCOUNTED,
                SettingCodes.INITIAL_WINDOW_SIZE: settings.http2_window_bytes,
            },
        )
        h2.decoder.max_header_list_size = BOMB_FACTOR * (
            settings.max_head_bytes + settings.max_headers * _FIELD_OVERHEAD_BYTES
        )
        h2.initiate_connection()
        h2.clear_outbound_data_buffer()
        self._extra = bytearray(_settings_frame(settings))
        # Bytes of bodies are counted by their streams, and all together by `Bodies`.
        more = settings.http2_window_bytes * settings.http2_streams - _FIRST_WINDOW_BYTES
        if more > 0:
            h2.increment_flow_control_window(more)

    def receive(self, frames: bytes) -> Sequence[Event]:
        """What these frames say. Raises Violation; an answer to them may be in `taken` all the same."""
        try:
            return self._h2.receive_data(frames)
        except ProtocolError as error:
            self._h2.clear_outbound_data_buffer()
            raise Violation(int(error.error_code)) from None

    def late_frames(self) -> int:
        """How many frames came for streams that are over, since this was asked."""
        count, self._h2.late_frames = self._h2.late_frames, 0
        return count

    def taken(self) -> bytes:
        """What is to be sent now, once."""
        data = bytes(self._extra) + self._h2.data_to_send()
        self._extra.clear()
        return data

    def send_fields(self, stream_id: int, fields: Iterable[tuple[bytes, bytes]], ends: bool) -> None:
        """The head of a response."""
        marked: list[HeaderTuple] = [
            NeverIndexedHeaderTuple(name, value) if name in _NEVER_INDEXED else HeaderTuple(name, value)
            for name, value in fields
        ]
        self._h2.send_headers(stream_id, marked, end_stream=ends)

    def inform(self, stream_id: int, status: int) -> None:
        """An informational response; nothing happens if the stream has ended."""
        with suppress(ProtocolError):
            self._h2.send_headers(stream_id, [(b":status", b"%d" % status)])

    def send_content(self, stream_id: int, content: bytes, ends: bool) -> None:
        """A part of the content, no larger than `room`."""
        self._h2.send_data(stream_id, content, end_stream=ends)

    def room(self, stream_id: int) -> int:
        """Bytes of content that the client lets us send on a stream, in one frame."""
        h2 = self._h2
        window: int = h2.local_flow_control_window(stream_id)
        return max(0, min(window, h2.max_outbound_frame_size, MAX_FRAME_BYTES))

    def has_window(self, stream_id: int) -> bool:
        """Whether the client lets us send on a stream, as far as that stream alone goes."""
        stream = self._h2.streams.get(stream_id)
        return stream is not None and stream.outbound_flow_control_window > 0

    def settings_changed(self) -> None:
        """The client said what it can take. A table for HPACK as large as it likes would cost us memory."""
        encoder = self._h2.encoder
        encoder.header_table_size = min(encoder.header_table_size, _MOST_TABLE_BYTES)

    def reset(self, stream_id: int, code: int) -> None:
        """End a stream at once; nothing happens if it has ended."""
        with suppress(ProtocolError):
            self._h2.reset_stream(stream_id, code)

    def replenish(self, count: int, stream_id: int | None = None) -> None:
        """Let the client send so many more bytes, on a stream or on the connection."""
        # One read may hold the end of a stream behind its content: h2 knows that already.
        with suppress(ProtocolError, KeyError):
            self._h2.increment_flow_control_window(count, stream_id)

    def ping(self) -> None:
        """Ask for an answer."""
        self._h2.ping(_PING)

    def go_away(self, last_stream_id: int = _ANY_STREAM, code: int = 0, text: bytes = b"") -> None:
        """Say up to which stream we answer, and why not further. What is open goes on."""
        # h2 would take its own for the end of everything.
        frame = GoAwayFrame(0, last_stream_id=last_stream_id, error_code=code, additional_data=text)
        self._extra += self._h2.data_to_send() + frame.serialize()


def _settings_frame(settings: InterfaceSettings) -> bytes:
    frame = SettingsFrame(0)
    frame.settings = {
        SettingCodes.MAX_CONCURRENT_STREAMS: settings.http2_streams,
        SettingCodes.INITIAL_WINDOW_SIZE: settings.http2_window_bytes,
        SettingCodes.MAX_HEADER_LIST_SIZE: settings.max_head_bytes,
        SettingCodes.ENABLE_CONNECT_PROTOCOL: 1,
        _NO_RFC7540_PRIORITIES: 1,
    }
    return frame.serialize()


def _ignored(*args: object) -> None:
    """Stands for what h2 would check."""

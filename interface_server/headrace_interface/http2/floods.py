"""The frames of a client before the library sees them: which may pass, and when it is a flood. Pure.

A frame costs its sender 9 bytes, and us 50 µs. So each kind that carries nothing has a rate, and a head has a
size before it is decoded (RFC 9113 10.5). A page that a real client loads comes to a hundredth of this.
"""

from __future__ import annotations

from typing import NamedTuple

from ..settings import FrameRate, InterfaceSettings

__all__ = ["BOMB_FACTOR", "MAX_FRAME_BYTES", "PREFACE", "FrameGate", "Passed", "Violation"]

#: RFC 9113 3.4: what a client begins with.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#: RFC 9113 4.1: a frame's header; and what we allow a payload to have, which is the least there is (4.2).
_HEADER_BYTES = 9
MAX_FRAME_BYTES = 16 * 1024
#: Bytes of content below which a frame is small: reading it costs as much as copying a hundred times more.
_SMALL_BYTES = 256
#: RFC 9113 6.
_DATA, _HEADERS, _PRIORITY, _RESET, _SETTINGS = 0, 1, 2, 3, 4
_PING, _GOAWAY, _WINDOW_UPDATE, _CONTINUATION = 6, 7, 8, 9
_END_STREAM, _END_HEADERS = 0x1, 0x4
#: RFC 9113 7.
_FRAME_SIZE_ERROR, _PROTOCOL_ERROR, _ENHANCE_YOUR_CALM = 0x6, 0x1, 0xB
#: A head that was compressed badly is a little larger than what it says; one that is twice as large as it may
#: be is meant to be.
BOMB_FACTOR = 2
#: Frames of one head: five are as much as it may have.
_MAX_CONTINUATIONS = 32
#: WINDOW_UPDATE frames that a client earns with each DATA frame that it gets: one for the stream, one for the
#: connection, and as many again for those that read in small pieces.
_UPDATES_PER_FRAME = 4


class Violation(Exception):
    """The connection ends with this error code; `flood` names what there was too much of, if that is why."""

    def __init__(self, code: int, flood: str = "") -> None:
        super().__init__(flood or f"error {code}")
        self.code = code
        self.flood = flood


class Passed(NamedTuple):
    """What may be read on: whole frames; `leaving` if the client said that it opens no more streams."""

    data: bytes
    leaving: bool


class _FrameBudget:
    """A rate: `burst` at once, and `per_second` more."""

    __slots__ = ("_at", "_left", "_rate")

    def __init__(self, rate: FrameRate) -> None:
        self._rate = rate
        self._left = float(rate.burst)
        self._at = 0.0

    def take(self, now: float) -> bool:
        """Whether there was one left."""
        rate = self._rate
        self._left = min(rate.burst, self._left + (now - self._at) * rate.per_second) - 1
        self._at = now
        return self._left >= 0

    def earn(self, count: int) -> None:
        """So many more may come, on top of the rate."""
        self._left = min(self._rate.burst, self._left + count)


class FrameGate:
    """Cuts a client's bytes into frames, and lets pass what may. Times are seconds of one monotonic clock."""

    __slots__ = ("_block_bytes", "_buckets", "_continuations", "_kept", "_max_block", "_preface", "heads")

    def __init__(self, settings: InterfaceSettings, now: float) -> None:
        self._buckets = {
            "resets": _FrameBudget(settings.http2_resets),
            "pings": _FrameBudget(settings.http2_pings),
            "settings": _FrameBudget(settings.http2_settings),
            "priorities": _FrameBudget(settings.http2_priorities),
            "empty frames": _FrameBudget(settings.http2_empty_frames),
            "small frames": _FrameBudget(settings.http2_small_frames),
            "late frames": _FrameBudget(settings.http2_late_frames),
            "window updates": _FrameBudget(settings.http2_window_updates),
            "faults": _FrameBudget(settings.http2_faults),
        }
        for bucket in self._buckets.values():
            bucket.take(now)
        self._max_block = BOMB_FACTOR * settings.max_head_bytes
        self._preface = PREFACE
        self._kept = b""
        #: Bytes of the head that is arriving; None between heads.
        self._block_bytes: int | None = None
        self._continuations = 0
        #: How many heads were whole.
        self.heads = 0

    @property
    def in_head(self) -> bool:
        """Whether a head, or the preface, has begun and is not whole."""
        return self._block_bytes is not None or 0 < len(self._preface) < len(PREFACE)

    @property
    def in_frame(self) -> bool:
        """Whether a frame has begun and is not whole."""
        return bool(self._kept)

    def feed(self, data: bytes, now: float) -> Passed:
        """The frames that are whole with these bytes. Raises Violation."""
        data = self._kept + data if self._kept else data
        start = at = self._begin(data)
        passed, leaving = [data[:at]], False
        while len(data) - at >= _HEADER_BYTES:
            size = int.from_bytes(data[at : at + 3], "big")
            if size > MAX_FRAME_BYTES:
                raise Violation(_FRAME_SIZE_ERROR)
            end = at + _HEADER_BYTES + size
            kind, flags = data[at + 3], data[at + 4]
            if end > len(data):
                break
            if kind == _GOAWAY:
                # The library ends everything with it; streams that are open go on (RFC 9113 6.8).
                passed.append(data[start:at])
                start, leaving = end, True
            else:
                self._weigh(kind, flags, size, now)
            at = end
        passed.append(data[start:at])
        self._kept = data[at:]
        return Passed(b"".join(passed), leaving)

    def count(self, what: str, now: float) -> None:
        """One more of a kind; of some kinds no frame says by itself that it is one. Raises Violation."""
        if not self._buckets[what].take(now):
            raise Violation(_ENHANCE_YOUR_CALM, what)

    def content(self, size_bytes: int, now: float) -> None:
        """A frame of content for a request, which is not the last. Raises Violation."""
        if 0 < size_bytes < _SMALL_BYTES:
            self.count("small frames", now)

    def sent(self, frames: int) -> None:
        """So many frames of content left: their reader says how far it is."""
        self._buckets["window updates"].earn(frames * _UPDATES_PER_FRAME)

    def _begin(self, data: bytes) -> int:
        """Where the frames begin: behind the preface, which is checked."""
        if not self._preface:
            return 0
        there = min(len(self._preface), len(data))
        if data[:there] != self._preface[:there]:
            raise Violation(_PROTOCOL_ERROR)
        self._preface = self._preface[there:]
        return there

    def _weigh(self, kind: int, flags: int, size: int, now: float) -> None:
        """Count a frame that says nothing about a request's content."""
        if kind in (_HEADERS, _CONTINUATION):
            self._weigh_head(kind, flags, size, now)
        elif kind == _DATA:
            if not size and not flags & _END_STREAM:
                self.count("empty frames", now)
        elif kind == _RESET:
            self.count("resets", now)
        elif kind == _PING:
            self.count("pings", now)
        elif kind == _SETTINGS:
            self.count("settings", now)
        elif kind == _WINDOW_UPDATE:
            self.count("window updates", now)
        else:
            self.count("priorities", now)

    def _weigh_head(self, kind: int, flags: int, size: int, now: float) -> None:
        if kind == _HEADERS:
            self._block_bytes, self._continuations = size, 0
        else:
            self._block_bytes = (self._block_bytes or 0) + size
            self._continuations += 1
        if self._block_bytes > self._max_block or self._continuations > _MAX_CONTINUATIONS:
            raise Violation(_ENHANCE_YOUR_CALM, "headers")
        if flags & _END_HEADERS:
            self._block_bytes = None
            self.heads += 1
        elif not size:
            self.count("empty frames", now)

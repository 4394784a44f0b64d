"""The fast path for WebSocket frames: plain ones are read and written here, all others by Autobahn.

Most frames are complete, unfragmented, masked, uncompressed and small. Reading those in place costs a third
of a general parser. The guards are exact: a frame that is not wholly such a frame, or in any way wrong, is
left where it lies, untouched, together with everything behind it, and Autobahn judges it.
"""

from __future__ import annotations

import sys
import zlib
from typing import Any

from autobahn.websocket.xormasker import create_xor_masker  # type: ignore[attr-defined]

__all__ = [
    "CLOSE_REASON_BYTES",
    "DEFLATE_LEAST_BYTES",
    "MOST_PONGS",
    "PING",
    "close_body",
    "encode",
    "encode_deflated",
    "encode_for",
    "encode_pong",
    "end_of_frames",
    "take_controls",
    "take_messages",
]

#: FIN and opcode 9, no payload, unmasked (RFC 6455 5.5.2).
PING = b"\x89\x00"

#: What is left of a control frame's 125 bytes behind the close code (RFC 6455 5.5).
CLOSE_REASON_BYTES = 123

#: Pings of one run that are answered, the last ones: RFC 6455 5.5.3 asks for the last one only.
MOST_PONGS = 16

_FIN = 0x80
_FIN_TEXT = 0x81
_FIN_BINARY = 0x82
_FIN_PING = 0x89
_FIN_PONG = 0x8A
#: RFC 6455 5.5: the payload of a control frame has at most this many bytes.
_CONTROL_BYTES = 125
#: Messages smaller than this go uncompressed: a packet holds them anyway, and compressing costs 50 µs.
DEFLATE_LEAST_BYTES = 1_024

_RSV1 = 0x40
_MASKED = 0x80

#: From this many bytes on, Autobahn's C masker is faster than integers of Python.
_C_MASKER_BYTES = 1_024

_SHORT_TEXT = tuple(bytes((_FIN_TEXT, size)) for size in range(126))
_SHORT_BINARY = tuple(bytes((_FIN_BINARY, size)) for size in range(126))

# A window that is larger than the message compresses no better, and costs its set-up: 9 is zlib's least.
_LEAST_WINDOW_BITS = 9
_DEFLATE_TAIL = b"\x00\x00\xff\xff"


def take_messages(data: bytes, limit_bytes: int, limit: int = sys.maxsize) -> tuple[list[str | bytes], int]:
    """Read up to `limit` plain messages at the head of `data`, which must begin outside any frame or message.

    Answers their payloads, text as str, and how many bytes they took. RFC 6455 5.2: FIN set, no RSV bit,
    opcode 1 or 2, masked, length in its shortest form; text is valid UTF-8; at most `limit_bytes` of payload.
    The first frame that is anything else ends the reading. Does not block or raise.
    """
    messages: list[str | bytes] = []
    at = 0
    end = len(data)
    for _ in range(limit):
        if end - at < 6:
            break
        first = data[at]
        if first != _FIN_TEXT and first != _FIN_BINARY:
            break
        size = data[at + 1] - _MASKED
        mask = at + 2
        if size >= 126:
            if size > 126 or end - at < 8:
                break
            size = data[at + 2] << 8 | data[at + 3]
            if size < 126:
                break
            mask = at + 4
        stop = mask + 4 + size
        if size < 0 or stop > end or size > limit_bytes:
            break
        payload = _unmasked(data, mask, size)
        if first == _FIN_BINARY:
            messages.append(payload)
        else:
            try:
                messages.append(payload.decode())
            except UnicodeDecodeError:
                break
        at = stop
    return messages, at


def take_controls(data: bytes, at: int) -> tuple[list[bytes], int, int]:
    """Read the pings and pongs that lie at `at`, which must be outside any frame.

    Answers the payloads of the last pings (at most 16), how many frames there were, and where they end. RFC
    6455 5.5: FIN set, no RSV bit, opcode 9 or 10, masked, at most 125 bytes. The first frame that is anything
    else ends the reading. Does not block or raise.
    """
    pings: list[int] = []
    count = 0
    end = len(data)
    while end - at >= 6:
        first = data[at]
        if first != _FIN_PING and first != _FIN_PONG:
            break
        size = data[at + 1] - _MASKED
        stop = at + 6 + size
        if size < 0 or size > _CONTROL_BYTES or stop > end:
            break
        if first == _FIN_PING:
            pings.append(at)
        count += 1
        at = stop
    payloads = [_unmasked(data, ping + 2, data[ping + 1] - _MASKED) for ping in pings[-MOST_PONGS:]]
    return payloads, count, at


def end_of_frames(data: bytes, at: int, least_bytes: int) -> int:
    """Where the first frame from `at` on ends that ends `least_bytes` or more on; else the end of `data`.

    Frames may be of any kind; they are taken for masked. Does not block or raise.
    """
    end = len(data)
    enough = at + least_bytes
    while at < enough and end - at >= 6:
        size = data[at + 1] & ~_MASKED
        if size < 126:
            at += 6 + size
        elif size == 126:
            at += 8 + int.from_bytes(data[at + 2 : at + 4], "big")
        else:
            at += 14 + int.from_bytes(data[at + 2 : at + 10], "big")
    return end if at < enough else min(at, end)


def _unmasked(data: bytes, mask: int, size: int) -> bytes:
    start = mask + 4
    if size > _C_MASKER_BYTES:
        masker: Any = create_xor_masker(data[mask:start], size)  # type: ignore[no-untyped-call]
        return bytes(masker.process(data[start : start + size]))
    key = (data[mask:start] * ((size + 3) >> 2))[:size]
    return (int.from_bytes(data[start : start + size], "little") ^ int.from_bytes(key, "little")).to_bytes(
        size, "little"
    )


def encode(payload: str | bytes) -> bytes:
    """One unmasked frame with FIN for a whole message; an empty payload is a frame too."""
    if payload.__class__ is str:
        # No layer can carry a lone surrogate; should one come, it must not end the connection.
        data = payload.encode("utf-8", "replace")
        size = len(data)
        return _SHORT_TEXT[size] + data if size < 126 else _long_head(_FIN_TEXT, size) + data
    size = len(payload)
    return (_SHORT_BINARY[size] if size < 126 else _long_head(_FIN_BINARY, size)) + payload  # type: ignore[operator]


def encode_for(payload: str | bytes, window_bits: int) -> bytes:
    """A frame for a client that agreed to compression with this window, or with 0 did not."""
    if window_bits and len(payload) >= DEFLATE_LEAST_BYTES:
        return encode_deflated(payload, window_bits)
    return encode(payload)


def encode_deflated(payload: str | bytes, window_bits: int) -> bytes:
    """One compressed frame (RFC 7692 7.2.1), independent of any message before it, or a plain one if smaller.

    `window_bits` is the largest window that the peer agreed to. The same payload and window give the same
    frame, so that all members of a group share one.
    """
    data = payload.encode("utf-8", "replace") if isinstance(payload, str) else payload
    bits = min(window_bits, max(len(data).bit_length(), _LEAST_WINDOW_BITS))
    deflater = zlib.compressobj(zlib.Z_DEFAULT_COMPRESSION, zlib.DEFLATED, -bits, max(1, bits - 7))
    packed = deflater.compress(data) + deflater.flush(zlib.Z_SYNC_FLUSH)
    packed = packed[: -len(_DEFLATE_TAIL)]
    if len(packed) >= len(data):
        return encode(payload)
    first = (_FIN_TEXT if isinstance(payload, str) else _FIN_BINARY) | _RSV1
    return _head(first, len(packed)) + packed


def client_frame(opcode: int, is_last: bool, mask: bytes, size: int, begun: bytes) -> bytes:
    """The head of a client's frame of `size` bytes and the masked ones of it that came; `begun` is what they
    say."""
    head = _head(opcode | (_FIN if is_last else 0), size)
    masked = head[:1] + bytes((head[1] | _MASKED,)) + head[2:] + mask
    return masked + _unmasked(mask + begun, 0, len(begun)) if begun else masked


def encode_pong(payload: bytes) -> bytes:
    """The answer to a ping (RFC 6455 5.5.3)."""
    return bytes((_FIN_PONG, len(payload))) + payload


def close_body(reason: str) -> bytes:
    """A close reason as UTF-8, cut at a character so that it fits into a control frame."""
    return reason.encode("utf-8", "replace")[:CLOSE_REASON_BYTES].decode("utf-8", "ignore").encode()


def _head(first: int, size: int) -> bytes:
    return bytes((first, size)) if size < 126 else _long_head(first, size)


def _long_head(first: int, size: int) -> bytes:
    if size < 0x10000:
        return bytes((first, 126, size >> 8, size & 0xFF))
    return bytes((first, 127)) + size.to_bytes(8, "big")

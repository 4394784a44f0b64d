"""The envelope: what stands around a message in a queue, readable without unpacking the message.

    version u8 · flags u8 · expiry u64 (ms on the Redis clock of its place, 0 = never)
    [ORDER]   order number u32            always right behind the header: Lua reads it there
    [CHANNEL] length u8, full channel name
    [RETRIES] u8
    payload (msgpack)

All numbers are big-endian. A CONTROL entry's payload is a note between processes (see `control.py`), not a
message for a consumer; it ignores the queue's capacity unless it is COUNTED too.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, TypeGuard

import msgpack

from .errors import MessageTooLarge, UnreadableEntry
from .limits import MAX_MESSAGE_BYTES
from .names import MAX_NAME_LENGTH, non_local_name

__all__ = [
    "VERSION",
    "Entry",
    "Message",
    "decode",
    "encode",
    "pack_message",
    "require_place_on",
    "unpack_message",
]

Message = dict[str, Any]

VERSION = 1

ORDER = 0x01
CHANNEL = 0x02
RETRIES = 0x08
CONTROL = 0x10
COUNTED = 0x40

#: Bits that no version so far has a meaning for.
_UNKNOWN = 0xFF & ~(ORDER | CHANNEL | RETRIES | CONTROL | COUNTED)

_HEAD = struct.Struct(">BBQ")
_HEAD_ORDER = struct.Struct(">BBQI")
_ORDER = struct.Struct(">I")


@dataclass(slots=True)
class Entry:
    """One decoded queue entry; `payload` is still packed."""

    expiry_ms: int
    order: int | None
    channel: str | None
    retries: int
    control: bool
    payload: memoryview | bytes


def pack_message(message: Message, limit_bytes: int = MAX_MESSAGE_BYTES) -> bytes:
    """Pack a message. Raises TypeError for a value of a type messages cannot hold, MessageTooLarge beyond
    `limit_bytes`."""
    if not _is_message(message):
        raise TypeError(f"A message is a dict whose keys are strings, not {message!r:.60}")
    try:
        payload: bytes = msgpack.packb(message, use_bin_type=True)
    except OverflowError as error:
        raise TypeError(f"A message holds integers of 64 bits at most: {error}") from None
    except ValueError as error:
        raise TypeError(
            f"A message holds text that is valid Unicode, and lists and dicts not nested too deep: {error}"
        ) from None
    except TypeError as error:
        raise TypeError(
            f"A message holds only bytes, str, int, float, bool, None, lists and dicts: {error}"
        ) from None
    if len(payload) > limit_bytes:
        raise MessageTooLarge(
            f"The message is {len(payload)} bytes when encoded, over the limit of {limit_bytes}; "
            "send it in chunks or raise max_message_bytes in the layer's CONFIG"
        )
    return payload


def unpack_message(payload: memoryview | bytes) -> Message:
    """Unpack a message. Raises UnreadableEntry for anything but one dict with str keys."""
    try:
        message: Any = msgpack.unpackb(payload, raw=False, strict_map_key=False)
    except Exception as error:  # msgpack raises half a dozen unrelated types for bad input
        raise UnreadableEntry(f"a payload of {len(payload)} bytes is not msgpack: {error}") from None
    if not _is_message(message):
        raise UnreadableEntry("a payload is not a dict with string keys")
    return message


def _is_message(value: object) -> TypeGuard[Message]:
    if not isinstance(value, dict):
        return False
    try:
        "".join(value)  # the quickest way to meet a key that is no str
    except TypeError:
        return False
    return True


def encode(
    payload: bytes,
    expiry_ms: int = 0,
    order: int | None = None,
    channel: str | None = None,
    retries: int = 0,
    control: bool = False,
    counted: bool = False,
) -> bytes:
    """Put an envelope around a packed message; `counted` is for control entries."""
    if order is None and channel is None and not retries and not control:
        return _HEAD.pack(VERSION, 0, expiry_ms) + payload
    flags = (CONTROL if control else 0) | (COUNTED if counted else 0)
    tail = b""
    if channel is not None:
        flags |= CHANNEL
        name = channel.encode("ascii")
        tail = bytes((len(name),)) + name
    if retries:
        flags |= RETRIES
        tail += bytes((min(retries, 255),))
    if order is None:
        return _HEAD.pack(VERSION, flags, expiry_ms) + tail + payload
    return _HEAD_ORDER.pack(VERSION, flags | ORDER, expiry_ms, order) + tail + payload


def decode(entry: bytes) -> Entry:
    """Read an envelope without unpacking its payload.

    Raises UnreadableEntry for another version, an unknown flag or a truncated header.
    """
    try:
        version, flags, expiry_ms = _HEAD.unpack_from(entry)
        if version != VERSION:
            raise UnreadableEntry(
                f"an entry has envelope version {version}, this process reads {VERSION}: "
                "a newer Headrace, or something else, writes to this channel"
            )
        at = _HEAD.size
        if not flags:
            return Entry(expiry_ms, None, None, 0, False, entry[at:])
        return _decode_flagged(entry, flags, expiry_ms, at)
    except (struct.error, IndexError, UnicodeDecodeError):
        raise UnreadableEntry(f"an entry of {len(entry)} bytes has a broken envelope") from None


def _decode_flagged(entry: bytes, flags: int, expiry_ms: int, at: int) -> Entry:
    if flags & _UNKNOWN:
        raise UnreadableEntry(f"an entry has flags {flags:#04x} that this process does not know")
    order = channel = None
    retries = 0
    if flags & ORDER:
        (order,) = _ORDER.unpack_from(entry, at)
        at += _ORDER.size
    if flags & CHANNEL:
        end = at + 1 + entry[at]
        channel = entry[at + 1 : end].decode("ascii")
        at = end
    if flags & RETRIES:
        retries = entry[at]
        at += 1
    if at > len(entry):
        raise IndexError(at)
    return Entry(expiry_ms, order, channel, retries, bool(flags & CONTROL), entry[at:])


def require_place_on(queue: str, entry: Entry, message: Message) -> None:
    """See that whoever takes an entry from `queue` can do what it owes for it.

    To be asked of entries that name a channel or have an order number. Raises UnreadableEntry for a channel
    that does not lie on that queue, and for an ordered message that does not say of which socket it is.
    """
    if entry.channel is not None and non_local_name(entry.channel) != queue:
        raise UnreadableEntry(f"an entry for the channel {entry.channel!r:.100} lies here")
    if entry.order is not None and not _is_socket(message.get("reply_channel")):
        raise UnreadableEntry("an ordered message has no reply_channel")


def _is_socket(name: object) -> bool:
    # Asked of every ordered message, so not by the pattern of names.
    return isinstance(name, str) and "!" in name and name.isascii() and len(name) <= MAX_NAME_LENGTH

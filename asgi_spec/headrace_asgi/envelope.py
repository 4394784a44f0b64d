"""The envelope: what stands around a message in a queue, readable without unpacking the message.

    version u8 · flags u8 · expiry u64 (ms on the Redis clock of its place, 0 = never)
    [ORDER]   order number u32            always right behind the header: Lua reads it there
    [CHANNEL] length u8, full channel name
    [RETRIES] u8
    payload (msgpack, or SEALED: see `sealing`)

All numbers are big-endian. A CONTROL entry's payload is a note between processes (see `control.py`), not a
message for a consumer; it ignores the queue's capacity unless it is COUNTED too.

Every version of a major keeps this much, as scripts and older processes read it: the header, the order number
behind it, the channel's name behind that, and what is new behind all of these. See
docs/decisions/0020-versions.md.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeGuard

import msgpack

from .errors import MessageTooLarge, UnknownVersion, UnreadableEntry
from .limits import MAX_MESSAGE_BYTES
from .names import MAX_NAME_LENGTH, non_local_name

__all__ = [
    "OLDEST_VERSION",
    "PLAIN",
    "VERSION",
    "WRITERS",
    "Codec",
    "Encode",
    "Entry",
    "Message",
    "decode",
    "decode_sealed",
    "encode",
    "pack_message",
    "plain_codec",
    "reply_channel_of",
    "require_place_on",
    "unpack_message",
]

Message = dict[str, Any]

#: The highest version of entries that this package reads; it reads all from the oldest on.
VERSION = 1
#: The lowest version of this major: who knows of no other one writes it.
OLDEST_VERSION = 1
#: What `encode` writes.
_FIRST = 1

ORDER = 0x01
CHANNEL = 0x02
RETRIES = 0x08
CONTROL = 0x10
COUNTED = 0x40
SEALED = 0x80

#: Bits that no version so far has a meaning for, and one for what needs a key.
_REFUSED = 0xFF & ~(ORDER | CHANNEL | RETRIES | CONTROL | COUNTED)

_HEAD = struct.Struct(">BBQ")
_HEAD_ORDER = struct.Struct(">BBQI")
_ORDER = struct.Struct(">I")
#: What reading a header raises when it ends too soon, or holds no name.
_BROKEN = (struct.error, IndexError, UnicodeDecodeError)

#: Packers that nobody uses now: making one, with its buffer of 256 KiB, costs more than packing does. Whoever
#: pops one has it alone; one that met what it cannot pack does not come back.
_PACKERS: list[msgpack.Packer] = []


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
        payload = _packed(message)
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


def _packed(message: Message) -> bytes:
    try:
        packer = _PACKERS.pop()
    except IndexError:
        packer = msgpack.Packer(use_bin_type=True)
    payload: bytes = packer.pack(message)
    _PACKERS.append(packer)
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
    queue: str = "",
) -> bytes:
    """Put an envelope of version 1 around a packed message; `counted` is for control entries.

    The `queue` matters to a codec that seals (see `Encode`); here it changes nothing.
    """
    if order is None and channel is None and not retries and not control:
        return _HEAD.pack(_FIRST, 0, expiry_ms) + payload
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
        return _HEAD.pack(_FIRST, flags, expiry_ms) + tail + payload
    return _HEAD_ORDER.pack(_FIRST, flags | ORDER, expiry_ms, order) + tail + payload


def decode(entry: bytes, queue: str = "") -> Entry:
    """Read an envelope without unpacking its payload; the `queue` it was taken from changes nothing here.

    Raises UnreadableEntry for another version, an unknown flag, a truncated header, or a sealed payload.
    """
    try:
        version, flags, expiry_ms = _HEAD.unpack_from(entry)
        if version != VERSION and not OLDEST_VERSION <= version < VERSION:
            raise _other_version(entry)
        at = _HEAD.size
        if not flags:
            return Entry(expiry_ms, None, None, 0, False, entry[at:])
        return _decode_flagged(entry, flags, expiry_ms, at)
    except _BROKEN:
        raise _broken(entry) from None


def decode_sealed(entry: bytes) -> Entry:
    """Read the envelope of an entry whose payload is sealed, and stays so.

    Raises UnreadableEntry as `decode` does, and for a payload that is not sealed.
    """
    try:
        version, flags, expiry_ms = _HEAD.unpack_from(entry)
        if version != VERSION and not OLDEST_VERSION <= version < VERSION:
            raise _other_version(entry)
        read = _decode_flagged(entry, flags & ~SEALED, expiry_ms, _HEAD.size)
    except _BROKEN:
        raise _broken(entry) from None
    if not flags & SEALED:
        raise UnreadableEntry(
            "an entry is not encrypted, and this layer has symmetric_encryption_keys: another process "
            "writes to this channel without them",
            read,
        )
    return read


def _other_version(raw: bytes) -> UnknownVersion:
    """The error for an entry of another version, with what every version of this major says of itself."""
    version, flags, expiry_ms = _HEAD.unpack_from(raw)
    return UnknownVersion(
        f"an entry has envelope version {version}, this process reads up to {VERSION}: "
        "a newer Headrace, or something else, writes to this channel; run one version, or give each "
        "a prefix of its own",
        _decode_flagged(raw, flags & ~_REFUSED, expiry_ms, _HEAD.size),
    )


def _broken(entry: bytes) -> UnreadableEntry:
    return UnreadableEntry(f"an entry of {len(entry)} bytes has a broken envelope")


def _decode_flagged(entry: bytes, flags: int, expiry_ms: int, at: int) -> Entry:
    if flags & _REFUSED:
        raise _refusal(entry, flags)
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


def _refusal(entry: bytes, flags: int) -> UnreadableEntry:
    """The error for flags that this process does not know, or that need a key."""
    if flags & _REFUSED != SEALED:
        return UnreadableEntry(f"an entry has flags {flags:#04x} that this process does not know")
    return UnreadableEntry(
        "an entry is encrypted, and this layer has no symmetric_encryption_keys: give it those that the "
        "other processes have",
        decode_sealed(entry),
    )


class Encode(Protocol):
    """Makes an entry of a packed message. The `queue` is that which it will be taken from: the part of a
    channel's name up to `!`, or more of it."""

    def __call__(
        self,
        payload: bytes,
        expiry_ms: int = 0,
        order: int | None = None,
        channel: str | None = None,
        retries: int = 0,
        control: bool = False,
        counted: bool = False,
        *,
        queue: str,
    ) -> bytes: ...


#: How an entry of each version is made that this package writes.
WRITERS: dict[int, Encode] = {_FIRST: encode}


class Codec:
    """How a layer makes its entries, and reads those that it took from a queue; chosen when it is made.

    `encode` makes entries of the `version` that is written: the oldest one, until `write` is called.
    `decode(entry, queue)` raises UnreadableEntry. Where entries are `bound` to their queue, one that is put
    on several queues is made for each of them.
    """

    __slots__ = ("_writer", "bound", "decode", "encode", "version")

    def __init__(
        self,
        writer: Callable[[int], Encode],
        decode: Callable[[bytes, str], Entry],
        bound: bool = False,
    ) -> None:
        """`writer(version)` makes entries of a version."""
        self._writer = writer
        self.decode = decode
        self.bound = bound
        self.write(OLDEST_VERSION)

    def write(self, version: int) -> None:
        """Make entries of this version from now on, or of the highest that this package knows."""
        self.version = min(version, VERSION)
        self.encode = self._writer(self.version)


def plain_codec() -> Codec:
    """A codec whose entries anybody can read who can read Redis."""
    return Codec(WRITERS.__getitem__, decode)


#: For who only reads, or writes the oldest version.
PLAIN = plain_codec()


def reply_channel_of(entry: Entry) -> str:
    """Who waits for an answer to an entry that cannot be read as a whole; "" if nobody knows."""
    try:
        name = unpack_message(entry.payload).get("reply_channel")
    except UnreadableEntry:
        name = entry.channel
    return name if _is_socket(name) and isinstance(name, str) else ""


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

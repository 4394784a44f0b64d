"""Sealed entries: a layer's messages encrypted and authenticated with AES-256-GCM.

A sealed entry has an envelope as any other, with the flag SEALED, and in place of the packed message:

    form u8 · key id (4 bytes) · nonce (12 random bytes) · ciphertext · tag (16 bytes)

Names, times, order numbers and sizes stay readable: Lua and everybody on the way work with them. With the
message are authenticated its form, its key id, and all of the envelope that stays as it was made: version,
flags, retries, expiry, and where the entry belongs, which is its full channel name, or else its queue. So it
opens on no other channel, no longer than it was meant to, and as nothing else than it was. Scripts take the
order number from what waits in a mailbox, and give it a new expiry: what may wait there is bound to neither.

Pure, but for the random numbers. Needs the package `cryptography`. See docs/decisions/0013-sealed-entries.md.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from functools import partial

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from .control import FORGOTTEN_ENTRY
from .envelope import ORDER, SEALED, WRITERS, Codec, Encode, Entry, decode, decode_sealed
from .errors import UnreadableEntry
from .names import non_local_name

__all__ = ["OVERHEAD_BYTES", "sealing_codec"]

#: Forms of a sealed payload: its expiry is authenticated, or may be rewritten.
_FIXED, _MOVING = b"\x01", b"\x02"
_KEY_BYTES = 32
_KEY_ID_BYTES = 4
_NONCE_BYTES = 12
_TAG_BYTES = 16
_NONCE_AT = 1 + _KEY_ID_BYTES
_CIPHERTEXT_AT = _NONCE_AT + _NONCE_BYTES
#: Bytes by which a sealed entry is longer than a plain one.
OVERHEAD_BYTES = _CIPHERTEXT_AT + _TAG_BYTES
#: Sets our keys apart from what else may be derived from the same text.
_PURPOSE = b"headrace: sealed entries, version 1"
#: A script takes the order number off what a mailbox is drained of.
_KEPT_FLAGS = 0xFF & ~ORDER
#: What is authenticated of the envelope, before form, key id and name: version, flags, retries, expiry.
_HEADER = struct.Struct(">BBBQ")


def sealing_codec(keys: Sequence[bytes]) -> Codec:
    """A codec whose entries only those can make and read who have one of `keys`, the texts of the setting.

    The first one seals, all of them open. Raises ValueError if two of them are the same.
    """
    sealer = _Sealer(keys)
    return Codec(lambda version: partial(sealer.seal, WRITERS[version]), sealer.open, bound=True)


class _Sealer:
    """Seals with one key, opens with several. Thread-safe, and the same in a forked child."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        derived = [_derive(key) for key in keys]
        #: By form and key id, as they stand in the entry.
        self._ciphers = {
            form + key_id: cipher for key_id, cipher in reversed(derived) for form in (_FIXED, _MOVING)
        }
        if len(self._ciphers) < 2 * len(derived):
            raise ValueError("two keys are the same")
        key_id, self._cipher = derived[0]
        self._fixed, self._moving = _FIXED + key_id, _MOVING + key_id

    def seal(
        self,
        encode: Encode,
        payload: bytes,
        expiry_ms: int = 0,
        order: int | None = None,
        channel: str | None = None,
        retries: int = 0,
        control: bool = False,
        counted: bool = False,
        *,
        queue: str,
    ) -> bytes:
        """An entry whose payload is sealed, in an envelope that `encode` makes; see `envelope.Encode`."""
        head = encode(b"", expiry_ms, order, channel, retries, control, counted, queue=queue)
        flags = head[1] | SEALED
        # Only what has a number waits in mailboxes, and a connect, whose number is 0, never does.
        start = self._moving if order else self._fixed
        bound = _bound(start, head[0], flags, min(retries, 255), expiry_ms, channel or queue)
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, payload, bound)
        return b"".join((head[:1], bytes((flags,)), head[2:], start, nonce, sealed))

    def open(self, raw: bytes, queue: str) -> Entry:
        """Read an entry taken from `queue`, its payload opened. Raises UnreadableEntry."""
        if raw == FORGOTTEN_ENTRY:
            return decode(raw)
        entry = decode_sealed(raw)
        if entry.channel is not None and non_local_name(entry.channel) != non_local_name(queue):
            raise _misplaced(entry, queue)
        sealed = memoryview(entry.payload)
        if len(sealed) < OVERHEAD_BYTES:
            raise _misplaced(entry, queue)
        start = bytes(sealed[:_NONCE_AT])
        cipher = self._ciphers.get(start)
        if cipher is None:
            raise _foreign(entry, queue)
        bound = _bound(start, raw[0], raw[1], entry.retries, entry.expiry_ms, entry.channel or queue)
        nonce = sealed[_NONCE_AT:_CIPHERTEXT_AT]
        try:
            entry.payload = cipher.decrypt(nonce, sealed[_CIPHERTEXT_AT:], bound)
        except InvalidTag:
            raise _misplaced(entry, queue) from None
        return entry


def _derive(text: bytes) -> tuple[bytes, AESGCM]:
    """The id and the cipher of a key, from its text in the settings."""
    material = HKDF(SHA256(), _KEY_BYTES + _KEY_ID_BYTES, None, _PURPOSE).derive(text)
    return material[_KEY_BYTES:], AESGCM(material[:_KEY_BYTES])


def _bound(start: bytes, version: int, flags: int, retries: int, expiry_ms: int, name: str) -> bytes:
    """What is authenticated with a message: `start` is its form and key id."""
    fixed_ms = expiry_ms if start[0] == _FIXED[0] else 0
    return _HEADER.pack(version, flags & _KEPT_FLAGS, retries, fixed_ms) + start + name.encode()


def _foreign(entry: Entry, queue: str) -> UnreadableEntry:
    return UnreadableEntry(
        f"an entry of {queue} is encrypted with a key that is not among this layer's "
        "symmetric_encryption_keys: another process uses other symmetric_encryption_keys",
        entry,
    )


def _misplaced(entry: Entry, queue: str) -> UnreadableEntry:
    return UnreadableEntry(
        f"an entry of {queue} cannot be decrypted: it was changed or cut short, or was made for another "
        "channel or time; see who else can write to this Redis",
        entry,
    )

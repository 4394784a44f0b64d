"""What one image of a process hands to the next one, as bytes: with a version and a digest. Pure."""

from __future__ import annotations

import hashlib
import sys

from headrace_asgi.envelope import Message, pack_message, unpack_message
from headrace_asgi.errors import ConfigurationError, UnreadableEntry

__all__ = ["FORMAT", "packed", "unpacked"]

#: Grows with each change of what is handed over, wherever it is said: `as_plain` of whatever is handed over.
FORMAT = 1
_MAGIC = b"headrace upgrade "
_DIGEST_BYTES = hashlib.sha256().digest_size


def packed(state: Message) -> bytes:
    """Plain values as bytes."""
    body = pack_message(state, sys.maxsize)
    return _MAGIC + b"%d\n" % FORMAT + hashlib.sha256(body).digest() + body


def unpacked(data: bytes) -> Message:
    """What `packed` was given. Raises ConfigurationError for another format, and for what is not whole."""
    head, _, rest = data.partition(b"\n")
    if head != _MAGIC + b"%d" % FORMAT:
        raise ConfigurationError(f"what was handed over is not of format {FORMAT}: {head[:40]!r}")
    digest, body = rest[:_DIGEST_BYTES], rest[_DIGEST_BYTES:]
    if hashlib.sha256(body).digest() != digest:
        raise ConfigurationError("what was handed over is not whole")
    try:
        return unpack_message(body)
    except UnreadableEntry as error:
        raise ConfigurationError(f"what was handed over cannot be read: {error}") from None

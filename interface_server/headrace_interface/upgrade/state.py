"""What one image of a process hands to the next one, as bytes: with a version and a digest. Pure."""

from __future__ import annotations

import hashlib
from typing import Any

import msgpack

from headrace_asgi.errors import ConfigurationError

__all__ = ["FORMAT", "packed", "unpacked"]

#: Grows with each change of what is handed over, wherever it is said: `as_plain` of whatever is handed over.
FORMAT = 1
_MAGIC = b"headrace upgrade "
_DIGEST_BYTES = hashlib.sha256().digest_size


def packed(state: dict[str, Any]) -> bytes:
    """Plain values as bytes."""
    body: bytes = msgpack.packb(state)
    return _MAGIC + b"%d\n" % FORMAT + hashlib.sha256(body).digest() + body


def unpacked(data: bytes) -> dict[str, Any]:
    """What `packed` was given. Raises ConfigurationError for another format, and for what is not whole."""
    head, _, rest = data.partition(b"\n")
    if head != _MAGIC + b"%d" % FORMAT:
        raise ConfigurationError(f"what was handed over is not of format {FORMAT}: {head[:40]!r}")
    digest, body = rest[:_DIGEST_BYTES], rest[_DIGEST_BYTES:]
    if hashlib.sha256(body).digest() != digest:
        raise ConfigurationError("what was handed over is not whole")
    state: dict[str, Any] = msgpack.unpackb(body, strict_map_key=False)
    return state

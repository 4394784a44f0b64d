"""Headers of the PROXY protocol, right or wrong, as a proxy would send them."""

from __future__ import annotations

import struct

__all__ = ["SIGNATURE", "v1", "v2"]

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


def v1(line: str) -> bytes:
    """Version 1: what stands between `PROXY ` and the end of the line."""
    return f"PROXY {line}\r\n".encode()


def v2(command: int, family: int, rest: bytes = b"") -> bytes:
    """Version 2: the bytes of version and command, of family and protocol, and what follows the length."""
    return SIGNATURE + struct.pack("!BBH", command, family, len(rest)) + rest

"""Commands as Redis reads them, and its answers (RESP2): the one door to hiredis.

Used of it are names that its README shows: `pack_command`, `Reader` with `feed` and `gets`, `ReplyError` and
`ProtocolError`. Without `pack_command` commands would be joined in Python, as large ones are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, cast

from hiredis import ProtocolError, Reader, ReplyError, pack_command

from .command import FOREIGN_BYTES, Argument

__all__ = ["NOTHING", "ProtocolError", "Reader", "ReplyError", "pack"]

#: What `Reader.gets` gives while no answer is whole: a value that RESP2 does not have.
NOTHING: Final = False
#: From here on joining is faster than hiredis, which makes its memory larger again and again: for 100 kB
#: thirty times. For 1 kB it takes half as long again.
_LARGE_BYTES = 32 * 1024
_pack_command: Callable[[tuple[Argument, ...]], bytes] = cast(Any, pack_command)


def pack(args: Sequence[Argument]) -> bytes:
    """One command in RESP."""
    last = args[-1]  # where there are messages, they are the last arguments
    if isinstance(last, bytes) and len(last) >= _LARGE_BYTES:
        return _joined(args)
    try:
        return _pack_command(tuple(args))
    except UnicodeEncodeError:  # the name of something that somebody else wrote
        return _joined(args)


def _joined(args: Sequence[Argument]) -> bytes:
    parts = [b"*%d\r\n" % len(args)]
    for arg in args:
        data = arg if isinstance(arg, bytes) else str(arg).encode(errors=FOREIGN_BYTES)
        parts += (b"$%d\r\n" % len(data), data, b"\r\n")
    return b"".join(parts)

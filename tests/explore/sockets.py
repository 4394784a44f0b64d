"""What the models of one socket have in common: its keys, entries, and the words for what workers hold."""

from __future__ import annotations

import struct
from typing import Any

from headrace_asgi.envelope import decode, encode
from headrace_asgi.layers.redis.plan.plan import ORDERED_CHANNELS

from .explorer import PLACE, Data, plan

__all__ = [
    "GIVEN", "KEYS", "LOCAL", "MAILBOX", "NUMBERS", "ORDER", "PLAN", "PROCESS", "REGISTRY", "SOCKET",
    "WATCHED", "canonical", "entry", "in_flight", "number", "queued",
]  # fmt: skip

PLAN = plan()
PROCESS = "hr1.0.f!"
LOCAL = "a"
SOCKET = PROCESS + LOCAL
KEYS = (
    PLAN.key(PLACE, "o", SOCKET),
    PLAN.key(PLACE, "m", SOCKET),
    PLAN.key(PLACE, "w"),
    PLAN.key(PLACE, "s", PROCESS),
    *(PLAN.key(PLACE, "c", channel) for channel in ORDERED_CHANNELS),
    PLAN.key(PLACE, "f", PROCESS),
    PLAN.key(PLACE, "up", PROCESS),
)
#: The process lives; everything else is empty.
GIVEN: Data = (*((b"none",),) * (len(KEYS) - 1), (b"hash", (b"version", b"1")))
#: Where each key stands in the data.
ORDER, MAILBOX, WATCHED, REGISTRY = range(4)
LISTS = (4, 5, 6)
NUMBERS = 7

#: One time for all entries: expiry is a step of the model, not of the clock.
EXPIRY_MS = 2**52
_EXPIRY = struct.Struct(">Q")


def entry(number: int, ordered: bool = True, expires: bool = True) -> bytes:
    """A queue entry whose payload is its number."""
    return encode(bytes((number,)), EXPIRY_MS if expires else 0, number if ordered else None)


def number(raw: bytes) -> tuple[int, bool]:
    """The number of an entry, and whether it carries an ordering token."""
    found = decode(raw)
    return found.payload[0], found.order is not None


def in_flight(data: Data) -> int | None:
    """The order number that holds the socket's slot."""
    held = data[ORDER][0] == b"string" and data[ORDER][1] != b"done"
    return int(data[ORDER][1]) if held else None


def queued(data: Data) -> list[list[bytes]]:
    """The entries of each of the three lists."""
    return [list(data[at][1]) if data[at][0] == b"list" else [] for at in LISTS]


def canonical(at: int, kind: bytes, content: Any) -> Any:
    """Times are replaced by constants: those in entries and the scores of sorted sets."""
    if kind == b"string":
        return content
    if kind == b"zset":
        return tuple(part for member in content[::2] for part in (0, member))
    if kind == b"list":
        return tuple(_timeless(raw, 3 if at == MAILBOX else 2) for raw in content)
    return tuple(content)


def _timeless(raw: bytes, at: int) -> bytes:
    if _EXPIRY.unpack_from(raw, at)[0] == 0:
        return raw
    return raw[:at] + _EXPIRY.pack(EXPIRY_MS) + raw[at + 8 :]

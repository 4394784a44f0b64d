"""The buckets of a Redis Cluster: places whose keys lie in one slot each, spread evenly. Pure.

A Cluster divides keys among its nodes by slot, and a key's slot is that of its hash tag. So a bucket is a
name whose hash tag has a slot we want it to have: one that follows from the prefix and the number of buckets
alone, the same in every process.
"""

from __future__ import annotations

import itertools
from binascii import crc_hqx

from .places import key_start

__all__ = ["SLOTS", "bucket_names", "key_slot"]

#: Slots of a Cluster.
SLOTS = 16384
#: Slots between the beginning of a bucket's share and those that it may take: nodes often have equal shares
#: too, rounded one way or the other, and a bucket shall be on the same side of their borders in both cases.
_MARGIN = 64
#: So many slots will do for a bucket: more are found sooner, fewer are spread more evenly.
_WINDOW = 128


def key_slot(key: str) -> int:
    """The slot of a key."""
    _, opened, rest = key.partition("{")
    tag, closed, _ = rest.partition("}")
    return crc_hqx((tag if opened and closed and tag else key).encode(), 0) % SLOTS


def bucket_names(prefix: str, count: int) -> tuple[str, ...]:
    """The names of so many buckets. The first one is the same for every count, so all layers meet there."""
    names: dict[int, str] = {}
    for number in itertools.count():
        if len(names) == count:
            break
        name = f"{number:04x}"
        slot = key_slot(key_start(prefix, name))
        bucket = slot * count // SLOTS
        beyond = slot - bucket * SLOTS // count - _MARGIN
        if 0 <= beyond < _WINDOW:
            names.setdefault(bucket, name)
    return tuple(names[bucket] for bucket in range(count))

"""Makes a process of ours one of another version: Python imports this at its start.

`OTHER_VERSION` is the highest version of entries that it reads and writes. The second one differs from the
first in its number alone, which is all that a process sees that does not know it. Words and pauses are short,
so that a test sees in seconds what takes minutes.
"""

from __future__ import annotations

import os
from typing import Any

from headrace_asgi import envelope, limits

#: Seconds for which the word of a process counts, longer than the pause between two heartbeats; between two
#: words of a worker; and until what all read is written.
limits.ANNOUNCED_SECONDS, limits.ANNOUNCE_SECONDS, SETTLED_SECONDS = 7.0, 1.0, 1.0


def encode_second(*args: Any, **options: Any) -> bytes:
    """An entry of version 2."""
    return b"\x02" + envelope.encode(*args, **options)[1:]


def become(version: int) -> None:
    """Read and write entries up to this version."""
    from headrace_asgi.layers.redis.plan import versions

    versions.SETTLED_SECONDS = SETTLED_SECONDS
    envelope.VERSION = version
    if version >= 2:
        envelope.WRITERS[2] = encode_second


if "OTHER_VERSION" in os.environ:
    become(int(os.environ["OTHER_VERSION"]))

"""Commands as bytes."""

from __future__ import annotations

import hiredis
import pytest

from headrace_asgi.layers.redis.plan.resp import pack


@pytest.mark.parametrize("size", [0, 10, 1_000, 100_000])
def test_large_and_small_commands_are_packed_alike(size: int) -> None:
    command = (b"EVALSHA", "digest \u00e9", 1, -7, b"", b"\r\n" * 3, b"x" * size)
    assert pack(command) == hiredis.pack_command(command)  # type: ignore[arg-type]
    assert pack((*command, 5)) == hiredis.pack_command((*command, 5))  # type: ignore[arg-type]

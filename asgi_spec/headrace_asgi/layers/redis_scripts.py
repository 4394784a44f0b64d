"""The Lua scripts, read from `lua/` once: source, digest, and the shared part put in where one needs it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

__all__ = ["SCRIPTS", "Script", "script"]

#: Scripts that move entries between a socket's mailbox and the shared lists.
_WITH_MAILBOX = {"frame_ordered", "disconnect", "finish", "kick"}


@dataclass(frozen=True, slots=True)
class Script:
    """One script; `sha` is what EVALSHA asks for."""

    name: str
    source: bytes
    sha: bytes


@cache
def script(name: str) -> Script:
    """The script in `lua/<name>.lua`."""
    folder = files(__package__) / "lua"
    source = (folder / f"{name}.lua").read_bytes()
    if name in _WITH_MAILBOX:
        first, rest = source.split(b"\n", 1)
        source = first + b"\n" + (folder / "_mailbox.lua").read_bytes() + rest
    return Script(name, source, hashlib.sha1(source, usedforsecurity=False).hexdigest().encode())


#: Every script, to be loaded after each connect.
SCRIPTS = tuple(
    script(name)
    for name in (
        "send",
        "push",
        "connect",
        "frames",
        "frame_ordered",
        "disconnect",
        "forget",
        "reassert",
        "drop_connect",
        "settle",
        "finish",
        "kick",
        "renew",
        "back",
        "group_add",
        "group_leave",
        "group_join_plain",
        "group_read",
        "beat",
    )
)

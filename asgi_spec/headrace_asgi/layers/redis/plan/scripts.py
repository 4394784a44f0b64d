"""The Lua scripts, read from `lua/` once: source, digest, and the shared part put in where one needs it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

__all__ = ["SCRIPTS", "Script", "script"]

#: Scripts that are another one, but refused when Redis is out of memory.
_REFUSED_WHEN_FULL = {"push_spare": "push"}
_ALLOWED = b" flags=allow-oom\n"
#: Scripts that move entries between a socket's mailbox and the shared lists, and those that count.
_WITH_MAILBOX = {"frame_ordered", "disconnect", "finish", "kick"}
_COUNTING = {"send", "connect", "frames", "drop_connect", "beat"} | _WITH_MAILBOX


@dataclass(frozen=True, slots=True)
class Script:
    """One script; `sha` is what EVALSHA asks for."""

    name: str
    source: bytes
    sha: bytes

    @property
    def needs_memory(self) -> bool:
        """Whether Redis refuses it when its memory is full."""
        return not self.source.startswith(b"#!lua" + _ALLOWED)


@cache
def script(name: str) -> Script:
    """The script in `lua/<name>.lua`, or the one made of another."""
    folder = files("headrace_asgi.layers.redis") / "lua"
    source = (folder / f"{_REFUSED_WHEN_FULL.get(name, name)}.lua").read_bytes()
    if name in _REFUSED_WHEN_FULL:
        source = source.replace(_ALLOWED, b"\n", 1)
    shared = b""
    if name in _COUNTING:
        shared += (folder / "_counting.lua").read_bytes()
    if name in _WITH_MAILBOX:
        shared += (folder / "_mailbox.lua").read_bytes()
    first, rest = source.split(b"\n", 1)
    source = first + b"\n" + shared + rest
    return Script(name, source, hashlib.sha1(source, usedforsecurity=False).hexdigest().encode())


#: Every script, to be loaded after each connect.
SCRIPTS = tuple(
    script(name)
    for name in (
        "send",
        "push",
        "push_spare",
        "connect",
        "frames",
        "frame_ordered",
        "disconnect",
        "forget",
        "reassert",
        "drop_connect",
        "settle",
        "look_after",
        "fence",
        "finish",
        "kick",
        "renew",
        "back",
        "back_plain",
        "group_add",
        "group_reassert",
        "group_leave",
        "group_join_plain",
        "group_read",
        "register",
        "withdraw",
        "beat",
        "announce",
    )
)

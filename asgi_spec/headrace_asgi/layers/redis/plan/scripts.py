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
_WITH_MAILBOX = {"frames_ordered", "disconnect", "finish", "kick"}
_COUNTING = {
    "send", "connect", "frames", "drop_connect", "beat", "move", "add_up", "ack_send", "ack_claim",
    "ack_finish", "ack_fail", "dead_replay", *_WITH_MAILBOX,
}  # fmt: skip
#: Scripts of what becomes due, and of who has claimed a message of an acknowledged channel.
_WITH_CLAIMS = {"ack_renew", "ack_finish", "ack_fail", "ack_release"}
_WITH_TRIES = {"ack_fail", "ack_release", "move", "dead_replay"}
_WITH_DUE = {"later", "peek", "move", "ack_claim", "ack_renew", "ack_fail"}
#: Scripts that do one thing for several sockets.
_FOR_EACH = {"frames_ordered", "finish"}
#: Which scripts begin with each of the shared parts, in this order.
_SHARED = {
    "counting": _COUNTING,
    "mailbox": _WITH_MAILBOX,
    "due": _WITH_DUE,
    "tries": _WITH_TRIES,
    "claims": _WITH_CLAIMS,
    "each": _FOR_EACH,
}


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
    parts = [part for part, users in _SHARED.items() if name in users]
    shared = b"".join((folder / f"_{part}.lua").read_bytes() for part in parts)
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
        "queued",
        "connect",
        "frames",
        "frames_ordered",
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
        "hosts",
        "versions",
        "add_up",
        "later",
        "cancel",
        "peek",
        "move",
        "ack_send",
        "ack_claim",
        "ack_renew",
        "ack_finish",
        "ack_fail",
        "ack_release",
        "ack_ring",
        "dead_replay",
        "dead_drop",
    )
)

"""Names of channels and groups: their grammar, and the parts of a process queue's name.

Three kinds of channel (ASGI 0.x): `http.request` is shared by all workers, `http.request.body?x7` has a
single reader, and `hr1.0.5f…!a1` belongs to one process, which reads `hr1.0.5f…!` and finds its client by the
local part `a1`. A process queue of ours says in its name which version of control entries its reader
understands (`hr1`) and at which place it lies (`0`), so that nobody has to compute it.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable

__all__ = [
    "MAX_NAME_LENGTH",
    "OTHER_PROTOCOL",
    "PROCESS_PREFIX",
    "is_channel_name",
    "is_process_name",
    "is_process_queue",
    "local_part",
    "new_process_queue",
    "new_single_reader",
    "non_local_name",
    "place_of_process",
    "place_of_single_reader",
    "require_channel_name",
    "require_channel_names",
    "require_group_name",
    "require_group_names",
]

#: Characters of a name. The specification demands at least 100; reply channels need about 60.
MAX_NAME_LENGTH = 200
#: Queues whose reader understands control entries of version 1.
PROCESS_PREFIX = "hr1."

#: What the local part of a client of another protocol than HTTP begins with: what is in a reply to it, the
#: worker does not know.
OTHER_PROTOCOL = "."

_MAIN = r"[a-zA-Z0-9\-_.]+"
_LOCAL = r"[a-zA-Z0-9\-_.]"
_PLACE_AT = len(PROCESS_PREFIX)
#: A name on a queue of our own kind, or one that does not look like that.
_CHANNEL = re.compile(
    rf"hr1\.[a-zA-Z0-9\-_]+\.[0-9a-f]+!{_LOCAL}*|(?!hr1\.[^!]*!){_MAIN}(?:\?{_LOCAL}+|!{_LOCAL}*)?", re.ASCII
)
_PROCESS = re.compile(r"hr1\.[a-zA-Z0-9\-_]+\.[0-9a-f]+!", re.ASCII)
_GROUP = re.compile(_MAIN, re.ASCII)
_RULE = f"must be a str of 1 to {MAX_NAME_LENGTH} ASCII letters, digits, hyphens, underscores and full stops"


def is_channel_name(name: object) -> bool:
    """Whether this is a valid channel name."""
    return isinstance(name, str) and len(name) <= MAX_NAME_LENGTH and _CHANNEL.fullmatch(name) is not None


def is_process_name(name: str) -> bool:
    """Whether this is a name that a process queue of ours can have, to the last character."""
    return len(name) <= MAX_NAME_LENGTH and _PROCESS.fullmatch(name) is not None


def require_channel_name(name: object, receive: bool = False) -> str:
    """Return `name` if it is a valid channel name; with `receive`, one that may be received from.

    Raises TypeError, with the rule in its text.
    """
    if not isinstance(name, str) or len(name) > MAX_NAME_LENGTH or not _CHANNEL.fullmatch(name):
        raise TypeError(
            f"A channel name {_RULE}, with at most one '?' or '!' inside, not {name!r}; one with "
            f"{PROCESS_PREFIX} at its start and '!' inside is hr1.<place>.<hexadecimal digits>!<client>"
        )
    if receive and "!" in name and not name.endswith("!"):
        raise TypeError(f"Receive from {non_local_name(name)!r}, the part up to '!', not from {name!r}")
    return name


def require_channel_names(names: Iterable[str]) -> list[str]:
    """Return the names to receive from as a list; raise TypeError if one is invalid or there is none."""
    if isinstance(names, str):
        raise TypeError(f"Receive from a list of channel names, not from the string {names!r}")
    listed = [require_channel_name(name, receive=True) for name in names]
    if not listed:
        raise TypeError("Receive from at least one channel name, not from an empty list")
    return listed


def require_group_name(name: object) -> str:
    """Return `name` if it is a valid group name, else raise TypeError."""
    if not isinstance(name, str) or len(name) > MAX_NAME_LENGTH or not _GROUP.fullmatch(name):
        raise TypeError(f"A group name {_RULE}, not {name!r}")
    return name


def require_group_names(names: Iterable[str]) -> list[str]:
    """Return the names of groups to send to as a list, each once; raise TypeError if one is invalid."""
    if isinstance(names, str):
        raise TypeError(f"Send to a list of group names, not to the string {names!r}")
    return [require_group_name(name) for name in dict.fromkeys(names)]


def non_local_name(name: str) -> str:
    """The queue a message for `name` is put on: up to and including `!`, or the whole name."""
    at = name.find("!")
    return name if at < 0 else name[: at + 1]


def local_part(name: str) -> str:
    """What follows `!`, the part that only the reading process understands."""
    return name[name.find("!") + 1 :]


def is_process_queue(name: str) -> bool:
    """Whether the reader of this queue understands control entries: its name says so, and where it lies."""
    # Asked of every reply, so not by the pattern; `require_channel_name` is for names that people write.
    return name.startswith(PROCESS_PREFIX) and _PLACE_AT < name.find(".", _PLACE_AT) < name.find("!")


def new_process_queue(place: str) -> str:
    """A name for the queue of one process, never used before: 128 random bits."""
    return f"{PROCESS_PREFIX}{place}.{secrets.token_hex(16)}!"


def place_of_process(name: str) -> str:
    """The place that stands in the name of a process queue or of a channel on it.

    Raises ValueError if `name` is not such a name.
    """
    version, _, rest = name.partition(".")
    place, dot, _ = rest.partition(".")
    if f"{version}." != PROCESS_PREFIX or not dot or not place:
        raise ValueError(f"{name!r} is not the name of a process queue ({PROCESS_PREFIX}<place>.<random>!)")
    return place


def new_single_reader(pattern: str, place: str = "") -> str:
    """A fresh channel name for a pattern that ends with `?` or `!`, with 96 random bits.

    One with `?` says at which `place` it lies, where a layer has several. Raises TypeError for another
    pattern.
    """
    if not isinstance(pattern, str) or not pattern.endswith(("?", "!")):
        raise TypeError(f"A pattern for new_channel ends with '?' or '!', not {pattern!r}")
    where = f"{place}." if place and pattern.endswith("?") else ""
    return require_channel_name(pattern + where + secrets.token_hex(12))


def place_of_single_reader(name: str) -> str:
    """The place that `new_single_reader` wrote into a name; empty if there is none."""
    _, _, rest = name.partition("?")
    place, dot, _ = rest.partition(".")
    return place if dot else ""

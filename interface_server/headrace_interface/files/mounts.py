"""Which folder a request is for, and which names in it can be asked for. Pure, but for the check at start.

A name that could mean something else to another program on the way is not repaired, it is not found.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from headrace_asgi.errors import ConfigurationError

from ..http.grammar import ABSOLUTE_FORM

__all__ = ["Mount", "ensure_folders", "mount_from", "mount_of", "name_below", "safe_name", "undecoded_path"]


@dataclass(frozen=True, slots=True)
class Mount:
    """The folder behind a prefix of paths; the prefix begins and ends with a slash."""

    prefix: str
    folder: str


def mount_from(option: str, text: str) -> Mount:
    """What `/prefix/=DIR` means. Raises ConfigurationError that names the option."""
    prefix, equals, folder = text.partition("=")
    if not equals or not folder or not prefix.startswith("/"):
        raise ConfigurationError(f"{option} is something like /files/=/srv/files, not {text!r}")
    prefix = prefix.rstrip("/") + "/"
    if prefix == "/":
        raise ConfigurationError(f"{option} {text!r} would leave no path for the application")
    return Mount(prefix, folder)


def ensure_folders(folders: Iterable[tuple[str, str]]) -> None:
    """Look whether each of these (option, folder) is there. Blocks. Raises ConfigurationError if not."""
    for option, folder in folders:
        if not os.path.isdir(folder):
            raise ConfigurationError(f"{option}: there is no folder {folder!r}")
        if not os.access(folder, os.R_OK | os.X_OK):
            raise ConfigurationError(f"{option}: the folder {folder!r} cannot be read by this user")


def mount_of(mounts: Sequence[Mount], path: str) -> Mount | None:
    """The mount with the longest prefix of a decoded path, or None."""
    found = [mount for mount in mounts if path.startswith(mount.prefix)]
    return max(found, key=lambda mount: len(mount.prefix)) if found else None


def undecoded_path(target: bytes) -> bytes:
    """The path of a request target (RFC 9112 3.2) as it was sent, without its query."""
    absolute = ABSOLUTE_FORM.fullmatch(target)
    return (target if absolute is None else absolute[2]).partition(b"?")[0]


def name_below(mount: Mount, path: str, undecoded: bytes) -> str | None:
    """The name in the mount's folder that a decoded path asks for; None if it asks for nothing there.

    A slash that was sent encoded (RFC 3986 2.2) is data to some programs and a separator to others.
    """
    return None if b"%2f" in undecoded.lower() else safe_name(path[len(mount.prefix) :])


def safe_name(name: str) -> str | None:
    """A relative name, if it leads only downwards and to nothing hidden; else None."""
    if not name or "\\" in name or any(each < " " or each == "\x7f" for each in name):
        return None
    # Empty ones are double slashes, and a folder's slash at the end.
    if any(not part or part.startswith(".") for part in name.split("/")):
        return None
    return name

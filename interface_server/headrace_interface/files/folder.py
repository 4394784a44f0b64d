"""Opens files in a folder, and none outside of it. Each call blocks while it asks the file system.

A symbolic link may lead to another place in the folder. Where a name leads is found out first; then every
step of that is taken from the folder before it and through no link: nobody can change the way in between.
"""

from __future__ import annotations

import errno
import os
import stat

from .answer import FileFacts
from .representation import CODINGS, choose_coding

__all__ = ["OpenFile", "open_below", "open_for"]

_STEP = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
#: A pipe would be waited for.
_LAST_STEP = _STEP | os.O_NONBLOCK
#: What a name can be wrong about; everything else is the server's trouble.
_NOT_THERE = frozenset(
    (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG)
)


class OpenFile:
    """A regular file that is open for reading, and what is known of it."""

    __slots__ = ("_fd", "facts")

    def __init__(self, fd: int, facts: FileFacts) -> None:
        self._fd = fd
        self.facts = facts

    def read(self, start: int, length: int) -> bytes:
        """Up to `length` bytes from `start` on; none behind the end. Raises OSError."""
        return os.pread(self._fd, length, start)

    def close(self) -> None:
        """Close it; nothing happens the second time."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def open_below(folder: str, name: str, coding: bytes | None = None, varies: bool = False) -> OpenFile | None:
    """The file of a relative name in a folder, or None if there is none that may be read.

    Raises OSError if it cannot be told, as when too many files are open.
    """
    try:
        fd = _open(folder, name)
    except (OSError, ValueError) as error:
        # ValueError: the name cannot be encoded for the file system.
        if isinstance(error, OSError) and error.errno not in _NOT_THERE:
            raise
        return None
    if fd is None:
        return None
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        os.close(fd)
        return None
    return OpenFile(fd, FileFacts(found.st_size, found.st_mtime_ns, coding, varies))


def open_for(folder: str, name: str, accept_encoding: list[bytes]) -> OpenFile | None:
    """The same, or a copy in a coding that the client takes. A copy is not older than its file."""
    plain = open_below(folder, name)
    if plain is None:
        return None
    available = [coding for coding, ending in CODINGS.items() if _is_there(folder, name + ending)]
    if not available:
        return plain
    facts = plain.facts
    plain.facts = FileFacts(facts.size, facts.modified_ns, None, varies=True)
    coding = choose_coding(accept_encoding, available)
    if coding is None:
        return plain
    try:
        copy = open_below(folder, name + CODINGS[coding], coding, varies=True)
    except OSError:
        return plain
    if copy is None:
        return plain
    # What packs a file often gives the copy the file's time, in whole seconds.
    if copy.facts.modified_ns // 10**9 < facts.modified_ns // 10**9:
        copy.close()
        return plain
    plain.close()
    return copy


def _is_there(folder: str, name: str) -> bool:
    return os.path.isfile(os.path.join(folder, name))


def _open(folder: str, name: str) -> int | None:
    """A descriptor of what a name leads to, or None if that is outside of the folder, or no file."""
    root = os.path.realpath(folder)
    steps = os.path.relpath(os.path.realpath(os.path.join(root, name)), root).split(os.sep)
    if steps[0] in (os.curdir, os.pardir):
        return None
    at = os.open(root, _STEP | os.O_DIRECTORY)
    try:
        for step in steps[:-1]:
            below = os.open(step, _STEP | os.O_DIRECTORY, dir_fd=at)
            os.close(at)
            at = below
        # Opening is more than looking for some devices.
        if not stat.S_ISREG(os.stat(steps[-1], dir_fd=at, follow_symlinks=False).st_mode):
            return None
        return os.open(steps[-1], _LAST_STEP, dir_fd=at)
    finally:
        os.close(at)

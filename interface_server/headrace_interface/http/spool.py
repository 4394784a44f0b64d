"""Holds the bytes of request bodies until they may leave: in memory, and in temporary files beyond.

`Bodies` counts what all bodies of a process take together, and refuses what is too much: a client that sends
slowly, or a layer that is away, must not cost more than was set aside for it.
"""

from __future__ import annotations

import logging
import os
import tempfile
from typing import IO

from ..settings import InterfaceSettings
from .head import Refused
from .writer import RETRY_AFTER

__all__ = ["Bodies", "Spool"]

logger = logging.getLogger("headrace.interface")

#: Bytes below which parts are put together: an object each weighs more than they do.
_SMALL_BYTES = 4096
#: Bytes that are put together, and written at once.
_TAIL_BYTES = 64 * 1024


class Bodies:
    """What the bodies of one process take."""

    __slots__ = ("_told", "disk_bytes", "each_bytes", "max_disk_bytes", "max_memory_bytes", "memory_bytes")

    def __init__(self, settings: InterfaceSettings) -> None:
        self.each_bytes = settings.spool_memory_bytes
        self.max_memory_bytes = settings.max_bodies_memory_bytes
        self.max_disk_bytes = settings.max_bodies_disk_bytes
        self.memory_bytes = 0
        self.disk_bytes = 0
        #: What was said about bodies that were refused, so that it is said once.
        self._told = ""

    @property
    def crowded(self) -> bool:
        """Whether nothing more should wait in memory."""
        return self.memory_bytes > self.max_memory_bytes

    def refuse(self, reason: str) -> Refused:
        """The refusal of a body for which there is no room."""
        if self._told != reason:
            self._told = reason
            logger.error(
                "Request bodies cannot be kept in temporary files (%s); all together take %d bytes of memory "
                "and %d of files. Further ones are answered 503 until that changes.",
                reason,
                self.memory_bytes,
                self.disk_bytes,
            )
        return Refused(503, "The server is busy. Please try again in a moment.", (RETRY_AFTER,))

    def kept(self) -> None:
        """A file took some more."""
        if self._told and self.disk_bytes <= self.max_disk_bytes // 2:
            self._told = ""
            logger.warning("Request bodies can be kept again.")


class Spool:
    """Bytes in, the same bytes out in their order; `bytes` is how many are in it."""

    __slots__ = ("_file", "_held_bytes", "_parts", "_read_at", "_write_at", "bodies", "bytes")

    def __init__(self, bodies: Bodies) -> None:
        self.bodies = bodies
        #: Behind what is in the file, if there is one.
        self._parts: list[bytes | bytearray] = []
        self._held_bytes = 0
        self._file: IO[bytes] | None = None
        self._read_at = self._write_at = 0
        self.bytes = 0

    def put(self, data: bytes) -> None:
        """Add bytes. Raises Refused(503) if there is no room for them."""
        size, bodies = len(data), self.bodies
        if self._file is None and (
            self.bytes + size > bodies.each_bytes or bodies.memory_bytes + size > bodies.max_memory_bytes
        ):
            self._open()
        parts = self._parts
        if size >= _SMALL_BYTES or not parts or len(parts[-1]) > _TAIL_BYTES:
            parts.append(data)
        else:
            last = parts[-1]
            if not isinstance(last, bytearray):
                last = parts[-1] = bytearray(last)
            last += data
        self.bytes += size
        self._held_bytes += size
        bodies.memory_bytes += size
        if self._file is not None and (self._held_bytes > _TAIL_BYTES or bodies.crowded):
            self._flush(self._file)

    def take(self, count: int) -> bytes:
        """Remove the first `count` bytes. Raises Refused(503) if they cannot be read."""
        if self._file is not None:
            return self._read(self._file, count)
        whole = b"".join(self._parts)
        self._parts = [whole[count:]] if count < len(whole) else []
        self.bytes -= count
        self._hold(-count)
        return whole[:count]

    def close(self) -> None:
        """Forget all of it."""
        self._hold(-self._held_bytes)
        self._parts = []
        if self._file is not None:
            self._file.close()
            self._file = None
            self.bodies.disk_bytes -= self._write_at
            self._read_at = self._write_at = 0
        self.bytes = 0

    def _hold(self, more: int) -> None:
        self._held_bytes += more
        self.bodies.memory_bytes += more

    def _open(self) -> None:
        try:
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - `close` closes it
        except OSError as error:
            raise self.bodies.refuse(error.strerror or str(error)) from None

    def _flush(self, file: IO[bytes]) -> None:
        bodies, data = self.bodies, b"".join(self._parts)
        if bodies.disk_bytes + len(data) > bodies.max_disk_bytes:
            raise bodies.refuse("as many wait as may")
        view = memoryview(data)
        try:
            while view:
                written = os.pwrite(file.fileno(), view, self._write_at)
                self._write_at += written
                bodies.disk_bytes += written
                view = view[written:]
        except OSError as error:
            raise bodies.refuse(error.strerror or str(error)) from None
        self._parts = []
        self._hold(-len(data))
        bodies.kept()

    def _read(self, file: IO[bytes], count: int) -> bytes:
        self._flush(file)
        try:
            data = os.pread(file.fileno(), count, self._read_at)
            if len(data) < count:
                raise OSError("a temporary file lacks what was written to it")
            self._read_at += count
            self.bytes -= count
            if not self.bytes:
                os.ftruncate(file.fileno(), 0)
                self.bodies.disk_bytes -= self._write_at
                self._read_at = self._write_at = 0
        except OSError as error:
            raise self.bodies.refuse(error.strerror or str(error)) from None
        return data

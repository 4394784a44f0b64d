"""Reads the body of a request that the interface server streams, because it is too large for one message.

Chunks come on a single-reader channel. What was read is credited to the interface server, which reads on from
the client only then: so at most its window lies in the layer, whatever the size of the upload.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from tempfile import SpooledTemporaryFile
from typing import IO, TYPE_CHECKING

from django.conf import settings

from headrace_asgi.control import CREDIT

from .. import conf
from ..exceptions import RequestAborted, RequestTimeout
from .notes import NoteSender

if TYPE_CHECKING:
    from ..message import Message

__all__ = ["Credit", "receive_body"]

#: How long one take waits. After each one that brought nothing, the interface process is asked for a sign of
#: life: if it was killed, no last chunk will ever say so.
SLICE_SECONDS = 1.0
#: Chunks in one take. Twice the window of an interface server, in chunks of a usual size.
CHUNKS_PER_TAKE = 16


def receive_body(message: Message, clock: Callable[[], float] = time.monotonic) -> tuple[IO[bytes], int]:
    """Read the whole body of `message`: a file at its start, and the size in bytes.

    Blocks until the last chunk. Raises RequestTimeout when no chunk came for `BODY_RECEIVE_SECONDS` (the
    interface server has the deadline for the body as a whole), RequestAborted when the client left or its
    interface process is gone, LayerUnavailable when the layer went away with chunks of it.
    """
    body: IO[bytes] = SpooledTemporaryFile(  # noqa: SIM115 - the request closes it
        max_size=settings.FILE_UPLOAD_MAX_MEMORY_SIZE, dir=settings.FILE_UPLOAD_TEMP_DIR
    )
    try:
        body.write(message.content.get("body", b""))
        with closing(Credit(message)) as credit:
            _receive_chunks(message, body, credit, clock)
        size_bytes = body.tell()
        body.seek(0)
    except BaseException:
        body.close()
        raise
    return body, size_bytes


def _receive_chunks(message: Message, body: IO[bytes], credit: Credit, clock: Callable[[], float]) -> None:
    patience_seconds = conf.settings().body_receive_seconds
    channel, layer = message.content["body_channel"], message.channel_layer
    heard = clock()
    while True:
        wait_seconds = min(SLICE_SECONDS, max(heard + patience_seconds - clock(), 0.0))
        taken = layer.receive_many([channel], CHUNKS_PER_TAKE, wait_seconds)
        size_bytes = 0
        for _, chunk in taken:
            if chunk.get("closed"):
                raise RequestAborted("the client left before its request was complete")
            content = chunk.get("content", b"")  # the last chunk may have none
            body.write(content)
            size_bytes += len(content)
            if not chunk.get("more_content"):
                return
        if taken:
            heard = clock()
        elif clock() - heard >= patience_seconds:
            raise RequestTimeout(f"no part of the request's body came for {patience_seconds:g} s")
        credit.give(size_bytes)


class Credit:
    """Tells the interface process how many bytes of a body were read; notices when that process is gone."""

    def __init__(self, message: Message) -> None:
        """Take the request whose body is read."""
        self._notes = NoteSender(message)
        self._owed_bytes = 0

    def give(self, size_bytes: int) -> None:
        """Credit bytes; 0 only asks whether the process still lives. Raises RequestAborted if it does not."""
        self._owed_bytes += size_bytes
        # What may not have arrived is said again with the next: twice the credit does less harm than none.
        if self._notes.say(CREDIT, bytes=self._owed_bytes):
            self._owed_bytes = 0

    def close(self) -> None:
        """Give the port back."""
        self._notes.close()

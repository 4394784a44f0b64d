"""Keeps a response in parts from running ahead of the client that reads it, and notices that nobody does.

The interface server says on a single-reader channel how many bytes the client has taken since the response
began, and when it has left. A response of one message has none of this.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from headrace_asgi.control import CREDIT_ASKED
from headrace_asgi.errors import LayerUnavailable
from headrace_asgi.limits import RESPONSE_WINDOW_BYTES
from headrace_asgi.messages import HTTP_RESPONSE_CREDIT
from headrace_asgi.names import is_process_queue

from ..exceptions import RequestAborted
from .notes import NoteSender

if TYPE_CHECKING:
    from ..message import Message

__all__ = ["Window"]

#: How long one wait for credit lasts. After each one that brought nothing, the interface process is asked: if
#: it was killed, or its word was lost, no credit would ever come.
SLICE_SECONDS = 1.0
#: Seconds between two looks while there is room: a client that left is noticed within two seconds by a view
#: that yields every second, and a stream that is shorter than this looks never.
LOOK_SECONDS = 0.5
#: Seconds after which it is asked even while there is room: "closed" may be lost with the layer's data.
ASK_SECONDS = 30.0
#: Seconds without the layer after which the response is given up: then no part of it could be sent either.
AWAY_SECONDS = 30.0
#: Pause of a wait while there is no layer.
AWAY_PAUSE_SECONDS = 0.1
#: Messages in one look: each is a newer total, and there are never as many of them.
_MOST = 100


class Window:
    """The room that a response in parts has. For one thread.

    `channel` goes with the first part; None for a server that gives no credit, where there is always room.
    `has_room` comes before each part and `sent` after it.
    """

    def __init__(
        self,
        message: Message,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Take the request that is answered."""
        self._layer = message.channel_layer
        reader = message.content["reply_channel"]
        self.channel: str | None = None
        if is_process_queue(reader):
            self.channel = self._layer.new_channel_beside(HTTP_RESPONSE_CREDIT.channel, reader)
        self._notes = NoteSender(message)
        self._clock = clock
        self._sleep = sleep
        self._sent_bytes = 0
        self._taken_bytes = 0
        self._closed = False
        self._looked = self._asked = clock()
        self._away_since: float | None = None

    def sent(self, size_bytes: int) -> None:
        """A part of this size was sent."""
        self._sent_bytes += size_bytes

    def has_room(self) -> bool:
        """Wait until the next part may be sent; False if nobody would read it.

        Blocks for as long as the client reads nothing: the interface server cuts it off at its deadline.
        """
        if self.channel is None:
            return True
        if self._is_full or self._clock() - self._looked >= LOOK_SECONDS:
            try:
                self._listen(self.channel)
            except RequestAborted:
                self._closed = True
        return not self._closed

    def close(self) -> None:
        """The response is over."""
        self._notes.close()

    @property
    def _is_full(self) -> bool:
        return self._sent_bytes - self._taken_bytes >= RESPONSE_WINDOW_BYTES

    def _listen(self, channel: str) -> None:
        self._look(channel, 0.0)
        if not self._closed and self._clock() - self._asked >= ASK_SECONDS:
            self._ask(channel)
        while self._is_full and not self._closed:
            if not self._look(channel, SLICE_SECONDS) and self._is_full:
                self._ask(channel)

    def _look(self, channel: str, wait_seconds: float) -> bool:
        """Read what came; whether something did. Raises RequestAborted when there is no layer for long."""
        try:
            taken = self._layer.receive_many([channel], _MOST, wait_seconds)
        except LayerUnavailable:
            now = self._clock()
            self._away_since = self._away_since or now
            if now - self._away_since >= AWAY_SECONDS:
                raise RequestAborted("the channel layer stays away") from None
            if wait_seconds:
                self._sleep(AWAY_PAUSE_SECONDS)
            return False
        self._looked = self._clock()
        self._away_since = None
        for _, message in taken:
            # A total that is older than the last one changes nothing.
            self._taken_bytes = max(self._taken_bytes, message.get("bytes", 0))
            self._closed = self._closed or bool(message.get("closed"))
        return bool(taken)

    def _ask(self, channel: str) -> None:
        self._asked = self._clock()
        self._notes.say(CREDIT_ASKED, channel=channel)

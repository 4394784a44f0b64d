"""Whether workers take what is put on a channel: said once when none does, and once when one does again.

Judged from what the clients know: something of theirs waits, and no worker was heard of. Nothing is asked of
the layer, and while nothing waits nothing runs.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable

from .timers import Clock

__all__ = ["UNTAKEN_SECONDS", "Untaken", "Watch"]

logger = logging.getLogger("headrace.interface")

#: Seconds that the oldest has waited, and that no worker was heard of, until it is said.
UNTAKEN_SECONDS = 5.0
_LOOK_SECONDS = 1.0


class Untaken:
    """The state of one channel. Pure: told what is known now and then, it answers what is to be said."""

    def __init__(self, channel: str, where: Callable[[], str]) -> None:
        """`where` the channel is, as people know it."""
        self._channel = channel
        self._where = where
        self._heard_at = -math.inf
        self._since = 0.0
        #: What was said and still holds; empty while workers take what is there.
        self.text = ""

    def look(self, now: float, heard: bool, oldest: float, taken: int) -> str:
        """Take whether a worker was heard of since the last look, and otherwise how things stand.

        `oldest` is since when the first that was not taken waits, infinity if there is none; `taken` is how
        many are with a worker.
        """
        if heard:
            return self._heard(now)
        since = max(self._heard_at, oldest)
        if self.text or now - since < UNTAKEN_SECONDS:
            return ""
        self._since = since
        ask = f"{taken} are taken and not answered; are there enough?" if taken else "is one running?"
        self.text = f"No worker has taken {self._channel} at {self._where()} for {now - since:.0f} s: {ask}"
        return self.text

    def _heard(self, now: float) -> str:
        self._heard_at = now
        if not self.text:
            return ""
        self.text = ""
        return f"{self._channel} at {self._where()} is taken again after {now - self._since:.0f} s."


class Watch:
    """Looks at one channel every second while something waits, and writes the log lines."""

    def __init__(
        self,
        clock: Clock,
        channel: str,
        where: Callable[[], str],
        clients: Callable[[], Iterable[tuple[str, float] | None]],
    ) -> None:
        """`clients` answers what each client asks of workers, as `connections.Client.asked` does."""
        self._clock = clock
        self.channel = channel
        self._clients = clients
        self._state = Untaken(channel, where)
        self._looking = False
        #: Set by whoever hears of a worker.
        self.heard = False

    @property
    def text(self) -> str:
        """What was said and still holds; empty while workers take what is there."""
        return self._state.text

    def asked(self) -> None:
        """Something was put on the channel."""
        if not self._looking:
            self._looking = True
            self._clock.callLater(_LOOK_SECONDS, self._look)

    def _look(self) -> None:
        heard, self.heard = self.heard, False
        oldest, taken = math.inf, 0
        if not heard:
            oldest, taken = self._waiting()
        text = self._state.look(self._clock.seconds(), heard, oldest, taken)
        if text:
            logger.warning("%s", text)
        self._looking = False
        if heard or oldest < math.inf:
            self.asked()

    def _waiting(self) -> tuple[float, int]:
        since = [asked[1] for asked in self._clients() if asked is not None and asked[0] == self.channel]
        return min(since, default=math.inf), since.count(math.inf)

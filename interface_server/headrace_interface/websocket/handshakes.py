"""How many handshakes of one address wait for the application, as one that reconnects without end fills the
channel for all. Pure: times in seconds of one clock.

A client that leaves before its answer leaves its `websocket.connect` behind, so that counts until it expires;
one that leaves later may leave what it said, and counts until that was taken over by the layer.
"""

from __future__ import annotations

from collections import Counter, deque

__all__ = ["Handshakes"]


class Handshakes:
    """Handshakes by address; at most `most` of each, 0 is without a limit."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: Counter[str] = Counter()
        #: (when it expires, address) of those whose client left, about in the order in which they expire.
        self._left: deque[tuple[float, str]] = deque()

    def may_begin(self, address: str, now: float, departed: int = 0) -> bool:
        """Whether one more may ask; `departed` clients of its address left something unsaid."""
        while self._left and self._left[0][0] <= now:
            self.ended(self._left.popleft()[1])
        return not self._most or self._waiting[address] + departed < self._most

    def begun(self, address: str) -> None:
        """One more asks."""
        self._waiting[address] += 1

    def ended(self, address: str) -> None:
        """One was answered."""
        self._waiting[address] -= 1
        if self._waiting[address] <= 0:
            del self._waiting[address]

    def left(self, address: str, expires_at: float) -> None:
        """The client of one is gone; what it asked may be on its channel until it expires."""
        self._left.append((expires_at, address))

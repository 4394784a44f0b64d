"""The clock of one Redis, kept on our monotonic clock: no jump of a clock expires anything."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

__all__ = ["RESAMPLE_SECONDS", "RedisClock"]

#: Age at which a sample is renewed along with other commands: clocks of machines drift apart slowly.
RESAMPLE_SECONDS = 60.0
#: Nothing is dropped on a sample older than this: the clock may have jumped since.
FRESH_SECONDS = 1.0
#: Change between two samples that no drift explains.
JUMP_MS = 2_000


class RedisClock:
    """Tells the time of one Redis between samples. Thread-safe: each sample replaces one tuple."""

    def __init__(self, expiry_seconds: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Take the longest expiry of a message: so long nothing is dropped after a jump."""
        self._expiry_seconds = expiry_seconds
        self._monotonic = monotonic
        # (offset of the Redis clock against the monotonic one in ms, when it was sampled)
        self._sampled: tuple[float, float] | None = None
        self._drop_nothing_until = 0.0

    @property
    def stale(self) -> bool:
        """Whether a sample should be taken with the next commands."""
        sampled = self._sampled
        return sampled is None or self._monotonic() - sampled[1] > RESAMPLE_SECONDS

    @property
    def fresh(self) -> bool:
        """Whether the sample is young enough to drop messages on."""
        sampled = self._sampled
        return sampled is not None and self._monotonic() - sampled[1] <= FRESH_SECONDS

    def sample(self, redis_ms: int) -> None:
        """Learn what the Redis clock just said."""
        now = self._monotonic()
        offset = redis_ms - now * 1000
        if self._sampled is not None and abs(offset - self._sampled[0]) > JUMP_MS:
            self._drop_nothing_until = now + self._expiry_seconds
        self._sampled = (offset, now)

    def sample_answer(self, answer: Any) -> None:
        """Learn from the answer to TIME; another answer changes nothing."""
        if isinstance(answer, list):
            with contextlib.suppress(ValueError, TypeError, IndexError):
                self.sample(int(answer[0]) * 1000 + int(answer[1]) // 1000)

    def now_ms(self) -> int:
        """The Redis clock in ms. Raises RuntimeError before the first sample."""
        sampled = self._sampled
        if sampled is None:
            raise RuntimeError("the Redis clock was not sampled yet")
        return int(self._monotonic() * 1000 + sampled[0])

    def expired(self, expiry_ms: int) -> bool:
        """Whether `expiry_ms` (0 = never) has passed and nothing forbids to act on it."""
        return 0 < expiry_ms < self.now_ms() and self._monotonic() >= self._drop_nothing_until

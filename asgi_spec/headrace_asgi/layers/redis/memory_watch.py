"""Says once that a Redis is out of memory, and once that it is not any more."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from ...log_limit import Trouble
from .plan.outcomes import OUT_OF_MEMORY

__all__ = ["MemoryWatch"]

log = logging.getLogger("headrace.layer")

#: Seconds without a refusal until it is over: a Redis at its limit refuses now this command, now that.
OVER_SECONDS = 5.0


class MemoryWatch:
    """Hears of each refusal for want of memory, and of commands that needed memory and were carried out."""

    def __init__(self, label: str, consequence: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        """`label` is where Redis is; `consequence` says what its refusals mean here."""
        self._label = label
        self._consequence = consequence
        self._monotonic = monotonic
        self._trouble = Trouble()
        #: Whether Redis was found out of memory, and has not recovered as far as anybody knows. No property:
        #: it is read with every call.
        self.is_full = False

    def refused(self) -> None:
        """Redis refused a command."""
        if self._trouble.happened(self._monotonic()):
            self.is_full = True
            log.error("Redis at %s is out of memory: %s; %s", self._label, self._consequence, OUT_OF_MEMORY)

    def accepted(self) -> None:
        """Redis carried out a command that it refuses without memory."""
        if self.is_full and self._monotonic() - self._trouble.last_at >= OVER_SECONDS:
            self._trouble.over()
            self.is_full = False
            log.warning("Redis at %s has memory again: everything is accepted", self._label)

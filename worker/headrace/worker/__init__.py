"""What takes messages and runs their consumers: the loops, and everything around one consumer."""

from __future__ import annotations

from .single import Worker
from .threads import ThreadedWorker

__all__ = ["ThreadedWorker", "Worker"]

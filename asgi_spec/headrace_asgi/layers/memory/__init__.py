"""The channel layer of one process."""

from __future__ import annotations

from .layer import InMemoryChannelLayer

__all__ = ["InMemoryChannelLayer"]

"""What the machine of any connection may ask of its shell, whatever is spoken over it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Abort", "Pause", "Resume"]


@dataclass(frozen=True, slots=True)
class Abort:
    """Drop the connection at once."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Stop reading from the client."""


@dataclass(frozen=True, slots=True)
class Resume:
    """Read on."""

"""What both sides know of topics: the bridge that delivers, and the consumers that decide. Pure."""

from __future__ import annotations

__all__ = ["matches"]


def matches(wanted: str, topic: str) -> bool:
    """Whether a topic is among those of a filter (4.7.1, 4.7.2)."""
    levels, named = wanted.split("/"), topic.split("/")
    if topic.startswith("$") and levels[0] in ("+", "#"):
        return False
    if levels[-1] == "#":
        levels = levels[:-1]
        named = named[: len(levels)]
    return len(levels) == len(named) and all(
        level in ("+", name) for level, name in zip(levels, named, strict=True)
    )

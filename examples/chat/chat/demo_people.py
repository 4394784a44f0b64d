"""The people of the demo. Their passwords are public: only ever made while DEBUG is on."""

from __future__ import annotations

__all__ = ["DEMO_PEOPLE", "demo_password"]

DEMO_PEOPLE = ("ada", "grace", "linus", "mary")


def demo_password(name: str) -> str:
    """The password of a demo person."""
    return f"{name}-demo"

"""People and rooms for the tests."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model

from chat.models import Room

__all__ = ["make_person", "make_room"]


def make_person(name: str, password: str | None = None) -> Any:
    """A user; without a password (hashing one takes long) only `force_login` works."""
    return get_user_model().objects.create_user(name, password=password)


def make_room(name: str = "Kitchen") -> Room:
    """A room whose slug is its name in small letters."""
    return Room.objects.create(name=name, slug=name.lower())

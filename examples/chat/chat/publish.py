"""Telling browsers what happened: open sockets by a frame, waiting long polls by their response."""

from __future__ import annotations

import hashlib
import json
import time
from typing import Any

from headrace import Group

from .models import Post, Room

__all__ = [
    "SIGNED_OUT",
    "close_session",
    "poll_group",
    "publish_people",
    "publish_post",
    "room_group",
    "session_group",
    "user_group",
]

#: Close code for sockets of somebody who signed out: one of those that RFC 6455 7.4.2 leaves to applications.
SIGNED_OUT = 4401


def room_group(room_id: int) -> str:
    """Everybody's sockets in a room."""
    return f"chat.room-{room_id}"


def user_group(room_id: int, user_id: int) -> str:
    """One person's sockets in a room (one for each open tab)."""
    return f"chat.room-{room_id}.user-{user_id}"


def session_group(session_key: str) -> str:
    """The sockets that one browser opened. Its session key is a secret, and names of groups are logged."""
    return f"chat.session-{hashlib.sha256(session_key.encode()).hexdigest()[:32]}"


def poll_group(room_id: int) -> str:
    """HTTP requests that wait for the next post of a room."""
    return f"chat.room-{room_id}.poll"


def publish_post(post: Post) -> None:
    """Show a stored post to everybody who may see it."""
    frame = _frame(type="posts", posts=[post.as_dict()])
    if post.recipient_id is not None:
        Group(user_group(post.room_id, post.recipient_id)).send(frame)
        return
    Group(room_group(post.room_id)).send(frame)
    Group(poll_group(post.room_id)).send(_response(posts=[post.as_dict()]))


def close_session(session_key: str) -> None:
    """End the sockets of a browser that signs out, in all its tabs."""
    Group(session_group(session_key)).send({"close": SIGNED_OUT})


def publish_people(room: Room) -> None:
    """Show who is in the room now.

    Call it after the change was stored. Two workers may send two lists at about the same time: the stamp is
    taken before reading, so the list with the higher one holds every change of the lower.
    """
    stamp = time.time_ns() // 1000
    Group(room_group(room.pk)).send(_frame(type="people", people=room.people(), stamp=stamp))


def _frame(**content: Any) -> dict[str, Any]:
    return {"text": json.dumps(content)}


def _response(**content: Any) -> dict[str, Any]:
    return {
        "status": 200,
        "headers": [[b"content-type", b"application/json"], [b"cache-control", b"no-store"]],
        "content": json.dumps(content).encode(),
    }

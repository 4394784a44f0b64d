"""What happens on the sockets of a room, and the reminders' background work."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from django.utils import timezone

from headrace import Channel, Group
from headrace.exceptions import DenyConnection
from headrace.generic.websockets import JsonWebsocketConsumer
from headrace.message import Message
from headrace.sessions import http_session_key

from .models import MAX_POST_LENGTH, MAX_REMINDER_SECONDS, Post, Presence, Reminder, Room
from .publish import publish_people, publish_post, room_group, session_group, user_group

__all__ = ["REMINDERS", "RoomConsumer", "deliver_reminders"]

#: The background channel. In production its workers run apart: `runworker --only-channels chat.reminders`.
REMINDERS = "chat.reminders"
#: How long one run of the background consumer may hold its worker.
LONGEST_WAIT_SECONDS = 0.25


class Refused(Exception):
    """The browser asked for something that cannot be; the text is shown to the person."""


class RoomConsumer(JsonWebsocketConsumer):
    """One person's socket in one room.

    The browser sends objects of the types `post`, `remind` and `here`; it gets `posts`, `people`, `noted` and
    `error`.
    """

    # The signed-in user of the site, as `self.message.user`.
    http_user = True
    # Two quick posts stay in order, and the disconnect comes last, although any worker may run any of them.
    strict_ordering = True

    def connect(self, message: Message, slug: str, **kwargs: Any) -> None:
        room = Room.objects.filter(slug=slug).first()
        user = message.user
        if room is None or not user.is_authenticated:
            raise DenyConnection
        # Only now, so that nobody who is turned away was ever a member.
        groups = [room_group(room.pk), user_group(room.pk, user.pk)]
        if session_key := http_session_key(message):
            groups.append(session_group(session_key))
        for group in groups:
            Group(group).add(message.reply_channel)
        Presence.objects.update_or_create(
            reply_channel=message.reply_channel.name,
            defaults={"room": room, "user": user, "seen_at": timezone.now()},
        )
        message.reply_channel.send({"accept": True})
        missed = room.history(user.pk, after=_last_seen(message))
        self.send({"type": "posts", "posts": [post.as_dict() for post in missed]})
        publish_people(room)

    def receive(self, content: Any, slug: str, **kwargs: Any) -> None:
        handlers = {"post": self.post, "remind": self.remind, "here": self.here}
        try:
            if not isinstance(content, dict) or content.get("type") not in handlers:
                raise Refused("That is not something this page can ask for.")
            room = Room.objects.filter(slug=slug).first()
            if room is None:
                raise Refused("This room is gone.")
            handlers[content["type"]](room, content)
        except Refused as refused:
            nonce = content.get("nonce") if isinstance(content, dict) else None
            self.send({"type": "error", "text": str(refused), "nonce": nonce})

    def disconnect(self, message: Message, slug: str, **kwargs: Any) -> None:
        Presence.objects.filter(reply_channel=message.reply_channel.name).delete()
        room = Room.objects.filter(slug=slug).first()
        if room is not None:
            publish_people(room)

    def post(self, room: Room, content: dict[str, Any]) -> None:
        """Store what was said and show it to everybody; a repeated one (same nonce) is shown again."""
        body = _text(content, "body", MAX_POST_LENGTH)
        fields = {"room": room, "author": self.message.user, "body": body}
        nonce = str(content.get("nonce", ""))[:36]
        if nonce:
            author = fields.pop("author")
            post, _ = Post.objects.get_or_create(author=author, nonce=nonce, defaults=fields)
        else:
            post = Post.objects.create(**fields)
        publish_post(post)

    def remind(self, room: Room, content: dict[str, Any]) -> None:
        """Note a reminder and start the background work that delivers it."""
        text = _text(content, "text", 200)
        seconds = content.get("seconds")
        if isinstance(seconds, bool) or not isinstance(seconds, int):
            raise Refused("Say in how many seconds, as a whole number.")
        if not 1 <= seconds <= MAX_REMINDER_SECONDS:
            raise Refused(f"Choose between 1 and {MAX_REMINDER_SECONDS} seconds.")
        due_at = timezone.now() + timedelta(seconds=seconds)
        reminder = Reminder.objects.create(room=room, user=self.message.user, text=text, due_at=due_at)
        Channel(REMINDERS).send({"reminder": reminder.pk})
        self.send({"type": "noted", "text": text, "seconds": seconds})

    def here(self, room: Room, content: dict[str, Any]) -> None:
        """The page says every 45 s that it is still open, which also heals a lost list of people."""
        _, new = Presence.objects.update_or_create(
            reply_channel=self.message.reply_channel.name,
            defaults={"room": room, "user": self.message.user, "seen_at": timezone.now()},
        )
        if new:
            publish_people(room)


def deliver_reminders(message: Message) -> None:
    """Wait a moment for the earliest reminder, deliver all that are due, and come back while one is left.

    One message travels for each reminder, but every run looks after all of them. So a run holds its worker
    for 0.25 s at most, a reminder is late by little more than that however many wait, and one whose message
    was lost with a killed worker is delivered by the next run of any other.
    """
    due_at = Reminder.objects.next_due()
    if due_at is None:
        return
    remaining = (due_at - timezone.now()).total_seconds()
    # Wait before delivering: what a consumer sends leaves when it returns.
    time.sleep(min(max(remaining, 0), LONGEST_WAIT_SECONDS))
    for reminder in Reminder.objects.claim_due(timezone.now()):
        publish_post(
            Post.objects.create(
                room=reminder.room,
                author=reminder.user,
                recipient=reminder.user,
                kind=Post.Kind.REMINDER,
                body=reminder.text,
            )
        )
    if Reminder.objects.waiting().filter(pk=message["reminder"]).exists():
        Channel(REMINDERS).send(message.content)


def _text(content: dict[str, Any], key: str, longest: int) -> str:
    text = content.get(key)
    if not isinstance(text, str) or not text.strip():
        raise Refused("There is nothing in it.")
    if len(text) > longest:
        raise Refused(f"That is longer than {longest} characters.")
    return text.strip()


def _last_seen(message: Message) -> int:
    """The number in `?after=`: what the browser has already, from before its connection broke."""
    name, _, number = message.content.get("query_string", b"").partition(b"=")
    return int(number) if name == b"after" and number.isdigit() and len(number) < 19 else 0

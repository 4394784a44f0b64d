"""Rooms, what was said in them, who is in them, and what people want to be reminded of."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.validators import MinLengthValidator
from django.db import models
from django.urls import reverse
from django.utils import timezone

__all__ = [
    "HISTORY_LENGTH",
    "MAX_POST_LENGTH",
    "MAX_REMINDER_SECONDS",
    "Post",
    "Presence",
    "Reminder",
    "Room",
]

MAX_POST_LENGTH = 2000
MAX_REMINDER_SECONDS = 3600
HISTORY_LENGTH = 50
#: A socket says that it is still here every 45 s; three of those missed and it counts as gone.
PRESENCE_LIFETIME = timedelta(seconds=150)


class Room(models.Model):
    """A place to talk."""

    name = models.CharField(max_length=40, unique=True, validators=[MinLengthValidator(2)])
    slug = models.SlugField(max_length=50, unique=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("room", args=[self.slug])

    def people(self) -> list[str]:
        """Names of those who have the room open, each once, sorted."""
        alive = self.presences.filter(seen_at__gte=timezone.now() - PRESENCE_LIFETIME)
        return sorted(set(alive.values_list("user__username", flat=True)))

    def history(self, user_id: int, after: int = 0) -> list[Post]:
        """The last posts that this user may see, oldest first, of those with a higher number than `after`."""
        visible = models.Q(recipient=None) | models.Q(recipient=user_id)
        posts = self.posts.filter(visible, pk__gt=after).select_related("author").order_by("-pk")
        return list(reversed(posts[:HISTORY_LENGTH]))


class Post(models.Model):
    """Something said in a room. The numbers grow, so `after=<the last one seen>` asks for what was missed."""

    class Kind(models.TextChoices):
        TEXT = "text"
        FILE = "file"
        REMINDER = "reminder"

    room = models.ForeignKey(Room, models.CASCADE, related_name="posts")
    author = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    recipient = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.CASCADE,
        null=True,
        blank=True,
        related_name="+",
        help_text="Only this person sees it; empty: everybody in the room.",
    )
    kind = models.CharField(max_length=8, choices=Kind, default=Kind.TEXT)
    body = models.TextField(max_length=MAX_POST_LENGTH)
    attachment = models.FileField(upload_to="attachments/%Y/%m/", blank=True)
    size_bytes = models.PositiveBigIntegerField(default=0)
    nonce = models.CharField(
        max_length=36, blank=True, help_text="Chosen by the browser; a post sent twice is stored once."
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["pk"]
        indexes = [models.Index(fields=["room", "id"])]
        constraints = [
            models.UniqueConstraint(
                fields=["author", "nonce"], condition=~models.Q(nonce=""), name="chat_post_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.author} in {self.room}: {self.body[:40]}"

    def as_dict(self) -> dict[str, Any]:
        """What a browser needs to show it."""
        shown: dict[str, Any] = {
            "id": self.pk,
            "kind": self.kind,
            "author": self.author.get_username(),
            "body": self.body,
            "at": self.created_at.isoformat(),
            "nonce": self.nonce,
        }
        if self.kind == self.Kind.FILE:
            shown["url"] = reverse("attachment", args=[self.pk])
            shown["size"] = self.size_bytes
        return shown


class Presence(models.Model):
    """One open socket in one room."""

    room = models.ForeignKey(Room, models.CASCADE, related_name="presences")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    reply_channel = models.CharField(max_length=100, unique=True)
    seen_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.user} in {self.room}"


class ReminderQuerySet(models.QuerySet["Reminder"]):
    """Reminders by what is still to be done about them."""

    def waiting(self) -> ReminderQuerySet:
        """Not delivered yet."""
        return self.filter(delivered_at=None)

    def next_due(self) -> datetime | None:
        """When the earliest of the waiting ones is due."""
        return self.waiting().order_by("due_at").values_list("due_at", flat=True).first()

    def claim_due(self, now: datetime) -> list[Reminder]:
        """Those due now, marked as delivered; of several workers that ask, one gets each."""
        due = self.waiting().filter(due_at__lte=now).select_related("room", "user").order_by("due_at")
        return [
            reminder
            for reminder in due
            if self.filter(pk=reminder.pk, delivered_at=None).update(delivered_at=now)
        ]


class Reminder(models.Model):
    """A wish to hear about something later."""

    room = models.ForeignKey(Room, models.CASCADE, related_name="reminders")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    text = models.CharField(max_length=200)
    due_at = models.DateTimeField(db_index=True)
    delivered_at = models.DateTimeField(null=True, blank=True)

    objects = ReminderQuerySet.as_manager()

    def __str__(self) -> str:
        return f"{self.user}: {self.text}"

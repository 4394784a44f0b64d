"""`manage.py demo_users`: people and rooms to try the chat with."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError
from django.utils.text import slugify

from chat.demo_people import DEMO_PEOPLE, demo_password
from chat.models import Room

ROOMS = ("Kitchen", "Workshop")


class Command(BaseCommand):
    help = "Makes the demo users and rooms, or leaves those that exist as they are."

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.DEBUG:
            raise CommandError(
                "The demo users have public passwords, so they are only made while DEBUG is on. "
                "Use `manage.py createsuperuser` here."
            )
        users = get_user_model().objects
        made = []
        for name in DEMO_PEOPLE:
            if not users.filter(username=name).exists():
                first = name == DEMO_PEOPLE[0]
                users.create_user(name, password=demo_password(name), is_staff=first, is_superuser=first)
                made.append(name)
        for room in ROOMS:
            Room.objects.get_or_create(slug=slugify(room), defaults={"name": room})
        self.stdout.write(f"Demo users: {', '.join(made)} made." if made else "Demo users are there.")

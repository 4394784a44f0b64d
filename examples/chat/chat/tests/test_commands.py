"""The management commands."""

from __future__ import annotations

from io import StringIO

from django.contrib.auth import authenticate, get_user_model
from django.core.management import CommandError, call_command
from django.test import TestCase, override_settings

from chat.models import Room


class DemoUsersTests(TestCase):
    @override_settings(DEBUG=True)
    def test_people_and_rooms_are_made_once(self) -> None:
        call_command("demo_users", stdout=StringIO())
        second = StringIO()
        call_command("demo_users", stdout=second)
        assert "are there" in second.getvalue()
        assert get_user_model().objects.count() == 4
        assert Room.objects.count() == 2
        assert authenticate(username="grace", password="grace-demo") is not None

    @override_settings(DEBUG=True)
    def test_somebody_who_exists_keeps_the_password(self) -> None:
        get_user_model().objects.create_user("ada", password="her own")
        call_command("demo_users", stdout=StringIO())
        assert authenticate(username="ada", password="her own") is not None

    @override_settings(DEBUG=False)
    def test_public_passwords_are_refused_in_production(self) -> None:
        with self.assertRaisesMessage(CommandError, "createsuperuser"):
            call_command("demo_users")
        assert not get_user_model().objects.exists()

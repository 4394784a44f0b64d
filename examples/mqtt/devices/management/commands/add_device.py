"""`manage.py add_device lamp secret`."""

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand


class Command(BaseCommand):
    """Adds a device."""

    help = "Lets a device in, with this name and password."

    def add_arguments(self, parser):
        """Say what there is to say."""
        parser.add_argument("name")
        parser.add_argument("password")

    def handle(self, name, password, **options):
        """Do it."""
        User.objects.create_user(name, password=password)

"""`manage.py publish lamp/switch on`."""

from django.core.management.base import BaseCommand

from devices.publish import publish


class Command(BaseCommand):
    """Tells devices something."""

    help = "Sends a message to every device that has subscribed to its topic."

    def add_arguments(self, parser):
        """Say what there is to say."""
        parser.add_argument("topic")
        parser.add_argument("payload")

    def handle(self, topic, payload, **options):
        """Do it."""
        publish(topic, payload.encode(), qos=1)

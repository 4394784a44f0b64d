"""What devices said last."""

from django.db import models


class Reading(models.Model):
    """The last message of a topic that was to be retained."""

    topic = models.CharField(max_length=255, unique=True)
    payload = models.BinaryField()
    seen_at = models.DateTimeField(auto_now=True)

    def __str__(self):
        return self.topic

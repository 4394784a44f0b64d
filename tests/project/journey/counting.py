"""Views and consumers that note every unit of work they run, so that a test can account for each."""

import json
import os

from django.http import HttpResponse

from headrace import Group
from headrace.sessions import enforce_ordering

_path = os.environ.get("JOURNEY_MARKS")
#: Lines of several processes: appending a short one is one act.
_marks = os.open(_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600) if _path else -1


def note(*words):
    """Write down that a unit runs now."""
    if _marks >= 0:
        os.write(_marks, f"{' '.join(str(word) for word in words)}\n".encode())


def count_request(request, number):
    """A request with a number."""
    note("http", number)
    return HttpResponse(str(number), content_type="text/plain")


def count_connect(message):
    """Lets a socket in, and into the group."""
    Group("counted").add(message.reply_channel)
    message.reply_channel.send({"accept": True})


def count_frame(message):
    """Sends a numbered frame back."""
    content = json.loads(message["text"])
    note("frame", content["socket"], content["n"])
    message.reply_channel.send({"text": message["text"]})


@enforce_ordering
def count_ordered(message):
    """The same, in order."""
    count_frame(message)


def count_disconnect(message):
    """The end of a socket, whoever tells it."""
    note("disconnect", message["reply_channel"], message["code"])


def count_background(message):
    """A message that nobody waits for."""
    note("background", message["n"])

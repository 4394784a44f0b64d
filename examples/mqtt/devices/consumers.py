"""What devices and browsers may do. A device is a user of Django's, and has the topics below its name."""

import json

from django.contrib.auth import authenticate
from mqtt_topics import matches

from headrace import Group

from .models import Reading
from .publish import BROWSERS, DEVICES, publish

#: Return codes of MQTT 3.1.1: of CONNACK (3.2.2.3), and of SUBACK (3.9.3).
BAD_USERNAME_OR_PASSWORD = 4
FAILURE = 0x80


def is_own(username, topic):
    """Whether a topic, or all that a filter is about, is below the name of a device."""
    return topic.startswith(f"{username}/")


def tell_pages(**content):
    """Say something to every page that watches."""
    Group(BROWSERS).send({"text": json.dumps(content)})


def connect(message):
    """A device asks to be let in."""
    password = (message["password"] or b"").decode("utf-8", "replace")
    if message["username"] is None or authenticate(username=message["username"], password=password) is None:
        message.reply_channel.send({"refuse": BAD_USERNAME_OR_PASSWORD})
        return
    Group(DEVICES).add(message.reply_channel)
    message.reply_channel.send({"accept": True})
    tell_pages(device=message["username"], here=True)


def disconnect(message):
    """It is gone."""
    tell_pages(device=message["username"], here=False)


def subscribe(message):
    """It gets its own topics, and first what was last said there."""
    wanted = [
        [each, qos if is_own(message["username"], each) else FAILURE] for each, qos in message["filters"]
    ]
    message.reply_channel.send({"packet": message["packet"], "granted": wanted})
    granted = [each for each, code in wanted if code != FAILURE]
    for reading in Reading.objects.filter(topic__startswith=f"{message['username']}/"):
        if any(matches(each, reading.topic) for each in granted):
            message.reply_channel.send(
                {"topic": reading.topic, "payload": bytes(reading.payload), "retain": True, "qos": 1}
            )


def receive(message):
    """A device said something: keep it if it is to be kept, and tell whoever listens."""
    topic, payload = message["topic"], message["payload"]
    if not is_own(message["username"], topic) or len(topic) > 255:
        return
    if message["retain"]:
        Reading.objects.update_or_create(topic=topic, defaults={"payload": payload})
    publish(topic, payload, message["qos"])
    tell_pages(topic=topic, payload=payload.decode("utf-8", "replace"))


def watch(message):
    """A browser wants to hear what devices say."""
    message.reply_channel.send({"accept": True})
    Group(BROWSERS).add(message.reply_channel)

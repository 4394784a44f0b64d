"""Telling devices something, from anywhere."""

from headrace import Group

#: Every device that is connected: the bridge knows who has subscribed to what.
DEVICES = "mqtt"
#: Every page that watches.
BROWSERS = "browsers"


def publish(topic, payload, qos=0):
    """Send a message to every device that has subscribed to its topic."""
    Group(DEVICES).send({"topic": topic, "payload": payload, "qos": qos})

"""What is measured: an echo, a group, requests that are held until released, and fast and slow work."""

import time

from headrace import Channel, Group, route, route_class
from headrace.generic.websockets import JsonWebsocketConsumer


class Echo(JsonWebsocketConsumer):
    def receive(self, content, **kwargs):
        self.send(content)


class Member(JsonWebsocketConsumer):
    groups = ["bench"]


def hold(message):
    """A long poll, answered later by `release`."""
    Group("held").add(message.reply_channel)


def release(message):
    Group("held").send({"status": 200, "headers": [], "content": b"released"})


def work(message):
    """Run for as long as the message says, or say when this began."""
    if message["seconds"]:
        time.sleep(message["seconds"])
    else:
        Channel("bench.report").send({"sent": message["sent"], "began": time.monotonic()})


routes = [
    route_class(Echo, path=r"^/ws/echo$"),
    route_class(Member, path=r"^/ws/group$"),
    route("http.request", hold, path=r"^/hold$"),
    route("bench.release", release),
    route("bench.work", work),
]

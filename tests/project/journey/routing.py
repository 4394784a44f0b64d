"""Consumers that the journeys talk to."""

import json
import os
import random
import time

from headrace import Channel, Group, route, route_class
from headrace.generic.websockets import JsonWebsocketConsumer, WebsocketConsumer
from headrace.sessions import enforce_ordering
from journey.counting import count_background, count_connect, count_disconnect, count_frame, count_ordered
from journey.misbehaviour import answer_badly, poison, send_badly, stuck, stuck_in_order


class Echo(JsonWebsocketConsumer):
    """Sends back what it receives."""

    def receive(self, content, **kwargs):
        self.send(content)


class Raw(WebsocketConsumer):
    """Sends back the very frame it receives."""

    def receive(self, text=None, bytes=None, **kwargs):
        self.send(text=text, bytes=bytes)


class Room(JsonWebsocketConsumer):
    """Everybody hears everybody."""

    groups = ["room"]

    def receive(self, content, **kwargs):
        self.group_send("room", content)


def answer_number(message):
    """Answers a numbered frame after a random while, with who ran it."""
    started = time.monotonic()
    content = json.loads(message["text"])
    time.sleep(random.random() * content.get("ms", 5) / 1000)
    answer = {"n": content["n"], "pid": os.getpid(), "started": started}
    message.reply_channel.send({"text": json.dumps(answer)})


@enforce_ordering
def numbered(message):
    """The same, in order."""
    answer_number(message)


def background(message):
    """Tells the room that a message for the background channel arrived."""
    Group("room").send({"text": json.dumps({"from": message["from"]})})


def mark(message):
    """Puts what it got on another channel, which a test reads, after as many seconds as it says."""
    time.sleep(message.get("seconds", 0))
    Channel("journey.marks").send({"from": message["from"]})


def datagram(message):
    """Sends a datagram back, with what the consumer knows of it."""
    host, port = message["client"]
    known = {"data": message["data"].hex(), "path": message["path"], "client": [host, port]}
    message.reply_channel.send({"data": json.dumps(known).encode()})


#: For the UDP server.
udp = [route("udp.receive", datagram, path=r"^/journey")]

#: For layers without ordering.
unordered = [
    route_class(Echo, path=r"^/ws/echo$"),
    route_class(Room, path=r"^/ws/room$"),
    route("journey.background", background),
    route("journey.mark", mark),
    route("journey.poison", poison),
]

routes = [
    route_class(Echo, path=r"^/ws/echo$"),
    route_class(Raw, path=r"^/ws/raw$"),
    route_class(Room, path=r"^/ws/room$"),
    route("websocket.receive", numbered, path=r"^/ws/numbered$"),
    route("websocket.receive", answer_number, path=r"^/ws/numbered/unordered$"),
    route("websocket.connect", stuck, path=r"^/ws/stuck$"),
    route("websocket.receive", stuck_in_order, path=r"^/ws/stuck/frame$"),
    route("http.request", answer_badly, path=r"^/badly/(?P<what>\w+)$"),
    route("websocket.receive", send_badly, path=r"^/ws/badly$"),
    route("websocket.connect", count_connect, path=r"^/ws/count"),
    route("websocket.receive", count_frame, path=r"^/ws/count$"),
    route("websocket.receive", count_ordered, path=r"^/ws/count/ordered$"),
    route("websocket.disconnect", count_disconnect, path=r"^/ws/count"),
    route("journey.count", count_background),
    route("journey.background", background),
    route("journey.mark", mark),
    route("journey.poison", poison),
]

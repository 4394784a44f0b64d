"""Which consumer handles which message. HTTP requests go to Django's views by default."""

from __future__ import annotations

from headrace import route, route_class

from .consumers import REMINDERS, RoomConsumer, deliver_reminders

routing = [
    route_class(RoomConsumer, path=r"^/rooms/(?P<slug>[-a-zA-Z0-9_]+)/socket/$"),
    route(REMINDERS, deliver_reminders),
]

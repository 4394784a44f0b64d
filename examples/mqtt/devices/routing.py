"""Which consumer gets what."""

from headrace import route

routing = [
    route("mqtt.connect", "devices.consumers.connect"),
    route("mqtt.disconnect", "devices.consumers.disconnect"),
    route("mqtt.subscribe", "devices.consumers.subscribe"),
    route("mqtt.receive", "devices.consumers.receive"),
    route("websocket.connect", "devices.consumers.watch", path=r"^/readings/socket/$"),
]

"""The channel layer: the same for the bridge, the interface server of HTTP and the workers. No Django."""

import os

from headrace_asgi import RedisChannelLayer

OPTIONS = {
    "hosts": [os.environ.get("MQTT_REDIS_URL", "redis://127.0.0.1:6379")],
    # What the bridge has acknowledged to a device survives a worker that is killed.
    "acknowledged": ["mqtt.receive"],
}


def layer():
    """What `--layer mqtt_layer:layer` names."""
    return RedisChannelLayer(**OPTIONS)

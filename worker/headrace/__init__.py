"""Headrace's worker tier: a Django app whose consumers and views answer messages from interface servers.

    from headrace import Channel, Group, route, route_class, include

Importing this package needs no configured Django: settings are read when a channel layer is first used.
"""

from __future__ import annotations

from headrace_asgi import __version__

from .asgi import DEFAULT_CHANNEL_LAYER, channel_layers
from .channel import Channel, Group, asend_to_groups, send_to_groups
from .routing import include, route, route_class

__all__ = [
    "DEFAULT_CHANNEL_LAYER",
    "Channel",
    "Group",
    "__version__",
    "asend_to_groups",
    "channel_layers",
    "include",
    "route",
    "route_class",
    "send_to_groups",
]

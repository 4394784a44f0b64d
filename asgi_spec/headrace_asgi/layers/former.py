"""What settings of Channels 1.x and of channels_redis are called here, and which have no meaning any more."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from ..errors import ConfigurationError

__all__ = [
    "BACKENDS",
    "MISSING_BACKENDS",
    "MISSING_OPTIONS",
    "RETIRED_OPTIONS",
    "refuse_backend",
    "still_meant",
]

log = logging.getLogger("headrace.layer")

_REDIS = "headrace_asgi.RedisChannelLayer"
_MEMORY = "headrace_asgi.InMemoryChannelLayer"
#: What to write in place of a former BACKEND.
BACKENDS = {
    "asgi_redis.RedisChannelLayer": _REDIS,
    "asgi_redis.core.RedisChannelLayer": _REDIS,
    "asgi_redis.RedisLocalChannelLayer": _REDIS,
    "asgi_ipc.IPCChannelLayer": "headrace_asgi.IPCChannelLayer",
    "asgiref.inmemory.ChannelLayer": _MEMORY,
    "channels_redis.core.RedisChannelLayer": _REDIS,
    "channels_redis.pubsub.RedisPubSubChannelLayer": _REDIS,
    "channels.layers.InMemoryChannelLayer": _MEMORY,
}
_NOT_TOLD = "consumers are not told: sockets stay, and what they say is sent once Redis is back"
_NO_SENTINEL = "Sentinel is not in this version"
#: Former BACKENDs that have nothing in their place, and why.
MISSING_BACKENDS = {
    "asgi_redis.RedisSentinelChannelLayer": f"{_NO_SENTINEL}; write {_REDIS} and name the primary in hosts",
    "asgi_rabbitmq.RabbitmqChannelLayer": f"RabbitMQ is not in this version; write {_REDIS}",
    "asgi_rabbitmq.RabbitmqLocalChannelLayer": f"RabbitMQ is not in this version; write {_REDIS}",
}
#: Options that a layer of ours need not heed, and why.
RETIRED_OPTIONS = {
    "stats_prefix": "what is counted lies under the `prefix` of the layer, with everything else",
    "serializer_format": "messages are always msgpack, which both tiers read",
    "random_prefix_length": "messages of the same content are told apart anyway",
    "on_disconnect": _NOT_TOLD,
    "on_reconnect": _NOT_TOLD,
}
#: Options without which a layer would be another one than is meant.
MISSING_OPTIONS = {
    "services": f"{_NO_SENTINEL}; name the primary in hosts",
    "sentinel_refresh_interval": f"{_NO_SENTINEL}; name the primary in hosts",
}
_said: set[str] = set()


def refuse_backend(backend: str) -> None:
    """Raise ConfigurationError for a BACKEND of Channels 1.x, Channels 2 to 4 or channels_redis."""
    if backend in BACKENDS:
        raise ConfigurationError(f"BACKEND {backend} is of Channels; write {BACKENDS[backend]}")
    if backend in MISSING_BACKENDS:
        raise ConfigurationError(f"BACKEND {backend} is of Channels; {MISSING_BACKENDS[backend]}")


def still_meant(options: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a layer that takes those in `known`, without the former ones that have no meaning.

    Each of these is logged as a warning once in a process. Raises ConfigurationError for a former one that
    cannot be left out.
    """
    kept = {}
    for name, value in options.items():
        if name in known:
            kept[name] = value
        elif name in MISSING_OPTIONS:
            raise ConfigurationError(f"CONFIG: {name!r} cannot be used: {MISSING_OPTIONS[name]}")
        elif name not in RETIRED_OPTIONS:
            kept[name] = value
        elif name not in _said:
            _said.add(name)
            log.warning("CONFIG: %r has no meaning and can go: %s", name, RETIRED_OPTIONS[name])
    return kept

"""What settings of Channels 1.x and of channels_redis are called here, and which have no meaning any more."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from ..errors import ConfigurationError

__all__ = [
    "BACKENDS",
    "FORMER_LAYERS",
    "MISSING_OPTIONS",
    "RETIRED_OPTIONS",
    "refuse_backend",
    "still_meant",
    "warn_of_layer",
]

log = logging.getLogger("headrace.layer")

_REDIS = "headrace_asgi.RedisChannelLayer"
_SENTINEL = "headrace_asgi.RedisSentinelChannelLayer"
_MEMORY = "headrace_asgi.InMemoryChannelLayer"
_RABBITMQ = "headrace_asgi.RabbitMQChannelLayer"
#: What to write in place of a former BACKEND.
BACKENDS = {
    "asgi_redis.RedisChannelLayer": _REDIS,
    "asgi_redis.core.RedisChannelLayer": _REDIS,
    "asgi_redis.RedisLocalChannelLayer": _REDIS,
    "asgi_redis.RedisSentinelChannelLayer": _SENTINEL,
    "asgi_redis.sentinel.RedisSentinelChannelLayer": _SENTINEL,
    "asgi_rabbitmq.RabbitmqChannelLayer": _RABBITMQ,
    "asgi_rabbitmq.RabbitmqLocalChannelLayer": _RABBITMQ,
    "asgi_ipc.IPCChannelLayer": "headrace_asgi.IPCChannelLayer",
    "asgiref.inmemory.ChannelLayer": _MEMORY,
    "channels_redis.core.RedisChannelLayer": _REDIS,
    "channels_redis.pubsub.RedisPubSubChannelLayer": _REDIS,
    "channels.layers.InMemoryChannelLayer": _MEMORY,
}
_NOT_TOLD = "consumers are not told: sockets stay, and what they say is sent once Redis is back"
#: Layers that are there by their former name only, and why they are not what they were.
FORMER_LAYERS = {
    "RedisLocalChannelLayer": "it is RedisChannelLayer here, and messages for workers are not kept on one "
    "machine: workers of every machine that use this Redis take them",
}
#: Options that a layer of ours need not heed, and why.
RETIRED_OPTIONS = {
    "stats_prefix": "what is counted lies under the `prefix` of the layer, with everything else",
    "serializer_format": "messages are always msgpack, which both tiers read",
    "random_prefix_length": "messages of the same content are told apart anyway",
    "sentinel_refresh_interval": "Sentinels are asked with each connection, and once a second",
    "on_disconnect": _NOT_TOLD,
    "on_reconnect": _NOT_TOLD,
}
#: Options without which a layer would be another one than is meant.
MISSING_OPTIONS = {
    "services": f"it is for Sentinels; with BACKEND {_SENTINEL} hosts are those",
}
_said: set[str] = set()


def refuse_backend(backend: str) -> None:
    """Raise ConfigurationError for a BACKEND of Channels 1.x, Channels 2 to 4 or channels_redis."""
    if backend in BACKENDS:
        why = FORMER_LAYERS.get(backend.rpartition(".")[2])
        raise ConfigurationError(
            f"BACKEND {backend} is of Channels; write {BACKENDS[backend]}{f' ({why})' if why else ''}"
        )


def warn_of_layer(name: str) -> None:
    """Log why a layer of `FORMER_LAYERS` is not what it was, once in a process."""
    if name not in _said:
        _said.add(name)
        log.warning("headrace_asgi.%s has no meaning of its own: %s", name, FORMER_LAYERS[name])


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

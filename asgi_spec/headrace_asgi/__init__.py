"""What the two tiers share: the message specification, the channel layer's contract, and the layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .contract import ChannelLayer, Outcome
from .errors import (
    BadMessage,
    ChannelFull,
    ConfigurationError,
    HeadraceError,
    KeySpoilt,
    LayerRefused,
    LayerUnavailable,
    MessageTooLarge,
    OutcomeUnknown,
    PeerError,
    UnreadableEntry,
)

if TYPE_CHECKING:
    from .layers.embedded import IPCChannelLayer
    from .layers.memory import InMemoryChannelLayer
    from .layers.rabbitmq import RabbitMQChannelLayer
    from .layers.redis.blocking.cluster_layer import RedisClusterChannelLayer
    from .layers.redis.blocking.sentinel_layer import RedisSentinelChannelLayer
    from .layers.redis.blocking.shards import RedisChannelLayer

__all__ = [
    "BadMessage",
    "ChannelFull",
    "ChannelLayer",
    "ConfigurationError",
    "HeadraceError",
    "IPCChannelLayer",
    "InMemoryChannelLayer",
    "KeySpoilt",
    "LayerRefused",
    "LayerUnavailable",
    "MessageTooLarge",
    "Outcome",
    "OutcomeUnknown",
    "PeerError",
    "RabbitMQChannelLayer",
    "RedisChannelLayer",
    "RedisClusterChannelLayer",
    "RedisSentinelChannelLayer",
    "UnreadableEntry",
    "__version__",
]

__version__ = "0.1.0"

_LAYERS = {
    "InMemoryChannelLayer": "memory",
    "RedisChannelLayer": "redis.blocking.shards",
    "RedisClusterChannelLayer": "redis.blocking.cluster_layer",
    "RedisSentinelChannelLayer": "redis.blocking.sentinel_layer",
    "IPCChannelLayer": "embedded",
    "RabbitMQChannelLayer": "rabbitmq",
}
#: Names of asgi_redis that are no layers of their own any more, and what they stand for. Not in __all__: who
#: names one is warned.
_FORMER = {"RedisLocalChannelLayer": "RedisChannelLayer"}


def __getattr__(name: str) -> Any:
    """Import a layer when it is first named, so that an unused one needs none of its dependencies."""
    if name in _FORMER:
        from .layers.former import warn_of_layer

        warn_of_layer(name)
        name = _FORMER[name]
    if name not in _LAYERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".layers.{_LAYERS[name]}", __name__), name)

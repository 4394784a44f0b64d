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
    from .layers.redis.blocking.layer import RedisChannelLayer

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
    "RedisChannelLayer",
    "UnreadableEntry",
    "__version__",
]

__version__ = "0.1.0"

_LAYERS = {
    "InMemoryChannelLayer": "memory",
    "RedisChannelLayer": "redis.blocking.layer",
    "IPCChannelLayer": "embedded",
}


def __getattr__(name: str) -> Any:
    """Import a layer when it is first named, so that an unused one needs none of its dependencies."""
    if name not in _LAYERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".layers.{_LAYERS[name]}", __name__), name)

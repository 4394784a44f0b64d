"""The Redis layer whose `CONFIG` names sentinels, as that of Channels 1.x does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headrace_asgi.acknowledgement import DEFAULT_ATTEMPTS
from headrace_asgi.errors import ConfigurationError
from headrace_asgi.layers.options import mapping_option
from headrace_asgi.limits import (
    DEFAULT_CAPACITY,
    DEFAULT_EXPIRY_SECONDS,
    DEFAULT_GROUP_EXPIRY_SECONDS,
    MAX_MESSAGE_BYTES,
)

from .shards import RedisChannelLayer

__all__ = ["RedisSentinelChannelLayer"]


class RedisSentinelChannelLayer(RedisChannelLayer):
    """A channel layer over a Redis or Valkey that Sentinels name, and that may fail over.

    The same as RedisChannelLayer with Sentinels in `hosts`; its options are those of asgi_redis.
    """

    def __init__(
        self,
        hosts: Sequence[tuple[str, int]] = (("localhost", 26379),),
        services: Sequence[str] | None = None,
        prefix: str = "",
        expiry: float = DEFAULT_EXPIRY_SECONDS,
        group_expiry: float = DEFAULT_GROUP_EXPIRY_SECONDS,
        capacity: int = DEFAULT_CAPACITY,
        channel_capacity: Mapping[Any, int] | None = None,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        ordering_lease_seconds: float | None = None,
        connection_kwargs: Mapping[str, Any] | None = None,
        sentinel_kwargs: Mapping[str, Any] | None = None,
        symmetric_encryption_keys: Sequence[str | bytes] | None = None,
        acknowledged: Sequence[str] | None = None,
        acknowledged_attempts: int = DEFAULT_ATTEMPTS,
    ) -> None:
        """Take the Sentinels and what they call the primary; nothing is connected before the first use.

        `hosts` are the Sentinels, each (host, port). `services` are the names of `sentinel monitor`, one or
        several that share the load; without them the Sentinels are asked, and must watch only one.
        `connection_kwargs` are options of redis-py for Redis, `sentinel_kwargs` those for the Sentinels. All
        others are those of RedisChannelLayer. Raises ConfigurationError for a value that cannot work.
        """
        common = mapping_option("connection_kwargs", connection_kwargs)
        of_sentinels = mapping_option("sentinel_kwargs", sentinel_kwargs)
        of_sentinels = {
            **mapping_option("sentinel_kwargs", common.pop("sentinel_kwargs", None)),
            **of_sentinels,
        }
        super().__init__(
            [
                {"sentinels": hosts, "master_name": name, "sentinel_kwargs": of_sentinels}
                for name in _names(services)
            ],
            prefix=prefix,
            expiry=expiry,
            group_expiry=group_expiry,
            capacity=capacity,
            channel_capacity=channel_capacity,
            max_message_bytes=max_message_bytes,
            ordering_lease_seconds=ordering_lease_seconds,
            connection_kwargs=common,
            symmetric_encryption_keys=symmetric_encryption_keys,
            acknowledged=acknowledged,
            acknowledged_attempts=acknowledged_attempts,
        )


def _names(services: Any) -> Sequence[str]:
    """The names of the services; one that is empty is to be found."""
    if services is None:
        return [""]
    if isinstance(services, str | bytes) or not isinstance(services, Sequence):
        raise ConfigurationError('services must be a list of names, as in ["mymaster"]')
    if not all(isinstance(name, str) and name for name in services):
        raise ConfigurationError('services must be a list of names, each a str, as in ["mymaster"]')
    return services or [""]

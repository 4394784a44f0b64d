"""The Redis layer over a Redis Cluster, by the nodes that its `CONFIG` names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headrace_asgi.acknowledgement import DEFAULT_ATTEMPTS
from headrace_asgi.limits import (
    DEFAULT_CAPACITY,
    DEFAULT_EXPIRY_SECONDS,
    DEFAULT_GROUP_EXPIRY_SECONDS,
    MAX_MESSAGE_BYTES,
)

from ..cluster_url import DEFAULT_BUCKETS
from .shards import RedisChannelLayer

__all__ = ["RedisClusterChannelLayer"]


class RedisClusterChannelLayer(RedisChannelLayer):
    """A channel layer over a Redis Cluster (Redis 7.0 or Valkey 7.2, or later).

    The same as RedisChannelLayer with a Cluster in `hosts`.
    """

    def __init__(
        self,
        hosts: Sequence[str | tuple[str, int]] = (("localhost", 6379),),
        buckets: int = DEFAULT_BUCKETS,
        prefix: str = "",
        expiry: float = DEFAULT_EXPIRY_SECONDS,
        group_expiry: float = DEFAULT_GROUP_EXPIRY_SECONDS,
        capacity: int = DEFAULT_CAPACITY,
        channel_capacity: Mapping[Any, int] | None = None,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        ordering_lease_seconds: float | None = None,
        connection_kwargs: Mapping[str, Any] | None = None,
        symmetric_encryption_keys: Sequence[str | bytes] | None = None,
        acknowledged: Sequence[str] | None = None,
        acknowledged_attempts: int = DEFAULT_ATTEMPTS,
    ) -> None:
        """Take some nodes of the Cluster; nothing is connected before the first use.

        `hosts` are nodes, each (host, port) or a URL redis://user:password@host:port (rediss:// for all of
        them: TLS): any that answers says where the others are. `buckets`, from 1 to 32, are the parts into
        which the layer is divided, each of which lies at one node; every process needs the same number.
        `connection_kwargs` are options of redis-py for every node. All others are those of RedisChannelLayer.
        Raises ConfigurationError for a value that cannot work.
        """
        super().__init__(
            [{"cluster": hosts, "buckets": buckets}],
            prefix=prefix,
            expiry=expiry,
            group_expiry=group_expiry,
            capacity=capacity,
            channel_capacity=channel_capacity,
            max_message_bytes=max_message_bytes,
            ordering_lease_seconds=ordering_lease_seconds,
            connection_kwargs=connection_kwargs,
            symmetric_encryption_keys=symmetric_encryption_keys,
            acknowledged=acknowledged,
            acknowledged_attempts=acknowledged_attempts,
        )

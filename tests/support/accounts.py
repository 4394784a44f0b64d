"""What a test asks of the accounts of a layer when everything has ended: nothing is missing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrace_asgi import RedisChannelLayer
from headrace_asgi.errors import HeadraceError
from headrace_asgi.layers.from_config import layer_from_config
from headrace_asgi.layers.redis.plan.command import RedisCommand, names

__all__ = ["accounts_of", "layer_of", "losses_in", "require_balance", "run_ids"]

#: Messages of one take, at most: what one killed process or one broken take may have had in its hands.
MOST_TAKEN = 20
#: What workers log of a process that was killed, and of a take whose answer was lost.
_LOSSES = (
    "was killed by SIGKILL",
    "A take was lost with what it had popped",
    "The channel layer is unavailable",
    "Could not give back",
    "Stopped at the deadline",
)


def layer_of(config: Mapping[str, Any]) -> RedisChannelLayer:
    """The layer as a project has it with this CONFIG."""
    layer = layer_from_config({"BACKEND": "headrace_asgi.RedisChannelLayer", "CONFIG": config})
    assert isinstance(layer, RedisChannelLayer)
    return layer


def run_ids(config: Mapping[str, Any]) -> list[str]:
    """Which servers a layer has; one that came back empty is another one. Nothing where one is away."""
    layer = layer_of(config)
    try:
        answers = [
            shard.ask(RedisCommand(shard.places.home, (b"INFO", b"server"), bytes, repeat=True))
            for shard in layer.shards.values()
        ]
    except HeadraceError:
        return []
    finally:
        layer.close()
    return [line for answer in answers for line in answer.decode().split() if line.startswith("run_id:")]


def accounts_of(layer: RedisChannelLayer) -> dict[str, dict[str, int]]:
    """The statistics of every channel that was ever counted at this layer's prefix."""
    fields: list[str] = []
    for shard in layer.shards.values():
        key = shard.plan.key(shard.places.home, "n")
        fields += shard.ask(RedisCommand(shard.places.home, (b"HKEYS", key), names, repeat=True))
    channels = {field.rsplit("|", 1)[0] for field in fields} - {"mailbox"}
    return {channel: layer.statistics(channel) for channel in sorted(channels)}


def require_balance(layer: RedisChannelLayer, losses: int = 0) -> dict[str, dict[str, int]]:
    """Everything has ended: what was sent is accounted for, but for so many takes that were lost."""
    accounts = accounts_of(layer)
    most = losses * MOST_TAKEN
    for channel, account in accounts.items():
        if "unknown" in account:
            assert 0 <= account["unknown"] <= most, f"{channel} with {losses} losses: {account}"
            assert 0 <= account["running"] <= most, f"{channel} with {losses} losses: {account}"
        else:
            assert account["outstanding"] >= account["pending"], f"{channel}: {account}"
    return accounts


def losses_in(log: str) -> int:
    """How many takes a worker may have lost, by what it wrote."""
    return sum(log.count(words) for words in _LOSSES)

"""The project's channel layers, made from `settings.CHANNEL_LAYERS` when they are first used.

While Django's tests run, each of them lives in memory instead: a test must not write into a running site.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from functools import cached_property

from headrace_asgi.acknowledgement import DeadLetter
from headrace_asgi.contract import ChannelLayer, Outcome, RefusedHandler, WorkerPort
from headrace_asgi.errors import ConfigurationError
from headrace_asgi.later import Delay, Moment
from headrace_asgi.layers.from_config import layer_from_config
from headrace_asgi.tally import Tally

from . import conf
from .django_private import tests_are_running
from .routing import Router
from .types import Content, Options

__all__ = [
    "DEFAULT_CHANNEL_LAYER",
    "ChannelLayerManager",
    "ChannelLayerWrapper",
    "InvalidChannelLayerError",
    "channel_layers",
    "get_channel_layer",
]

DEFAULT_CHANNEL_LAYER = "default"

#: Messages that a channel holds while tests run: nobody takes what the tests of a whole suite send.
_TEST_CAPACITY = 100_000
#: Options of a layer that the one in its place has too while tests run: what consumers can tell.
_KEPT_IN_TESTS = ("acknowledged", "acknowledged_attempts")


class InvalidChannelLayerError(ValueError):
    """An entry of CHANNEL_LAYERS cannot work; the text names it and says what to do."""


class ChannelLayerWrapper(ChannelLayer):
    """A channel layer under its alias, together with its routing. Everything else is the layer's own."""

    def __init__(self, channel_layer: ChannelLayer, alias: str, routing: object) -> None:
        """Take the layer, and its routes: a list, a dict or the dotted path of either."""
        self.channel_layer = channel_layer
        self.alias = alias
        self.routing = routing
        self.extensions = channel_layer.extensions
        self.local_only = channel_layer.local_only
        self.ChannelFull = channel_layer.ChannelFull
        self.MessageTooLarge = channel_layer.MessageTooLarge
        self.expiry = channel_layer.expiry
        self.group_expiry = channel_layer.group_expiry
        self.capacities = channel_layer.capacities
        self.max_message_bytes = channel_layer.max_message_bytes
        self.label = channel_layer.label

    @cached_property
    def router(self) -> Router:
        """The compiled routing, made on first use.

        Raises ImproperlyConfigured if the routing cannot be imported or has an impossible route.
        """
        return Router(self.routing, setting=f"CHANNEL_LAYERS[{self.alias!r}]['ROUTING']")

    def send(self, channel: str, message: Content) -> None:
        """As the layer's."""
        self.channel_layer.send(channel, message)

    def receive(
        self, channels: Iterable[str], block: bool = False
    ) -> tuple[str, Content] | tuple[None, None]:
        """As the layer's."""
        return self.channel_layer.receive(channels, block)

    def new_channel(self, pattern: str) -> str:
        """As the layer's."""
        return self.channel_layer.new_channel(pattern)

    def new_channel_beside(self, pattern: str, channel: str) -> str:
        """As the layer's."""
        return self.channel_layer.new_channel_beside(pattern, channel)

    def send_many(self, messages: Sequence[tuple[str, Content]]) -> list[Outcome]:
        """As the layer's."""
        return self.channel_layer.send_many(messages)

    def receive_many(
        self, channels: Iterable[str], limit: int = 1, timeout_seconds: float = 0
    ) -> list[tuple[str, Content]]:
        """As the layer's."""
        return self.channel_layer.receive_many(channels, limit, timeout_seconds)

    def group_add(self, group: str, channel: str) -> None:
        """As the layer's."""
        self.channel_layer.group_add(group, channel)

    def group_discard(self, group: str, channel: str) -> None:
        """As the layer's."""
        self.channel_layer.group_discard(group, channel)

    def group_channels(self, group: str) -> list[str]:
        """As the layer's."""
        return self.channel_layer.group_channels(group)

    def group_count(self, group: str) -> int:
        """As the layer's."""
        return self.channel_layer.group_count(group)

    def send_group(self, group: str, message: Content) -> None:
        """As the layer's."""
        self.channel_layer.send_group(group, message)

    def send_groups(self, groups: Iterable[str], message: Content) -> None:
        """As the layer's."""
        self.channel_layer.send_groups(groups, message)

    def send_later(
        self,
        channel: str,
        message: Content,
        delay: Delay | None = None,
        at: Moment | None = None,
        message_id: str | None = None,
    ) -> str:
        """As the layer's."""
        return self.channel_layer.send_later(channel, message, delay, at, message_id)

    def new_message_id(self, channel: str) -> str:
        """As the layer's."""
        return self.channel_layer.new_message_id(channel)

    def cancel(self, message_id: str) -> bool:
        """As the layer's."""
        return self.channel_layer.cancel(message_id)

    def move_due(self, channels: Iterable[str] = ()) -> float:
        """As the layer's."""
        return self.channel_layer.move_due(channels)

    def is_acknowledged(self, channel: str) -> bool:
        """As the layer's."""
        return self.channel_layer.is_acknowledged(channel)

    def rouse(self, channels: Iterable[str] = ()) -> None:
        """As the layer's."""
        self.channel_layer.rouse(channels)

    def dead_letters(self, channel: str, limit: int = 100) -> list[DeadLetter]:
        """As the layer's."""
        return self.channel_layer.dead_letters(channel, limit)

    def replay(self, channel: str, message_ids: Iterable[str] | None = None) -> int:
        """As the layer's."""
        return self.channel_layer.replay(channel, message_ids)

    def drop_dead_letters(self, channel: str, message_ids: Iterable[str] | None = None) -> int:
        """As the layer's."""
        return self.channel_layer.drop_dead_letters(channel, message_ids)

    async def asend(self, channel: str, message: Content) -> None:
        """As the layer's."""
        await self.channel_layer.asend(channel, message)

    async def areceive(
        self, channels: Iterable[str], block: bool = False
    ) -> tuple[str, Content] | tuple[None, None]:
        """As the layer's."""
        return await self.channel_layer.areceive(channels, block)

    async def areceive_many(
        self, channels: Iterable[str], limit: int = 1, timeout_seconds: float = 0
    ) -> list[tuple[str, Content]]:
        """As the layer's."""
        return await self.channel_layer.areceive_many(channels, limit, timeout_seconds)

    async def agroup_add(self, group: str, channel: str) -> None:
        """As the layer's."""
        await self.channel_layer.agroup_add(group, channel)

    async def agroup_discard(self, group: str, channel: str) -> None:
        """As the layer's."""
        await self.channel_layer.agroup_discard(group, channel)

    async def asend_group(self, group: str, message: Content) -> None:
        """As the layer's."""
        await self.channel_layer.asend_group(group, message)

    async def asend_groups(self, groups: Iterable[str], message: Content) -> None:
        """As the layer's."""
        await self.channel_layer.asend_groups(groups, message)

    def flush(self) -> None:
        """As the layer's."""
        self.channel_layer.flush()

    def statistics(self, channel: str) -> dict[str, int]:
        """As the layer's."""
        return self.channel_layer.statistics(channel)

    @property
    def tally(self) -> Tally:
        """As the layer's."""
        return self.channel_layer.tally

    def use_tally(self, tally: Tally) -> None:
        """As the layer's."""
        self.channel_layer.use_tally(tally)

    def count(self, channel: str, what: str, number: int = 1) -> None:
        """As the layer's."""
        self.channel_layer.count(channel, what, number)

    def write_counts(self, tally: Tally | None = None, last: bool = False) -> None:
        """As the layer's."""
        self.channel_layer.write_counts(tally, last)

    def announce(self, channels: Iterable[str]) -> None:
        """As the layer's."""
        self.channel_layer.announce(channels)

    def takers(self) -> dict[str, float]:
        """As the layer's."""
        return self.channel_layer.takers()

    def reap(self) -> None:
        """As the layer's."""
        self.channel_layer.reap()

    def ensure_usable(self) -> None:
        """As the layer's."""
        self.channel_layer.ensure_usable()

    def open_worker_port(self, on_refused: RefusedHandler) -> WorkerPort:
        """As the layer's."""
        return self.channel_layer.open_worker_port(on_refused)

    def close(self) -> None:
        """As the layer's."""
        self.channel_layer.close()

    def __str__(self) -> str:
        cls = type(self.channel_layer)
        place = self.channel_layer.label or f"{cls.__module__}.{cls.__qualname__}"
        return f"{self.alias} ({place})"


class ChannelLayerManager:
    """Makes each layer of `settings.CHANNEL_LAYERS` once and keeps it. Thread-safe.

    Between `setup_test_environment` and `teardown_test_environment` (Django's test runner and pytest-django
    call them) it has other layers: those that tests `set`, and memory for every alias they did not.
    """

    def __init__(self) -> None:
        self._live: dict[str, ChannelLayerWrapper] = {}
        self._in_tests: dict[str, ChannelLayerWrapper] = {}
        self._in_tests_of = 0
        self._making = threading.RLock()

    @property
    def backends(self) -> dict[str, ChannelLayerWrapper]:
        """The layers made or set so far."""
        if not tests_are_running():
            return self._live
        if self._in_tests_of != os.getpid():  # a parallel runner forks, and memory is of one process
            self._in_tests_of, self._in_tests = os.getpid(), {}
        return self._in_tests

    @property
    def configs(self) -> dict[str, Options]:
        """`settings.CHANNEL_LAYERS`, empty without one: then everything is plain Django."""
        return conf.channel_layer_configs()

    def make_backend(self, name: str) -> ChannelLayerWrapper:
        """Make a new layer from the `CONFIG` of an alias."""
        return self._make(name, "CONFIG")

    def make_test_backend(self, name: str) -> ChannelLayerWrapper:
        """Make a new layer from the `TEST_CONFIG` of an alias."""
        return self._make(name, "TEST_CONFIG")

    def _make(self, name: str, key: str, in_memory: bool = False) -> ChannelLayerWrapper:
        try:
            config = conf.channel_layer_config(name, key)
            backend, options = config.backend, config.options
            if in_memory and not str(backend).endswith(".InMemoryChannelLayer"):
                backend = "headrace_asgi.InMemoryChannelLayer"
                kept = {name: options[name] for name in _KEPT_IN_TESTS if name in options}
                options = {"capacity": _TEST_CAPACITY, **kept}
            layer = layer_from_config({"BACKEND": backend, "CONFIG": options})
        except ConfigurationError as error:
            raise InvalidChannelLayerError(f"CHANNEL_LAYERS[{name!r}]: {error}") from error
        return ChannelLayerWrapper(layer, name, config.routing)

    def __getitem__(self, key: str) -> ChannelLayerWrapper:
        backends = self.backends
        layer = backends.get(key)
        if layer is not None:
            return layer
        with self._making:
            if key not in backends:
                backends[key] = self._make(key, "CONFIG", in_memory=backends is not self._live)
            return backends[key]

    def __contains__(self, key: object) -> bool:
        return key in self.backends or key in self.configs

    def set(self, key: str, layer: ChannelLayerWrapper | None) -> ChannelLayerWrapper | None:
        """Put a layer under an alias (None: made again when next used) and return the old one."""
        backends = self.backends
        old = backends.pop(key, None)
        if layer is not None:
            backends[key] = layer
        return old

    def close(self) -> None:
        """Close the connections of every layer made so far; using one again opens new ones."""
        for layer in (*self._live.values(), *self._in_tests.values()):
            layer.channel_layer.close()


channel_layers = ChannelLayerManager()


def get_channel_layer(alias: str = DEFAULT_CHANNEL_LAYER) -> ChannelLayer:
    """The layer itself, for an `asgi.py` that an interface server loads.

    Reads only the settings: no app is loaded and no model imported.
    """
    return channel_layers[alias].channel_layer

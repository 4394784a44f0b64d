"""The project's channel layers, made from `settings.CHANNEL_LAYERS` when they are first used.

While Django's tests run, each of them lives in memory instead: a test must not write into a running site.
"""

from __future__ import annotations

import os
import sys
import threading
from functools import cached_property
from typing import Any

from headrace_asgi.contract import ChannelLayer
from headrace_asgi.errors import ConfigurationError

from . import conf

__all__ = [
    "DEFAULT_CHANNEL_LAYER",
    "ChannelLayerManager",
    "ChannelLayerWrapper",
    "InvalidChannelLayerError",
    "channel_layers",
    "get_channel_layer",
    "tests_are_running",
]

DEFAULT_CHANNEL_LAYER = "default"

#: Messages that a channel holds while tests run: nobody takes what the tests of a whole suite send.
_TEST_CAPACITY = 100_000


class InvalidChannelLayerError(ValueError):
    """An entry of CHANNEL_LAYERS cannot work; the text names it and says what to do."""


class ChannelLayerWrapper:
    """A channel layer under its alias, together with its routing. Everything else is the layer's own."""

    def __init__(self, channel_layer: ChannelLayer, alias: str, routing: Any) -> None:
        self.channel_layer = channel_layer
        self.alias = alias
        self.routing = routing

    @cached_property
    def router(self) -> Any:
        """The compiled routing, made on first use.

        Raises ImproperlyConfigured if the routing cannot be imported or has an impossible route.
        """
        from .routing import Router

        return Router(self.routing, setting=f"CHANNEL_LAYERS[{self.alias!r}]['ROUTING']")

    def local_only(self) -> bool:
        """Whether messages on this layer never leave the process (the layer says so, not its name)."""
        return bool(getattr(self.channel_layer, "local_only", False))

    def __getattr__(self, name: str) -> Any:
        if name == "channel_layer":  # only while a copy is being made, before it has attributes
            raise AttributeError(name)
        return getattr(self.channel_layer, name)

    def __str__(self) -> str:
        cls = type(self.channel_layer)
        place = getattr(self.channel_layer, "label", "") or f"{cls.__module__}.{cls.__qualname__}"
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
    def configs(self) -> dict[str, dict[str, Any]]:
        """`settings.CHANNEL_LAYERS`, empty without one: then everything is plain Django."""
        return conf.channel_layer_configs()

    def make_backend(self, name: str) -> ChannelLayerWrapper:
        """Make a new layer from the `CONFIG` of an alias."""
        return self._make(name, "CONFIG")

    def make_test_backend(self, name: str) -> ChannelLayerWrapper:
        """Make a new layer from the `TEST_CONFIG` of an alias."""
        return self._make(name, "TEST_CONFIG")

    def _make(self, name: str, key: str, in_memory: bool = False) -> ChannelLayerWrapper:
        from headrace_asgi.layers.from_config import layer_from_config

        try:
            config = conf.channel_layer_config(name, key)
            backend, options = config.backend, config.options
            if in_memory and not str(backend).endswith(".InMemoryChannelLayer"):
                backend, options = "headrace_asgi.InMemoryChannelLayer", {"capacity": _TEST_CAPACITY}
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


def tests_are_running() -> bool:
    """Whether this process is between Django's `setup_test_environment` and `teardown_test_environment`."""
    # What those two functions go by themselves. `mail.outbox`, the trace they leave that is documented, is
    # also left by a site that sends its mail into memory.
    utils = sys.modules.get("django.test.utils")
    return utils is not None and hasattr(utils._TestState, "saved_data")


channel_layers = ChannelLayerManager()


def get_channel_layer(alias: str = DEFAULT_CHANNEL_LAYER) -> ChannelLayer:
    """The layer itself, for an `asgi.py` that an interface server loads.

    Reads only the settings: no app is loaded and no model imported.
    """
    return channel_layers[alias].channel_layer

"""Test cases with channel layers of their own, routes for a test, and the real layers for one that asks.

In any other test, `django.test.TestCase` included, the project's layers live in memory and are shared by the
tests of a run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ContextDecorator, contextmanager
from typing import Any, ClassVar
from unittest import TestResult

from django.test import SimpleTestCase, TestCase, TransactionTestCase

from headrace_asgi import InMemoryChannelLayer
from headrace_asgi.contract import ChannelLayer
from headrace_asgi.names import non_local_name

from .. import conf
from ..asgi import DEFAULT_CHANNEL_LAYER, ChannelLayerWrapper, channel_layers
from ..message import Message
from ..routing import Router, resolve_routing

__all__ = ["ChannelTestCase", "TransactionChannelTestCase", "apply_routes", "live_layers", "next_message"]


def next_message(layer: ChannelLayer, channel: str) -> Message | None:
    """The next message on a channel of a layer, None without one. Does not wait.

    Replies to different clients of one process come in their order, so those in front of `channel`'s first
    one are gone then.
    """
    queue = non_local_name(channel)
    while True:
        name, content = layer.receive([queue])
        if name is None or content is None:
            return None
        if name == channel or queue == channel:
            return Message(content, name, layer)


class _OwnLayers(SimpleTestCase):
    """Gives every test fresh layers in memory in place of the project's, with the project's routing."""

    test_channel_aliases: ClassVar[Sequence[str]] = (DEFAULT_CHANNEL_LAYER,)

    def run(self, result: TestResult | None = None) -> TestResult | None:
        """Run the test, its setUp and tearDown with layers in memory."""
        with self._own_layers():
            return super().run(result)

    def debug(self) -> None:
        """The same, without collecting the result."""
        with self._own_layers():
            super().debug()

    @contextmanager
    def _own_layers(self) -> Iterator[None]:
        replaced = {}
        for alias in self.test_channel_aliases:
            routing = conf.channel_layer_config(alias).routing
            layer = ChannelLayerWrapper(InMemoryChannelLayer(), alias, routing)
            replaced[alias] = channel_layers.set(alias, layer)
        try:
            yield
        finally:
            for alias, before in replaced.items():
                channel_layers.set(alias, before)

    def get_next_message(
        self, channel: str, alias: str = DEFAULT_CHANNEL_LAYER, require: bool = False
    ) -> Message | None:
        """The next message on a channel; None without one, or AssertionError with `require`."""
        message = next_message(channel_layers[alias], channel)
        if message is None and require:
            raise AssertionError(f"Expected a message on {channel} of layer {alias!r}, there is none")
        return message


class ChannelTestCase(_OwnLayers, TestCase):
    """Django's TestCase with channel layers of its own, those named in `test_channel_aliases`."""


class TransactionChannelTestCase(_OwnLayers, TransactionTestCase):
    """Django's TransactionTestCase with channel layers of its own."""


class apply_routes(ContextDecorator):  # noqa: N801 - the name of Channels 1.x, used as a function
    """Replaces the routing of layers (of all `aliases`) by `routes`, a list, a dict or one route.

    A context manager, and a decorator of test functions, or of classes: then of their test methods.
    """

    def __init__(self, routes: object, aliases: Sequence[str] = (DEFAULT_CHANNEL_LAYER,)) -> None:
        single = hasattr(routes, "match") and hasattr(routes, "channel_names")
        self._router = Router(resolve_routing([routes] if single else routes))
        self._aliases = aliases
        self._before: list[dict[str, Any]] = []

    def __enter__(self) -> apply_routes:
        before = {}
        for alias in self._aliases:
            layer = channel_layers[alias]
            before[alias] = vars(layer).get("router")
            vars(layer)["router"] = self._router
        self._before.append(before)
        return self

    def __exit__(self, *exc_info: object) -> None:
        for alias, router in self._before.pop().items():
            layer = channel_layers[alias]
            if router is None:
                vars(layer).pop("router", None)
            else:
                vars(layer)["router"] = router

    def __call__(self, decorated: Any) -> Any:
        """Decorate a function or class."""
        if not isinstance(decorated, type):
            return super().__call__(decorated)
        for name in [name for name in dir(decorated) if name.startswith("test")]:
            method = getattr(decorated, name)
            if callable(method):
                setattr(decorated, name, super().__call__(method))
        return decorated


class live_layers(ContextDecorator):  # noqa: N801 - used as a function
    """The layers that the project is configured with, in place of memory: for tests of running servers.

    A context manager and a decorator of functions. A layer is made of `TEST_CONFIG` if it has that, else of
    `CONFIG`, and closed afterwards. What is then sent may reach whoever uses the same server and prefix.
    """

    def __init__(self, *aliases: str) -> None:
        """Take the aliases of the layers, by default the default one."""
        self._aliases = aliases or (DEFAULT_CHANNEL_LAYER,)
        self._before: list[dict[str, Any]] = []

    def __enter__(self) -> live_layers:
        """Raises InvalidChannelLayerError for a layer that cannot be made."""
        made = {}
        for alias in self._aliases:
            has_own = "TEST_CONFIG" in channel_layers.configs.get(alias, {})
            make = channel_layers.make_test_backend if has_own else channel_layers.make_backend
            made[alias] = make(alias)
        self._before.append({alias: channel_layers.set(alias, layer) for alias, layer in made.items()})
        return self

    def __exit__(self, *exc_info: object) -> None:
        for alias, layer in self._before.pop().items():
            live = channel_layers.set(alias, layer)
            if live is not None:
                live.channel_layer.close()

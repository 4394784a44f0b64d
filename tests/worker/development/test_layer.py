from __future__ import annotations

from typing import Any

import pytest

from headrace import conf
from headrace.development.layer import ensure_usable, layer_config
from headrace_asgi import InMemoryChannelLayer
from headrace_asgi.errors import ConfigurationError

LAYERS = {"default": {"ROUTING": "site1.routing.channel_routing"}}


def test_two_servers_of_one_project_do_not_share_a_queue(settings: Any) -> None:
    settings.CHANNEL_LAYERS = LAYERS
    usual, _ = layer_config(8000)
    other, note = layer_config(8001)
    shared, _ = layer_config(8001, apart=False)
    assert "prefix" not in usual.options
    assert other.options["prefix"] == "port-8001."
    assert shared.options == usual.options
    assert note == ""


def test_a_layer_of_the_projects_own_is_left_as_it_is(settings: Any) -> None:
    config = {"BACKEND": "headrace_asgi.RedisChannelLayer", "CONFIG": {"hosts": ["redis://h:1"]}}
    settings.CHANNEL_LAYERS = {"default": {**LAYERS["default"], **config}}
    found, note = layer_config(8001)
    assert (found.backend, found.options, note) == (config["BACKEND"], config["CONFIG"], "")


class Locked(InMemoryChannelLayer):
    """A layer that nobody may use."""

    def ensure_usable(self) -> None:
        raise ConfigurationError("the password is wrong")


def test_a_layer_that_lets_nobody_in_is_told_of_before_anything_starts() -> None:
    config = conf.LayerConfig(backend=f"{__name__}.Locked", options={}, routing=[])
    with pytest.raises(ConfigurationError, match="the password is wrong"):
        ensure_usable(config)

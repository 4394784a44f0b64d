"""Settings."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from headrace import conf
from headrace_asgi.errors import ConfigurationError


def test_every_key_has_a_default() -> None:
    assert conf.settings() == conf.WorkerSettings()


def test_a_key_is_taken_over() -> None:
    with override_settings(HEADRACE={"MESSAGE_RETRIES": 3, "TAKE_SECONDS": 1}):
        assert conf.settings().message_retries == 3
        assert conf.settings().take_seconds == 1
    assert conf.settings().message_retries == 10


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "HEADRACE must be a dict, not list"),
        ({"ORIGN_CHECK": False}, "did you mean 'ORIGIN_CHECK'"),
        ({"X": 1}, "there are ORIGIN_CHECK"),
        ({5: 1}, "unknown key 5"),
        ({"ORIGIN_CHECK": 1}, "must be True or False"),
        ({"MESSAGE_RETRIES": 1.5}, "must be a whole number"),
        ({"MESSAGE_RETRIES": True}, "must be a whole number"),
        ({"TAKE_LIMIT": -1}, "must be a whole number"),
        ({"MESSAGE_RETRIES": 256}, "must be a whole number from 0 to 255, not 256"),
        ({"RESPONSE_CHUNK_BYTES": 0}, "must be a whole number from 1 to"),
        ({"RENEW_SECONDS": -1}, "must be a number, 0 or more"),
        ({"TAKE_SECONDS": "1"}, "must be a number"),
    ],
)
def test_a_wrong_setting_is_named(given: Any, said: str) -> None:
    with override_settings(HEADRACE=given), pytest.raises(ImproperlyConfigured, match=said):
        conf.settings()


def test_routing_alone_means_the_embedded_server_of_this_project(settings: Any) -> None:
    settings.CHANNEL_LAYERS = {"default": {"ROUTING": "x.y"}}
    layer = conf.channel_layer_config("default")
    assert layer.backend == "headrace_asgi.IPCChannelLayer"
    assert layer.options == {"name": str(settings.BASE_DIR)}
    assert layer.routing == "x.y"
    settings.CHANNEL_LAYERS = {"default": {"ROUTING": "x.y", "CONFIG": {"name": "mine"}}}
    assert conf.channel_layer_config("default").options == {"name": "mine"}
    del settings.BASE_DIR
    settings.CHANNEL_LAYERS = {"default": {"ROUTING": "x.y"}}
    assert conf.channel_layer_config("default").options["name"]


def test_no_layers_means_plain_django(settings: Any) -> None:
    del settings.CHANNEL_LAYERS
    assert conf.channel_layer_configs() == {}


@pytest.mark.parametrize(
    ("layers", "key", "said"),
    [
        ({"other": {"ROUTING": []}}, "CONFIG", "no such layer; CHANNEL_LAYERS has 'other'"),
        ({}, "CONFIG", "CHANNEL_LAYERS has none"),
        ({"default": {"BACKEND": "x"}}, "CONFIG", "no ROUTING"),
        ({"default": {"ROUTING": [], "HOSTS": []}}, "CONFIG", "'HOSTS' is not a key"),
        ({"default": {"ROUTING": []}}, "TEST_CONFIG", "no TEST_CONFIG"),
        ({"default": {"ROUTING": [], "CONFIG": [1]}}, "CONFIG", "its CONFIG must be a dict of options, not"),
    ],
)
def test_a_wrong_layer_is_named(settings: Any, layers: Any, key: str, said: str) -> None:
    settings.CHANNEL_LAYERS = layers
    with pytest.raises(ConfigurationError, match=said):
        conf.channel_layer_config("default", key)


@pytest.mark.parametrize("layers", [[], {"default": 5}, "x"])
def test_channel_layers_must_be_a_dict_of_dicts(settings: Any, layers: Any) -> None:
    settings.CHANNEL_LAYERS = layers
    if layers:
        with pytest.raises(ImproperlyConfigured, match="dict of dicts"):
            conf.channel_layer_configs()
    else:
        assert conf.channel_layer_configs() == {}


def test_channel_sessions_have_an_engine_of_their_own_if_asked(settings: Any) -> None:
    assert conf.channel_session_engine() == settings.SESSION_ENGINE
    settings.CHANNEL_SESSION_ENGINE = "own.engine"
    assert conf.channel_session_engine() == "own.engine"

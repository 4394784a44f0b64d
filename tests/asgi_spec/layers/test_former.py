"""Settings of Channels: the name to write, a warning that an option can go, or why it cannot be used."""

from __future__ import annotations

import logging
from importlib import import_module

import pytest

from headrace_asgi import RedisChannelLayer
from headrace_asgi.errors import ConfigurationError
from headrace_asgi.layers import former
from headrace_asgi.layers.former import (
    BACKENDS,
    FORMER_LAYERS,
    MISSING_OPTIONS,
    RETIRED_OPTIONS,
    refuse_backend,
    still_meant,
)
from headrace_asgi.layers.from_config import layer_from_config

KNOWN = {"hosts": None, "prefix": None}


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(former, "_said", set())


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_former_backend_is_refused_with_one_that_there_is(backend: str) -> None:
    with pytest.raises(ConfigurationError, match=f"BACKEND {backend} is of Channels; write headrace_asgi"):
        refuse_backend(backend)
    module, _, name = BACKENDS[backend].rpartition(".")
    assert hasattr(import_module(module), name)


def test_who_had_a_layer_of_one_machine_is_told_what_is_different() -> None:
    with pytest.raises(ConfigurationError, match=r"write headrace_asgi\.RedisChannelLayer \(.*every machine"):
        refuse_backend("asgi_redis.RedisLocalChannelLayer")


@pytest.mark.parametrize("name", FORMER_LAYERS)
def test_a_layer_by_its_former_name_is_the_one_of_today_and_says_once_why(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    config = {
        "BACKEND": f"headrace_asgi.{name}",
        "CONFIG": {"hosts": ["redis://127.0.0.1:1/0"], "prefix": "x", "stats_prefix": "y"},
    }
    with caplog.at_level(logging.WARNING, "headrace.layer"):
        layers = [layer_from_config(config) for _ in range(2)]
    assert {type(layer) for layer in layers} == {RedisChannelLayer}
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == f"headrace_asgi.{name} has no meaning of its own: {FORMER_LAYERS[name]}"
    assert len(said) == 2, "the second line is about stats_prefix"


def test_a_wrong_option_of_a_layer_by_its_former_name_is_named() -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'prefix'"):
        layer_from_config({"BACKEND": "headrace_asgi.RedisLocalChannelLayer", "CONFIG": {"prefx": "x"}})


def test_another_backend_is_not_refused() -> None:
    refuse_backend("headrace_asgi.RedisChannelLayer")
    refuse_backend("project.layers.Redis")


@pytest.mark.parametrize("option", RETIRED_OPTIONS)
def test_an_option_without_a_meaning_is_left_out_and_told_once_with_the_reason(
    option: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "headrace.layer"):
        for _ in range(3):
            assert still_meant({"prefix": "x", option: "secret"}, KNOWN) == {"prefix": "x"}
    (said,) = (record.getMessage() for record in caplog.records)
    assert said == f"CONFIG: {option!r} has no meaning and can go: {RETIRED_OPTIONS[option]}"


def test_an_option_that_a_layer_takes_is_its_own_whatever_it_was_before(
    caplog: pytest.LogCaptureFixture,
) -> None:
    options = {"stats_prefix": "x", "services": ["y"]}
    assert still_meant(options, options) == options
    assert not caplog.records


@pytest.mark.parametrize("option", MISSING_OPTIONS)
def test_an_option_that_cannot_be_left_out_is_refused_with_the_reason(option: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{option!r} cannot be used: .*BACKEND headrace_asgi"):
        still_meant({option: 1}, KNOWN)


def test_an_unknown_option_is_for_others_to_name() -> None:
    assert still_meant({"capcity": 1}, KNOWN) == {"capcity": 1}

"""Settings of Channels: the name to write, a warning that an option can go, or why it cannot be used."""

from __future__ import annotations

import logging
from importlib import import_module

import pytest

from headrace_asgi.errors import ConfigurationError
from headrace_asgi.layers import former
from headrace_asgi.layers.former import (
    BACKENDS,
    MISSING_BACKENDS,
    MISSING_OPTIONS,
    RETIRED_OPTIONS,
    refuse_backend,
    still_meant,
)

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


@pytest.mark.parametrize("backend", MISSING_BACKENDS)
def test_a_former_backend_that_is_missing_is_refused_with_the_reason(backend: str) -> None:
    with pytest.raises(ConfigurationError, match="is not in this version; write headrace_asgi"):
        refuse_backend(backend)


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
    with pytest.raises(ConfigurationError, match=f"{option!r} cannot be used: .*is not in this version"):
        still_meant({option: 1}, KNOWN)


def test_an_unknown_option_is_for_others_to_name() -> None:
    assert still_meant({"capcity": 1}, KNOWN) == {"capcity": 1}

"""Limits and capacity rules."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from headrace_asgi import limits
from headrace_asgi.errors import ConfigurationError
from headrace_asgi.limits import Capacities, _compiled, pattern_as_text


def test_a_channel_without_a_rule_has_the_default() -> None:
    assert Capacities(10).of("http.request") == 10


def test_the_first_rule_that_matches_counts() -> None:
    capacities = Capacities(10, {"http.request": 1, re.compile(r"http\."): 2, "http.*": 3, "x!*": 4})
    assert capacities.of("http.request") == 1
    assert capacities.of("http.disconnect") == 2
    assert capacities.of("x!") == 4
    assert capacities.of("xhttp.request") == 10


def test_a_glob_must_match_the_whole_name() -> None:
    assert Capacities(10, {"http": 1}).of("http.request") == 10


def test_the_answer_is_the_same_each_time_and_for_any_number_of_names() -> None:
    capacities = Capacities(10, {"one.*": 1})
    for _ in range(2):
        for number in range(10_100):
            assert capacities.of(f"one.{number}") == 1


@pytest.mark.parametrize("value", [0, -1, 1.5, "10", True, None])
def test_a_capacity_that_is_no_positive_integer_is_a_configuration_error(value: Any) -> None:
    with pytest.raises(ConfigurationError, match="capacity must be a positive integer"):
        Capacities(value)
    with pytest.raises(ConfigurationError, match=r"'x'.* must be a positive integer"):
        Capacities(1, {"x": value})


@pytest.mark.parametrize("flags", [0, re.I, re.I | re.X, re.A | re.S | re.M])
def test_a_pattern_as_text_means_the_same(flags: int) -> None:
    pattern = re.compile(r"^web socket\.[a-z]+$|^é", flags)
    text = pattern_as_text(pattern)
    assert isinstance(json.loads(json.dumps(text)), str)
    compiled = _compiled(text)
    assert compiled.flags == pattern.flags
    for name in ("web socket.receive", "websocket.receive", "WEB SOCKET.x", "É", "other"):
        assert bool(compiled.match(name)) is bool(pattern.match(name))


def test_a_glob_and_what_is_no_pattern_stay_as_they_are() -> None:
    assert pattern_as_text("http.*") == "http.*"
    assert pattern_as_text(b"x") == b"x"
    assert pattern_as_text(re.compile(b"x")) == re.compile(b"x")


def test_a_text_that_is_no_regular_expression_is_named() -> None:
    assert Capacities(10, {"re:^http[.]r": 1}).of("http.request") == 1
    with pytest.raises(ConfigurationError, match=r"channel_capacity: 're:\(' is no regular expression"):
        Capacities(1, {"re:(": 1})


def test_a_rule_for_neither_glob_nor_pattern_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match="neither a glob nor a compiled pattern"):
        Capacities(1, {1: 1})


def test_a_message_of_a_mebibyte_fits_with_its_envelope() -> None:
    assert limits.MAX_MESSAGE_BYTES > 1024 * 1024 + 1024

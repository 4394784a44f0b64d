"""Limits and capacity rules."""

from __future__ import annotations

import re
from typing import Any

import pytest

from headrace_asgi import limits
from headrace_asgi.errors import ConfigurationError
from headrace_asgi.limits import Capacities


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


def test_a_rule_for_neither_glob_nor_pattern_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match="neither a glob nor a compiled pattern"):
        Capacities(1, {1: 1})


def test_a_message_of_a_mebibyte_fits_with_its_envelope() -> None:
    assert limits.MAX_MESSAGE_BYTES > 1024 * 1024 + 1024

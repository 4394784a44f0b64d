"""Options of a layer: accepted, or refused with their name."""

from __future__ import annotations

from typing import Any

import pytest

from headrace_asgi.errors import ConfigurationError
from headrace_asgi.layers.options import hosts_option, mapping_option, number_option, seconds_option


@pytest.mark.parametrize("value", [0, -1, True, "1", None, float("inf"), float("nan")])
def test_seconds_are_a_positive_finite_number(value: Any) -> None:
    assert seconds_option("expiry", 1.5) == 1.5
    with pytest.raises(ConfigurationError, match="expiry must be a positive number of seconds"):
        seconds_option("expiry", value)


@pytest.mark.parametrize("value", [0, -1, True, 1.5, "1", None])
def test_numbers_are_positive_integers(value: Any) -> None:
    assert number_option("capacity", 1) == 1
    with pytest.raises(ConfigurationError, match="capacity must be a positive integer"):
        number_option("capacity", value)


def test_the_prefix_of_a_url_counts_if_there_is_no_other() -> None:
    url = "redis://host/0?prefix=x&socket_timeout=3"
    assert hosts_option([url], "") == (["redis://host/0?socket_timeout=3"], "x")
    assert hosts_option([url], "y") == (["redis://host/0?socket_timeout=3"], "y")
    assert hosts_option(("redis://host/0",), "") == (["redis://host/0"], "")


def test_a_mapping_is_copied_and_may_be_absent() -> None:
    given = {"a": 1}
    assert mapping_option("kwargs", given) == given
    assert mapping_option("kwargs", given) is not given
    assert mapping_option("kwargs", None) == {}
    with pytest.raises(ConfigurationError, match="kwargs must be a dict, not 3"):
        mapping_option("kwargs", 3)


@pytest.mark.parametrize("hosts", ["redis://host", None, 7, [7], [("host",)], [("host", "6379")]])
def test_hosts_are_a_list_of_urls_or_pairs(hosts: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"host"):
        hosts_option(hosts, "")

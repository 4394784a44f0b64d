from __future__ import annotations

import pytest

from headrace_asgi.errors import ConfigurationError
from headrace_asgi.layers.redis.plan.places import Places


def test_one_redis_is_one_place_and_everything_lies_there() -> None:
    places = Places(["redis://localhost"])
    assert places.names == ("0",)
    assert places.of("any name") == places.any() == places.home == "0"


def test_the_tag_puts_every_key_of_a_place_into_one_slot() -> None:
    assert Places(["redis://localhost"]).tag("0") == "hr1:{0}:"
    assert Places(["redis://localhost"], "shop").tag("0") == "hr1:{shop.0}:"


def test_a_prefix_as_channels_had_it_may_stay() -> None:
    assert Places(["redis://localhost"], "asgi:").tag("0") == "hr1:{asgi:.0}:"


@pytest.mark.parametrize("prefix", ["a}b", "a{b", "a*b", "a b", "a\n", None, 1])
def test_a_prefix_that_could_break_out_of_the_tag_is_refused_r10(prefix: object) -> None:
    with pytest.raises(ConfigurationError, match="prefix must consist of"):
        Places(["redis://localhost"], prefix)  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [0, 2])
def test_another_number_of_servers_is_refused_with_the_reason(count: int) -> None:
    with pytest.raises(ConfigurationError, match=f"exactly one, not {count}"):
        Places(["redis://localhost"] * count)

from __future__ import annotations

from typing import Any

import pytest
from django.conf import settings
from django.test import override_settings

from headrace import Channel, channel_layers, route
from headrace.test import ChannelTestCase, TransactionChannelTestCase, apply_routes
from headrace_asgi import InMemoryChannelLayer


def first(message: Any) -> str:
    return "first"


def second(message: Any) -> str:
    return "second"


BOTH = {**settings.CHANNEL_LAYERS, "other": settings.CHANNEL_LAYERS["default"]}


class OwnLayerTests(ChannelTestCase):
    def test_messages_stay_in_the_test(self) -> None:
        Channel("test.a").send({"n": 1})
        message = self.get_next_message("test.a", require=True)
        assert message is not None
        assert message["n"] == 1
        assert self.get_next_message("test.a") is None
        with pytest.raises(AssertionError, match="there is none"):
            self.get_next_message("test.a", require=True)
        Channel("test.left").send({})

    def test_messages_of_another_test_are_not_seen(self) -> None:
        assert self.get_next_message("test.left") is None
        Channel("test.left").send({})

    def test_the_layer_is_in_memory(self) -> None:
        assert isinstance(channel_layers["default"].channel_layer, InMemoryChannelLayer)

    def test_a_message_for_one_client_is_found_by_its_full_name(self) -> None:
        Channel("test!a").send({"n": 1})
        Channel("test!b").send({"n": 2})
        message = self.get_next_message("test!b")
        assert message is not None
        assert message["n"] == 2


class TransactionTests(TransactionChannelTestCase):
    def test_it_has_layers_of_its_own_too(self) -> None:
        Channel("test.a").send({})
        assert self.get_next_message("test.a") is not None


def test_the_projects_layer_is_back_after_the_test() -> None:
    before = channel_layers["default"]
    OwnLayerTests("test_the_layer_is_in_memory").run()
    assert channel_layers["default"] is before


def consumer_of(alias: str = "default") -> Any:
    from headrace.message import Message

    match = channel_layers[alias].router.match(Message({}, "test.a", channel_layers[alias]))
    return match and match[0]


def test_routes_hold_for_the_block_and_nest() -> None:
    with apply_routes([route("test.a", first)]):
        assert consumer_of() is first
        with apply_routes(route("test.a", second)):
            assert consumer_of() is second
        assert consumer_of() is first
    assert consumer_of() is None


def test_there_may_be_no_routes_at_all_t1() -> None:
    with apply_routes([]):
        assert consumer_of() is None


def test_routes_are_those_of_the_named_layers_t1() -> None:
    with override_settings(CHANNEL_LAYERS=BOTH), apply_routes([route("test.a", first)], aliases=["other"]):
        assert consumer_of("other") is first
        assert consumer_of() is None


def test_routes_may_be_given_to_a_function() -> None:
    @apply_routes({"test.a": first})
    def decorated() -> Any:
        return consumer_of()

    assert decorated() is first
    assert consumer_of() is None


def test_routes_may_be_given_to_a_class() -> None:
    @apply_routes([route("test.a", first)])
    class Tests:
        def test_it(self) -> Any:
            return consumer_of()

        def helper(self) -> Any:
            return consumer_of()

    assert Tests().test_it() is first
    assert Tests().helper() is None

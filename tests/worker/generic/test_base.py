from __future__ import annotations

from typing import Any

import pytest

from headrace.generic import BaseConsumer
from headrace.message import Message
from headrace.routing import Router
from headrace_asgi import InMemoryChannelLayer

LAYER = InMemoryChannelLayer()
CALLS: list[Any] = []


def message(channel: str = "test.one", **content: Any) -> Message:
    return Message({"reply_channel": "test!1", **content}, channel, LAYER)


class Consumer(BaseConsumer):
    method_mapping = {"test.one": "one", "test.two": "two"}

    def one(self, message: Message, **kwargs: Any) -> None:
        CALLS.append(("one", self.kwargs, kwargs, "channel_session" in vars(message)))

    def two(self, message: Message, **kwargs: Any) -> None:
        CALLS.append(("two", self.message is message))


@pytest.fixture(autouse=True)
def _calls() -> None:
    CALLS.clear()


def test_making_an_instance_handles_the_message() -> None:
    Consumer(message(), room="a")
    Consumer(message("test.two"))
    assert CALLS == [("one", {"room": "a"}, {"room": "a"}, False), ("two", True)]


def test_its_channels_are_those_it_has_methods_for() -> None:
    assert Consumer.channel_names() == {"test.one", "test.two"}


def test_a_route_can_be_made_of_it() -> None:
    router = Router([Consumer.as_route(path="^/(?P<room>[a-z]+)/$")])
    match = router.match(message(path="/attic/"))
    assert match == (Consumer, {"room": "attic"})


@pytest.mark.django_db
def test_a_route_with_attributes_is_of_a_subclass() -> None:
    route = Consumer.as_route(attrs={"channel_session": True})
    assert issubclass(route.consumer, Consumer)  # type: ignore[arg-type]
    route.consumer(message())
    Consumer(message())
    assert [call[3] for call in CALLS] == [True, False]


def test_decorators_are_put_on_when_the_class_is_made() -> None:
    made: list[str] = []

    class Counting(Consumer):
        @classmethod
        def _decorated(cls, channel: str, method: Any) -> Any:
            made.append(channel)
            return super()._decorated(channel, method)

    for _ in range(3):
        Counting(message())
    assert sorted(made) == ["test.one", "test.two"]


def test_a_method_overridden_in_a_subclass_is_called() -> None:
    class Louder(Consumer):
        def one(self, message: Message, **kwargs: Any) -> None:
            CALLS.append("louder")

    Louder(message())
    assert CALLS == ["louder"]


def test_get_handler_may_be_overridden() -> None:
    class Own(Consumer):
        def get_handler(self, message: Message, **kwargs: Any) -> Any:
            return lambda message, **kwargs: CALLS.append("own")

    Own(message())
    assert CALLS == ["own"]


def test_a_channel_without_a_method_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        Consumer(message("test.three"))

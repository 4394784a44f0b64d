from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from django.contrib.auth.models import User

from headrace import Group
from headrace.generic.websockets import JsonWebsocketConsumer, WebsocketConsumer
from headrace.routing import Router
from headrace.test import ChannelTestCase, WSClient, apply_routes

HEARD: list[Any] = []


class Echo(WebsocketConsumer):
    groups = ["everybody"]

    def receive(self, text: str | None = None, bytes: bytes | None = None, **kwargs: Any) -> None:
        HEARD.append((text, bytes, kwargs))
        self.send(text, bytes)

    def disconnect(self, message: Any, **kwargs: Any) -> None:
        HEARD.append(message["code"])


class Room(WebsocketConsumer):
    def connection_groups(self, **kwargs: Any) -> Iterable[str]:
        return [f"room-{kwargs['name']}"]

    def connect(self, message: Any, **kwargs: Any) -> None:
        if kwargs["name"] == "closed":
            self.close()
        else:
            super().connect(message, **kwargs)

    def receive(self, text: str | None = None, bytes: bytes | None = None, **kwargs: Any) -> None:
        self.group_send(f"room-{kwargs['name']}", text=f"{self.path} {text}")


class Who(WebsocketConsumer):
    http_user = True

    def receive(self, text: str | None = None, bytes: bytes | None = None, **kwargs: Any) -> None:
        self.send(text=str(self.message.user))  # type: ignore[attr-defined]


class WhoWithSession(Who):
    http_user_and_session = True

    def receive(self, text: str | None = None, bytes: bytes | None = None, **kwargs: Any) -> None:
        self.send(text=f"{self.message.user} {self.message.http_session['colour']}")  # type: ignore[attr-defined]


class Json(JsonWebsocketConsumer):
    def receive(self, content: Any, **kwargs: Any) -> None:
        self.send({"heard": content})


class Forgiving(Json):
    def invalid_json(self, text: str | None, error: Exception | None, **kwargs: Any) -> None:
        self.send({"error": "say it again"})


@apply_routes([Echo.as_route(path="^/echo/"), Room.as_route(path="^/room/(?P<name>[a-z]+)/")])
class WebsocketConsumerTests(ChannelTestCase):
    def setUp(self) -> None:
        HEARD.clear()

    def test_a_socket_is_accepted_and_answered(self) -> None:
        client = WSClient()
        client.send_and_consume("websocket.connect", path="/echo/")
        client.send_and_consume("websocket.receive", text="hello", path="/echo/")
        assert client.receive(json=False) == "hello"
        client.send_and_consume("websocket.disconnect", {"code": 1001}, path="/echo/")
        assert HEARD == [("hello", None, {}), 1001]

    def test_a_binary_frame_with_a_text_of_none_is_binary_s15(self) -> None:
        client = WSClient()
        content = {"text": None, "bytes": b"\x00\x01"}
        client.send_and_consume("websocket.receive", content, path="/echo/")
        assert HEARD == [(None, b"\x00\x01", {})]
        assert client.receive() == b"\x00\x01"

    def test_an_empty_text_frame_is_a_text_frame(self) -> None:
        WSClient().send_and_consume("websocket.receive", {"text": ""}, path="/echo/")
        assert HEARD == [("", None, {})]

    def test_a_socket_is_in_its_groups_until_it_is_closed(self) -> None:
        client = WSClient()
        client.send_and_consume("websocket.connect", path="/echo/")
        Group("everybody").send({"text": "all"})
        assert client.receive(json=False) == "all"
        client.send_and_consume("websocket.disconnect", {"code": 1000}, path="/echo/")
        Group("everybody").send({"text": "all"})
        assert client.receive() is None

    def test_groups_may_depend_on_the_route(self) -> None:
        inside, outside = WSClient(), WSClient()
        inside.send_and_consume("websocket.connect", path="/room/attic/")
        outside.send_and_consume("websocket.connect", path="/room/cellar/")
        inside.send_and_consume("websocket.receive", text="hi", path="/room/attic/")
        assert inside.receive(json=False) == "/room/attic/ hi"
        assert outside.receive() is None

    def test_a_socket_can_be_refused(self) -> None:
        client = WSClient()
        client.send_and_consume("websocket.connect", path="/room/closed/", check_accept=False)
        assert client.receive() == {"close": True}

    def test_nothing_cannot_be_sent(self) -> None:
        with pytest.raises(ValueError, match="text or bytes"):
            Echo.group_send("everybody")

    def test_a_frame_may_close_the_socket(self) -> None:
        client = WSClient()
        client.join_group("everybody")
        Echo.group_send("everybody", text="bye", close=1001)
        message = client.get_next_message(client.reply_channel)
        assert message is not None
        assert message.content == {"text": "bye", "close": 1001}


class GroupSendTests(ChannelTestCase):
    test_channel_aliases = ["default", "other"]

    def run(self, result: Any = None) -> Any:
        from django.conf import settings
        from django.test import override_settings

        layers = {**settings.CHANNEL_LAYERS, "other": settings.CHANNEL_LAYERS["default"]}
        with override_settings(CHANNEL_LAYERS=layers):
            return super().run(result)

    def test_a_class_may_send_to_groups_of_another_layer_s16(self) -> None:
        class Elsewhere(Echo):
            layer_alias = "other"

        here, there = WSClient(), WSClient(alias="other")
        for client in (here, there):
            client.join_group("everybody")
        Elsewhere.group_send("everybody", text="hi")
        assert (here.receive(json=False), there.receive(json=False)) == (None, "hi")


@apply_routes([Who.as_route(path="^/who/"), WhoWithSession.as_route(path="^/session/")])
class UserTests(ChannelTestCase):
    def test_the_visitor_is_known_on_every_frame(self) -> None:
        client = WSClient()
        client.force_login(User.objects.create_user("ada"))
        client.send_and_consume("websocket.connect", path="/who/")
        client.send_and_consume("websocket.receive", text="?", path="/who/")
        assert client.receive(json=False) == "ada"

    def test_the_visitors_session_too(self) -> None:
        client = WSClient()
        client.force_login(User.objects.create_user("ada"))
        client.session["colour"] = "green"
        client.session.save()
        client.send_and_consume("websocket.connect", path="/session/")
        client.send_and_consume("websocket.receive", text="?", path="/session/")
        assert client.receive(json=False) == "ada green"

    def test_an_unknown_visitor_is_anonymous(self) -> None:
        client = WSClient()
        client.send_and_consume("websocket.connect", path="/who/")
        client.send_and_consume("websocket.receive", text="?", path="/who/")
        assert client.receive(json=False) == "AnonymousUser"


@apply_routes([Json.as_route(path="^/json/"), Forgiving.as_route(path="^/forgiving/")])
class JsonTests(ChannelTestCase):
    def say(self, content: dict[str, Any], path: str = "/json/") -> Any:
        client = WSClient()
        client.send_and_consume("websocket.receive", content, path=path)
        return client.receive()

    def test_json_is_decoded_and_encoded(self) -> None:
        assert self.say({"text": '{"a": [1, null]}'}) == {"heard": {"a": [1, None]}}

    def test_text_that_is_not_json_closes_the_socket_s13(self) -> None:
        assert self.say({"text": "{oops"})["close"] == 1007

    def test_json_nested_too_deep_closes_the_socket_s13(self) -> None:
        assert self.say({"text": "[" * 100_000})["close"] == 1007

    def test_a_binary_frame_closes_the_socket_s13(self) -> None:
        assert self.say({"bytes": b"{}"})["close"] == 1003

    def test_a_consumer_may_answer_bad_json_otherwise_s13(self) -> None:
        assert self.say({"text": "{oops"}, "/forgiving/") == {"error": "say it again"}

    def test_a_group_hears_json(self) -> None:
        client = WSClient()
        client.join_group("everybody")
        Json.group_send("everybody", {"a": 1})
        assert client.receive() == {"a": 1}


def test_ordering_is_read_from_the_class() -> None:
    class Strict(WebsocketConsumer):
        strict_ordering = True

    class Slight(WebsocketConsumer):
        slight_ordering = True

    class Message:
        channel_name = "websocket.connect"
        content = {"path": "/"}

    found = [Router([one.as_route()]).ordering_for(Message()) for one in (Strict, Slight, Echo)]  # type: ignore[arg-type]
    assert found == [True, "slight", False]
    assert Echo.as_route(attrs={"strict_ordering": True}).consumer.headrace_ordering is True  # type: ignore[attr-defined]

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.http import parse_cookie

from headrace import route
from headrace.auth import channel_session_user_from_http, http_session_user
from headrace.sessions import channel_session, http_session
from headrace.test import ChannelTestCase, HttpClient, WSClient, apply_routes


@channel_session_user_from_http
def connect(message: Any) -> None:
    message.channel_session["path"] = message["path"]
    message.reply_channel.send({"accept": True})
    message.reply_channel.send({"text": f'"{message.user}"'})


@channel_session
def receive(message: Any) -> None:
    message.reply_channel.send(
        {"text": f"{message['order']} {message.channel_session.get('path')} {message['text']}"}
    )


def silent(message: Any) -> None: ...


@http_session_user
def page(message: Any) -> None:
    message.reply_channel.send({"text": str(message.user)})


@http_session
def colour(message: Any) -> None:
    message.reply_channel.send({"text": message.http_session["colour"]})


@apply_routes(
    [
        route("websocket.connect", silent, path="^/silent/"),
        route("websocket.connect", connect),
        route("websocket.receive", receive),
        route("http.request", colour, path="^/colour/"),
        route("http.request", page),
    ]
)
class WSClientTests(ChannelTestCase):
    def test_a_socket_from_connect_to_frames(self) -> None:
        client = WSClient(ordered=True)
        client.send_and_consume("websocket.connect", path="/a/")
        assert client.receive() == "AnonymousUser"
        client.send_and_consume("websocket.receive", text={"x": 1}, path="/a/")
        assert client.receive(json=False) == '1 /a/ {"x": 1}'

    def test_a_connection_that_is_not_accepted_fails_the_test(self) -> None:
        client = WSClient()
        with pytest.raises(AssertionError, match="not accepted"):
            client.send_and_consume("websocket.connect", path="/silent/")
        client.send_and_consume("websocket.connect", path="/silent/", check_accept=False)

    def test_a_login_reaches_the_consumer(self) -> None:
        client = WSClient()
        User.objects.create_user("ada", password="secret")
        assert client.login(username="ada", password="wrong") is False
        assert client.login(username="ada", password="secret") is True
        client.send_and_consume("websocket.connect")
        assert client.receive() == "ada"

    def test_a_forced_login_reaches_requests(self) -> None:
        client = HttpClient()
        client.force_login(User.objects.create_user("ada"))
        client.send_and_consume("http.request")
        assert client.receive(json=False) == "ada"

    def test_the_session_is_that_of_the_consumer(self) -> None:
        client = WSClient()
        client.session["colour"] = "green"
        client.session.save()
        client.send_and_consume("http.request", path="/colour/")
        assert client.receive(json=False) == "green"

    def test_the_sockets_session_can_be_looked_into(self) -> None:
        client = WSClient()
        client.send_and_consume("websocket.connect", path="/a/")
        assert client.session["path"] == "/a/"

    def test_cookies_and_headers_are_sent_as_a_browser_would_t2(self) -> None:
        client = WSClient()
        client.set_cookie("foo", "bar")
        client.set_cookie("qux", "qu;x")
        client.set_header("User-Agent", "test")
        client.set_header("origin", None)
        with pytest.raises(ValueError, match="set_cookie"):
            client.set_header("Cookie", "a=b")
        assert (
            parse_cookie(client.headers["cookie"].decode())
            == client.get_cookies()
            == {"foo": "bar", "qux": "qu;x"}
        )
        client.send("websocket.connect")
        message = client.get_next_message("websocket.connect")
        assert message is not None
        assert [b"user-agent", b"test"] in message["headers"]
        assert b"origin" not in dict(message["headers"])

    def test_an_ordered_client_numbers_its_messages_itself(self) -> None:
        with pytest.raises(ValueError, match="leave out 'order'"):
            WSClient(ordered=True).send("websocket.receive", {"order": 5})

    def test_a_client_without_a_message_receives_none(self) -> None:
        assert WSClient().receive() is None

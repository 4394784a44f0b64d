from __future__ import annotations

from typing import Any

import pytest
from django.http import HttpResponse
from django.urls import path

from headrace import Channel, Group, route
from headrace.exceptions import DenyConnection
from headrace.handler import ViewConsumer
from headrace.signals import consumer_finished, consumer_started
from headrace.test import ChannelTestCase, Client, apply_routes


def answer(message: Any, **kwargs: Any) -> str:
    message.reply_channel.send({"text": message["text"]})
    Group("all").send({"text": "to all"})
    Channel("test.next").send({"text": "next"})
    assert Client().get_next_message("test.next") is None  # nothing has left yet
    return "returned"


def fails(message: Any) -> None:
    message.reply_channel.send({"text": "never"})
    raise RuntimeError("a bug")


def denies(message: Any) -> None:
    message.reply_channel.send({"text": "never"})
    raise DenyConnection()


class Urls:
    urlpatterns = [path("hello/", lambda request: HttpResponse("Hello"))]


@apply_routes(
    [
        route("test.answer", answer),
        route("test.fails", fails),
        route("websocket.connect", denies, path="^/denied/"),
        route("websocket.connect", answer),
    ]
)
class ClientTests(ChannelTestCase):
    def setUp(self) -> None:
        self.client: Any = Client()

    def test_a_consumer_runs_and_its_messages_leave_when_it_returns(self) -> None:
        self.client.join_group("all")
        assert self.client.send_and_consume("test.answer", {"text": "hi"}) == "returned"
        assert self.client.receive() == {"text": "hi"}
        assert self.client.receive() == {"text": "to all"}
        assert self.client.receive() is None
        assert self.client.get_next_message("test.next")["text"] == "next"

    def test_what_a_consumer_raises_reaches_the_test_and_nothing_leaves(self) -> None:
        with pytest.raises(RuntimeError, match="a bug"):
            self.client.send_and_consume("test.fails")
        assert self.client.receive() is None

    def test_a_denied_connection_is_closed(self) -> None:
        self.client.send_and_consume("websocket.connect", {"path": "/denied/"})
        assert self.client.receive() == {"close": True}
        assert self.client.receive() is None

    def test_a_page_of_another_site_is_denied_as_in_a_worker(self) -> None:
        headers = [[b"host", b"testserver"], [b"origin", b"http://evil.test"]]
        self.client.send_and_consume("websocket.connect", {"path": "/", "headers": headers, "text": "x"})
        assert self.client.receive() == {"close": True}

    def test_a_missing_message_or_route_fails_the_test(self) -> None:
        with pytest.raises(AssertionError, match=r"no message on test\.answer"):
            self.client.consume("test.answer")
        with pytest.raises(AssertionError, match="No consumer wants"):
            self.client.send_and_consume("test.unknown")
        assert self.client.send_and_consume("test.unknown", fail_on_none=False) is None
        assert self.client.consume("test.answer", fail_on_none=False) is None

    def test_the_consumer_of_a_channel_can_be_asked_for(self) -> None:
        assert self.client.get_consumer_by_channel("test.answer") is answer
        assert self.client.get_consumer_by_channel("test.unknown") is None

    def test_the_content_may_be_changed_after_sending(self) -> None:
        content = {"text": ["a"]}
        self.client.send("test.answer", content)
        content["text"].append("b")
        self.client.consume("test.answer")
        assert self.client.receive() == {"text": ["a"]}
        assert "reply_channel" not in content

    def test_two_clients_do_not_hear_each_other(self) -> None:
        other = Client()
        self.client.send_and_consume("test.answer", {"text": "hi"})
        assert other.receive() is None

    def test_the_signals_stand_around_the_consumer(self) -> None:
        seen: list[str] = []

        def started(**kwargs: Any) -> None:
            seen.append("started")

        def finished(**kwargs: Any) -> None:
            seen.append("finished")

        consumer_started.connect(started)
        consumer_finished.connect(finished)
        try:
            self.client.send_and_consume("test.answer", {"text": "hi"})
        finally:
            consumer_started.disconnect(started)
            consumer_finished.disconnect(finished)
        assert seen == ["started", "finished"]


class RequestTests(ChannelTestCase):
    def test_a_request_is_answered_by_the_views(self) -> None:
        with self.settings(ROOT_URLCONF=Urls, MIDDLEWARE=[]), apply_routes({"http.request": ViewConsumer()}):
            client = Client()
            content = {
                "method": "GET",
                "path": "/hello/",
                "query_string": b"",
                "http_version": "1.1",
                "headers": [],
            }
            client.send_and_consume("http.request", content)
            assert client.receive()["content"] == b"Hello"

"""The long poll: held without a worker, answered by the next post."""

from __future__ import annotations

import json
from typing import Any

from chat.models import Post
from chat.publish import publish_post
from chat.tests.people import make_person, make_room
from headrace import channel_layers
from headrace.test import ChannelTestCase, Client


class LongPollTests(ChannelTestCase):
    def setUp(self) -> None:
        self.ada, self.room = make_person("ada"), make_room()
        self.client.force_login(self.ada)
        # HTTP requests go to the views, as in a worker.
        channel_layers["default"].router.check_default()

    def ask(self, query_string: bytes, signed_in: bool = True) -> Client:
        """Send the request as an interface server does and let a worker run it."""
        asker = Client()
        headers = [[b"host", b"testserver"]]
        if signed_in:
            headers.append([b"cookie", b"sessionid=" + self.client.cookies["sessionid"].value.encode()])
        request = {
            "reply_channel": asker.reply_channel,
            "http_version": "1.1",
            "method": "GET",
            "path": "/rooms/kitchen/next/",
            "query_string": query_string,
            "headers": headers,
        }
        asker.send_and_consume("http.request", request)
        return asker

    def answer(self, asker: Client) -> tuple[int, Any] | None:
        message = asker.receive()
        return None if message is None else (message["status"], json.loads(message["content"]))

    def post(self, body: str, **fields: Any) -> Post:
        return Post.objects.create(room=self.room, author=self.ada, body=body, **fields)

    def test_posts_that_are_there_are_answered_at_once(self) -> None:
        self.post("old")
        post = self.post("new")
        status, content = self.answer(self.ask(b"after=%d" % (post.pk - 1))) or (0, {})
        assert status == 200
        assert [shown["body"] for shown in content["posts"]] == ["new"]

    def test_the_request_waits_for_the_next_post_and_gets_it(self) -> None:
        asker = self.ask(b"after=0")
        assert self.answer(asker) is None
        publish_post(self.post("at last"))
        status, content = self.answer(asker) or (0, {})
        assert (status, content["posts"][0]["body"]) == (200, "at last")

    def test_a_post_for_one_person_answers_nobodys_long_poll(self) -> None:
        asker = self.ask(b"after=0")
        publish_post(self.post("private", recipient=self.ada))
        assert self.answer(asker) is None

    def test_it_needs_a_sign_in_and_a_number(self) -> None:
        assert (self.answer(self.ask(b"", signed_in=False)) or (0, ""))[0] == 401
        assert (self.answer(self.ask(b"after=x")) or (0, ""))[0] == 400

"""A room's sockets and the background channel, message by message, without a server."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.urls import reverse
from django.utils import timezone

from chat.consumers import REMINDERS
from chat.models import MAX_POST_LENGTH, Post, Presence, Reminder
from chat.publish import SIGNED_OUT
from chat.tests.people import make_person, make_room
from headrace.test import ChannelTestCase, WSClient


class RoomTests(ChannelTestCase):
    path = "/rooms/kitchen/socket/"

    def setUp(self) -> None:
        self.ada, self.grace, self.room = make_person("ada"), make_person("grace"), make_room()

    def join(self, user: Any, query_string: bytes = b"") -> WSClient:
        """A socket of this person, open, with its first frames still unread."""
        client = WSClient(ordered=True)
        client.force_login(user)
        content = {"query_string": query_string}
        client.send_and_consume("websocket.connect", content=content, path=self.path)
        return client

    def say(self, client: WSClient, content: dict[str, Any]) -> None:
        client.send_and_consume("websocket.receive", text=content, path=self.path)

    def frames(self, client: WSClient, kind: str) -> list[dict[str, Any]]:
        """Every unread frame of this type; the others are dropped."""
        found = []
        while (frame := client.receive(json=True)) is not None:
            if frame["type"] == kind:
                found.append(frame)
        return found

    def test_without_signing_in_the_handshake_is_refused_and_no_group_joined(self) -> None:
        client = WSClient()
        client.send_and_consume("websocket.connect", path=self.path, check_accept=False)
        assert client.receive(json=False) == {"close": True}
        assert not Presence.objects.exists()
        self.say(self.join(self.ada), {"type": "post", "body": "secret"})
        assert client.receive(json=False) is None

    def test_a_room_that_does_not_exist_refuses_the_handshake(self) -> None:
        client = WSClient()
        client.force_login(self.ada)
        client.send_and_consume("websocket.connect", path="/rooms/attic/socket/", check_accept=False)
        assert client.receive(json=False) == {"close": True}

    def test_joining_shows_the_history_and_who_is_here(self) -> None:
        Post.objects.create(room=self.room, author=self.ada, body="before")
        client = self.join(self.grace)
        first = client.receive(json=True)
        assert [post["body"] for post in first["posts"]] == ["before"]
        assert client.receive(json=True)["people"] == ["grace"]

    def test_coming_back_shows_only_what_was_missed(self) -> None:
        seen = Post.objects.create(room=self.room, author=self.ada, body="seen")
        Post.objects.create(room=self.room, author=self.ada, body="missed")
        client = self.join(self.grace, query_string=b"after=%d" % seen.pk)
        assert [post["body"] for post in client.receive(json=True)["posts"]] == ["missed"]

    def test_a_post_reaches_everybody_in_the_room_and_is_stored(self) -> None:
        ada, grace = self.join(self.ada), self.join(self.grace)
        self.frames(ada, "posts"), self.frames(grace, "posts")
        self.say(ada, {"type": "post", "body": " Hello ", "nonce": "n1"})
        for client in (ada, grace):
            (frame,) = self.frames(client, "posts")
            (post,) = frame["posts"]
            assert (post["author"], post["body"], post["nonce"]) == ("ada", "Hello", "n1")
        assert Post.objects.get().body == "Hello"

    def test_a_post_sent_again_after_a_reconnect_is_stored_once_but_shown(self) -> None:
        client = self.join(self.ada)
        for _ in range(2):
            self.say(client, {"type": "post", "body": "Hello", "nonce": "n1"})
        shown = {post["id"] for frame in self.frames(client, "posts") for post in frame["posts"]}
        assert shown == {Post.objects.get().pk}

    def test_what_cannot_be_is_answered_with_a_reason(self) -> None:
        client = self.join(self.ada)
        for content in (
            {"type": "post", "body": "   "},
            {"type": "post", "body": "x" * (MAX_POST_LENGTH + 1)},
            {"type": "post", "body": 5},
            {"type": "remind", "text": "tea", "seconds": 0},
            {"type": "remind", "text": "tea", "seconds": True},
            {"type": "remind", "text": "tea", "seconds": 10**9},
            {"type": "shout"},
            ["not", "an", "object"],
        ):
            with self.subTest(str(content)[:60]):
                self.say(client, content)
                assert len(self.frames(client, "error")) == 1
        assert not Post.objects.exists()
        assert not Reminder.objects.exists()

    def test_leaving_is_seen_by_the_others(self) -> None:
        ada, grace = self.join(self.ada), self.join(self.grace)
        ada.send_and_consume("websocket.disconnect", content={"code": 1001}, path=self.path)
        assert self.frames(grace, "people")[-1]["people"] == ["grace"]

    def test_signing_out_closes_the_sockets_of_that_browser_only(self) -> None:
        elsewhere = self.join(self.ada)
        self.client.force_login(self.ada)
        session_key = self.client.session.session_key
        browser = WSClient(ordered=True)
        browser.set_cookie(settings.SESSION_COOKIE_NAME, session_key)
        browser.send_and_consume("websocket.connect", path=self.path)
        for client in (browser, elsewhere):
            while client.receive(json=False) is not None:
                pass
        self.client.post(reverse("logout"))
        assert browser.receive(json=False) == {"close": SIGNED_OUT}
        assert elsewhere.receive(json=False) is None

    def test_a_second_tab_keeps_a_person_here(self) -> None:
        tab, other = self.join(self.ada), self.join(self.ada)
        tab.send_and_consume("websocket.disconnect", content={"code": 1001}, path=self.path)
        assert self.frames(other, "people")[-1]["people"] == ["ada"]

    def test_saying_here_heals_a_lost_presence(self) -> None:
        client = self.join(self.ada)
        self.frames(client, "people")
        Presence.objects.all().delete()
        self.say(client, {"type": "here"})
        assert self.frames(client, "people")[-1]["people"] == ["ada"]


class ReminderTests(ChannelTestCase):
    def setUp(self) -> None:
        self.ada, self.grace, self.room = make_person("ada"), make_person("grace"), make_room()
        self.client_of_ada, self.client_of_grace = WSClient(ordered=True), WSClient(ordered=True)
        for client, user in ((self.client_of_ada, self.ada), (self.client_of_grace, self.grace)):
            client.force_login(user)
            client.send_and_consume("websocket.connect", path=RoomTests.path)
        for client in (self.client_of_ada, self.client_of_grace):
            self.drain(client)

    def drain(self, client: WSClient) -> list[dict[str, Any]]:
        frames = []
        while (frame := client.receive(json=True)) is not None:
            frames.append(frame)
        return frames

    def remind(self, seconds: int) -> None:
        content = {"type": "remind", "text": "tea", "seconds": seconds}
        self.client_of_ada.send_and_consume("websocket.receive", text=content, path=RoomTests.path)

    def make_due(self) -> None:
        Reminder.objects.update(due_at=timezone.now() - timedelta(seconds=1))

    def test_a_reminder_reaches_only_the_one_who_asked(self) -> None:
        self.remind(5)
        (noted,) = self.drain(self.client_of_ada)
        assert (noted["type"], noted["seconds"]) == ("noted", 5)
        self.make_due()
        self.client_of_ada.consume(REMINDERS)
        (frame,) = self.drain(self.client_of_ada)
        assert [(post["kind"], post["body"]) for post in frame["posts"]] == [("reminder", "tea")]
        assert self.drain(self.client_of_grace) == []
        assert self.get_next_message(REMINDERS) is None

    def test_one_that_is_not_due_goes_back_on_its_channel(self) -> None:
        self.remind(3600)
        self.client_of_ada.consume(REMINDERS)
        again = self.get_next_message(REMINDERS, require=True)
        assert again["reminder"] == Reminder.objects.get().pk
        assert not Post.objects.exists()

    def test_one_whose_message_was_lost_is_delivered_by_the_next_run(self) -> None:
        due_at = timezone.now() - timedelta(seconds=60)
        Reminder.objects.create(room=self.room, user=self.grace, text="lost", due_at=due_at)
        self.remind(3600)
        self.client_of_ada.consume(REMINDERS)
        (frame,) = self.drain(self.client_of_grace)
        assert frame["posts"][0]["body"] == "lost"

    def test_the_message_of_a_delivered_one_does_nothing(self) -> None:
        self.remind(5)
        self.make_due()
        Reminder.objects.claim_due(timezone.now())
        self.client_of_ada.consume(REMINDERS)
        assert not Post.objects.exists()
        assert self.get_next_message(REMINDERS) is None

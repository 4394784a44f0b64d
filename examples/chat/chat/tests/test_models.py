"""Rooms, posts, presence and reminders in the database."""

from __future__ import annotations

from datetime import timedelta

from django.test import TestCase
from django.utils import timezone

from chat.models import HISTORY_LENGTH, PRESENCE_LIFETIME, Post, Presence, Reminder
from chat.tests.people import make_person, make_room


class HistoryTests(TestCase):
    def setUp(self) -> None:
        self.ada, self.grace, self.room = make_person("ada"), make_person("grace"), make_room()

    def say(self, body: str, **fields: object) -> Post:
        return Post.objects.create(room=self.room, author=self.ada, body=body, **fields)

    def test_the_last_posts_come_oldest_first(self) -> None:
        for number in range(HISTORY_LENGTH + 5):
            self.say(str(number))
        bodies = [post.body for post in self.room.history(self.grace.pk)]
        assert bodies == [str(number) for number in range(5, HISTORY_LENGTH + 5)]

    def test_only_posts_after_the_last_one_seen_are_asked_for(self) -> None:
        first, second = self.say("first"), self.say("second")
        assert self.room.history(self.grace.pk, after=first.pk) == [second]
        assert self.room.history(self.grace.pk, after=second.pk) == []

    def test_what_is_for_one_person_is_seen_by_that_person_alone(self) -> None:
        secret = self.say("for ada", recipient=self.ada)
        assert self.room.history(self.ada.pk) == [secret]
        assert self.room.history(self.grace.pk) == []

    def test_a_nonce_is_stored_once_for_each_author(self) -> None:
        self.say("once", nonce="n1")
        Post.objects.create(room=self.room, author=self.grace, body="hers", nonce="n1")
        repeated = Post(room=self.room, author=self.ada, body="again", nonce="n1")
        assert Post.objects.bulk_create([repeated], ignore_conflicts=True)
        assert Post.objects.count() == 2


class PeopleTests(TestCase):
    def test_each_person_is_listed_once_while_a_socket_was_seen_lately(self) -> None:
        room, ada, grace = make_room(), make_person("ada"), make_person("grace")
        now = timezone.now()
        for number, (user, seen_at) in enumerate(
            [(ada, now), (ada, now), (grace, now - PRESENCE_LIFETIME * 2)]
        ):
            Presence.objects.create(room=room, user=user, reply_channel=f"test!{number}", seen_at=seen_at)
        assert room.people() == ["ada"]


class ReminderTests(TestCase):
    def setUp(self) -> None:
        self.room, self.ada = make_room(), make_person("ada")
        self.now = timezone.now()

    def remind(self, text: str, in_seconds: float) -> Reminder:
        due_at = self.now + timedelta(seconds=in_seconds)
        return Reminder.objects.create(room=self.room, user=self.ada, text=text, due_at=due_at)

    def test_those_due_are_claimed_once_and_the_earliest_first(self) -> None:
        late, early, future = self.remind("b", -1), self.remind("a", -2), self.remind("c", 60)
        assert Reminder.objects.claim_due(self.now) == [early, late]
        assert Reminder.objects.claim_due(self.now) == []
        assert Reminder.objects.next_due() == future.due_at

    def test_without_any_nothing_is_due(self) -> None:
        assert Reminder.objects.next_due() is None

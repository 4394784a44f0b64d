"""The pages, as a browser gets them. What needs a held request is in test_long_poll."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import override_settings
from django.urls import reverse

from chat.models import Post, Room
from chat.tests.people import make_person, make_room
from headrace.test import ChannelTestCase


class PageTests(ChannelTestCase):
    def setUp(self) -> None:
        self.ada, self.room = make_person("ada"), make_room()

    def test_every_page_asks_to_sign_in_first(self) -> None:
        for url in (reverse("rooms"), reverse("room", args=["kitchen"]), reverse("poll", args=["kitchen"])):
            with self.subTest(url):
                self.assertRedirects(self.client.get(url), f"{reverse('login')}?next={url}")

    def test_the_sign_in_page_shows_the_demo_people_only_while_debugging(self) -> None:
        with override_settings(DEBUG=True):
            self.assertContains(self.client.get(reverse("login")), "ada-demo")
        with override_settings(DEBUG=False):
            self.assertNotContains(self.client.get(reverse("login")), "ada-demo")

    def test_a_room_that_is_not_there_has_a_page_of_the_chats_own_even_while_debugging(self) -> None:
        self.client.force_login(self.ada)
        for debug in (True, False):
            with override_settings(DEBUG=debug):
                for name in ("room", "poll"):
                    answer = self.client.get(reverse(name, args=["attic"]))
                    self.assertContains(answer, "There is no room at this address", status_code=404)

    def test_signing_in_leads_to_the_rooms(self) -> None:
        make_person("grace", "grace-demo")
        answer = self.client.post(
            reverse("login"), {"username": "grace", "password": "grace-demo"}, follow=True
        )
        self.assertContains(answer, "Kitchen")

    def test_a_wrong_password_is_said_without_saying_what_was_wrong(self) -> None:
        answer = self.client.post(reverse("login"), {"username": "ada", "password": "no"})
        self.assertContains(answer, "do not belong together")

    def test_a_room_is_made_and_opened(self) -> None:
        self.client.force_login(self.ada)
        answer = self.client.post(reverse("rooms"), {"name": "Mill pond"})
        self.assertRedirects(answer, reverse("room", args=["mill-pond"]))
        assert Room.objects.get(slug="mill-pond").created_by == self.ada

    def test_room_names_that_cannot_be_are_refused_with_a_reason(self) -> None:
        self.client.force_login(self.ada)
        for name, reason in {
            "kitchen": "a room of that name already",
            "KITCHEN!": "a room of that name already",
            "!!!": "at least one letter",
            "x": "at least 2",
            "y" * 41: "at most 40",
        }.items():
            with self.subTest(name):
                self.assertContains(self.client.post(reverse("rooms"), {"name": name}), reason)
        assert Room.objects.count() == 1

    def test_no_page_has_inline_scripts_or_styles_and_the_policy_forbids_them(self) -> None:
        self.client.force_login(self.ada)
        for url in (reverse("rooms"), reverse("room", args=["kitchen"]), reverse("poll", args=["kitchen"])):
            with self.subTest(url):
                answer = self.client.get(url)
                assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
                self.assertNotContains(answer, "style=")
                assert not re.search(r"<script(?![^>]*src=)|\son\w+=", answer.content.decode())

    def test_names_are_escaped(self) -> None:
        Room.objects.create(name="<b>bold</b>", slug="bold")
        self.client.force_login(self.ada)
        self.assertNotContains(self.client.get(reverse("rooms")), "<b>bold</b>")

    def test_whoami_tells_a_refused_page_whether_to_sign_in_again(self) -> None:
        assert self.client.get(reverse("whoami")).status_code == 401
        self.client.force_login(self.ada)
        assert self.client.get(reverse("whoami")).json() == {"name": "ada"}


class UploadTests(ChannelTestCase):
    def setUp(self) -> None:
        self.ada, self.room = make_person("ada"), make_room()
        self.client.force_login(self.ada)
        media = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, media)
        changed = override_settings(MEDIA_ROOT=media, CHAT_UPLOAD_MAX_BYTES=1_000_000)
        changed.enable()
        self.addCleanup(changed.disable)

    def upload(self, name: str, content: bytes) -> object:
        file = SimpleUploadedFile(name, content)
        return self.client.post(reverse("upload", args=["kitchen"]), {"file": file})

    def test_a_file_becomes_a_post_that_can_be_downloaded_but_never_shown(self) -> None:
        answer = self.upload("page.html", b"<script>alert(1)</script>")
        assert answer.status_code == 201
        post = Post.objects.get(pk=answer.json()["id"])
        assert (post.kind, post.body, post.size_bytes) == ("file", "page.html", 25)
        got = self.client.get(reverse("attachment", args=[post.pk]))
        assert b"".join(got.streaming_content) == b"<script>alert(1)</script>"
        assert got.headers["Content-Type"] == "application/octet-stream"
        assert got.headers["Content-Disposition"] == 'attachment; filename="page.html"'
        assert got.headers["X-Content-Type-Options"] == "nosniff"

    def test_a_file_above_the_limit_is_refused_and_not_kept(self) -> None:
        answer = self.upload("big.bin", b"x" * 1_000_001)
        assert answer.status_code == 413
        assert answer.json() == {"error": "The file is too large: at most 1 MB."}
        assert not Post.objects.exists()

    def test_a_path_in_the_name_stays_inside_the_media_folder(self) -> None:
        answer = self.upload("../../settings.py", b"x")
        post = Post.objects.get(pk=answer.json()["id"])
        assert post.body == "settings.py"
        assert "attachments" in Path(post.attachment.path).parts

    def test_a_form_without_a_file_is_told_so(self) -> None:
        answer = self.client.post(reverse("upload", args=["kitchen"]))
        assert (answer.status_code, answer.json()) == (400, {"error": "Choose a file first."})

    def test_nobody_uploads_or_downloads_without_signing_in(self) -> None:
        pk = self.upload("a.txt", b"a").json()["id"]
        self.client.logout()
        assert self.upload("b.txt", b"b").status_code == 401
        assert self.client.get(reverse("attachment", args=[pk])).status_code == 302

    def test_an_upload_to_no_room_is_not_found(self) -> None:
        assert self.client.post(reverse("upload", args=["attic"])).status_code == 404

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headrace.staticfiles import StaticFilesConsumer, StaticFilesHandler
from tests.support.http import Answer, answer_of, request_message

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _files(settings: Any, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "main.css").write_text("body {}")
    (tmp_path / "secret.txt").write_text("secret")
    settings.STATICFILES_DIRS = [tmp_path / "site"]


def fetch(target: str, **values: Any) -> Answer:
    return answer_of(StaticFilesHandler()(request_message(target, **values)))


def test_a_static_file_is_served_with_its_type() -> None:
    answer = fetch("/static/main.css")
    assert (answer.status, answer.content, answer.headers["content-type"]) == (200, b"body {}", "text/css")


def test_an_unchanged_file_is_304() -> None:
    modified = fetch("/static/main.css").headers["last-modified"]
    answer = fetch("/static/main.css", headers=[[b"if-modified-since", modified.encode()]])
    assert answer.status == 304


@pytest.mark.parametrize("target", ["/static/none.css", "/static/../secret.txt", "/static/%2e%2e/secret.txt"])
def test_what_is_no_static_file_is_refused(target: str) -> None:
    assert fetch(target).status in (400, 404)


def test_everything_else_goes_to_the_views() -> None:
    assert fetch("/hello/").content == b"Hello"


def test_static_files_of_another_host_are_left_alone(settings: Any) -> None:
    settings.STATIC_URL = "https://cdn.example/static/"
    assert fetch("/static/main.css").status == 404


def test_the_consumer_serves_them() -> None:
    message = request_message("/static/main.css")
    StaticFilesConsumer()(message)
    _, reply = message.channel_layer.receive(["test!"])
    assert reply["content"] == b"body {}"

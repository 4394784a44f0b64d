"""Which folder a path is for, and which names lead nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace_asgi.errors import ConfigurationError
from headrace_interface.files.mounts import (
    Mount,
    ensure_folders,
    mount_from,
    mount_of,
    name_below,
    safe_name,
    undecoded_path,
)

STATIC = Mount("/static/", "/srv/static")
IMAGES = Mount("/static/images/", "/srv/images")


def test_a_mount_is_written_as_prefix_and_folder_and_its_prefix_ends_with_a_slash() -> None:
    assert mount_from("--static", "/static/=/srv/static") == STATIC
    assert mount_from("--static", "/static=/srv/static") == STATIC
    assert mount_from("--static", "/a/=/srv/x=y") == Mount("/a/", "/srv/x=y")


@pytest.mark.parametrize("text", ["", "/static/", "/static/=", "=/srv", "static/=/srv", "/=/srv", "//=/srv"])
def test_what_is_no_mount_is_refused_with_the_name_of_the_option(text: str) -> None:
    with pytest.raises(ConfigurationError, match="--static"):
        mount_from("--static", text)


def test_a_folder_that_is_not_there_is_told_before_anything_is_served(tmp_path: Path) -> None:
    ensure_folders([("--static", str(tmp_path))])
    (tmp_path / "file").write_text("")
    for name in ("none", "file"):
        with pytest.raises(ConfigurationError, match=f"--internal: there is no folder .*{name}"):
            ensure_folders([("--static", str(tmp_path)), ("--internal", str(tmp_path / name))])


@pytest.mark.parametrize(
    ("path", "mount"),
    [
        ("/static/a.css", STATIC),
        ("/static/", STATIC),
        ("/static/images/a.png", IMAGES),
        ("/static/images", STATIC),
        ("/static", None),
        ("/staticx/a.css", None),
        ("/", None),
        ("*", None),
    ],
)
def test_the_longest_prefix_of_whole_names_wins(path: str, mount: Mount | None) -> None:
    assert mount_of((STATIC, IMAGES), path) == mount_of((IMAGES, STATIC), path) == mount


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/a/b?c=/d", b"/a/b"),
        (b"/a%2fb", b"/a%2fb"),
        (b"http://example.com/a%2Fb?c", b"/a%2Fb"),
        (b"HTTP://example.com", b""),
    ],
)
def test_the_path_of_a_target_is_read_as_it_was_sent(target: bytes, path: bytes) -> None:
    assert undecoded_path(target) == path


@pytest.mark.parametrize("name", ["a.css", "a/b/c.js", "a b.txt", "größe.txt", "a..b", "a.", "\u202f.png"])
def test_an_ordinary_name_is_asked_for_as_it_is(name: str) -> None:
    assert safe_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "../a", "a/../b", "a/..", "a/./b", "/etc/passwd", "a//b", "a/", "//"),
        *(".env", "a/.git/config", "...", "a\\b", "..\\a", "a\0.css", "a\nb", "a\x7f", "\0"),
    ],
)
def test_a_name_that_leads_out_or_to_something_hidden_is_not_asked_for(name: str) -> None:
    assert safe_name(name) is None


@pytest.mark.parametrize(
    ("path", "undecoded"),
    [
        ("/static/a/b.css", b"/static/a%2Fb.css"),
        ("/static/a/b.css", b"/static%2fa/b.css"),
        ("/static/../secret", b"/static/%2e%2e/secret"),
        ("/static/\\..\\secret", b"/static/%5c..%5csecret"),
        ("/static/a\0.css", b"/static/a%00.css"),
    ],
)
def test_what_was_encoded_to_pass_as_a_name_is_not_found(path: str, undecoded: bytes) -> None:
    assert name_below(STATIC, path, undecoded) is None


def test_a_name_is_what_follows_the_prefix() -> None:
    assert name_below(STATIC, "/static/a/b c.css", b"/static/a/b%20c.css") == "a/b c.css"

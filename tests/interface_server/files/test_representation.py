"""Types, codings and lifetimes of files by their names."""

from __future__ import annotations

import pytest

from headrace_interface.files.representation import CODINGS, cache_control, choose_coding, content_type


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.css", b"text/css; charset=utf-8"),
        ("a.js", b"text/javascript; charset=utf-8"),
        ("a.mjs", b"text/javascript; charset=utf-8"),
        ("a/b.html", b"text/html; charset=utf-8"),
        ("a.txt", b"text/plain; charset=utf-8"),
        ("A.PNG", b"image/png"),
        ("a.svg", b"image/svg+xml"),
        ("a.json", b"application/json"),
        ("a.js.map", b"application/json"),
        ("a.woff2", b"font/woff2"),
        ("a.wasm", b"application/wasm"),
        ("a.tar.gz", b"application/gzip"),
        ("a.css.gz", b"application/gzip"),
        ("a.css.br", b"application/x-brotli"),
        ("a.css.zst", b"application/zstd"),
        ("a", b"application/octet-stream"),
        ("a.unheard-of", b"application/octet-stream"),
        ("data:text/html,a", b"application/octet-stream"),
    ],
)
def test_a_type_follows_from_the_name_and_text_is_utf_8(name: str, kind: bytes) -> None:
    assert content_type(name) == kind


@pytest.mark.parametrize(
    ("name", "immutable"),
    [
        ("css/main.0123456789ab.css", True),
        ("main.0123456789ab.css.map", True),
        ("main.css", False),
        ("main.0123456789a.css", False),
        ("main.0123456789abc.css", False),
        ("main.0123456789AB.css", False),
        ("main.0123456789ab", False),
        (".0123456789ab.css", False),
        ("main.0123456789ab.d/main.css", False),
    ],
)
def test_a_name_with_a_hash_of_its_content_is_kept_for_a_year_others_for_a_minute(
    name: str, immutable: bool
) -> None:
    expected = b"public, max-age=31536000, immutable" if immutable else b"public, max-age=60"
    assert cache_control(name) == expected


@pytest.mark.parametrize(
    ("fields", "coding"),
    [
        ([], None),
        ([b""], None),
        ([b"gzip, deflate, br, zstd"], b"br"),
        ([b"gzip, zstd"], b"zstd"),
        ([b"gzip"], b"gzip"),
        ([b"x-gzip"], b"gzip"),
        ([b"GZip"], b"gzip"),
        ([b"deflate"], None),
        ([b"br;q=0.5, gzip;q=0.9"], b"gzip"),
        ([b"br;q=0, gzip"], b"gzip"),
        ([b"br ; Q=0.001"], b"br"),
        ([b"br;q=0.000"], None),
        ([b"*"], b"br"),
        ([b"*;q=0.5, gzip"], b"gzip"),
        ([b"gzip;q=0, *"], b"br"),
        ([b"*;q=0"], None),
        ([b"identity, *;q=0"], None),
        ([b"identity;q=0.5, br;q=0.4"], None),
        ([b"identity;q=0.5, br"], b"br"),
        ([b"identity;q=0"], None),
        ([b"br;q=2"], None),
        ([b"br;q=x, gzip"], b"gzip"),
        ([b"br;level=1"], None),
        ([b"gzip", b"br"], b"br"),
        ([b"identity, br"], b"br"),
    ],
)
def test_the_coding_is_the_one_that_the_client_likes_best(fields: list[bytes], coding: bytes | None) -> None:
    assert choose_coding(fields, CODINGS) == coding


def test_only_a_coding_that_there_is_a_copy_in_is_chosen() -> None:
    assert choose_coding([b"br, gzip;q=0.5"], [b"gzip"]) == b"gzip"
    assert choose_coding([b"br"], [b"gzip"]) is None
    assert choose_coding([b"br"], []) is None

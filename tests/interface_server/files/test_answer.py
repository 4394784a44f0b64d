"""What is answered to a request for a file: a table of heads and files."""

from __future__ import annotations

from typing import Any

import pytest

from headrace_interface.files.answer import FileAnswer, FileFacts, Wanted, answer_file
from headrace_interface.files.conditions import validators_of
from headrace_interface.files.ranges import Span
from headrace_interface.http.head import RequestHead

CHANGED, NOW = 784111777 * 10**9, 784112777.0
FACTS = FileFacts(100, CHANGED)
TAG = validators_of(100, CHANGED, None, NOW).tag
STATIC = Wanted("/srv", "css/main.css")
ETAG = (b"if-none-match", TAG)
RANGE = (b"range", b"bytes=10-19")


def answer(
    *headers: tuple[bytes, bytes],
    method: str = "GET",
    wanted: Wanted = STATIC,
    facts: FileFacts | None = FACTS,
) -> FileAnswer:
    head = RequestHead(method, b"/a", "/a", b"", "1.1", list(headers), "http", None, None, "", True)
    return answer_file(head, wanted, facts, NOW, b"xyz")


def fields(found: FileAnswer) -> dict[str, str]:
    named = {name.decode(): value.decode() for name, value in found.headers}
    assert len(named) == len(found.headers), "a header is there twice"
    return named


def viewed(*headers: tuple[bytes, bytes], **values: Any) -> Wanted:
    return Wanted("/srv", "report.pdf", headers, **values)


def test_a_static_file_comes_whole_with_all_that_a_client_may_want_to_know() -> None:
    found = answer()
    assert (found.status, found.pieces, found.length) == (200, (Span(0, 100),), 100)
    assert fields(found) == {
        "Content-Type": "text/css; charset=utf-8",
        "ETag": TAG.decode(),
        "Last-Modified": "Sun, 06 Nov 1994 08:49:37 GMT",
        "Accept-Ranges": "bytes",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "public, max-age=60",
    }


@pytest.mark.parametrize(
    ("method", "headers", "status", "length"),
    [
        ("GET", (), 200, 100),
        ("HEAD", (), 200, 100),
        ("GET", (ETAG,), 304, None),
        ("HEAD", (ETAG,), 304, None),
        ("GET", ((b"if-match", b'"a"'),), 412, None),
        ("GET", (RANGE,), 206, 10),
        ("HEAD", (RANGE,), 200, 100),
        ("GET", (RANGE, ETAG), 304, None),
        ("GET", (RANGE, (b"if-range", TAG)), 206, 10),
        ("GET", (RANGE, (b"if-range", b'"a"')), 200, 100),
        ("GET", ((b"range", b"bytes=200-"),), 416, None),
        ("GET", ((b"range", b"bytes=200-"), (b"if-range", b'"a"')), 200, 100),
        ("GET", ((b"range", b"bytes=0-1,x"),), 200, 100),
        ("POST", (), 405, None),
        ("OPTIONS", (), 405, None),
        ("DELETE", (ETAG, RANGE), 405, None),
    ],
)
def test_the_status_follows_from_method_conditions_and_range(
    method: str, headers: tuple[tuple[bytes, bytes], ...], status: int, length: int | None
) -> None:
    found = answer(*headers, method=method)
    assert found.status == status
    if length is not None:
        assert found.length == length


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_a_file_that_is_not_there_is_not_found_and_not_kept(method: str) -> None:
    for found in (answer(method=method, facts=None), answer(method=method, wanted=Wanted("/srv", None))):
        assert found.status == (405 if method == "POST" else 404)
        assert not {"Cache-Control", "ETag"} & fields(found).keys()


def test_other_methods_are_told_which_there_are() -> None:
    assert fields(answer(method="PUT"))["Allow"] == "GET, HEAD"


def test_a_304_repeats_what_a_cache_renews_and_nothing_of_the_content() -> None:
    found = answer(ETAG)
    assert (found.pieces, found.length) == ((), None)
    assert set(fields(found)) == {"ETag", "Cache-Control", "X-Content-Type-Options"}


def test_a_range_says_where_it_is_and_an_impossible_one_how_large_the_file_is() -> None:
    assert fields(answer(RANGE))["Content-Range"] == "bytes 10-19/100"
    assert answer(RANGE).pieces == (Span(10, 10),)
    assert fields(answer((b"range", b"bytes=100-")))["Content-Range"] == "bytes */100"


def test_several_ranges_are_parts_of_one_content_whose_length_is_counted() -> None:
    found = answer((b"range", b"bytes=0-1,-3"))
    assert fields(found)["Content-Type"] == "multipart/byteranges; boundary=xyz"
    assert "Content-Range" not in fields(found)
    written = b"".join(b"." * each.length if isinstance(each, Span) else each for each in found.pieces)
    assert found.length == len(written)
    assert written.count(b"Content-Type: text/css; charset=utf-8\r\n") == 2


def test_a_copy_in_a_coding_has_its_own_tag_and_the_type_of_the_file() -> None:
    packed = fields(answer(facts=FileFacts(50, CHANGED, b"br", varies=True)))
    plain = fields(answer(facts=FileFacts(100, CHANGED, None, varies=True)))
    assert (packed["Content-Encoding"], packed["Vary"]) == ("br", "Accept-Encoding")
    assert packed["Content-Type"] == plain["Content-Type"] == "text/css; charset=utf-8"
    assert packed["ETag"] != plain["ETag"]
    assert plain["Vary"] == "Accept-Encoding"
    assert "Content-Encoding" not in plain


def test_a_view_s_headers_stand_and_only_what_it_left_open_is_added() -> None:
    said = (
        (b"content-type", b"a/b"),
        (b"Content-Disposition", b"attachment"),
        (b"cache-control", b"private"),
    )
    assert fields(answer(wanted=viewed(*said))) == {
        "content-type": "a/b",
        "Content-Disposition": "attachment",
        "cache-control": "private",
        "ETag": TAG.decode(),
        "Last-Modified": "Sun, 06 Nov 1994 08:49:37 GMT",
        "Accept-Ranges": "bytes",
        "X-Content-Type-Options": "nosniff",
    }
    assert fields(answer(wanted=viewed()))["Content-Type"] == "application/pdf"


def test_a_view_s_file_has_ranges_unless_the_view_says_none() -> None:
    assert answer(RANGE, wanted=viewed()).status == 206
    assert answer(RANGE, wanted=viewed((b"Accept-Ranges", b"none"))).status == 200


def test_a_view_that_was_asked_by_post_or_answers_an_error_gets_its_whole_file_sent() -> None:
    assert answer(RANGE, ETAG, method="POST", wanted=viewed()).status == 200
    found = answer(RANGE, ETAG, wanted=viewed(status=403))
    assert (found.status, found.length) == (403, 100)


def test_cookies_of_a_view_all_stand() -> None:
    cookies = ((b"Set-Cookie", b"a=1"), (b"Set-Cookie", b"b=2"))
    assert [each for each in answer(wanted=viewed(*cookies)).headers if each[0] == b"Set-Cookie"] == list(
        cookies
    )

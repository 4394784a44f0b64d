from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.http.response import BadHeaderError

from headrace.http.response import chunks_of, encode_response, head_of
from headrace_asgi import messages


def test_every_header_of_a_response_is_in_its_head() -> None:
    response = JsonResponse({}, headers={"X-A": "1", "Vary": "Cookie", "X-Latin": "caf\xe9"})
    head = head_of(response)
    assert [(name.decode(), value.decode("latin-1")) for name, value in head["headers"]] == list(
        response.items()
    )
    messages.HTTP_RESPONSE.check(head)


def test_names_are_kept_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    from headrace.http import response as http_response

    monkeypatch.setattr(http_response, "_MOST_NAMES", 0)
    monkeypatch.setattr(http_response, "_names", {})
    assert head_of(HttpResponse(headers={"X-Once": "1"}))["status"] == 200
    assert http_response._names == {}


@pytest.mark.parametrize("attribute", ["path", "domain"])
def test_a_cookie_with_a_line_break_is_refused(attribute: str) -> None:
    response = HttpResponse()
    response.set_cookie("a", "b", **{attribute: "x\r\nSet-Cookie: c=d"})  # type: ignore[arg-type]
    with pytest.raises(BadHeaderError, match="control character"):
        head_of(response)


@pytest.mark.parametrize(
    ("size", "pieces"), [(0, [0]), (1, [1]), (4, [4]), (5, [4, 1]), (8, [4, 4]), (9, [4, 4, 1])]
)
def test_content_is_cut_into_pieces_of_which_one_is_the_last(size: int, pieces: list[int]) -> None:
    cut = list(chunks_of(b"x" * size, 4))
    assert [len(piece) for piece, _ in cut] == pieces
    assert [is_last for _, is_last in cut] == [False] * (len(pieces) - 1) + [True]


def test_an_empty_stream_still_sends_its_head() -> None:
    (reply,) = encode_response(StreamingHttpResponse([]), 4)
    assert (reply["status"], reply["content"], reply["more_content"]) == (200, b"", False)


def test_a_long_part_of_a_stream_is_cut_too() -> None:
    replies = list(encode_response(StreamingHttpResponse([b"abcdef", b"gh"]), 4))
    assert [reply["content"] for reply in replies] == [b"abcd", b"ef", b"gh", b""]
    assert [reply["more_content"] for reply in replies] == [True, True, True, False]


def test_an_overridden_iter_counts() -> None:
    class Shouting(StreamingHttpResponse):
        def __iter__(self) -> Iterator[bytes]:
            return (part.upper() for part in self.streaming_content)  # type: ignore[union-attr]

    replies = encode_response(Shouting([b"a"]), 4)
    assert b"".join(reply["content"] for reply in replies) == b"A"


def test_a_stream_of_known_length_ends_with_its_last_part() -> None:
    response: Any = StreamingHttpResponse([b"ab", b"cd"], headers={"Content-Length": "4"})
    assert [reply["more_content"] for reply in encode_response(response, 4)] == [True, False]

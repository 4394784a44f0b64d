"""The messages that a Django response becomes: one, or a head and chunks.

What HTTP says about bodies that must not be sent (HEAD, 204, 304), and about framing, is the interface
server's part.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from django.http import FileResponse, StreamingHttpResponse
from django.http.response import BadHeaderError, HttpResponseBase

from ..django_private import header_pairs
from ..types import Content

__all__ = ["chunks_of", "encode_response", "head_of"]

#: Names of response headers kept encoded. Views choose them, usually from a few dozen.
_MOST_NAMES = 1000
_names: dict[str, bytes] = {}

_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")


def encode_response(
    response: HttpResponseBase, chunk_bytes: int, body_wanted: bool = True
) -> Iterator[Content]:
    """The messages of a response, none with more than `chunk_bytes` of content.

    A streaming response is pulled part by part, as the messages are; close the iterator to stop it. Without
    `body_wanted` (HEAD) a streaming body is not made at all. Raises BadHeaderError for a hostile cookie and
    whatever the response's own iterator raises.
    """
    if response.streaming:
        return _encode_streaming(response, chunk_bytes, body_wanted)
    head = head_of(response)
    content: bytes = response.content  # type: ignore[attr-defined]
    if len(content) <= chunk_bytes:
        head["content"] = content
        return iter((head,))
    return _encode_large(head, content, chunk_bytes)


def head_of(response: HttpResponseBase) -> Content:
    """Status and headers, one `Set-Cookie` for each cookie. Names keep the case that Django gave them."""
    headers = []
    for name, value in header_pairs(response):
        key = _names.get(name)
        if key is None:
            key = name.encode("latin-1")
            if len(_names) < _MOST_NAMES:
                _names[name] = key
        headers.append((key, value.encode("latin-1")))
    if response.cookies:
        headers += [(b"Set-Cookie", _cookie(morsel)) for morsel in response.cookies.values()]
    return {"status": response.status_code, "headers": headers}


def chunks_of(content: bytes, chunk_bytes: int) -> Iterator[tuple[bytes, bool]]:
    """Pieces of at most `chunk_bytes`, each with whether it is the last; one empty piece for no content."""
    last_start = max(len(content) - 1, 0) // chunk_bytes * chunk_bytes
    for start in range(0, last_start + 1, chunk_bytes):
        yield content[start : start + chunk_bytes], start == last_start


def _cookie(morsel: Any) -> bytes:
    # No blank in front. Browsers return the bytes they got, and Django reads those as UTF-8.
    text: bytes = morsel.OutputString().encode("utf-8")
    if _CONTROL.search(text):
        raise BadHeaderError(f"The cookie {morsel.key!r} has a control character in a value or attribute")
    return text


def _encode_large(head: Content, content: bytes, chunk_bytes: int) -> Iterator[Content]:
    message = head
    for chunk, is_last in chunks_of(content, chunk_bytes):
        message["content"] = chunk
        message["more_content"] = not is_last
        yield message
        message = {}


def _encode_streaming(response: HttpResponseBase, chunk_bytes: int, body_wanted: bool) -> Iterator[Content]:
    message = head_of(response)
    if not body_wanted:
        # Two messages: a complete one without content would get a Content-Length that GET does not have.
        yield {**message, "content": b"", "more_content": True}
        yield {"content": b"", "more_content": False}
        return
    if isinstance(response, FileResponse):
        response.block_size = chunk_bytes  # its default is 4 KiB: a message each
    left_bytes = _length(response)
    for part in _parts(response):
        for chunk, is_last in chunks_of(part, chunk_bytes):
            left_bytes -= len(chunk)
            # With a known length the last chunk is known too: a small file is one message.
            message["more_content"] = not (is_last and left_bytes == 0)
            message["content"] = chunk
            yield message
            if not message["more_content"]:
                return
            message = {}
    message["content"] = b""
    message["more_content"] = False
    yield message


def _parts(response: HttpResponseBase) -> Iterator[bytes]:
    # The response itself, so that an overridden __iter__ works; empty parts would be empty messages.
    if isinstance(response, StreamingHttpResponse) and response.is_async:
        raise TypeError("An async iterator cannot be sent part by part from a synchronous worker")
    return (bytes(part) for part in response if part)


def _length(response: HttpResponseBase) -> int:
    """The body's length in bytes as the response states it; -1 if it does not."""
    stated = response.headers.get("Content-Length", "")
    return int(stated) if stated.isdecimal() else -1

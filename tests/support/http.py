"""Requests as messages, and a browser that follows them through a handler without any network."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import urlencode

from headrace.message import Message
from headrace_asgi import InMemoryChannelLayer, messages

__all__ = ["Answer", "Browser", "answer_of", "request_message"]


def request_message(target: str = "/", layer: Any = None, **values: Any) -> Message:
    """An `http.request` for a path with its query."""
    path, _, query = target.partition("?")
    content: dict[str, Any] = {
        "reply_channel": "test!1",
        "http_version": "1.1",
        "method": "GET",
        "path": path,
        "query_string": query.encode(),
        "headers": [],
        **values,
    }
    if not any(name == b"host" for name, _ in content["headers"]):
        content["headers"] = [[b"host", b"testserver"], *content["headers"]]
    built = messages.HTTP_REQUEST.build(**content)
    return Message(built, "http.request", InMemoryChannelLayer() if layer is None else layer)


@dataclass
class Answer:
    """A complete response."""

    status: int
    headers: dict[str, str]
    content: bytes
    cookies: list[str]

    @property
    def text(self) -> str:
        """The content, decoded."""
        return self.content.decode()

    def json(self) -> Any:
        """The value of the content."""
        return json.loads(self.content)


def answer_of(replies: Iterable[dict[str, Any]]) -> Answer:
    """Put the messages of a response together."""
    first, *rest = replies
    headers = {name.decode().lower(): value.decode() for name, value in first["headers"]}
    cookies = [value.decode() for name, value in first["headers"] if name == b"Set-Cookie"]
    content = first["content"] + b"".join(reply["content"] for reply in rest)
    return Answer(first["status"], headers, content, cookies)


class Browser:
    """Keeps cookies from one request to the next."""

    def __init__(self, handler: Callable[[Message], Iterable[dict[str, Any]]]) -> None:
        self._handler = handler
        self.cookies: SimpleCookie = SimpleCookie()

    def cookie_header(self) -> bytes:
        """What a browser would send."""
        return "; ".join(f"{key}={one.coded_value}" for key, one in self.cookies.items()).encode()

    def get(self, target: str) -> Answer:
        """Fetch a page."""
        return self._fetch(target)

    def post(self, target: str, fields: dict[str, str], csrf: bool = False) -> Answer:
        """Send a form; `csrf` adds the token of the cookie."""
        if csrf:
            fields = {**fields, "csrfmiddlewaretoken": self.cookies["csrftoken"].value}
        headers = [[b"content-type", b"application/x-www-form-urlencoded"]]
        return self._fetch(target, headers, method="POST", body=urlencode(fields).encode())

    def _fetch(self, target: str, headers: Iterable[list[bytes]] = (), **values: Any) -> Answer:
        sent = [*headers]
        if self.cookies:
            sent.append([b"cookie", self.cookie_header()])
        answer = answer_of(self._handler(request_message(target, headers=sent, **values)))
        for cookie in answer.cookies:
            self.cookies.load(cookie)
        return answer

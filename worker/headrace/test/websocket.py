"""A WebSocket client for tests, with cookies, a session and a login."""

from __future__ import annotations

import json as json_module
from http.cookies import SimpleCookie
from typing import Any, cast

from django.apps import apps
from django.conf import settings
from django.contrib import auth
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.sessions.backends.base import SessionBase
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest

from ..asgi import DEFAULT_CHANNEL_LAYER
from ..sessions import session_for_reply_channel
from ..types import Content
from .client import Client

__all__ = ["HttpClient", "WSClient"]


class WSClient(Client):
    """A browser's side of one WebSocket, as an interface server would tell of it.

    It says that it comes from a page of `http://testserver`, which tests may change with `set_header`.
    """

    def __init__(self, ordered: bool = False, alias: str = DEFAULT_CHANNEL_LAYER) -> None:
        """Take the layer's alias. `ordered` refuses messages that bring an order number of their own."""
        super().__init__(alias)
        self.ordered = ordered
        self.order = 0
        self.cookies: SimpleCookie = SimpleCookie()
        self._headers = {"host": "testserver", "origin": "http://testserver"}
        self._session: SessionBase | None = None

    def set_cookie(self, key: str, value: str) -> None:
        """Set a cookie that every connect brings along."""
        self.cookies[key] = value

    def get_cookies(self) -> dict[str, str]:
        """The cookies, as Django will read them."""
        return {key: morsel.value for key, morsel in self.cookies.items()}

    def set_header(self, key: str, value: str | None) -> None:
        """Set a header, or remove it with None. ValueError for cookies, which have `set_cookie`."""
        name = key.lower()
        if name == "cookie":
            raise ValueError("Use set_cookie for cookies")
        if value is None:
            self._headers.pop(name, None)
        else:
            self._headers[name] = value

    @property
    def headers(self) -> dict[str, bytes]:
        """The headers of the handshake, by lower-case name."""
        headers = {name: value.encode("latin-1") for name, value in self._headers.items()}
        if self.cookies:
            pairs = (f"{key}={morsel.coded_value}" for key, morsel in self.cookies.items())
            headers["cookie"] = "; ".join(pairs).encode()
        return headers

    @property
    def session(self) -> SessionBase:
        """The session of the visitor, and before a login of the socket too; save it after changing it."""
        if self._session is None:
            if not apps.is_installed("django.contrib.sessions"):
                raise ImproperlyConfigured("A session needs 'django.contrib.sessions' in INSTALLED_APPS")
            session = session_for_reply_channel(self.reply_channel)
            if not session.exists(session.session_key or ""):
                session.save(must_create=True)
            self._session = session
            self._set_session_cookie(session)
        return self._session

    def login(self, **credentials: Any) -> bool:
        """Log in with what the authentication backends want; False if they refuse."""
        user = auth.authenticate(**credentials)
        if user is None or not user.is_active:
            return False
        self._login(user, None)
        return True

    def force_login(self, user: AbstractBaseUser, backend: str | None = None) -> None:
        """Log a user in without credentials."""
        self._login(user, backend or settings.AUTHENTICATION_BACKENDS[0])

    def receive(self, json: bool = True) -> Any:
        """What the next message says: the value of its JSON, with `json=False` its text or bytes.

        The message's content if it is neither (an accept, a close); None without a message.
        """
        content = super().receive()
        if content is None:
            return None
        text = content.get("text")
        if text is not None:
            return json_module.loads(text) if json else text
        return content.get("bytes") or content

    def send(self, to: str, content: Content | None = None, text: object = None, path: str = "/") -> None:
        """Put a message on a channel as an interface server would; `text` that is no str is sent as JSON."""
        message = dict(content or {})
        if self.ordered and "order" in message:
            raise ValueError("An ordered client numbers its messages itself; leave out 'order'")
        message.setdefault("order", self.order)
        message.setdefault("path", path)
        if to in ("websocket.connect", "http.request"):
            message.setdefault("headers", [[name.encode(), value] for name, value in self.headers.items()])
        if text is not None:
            message["text"] = text if isinstance(text, str) else json_module.dumps(text)
        self.order += 1
        super().send(to, message)

    def consume(self, channel: str, fail_on_none: bool = True, check_accept: bool = True) -> Any:
        """Run the consumer of the next message; with `check_accept`, a connect must be accepted."""
        result = super().consume(channel, fail_on_none=fail_on_none)
        if channel == "websocket.connect" and check_accept:
            answer = super().receive()
            if answer is None or answer.get("accept") is not True:
                raise AssertionError(f"The connection was not accepted, the answer is {answer}")
        return result

    def send_and_consume(  # type: ignore[override]
        self,
        channel: str,
        content: Content | None = None,
        text: object = None,
        path: str = "/",
        fail_on_none: bool = True,
        check_accept: bool = True,
    ) -> Any:
        """`send`, then `consume`."""
        self.send(channel, content, text, path)
        return self.consume(channel, fail_on_none=fail_on_none, check_accept=check_accept)

    def _login(self, user: AbstractBaseUser, backend: str | None) -> None:
        request = HttpRequest()
        request.session = self.session
        auth.login(request, cast(Any, user), backend)
        self.session.save()
        self._set_session_cookie(self.session)

    def _set_session_cookie(self, session: SessionBase) -> None:
        self.set_cookie(settings.SESSION_COOKIE_NAME, session.session_key or "")


#: The name of Channels before 1.1.
HttpClient = WSClient

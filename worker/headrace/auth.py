"""Django's users for consumers. `message.user` is resolved when it is first looked at, once per message."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from django.contrib import auth
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from .decorating import Run, decorated
from .message import Message
from .sessions import channel_and_http_session, channel_session, http_session
from .types import Consumer

__all__ = [
    "channel_and_http_session_user_from_http",
    "channel_session_user",
    "channel_session_user_from_http",
    "http_session_user",
    "transfer_user",
]

_KEYS = (auth.BACKEND_SESSION_KEY, auth.SESSION_KEY, auth.HASH_SESSION_KEY)


def transfer_user(from_session: SessionBase, to_session: SessionBase) -> None:
    """Log the user of one session in to the other; nothing happens if nobody is logged in."""
    values = [from_session.get(key) for key in _KEYS]
    if None not in values:
        to_session.update(dict(zip(_KEYS, values, strict=True)))


def channel_session_user(func: Consumer) -> Consumer:
    """Give a consumer `message.user`, who is logged in to the socket's session. Implies `channel_session`."""
    return channel_session(decorated(func, _with_channel_user))


def http_session_user(func: Consumer) -> Consumer:
    """Give a consumer `message.user`, who is logged in to the visitor's session. Implies `http_session`."""
    return http_session(decorated(func, _with_http_user))


def channel_session_user_from_http(func: Consumer) -> Consumer:
    """For the connect: log the visitor in to the socket's session, so that later messages know the user."""
    return http_session(channel_session(decorated(func, _transferred)))


def channel_and_http_session_user_from_http(func: Consumer) -> Consumer:
    """The same, with the HTTP session on every message of the socket: logging out ends the user there too."""
    return channel_and_http_session(decorated(func, _with_http_user_kept))


def _with_channel_user(message: Message, run: Run) -> object:
    if "user" not in vars(message):
        vars(message)["user"] = _lazy_user(vars(message)["channel_session"])
    return run()


def _with_http_user(message: Message, run: Run) -> object:
    if "user" not in vars(message):
        visitor = vars(message)["http_session"]
        vars(message)["user"] = _lazy_user(None if visitor is None else _ReadOnly(visitor))
    return run()


def _transferred(message: Message, run: Run) -> object:
    visitor, socket = vars(message)["http_session"], vars(message)["channel_session"]
    if visitor is not None:
        transfer_user(visitor, socket)
    vars(message)["user"] = _lazy_user(socket)
    return run()


def _with_http_user_kept(message: Message, run: Run) -> object:
    visitor = vars(message)["http_session"]
    if visitor is None:
        return _with_channel_user(message, run)
    if message.channel_name == "websocket.connect":
        transfer_user(visitor, vars(message)["channel_session"])
    return _with_http_user(message, run)


class _ReadOnly:
    """The visitor's session as Django may see it here: to read.

    Django gives a session another key when its login was signed with one of SECRET_KEY_FALLBACKS, and empties
    it when the login is no longer valid. Both are for whoever can set the visitor's cookie: the next request.
    """

    def __init__(self, session: SessionBase) -> None:
        self._session = session

    def __getitem__(self, key: str) -> Any:
        return self._session[key]

    def get(self, key: str, default: Any = None) -> Any:
        return self._session.get(key, default)

    def __setitem__(self, key: str, value: object) -> None:
        """Keep what is there."""

    def cycle_key(self) -> None:
        """Keep the key."""

    def flush(self) -> None:
        """Keep what is there."""


def _lazy_user(session: SessionBase | _ReadOnly | None) -> Any:
    # Imported here: the class consumers import this module, also in projects without django.contrib.auth.
    from django.contrib.auth.models import AnonymousUser

    if session is None:
        return AnonymousUser()
    request = cast(HttpRequest, SimpleNamespace(session=session))
    return SimpleLazyObject(lambda: auth.get_user(request))

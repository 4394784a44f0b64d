"""Sessions for consumers: one that belongs to a socket, and the visitor's HTTP session.

Both are loaded when they are first looked into. A socket's session is removed with its disconnect, if that
has a consumer with `channel_session`; saved as a whole, so of two consumers that run at once the later
one wins.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from importlib import import_module
from typing import Any
from urllib.parse import parse_qs

from django.conf import settings
from django.contrib.sessions.backends import signed_cookies
from django.contrib.sessions.backends.base import CreateError, SessionBase, UpdateError
from django.http import parse_cookie
from django.utils.crypto import salted_hmac

from . import conf
from .decorating import Run, decorated
from .django_private import give_key
from .exceptions import ConsumeLater
from .message import Message
from .types import Consumer

__all__ = [
    "channel_and_http_session",
    "channel_session",
    "enforce_ordering",
    "http_session",
    "http_session_key",
    "session_for_reply_channel",
]

#: Django's session table holds keys of up to 40 characters; 37 hex digits are 148 bits.
_KEY_PREFIX, _KEY_DIGITS = "chn", 37


def session_for_reply_channel(reply_channel: str) -> SessionBase:
    """The session of a socket, loaded when it is first looked into.

    Its key is made with SECRET_KEY: who knows a reply channel's name cannot use it as a session cookie.
    Raises ValueError for the signed_cookies engine, which has nowhere to keep it.
    """
    return _channel_store(conf.channel_session_engine())(_channel_session_key(reply_channel))


def http_session_key(message: Message) -> str | None:
    """The key of the visitor's session: the cookie's, else `?session_key=`, else None."""
    headers = message.content.get("headers") or ()
    pairs = headers.items() if isinstance(headers, dict) else headers
    cookies = b"; ".join(value for name, value in pairs if name == b"cookie").decode("utf-8", "replace")
    key = parse_cookie(cookies).get(settings.SESSION_COOKIE_NAME) if cookies else None
    if key:
        return key
    query = message.content.get("query_string") or b""
    if b"session_key=" not in query:
        return None
    try:
        found = parse_qs(query.decode("latin-1"), max_num_fields=1000).get("session_key")
    except ValueError:  # too many fields
        return None
    return found[0] if found else None


def channel_session(func: Consumer) -> Consumer:
    """Give a consumer `message.channel_session`, the session of the message's socket.

    Saved afterwards if it was changed, whatever the consumer raised. Raises ValueError for a message without
    a reply channel. Decorating twice does nothing more.
    """
    return decorated(func, _with_channel_session)


def http_session(func: Consumer) -> Consumer:
    """Give a consumer `message.http_session`, the visitor's session, None if the message names none.

    Saved afterwards if it was changed and the consumer raised nothing. No cookie is ever set.
    """
    return decorated(func, _with_http_session)


def channel_and_http_session(func: Consumer) -> Consumer:
    """Both sessions; the HTTP session also for later messages of the socket, which carry no cookies."""
    return decorated(decorated(func, _remember_http_session), _with_channel_session)


def enforce_ordering(func: Consumer | None = None, slight: bool = False) -> Any:
    """Mark a consumer whose socket's messages must run one after the other, in their order.

    One marked consumer is enough for all messages of a socket; the layer keeps the order, no session is
    needed. `slight` only keeps frames behind the connect, and does not close the socket over a lost frame.
    """
    ordering = "slight" if slight else True

    def mark(consumer: Consumer) -> Consumer:
        consumer.headrace_ordering = ordering  # type: ignore[attr-defined]
        return consumer

    return mark if func is None else mark(func)


def _with_channel_session(message: Message, run: Run) -> object:
    if "channel_session" in vars(message):
        return run()
    name = message.content.get("reply_channel")
    if not name:
        raise ValueError(
            f"channel_session needs a reply channel; a message on {message.channel_name} has none"
        )
    session = session_for_reply_channel(name)
    key = session.session_key or ""
    vars(message)["channel_session"] = session
    ends = message.channel_name == "websocket.disconnect"
    try:
        result = run()
    except BaseException as error:
        if ends and not isinstance(error, ConsumeLater):
            session.delete(key)
        else:
            _save(session, key)
        raise
    if ends:
        session.delete(key)
    else:
        _save(session, key)
    return result


def _with_http_session(message: Message, run: Run) -> object:
    if "http_session" in vars(message):
        return run()
    key = http_session_key(message)
    return _run_with_http_session(message, key, run)


def _remember_http_session(message: Message, run: Run) -> object:
    if vars(message).get("http_session") is not None:
        return run()
    kept: SessionBase = vars(message)["channel_session"]
    name = settings.SESSION_COOKIE_NAME
    key = http_session_key(message)
    if key is None:
        key = kept.get(name)
    elif name not in kept:
        kept[name] = key
    return _run_with_http_session(message, key, run)


def _run_with_http_session(message: Message, key: str | None, run: Run) -> object:
    session = _store(settings.SESSION_ENGINE)(key) if key else None
    vars(message)["http_session"] = session
    result = run()
    if session is not None and session.modified and session.session_key is not None:
        _update(session)
    return result


def _save(session: SessionBase, key: str) -> None:
    """Save a socket's session under its own key, whatever Django did to it meanwhile."""
    if not session.modified:
        return
    strange = session.session_key
    if strange == key:
        _update(session)
        return
    # No row was there yet (None), or login() gave the session a new key.
    if session.is_empty():
        return
    give_key(session, key)
    try:
        session.save(must_create=True)
    except CreateError:
        _update(session)  # another consumer of this socket was quicker
    if strange is not None:
        session.delete(strange)


def _update(session: SessionBase) -> None:
    # It is gone when the visitor logged out or the socket's disconnect was handled meanwhile, and stays so.
    with suppress(UpdateError):
        session.save()


def _channel_session_key(reply_channel: str) -> str:
    digest = salted_hmac("headrace.sessions", reply_channel, algorithm="sha256").hexdigest()
    return _KEY_PREFIX + digest[:_KEY_DIGITS]


@lru_cache(maxsize=8)
def _store(engine: str) -> Callable[[str], SessionBase]:
    store: type[SessionBase] = import_module(engine).SessionStore
    return store


@lru_cache(maxsize=8)
def _channel_store(engine: str) -> Callable[[str], SessionBase]:
    store: Any = _store(engine)
    if issubclass(store, signed_cookies.SessionStore):
        raise ValueError(
            "Channel sessions cannot be kept in cookies: set CHANNEL_SESSION_ENGINE to another engine, such "
            "as 'django.contrib.sessions.backends.cache'"
        )
    return _store(engine)

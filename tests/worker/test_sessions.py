from __future__ import annotations

from typing import Any

import pytest
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session

from headrace.exceptions import ConsumeLater
from headrace.message import Message
from headrace.sessions import (
    channel_and_http_session,
    channel_session,
    enforce_ordering,
    http_session,
    http_session_key,
    session_for_reply_channel,
)
from headrace_asgi import InMemoryChannelLayer

pytestmark = pytest.mark.django_db
LAYER = InMemoryChannelLayer()


def message(
    channel: str = "websocket.receive", cookie: str = "", query: bytes = b"", **content: Any
) -> Message:
    headers = [[b"cookie", cookie.encode()]] if cookie else []
    values = {"reply_channel": "test!1", "headers": headers, "query_string": query, **content}
    return Message(values, channel, LAYER)


def saved(**values: Any) -> SessionStore:
    session = SessionStore()
    session.update(values)
    session.save()
    return session


# The session of a socket


def test_a_socket_has_one_session_for_all_its_messages() -> None:
    @channel_session
    def count(message: Any) -> int:
        message.channel_session["n"] = message.channel_session.get("n", 0) + 1
        n: int = message.channel_session["n"]
        return n

    assert [count(message("websocket.connect")), count(message()), count(message())] == [1, 2, 3]
    assert count(message(reply_channel="test!2")) == 1


def test_a_session_nobody_touches_costs_no_query(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        channel_session(lambda message: None)(message())


def test_a_session_is_removed_with_the_disconnect_a2() -> None:
    @channel_session
    def store(message: Any) -> None:
        message.channel_session["n"] = 1

    store(message())
    assert Session.objects.count() == 1
    store(message("websocket.disconnect"))
    assert Session.objects.count() == 0


def test_a_disconnect_that_comes_again_later_still_finds_its_session_a2() -> None:
    @channel_session
    def store(message: Any) -> None:
        message.channel_session["n"] = 1

    @channel_session
    def too_early(message: Any) -> None:
        raise ConsumeLater()

    store(message())
    with pytest.raises(ConsumeLater):
        too_early(message("websocket.disconnect"))
    assert Session.objects.count() == 1


def test_a_late_consumer_does_not_bring_the_session_back_a2() -> None:
    @channel_session
    def store(message: Any) -> None:
        message.channel_session["n"] = 1
        if message.channel_session.get("seen"):
            channel_session(lambda message: None)(message_of_end)
        message.channel_session["seen"] = True

    message_of_end = message("websocket.disconnect")
    store(message())
    store(message())
    assert Session.objects.count() == 0


def test_a_change_is_saved_whatever_the_consumer_raises() -> None:
    @channel_session
    def fails(message: Any) -> None:
        message.channel_session["n"] = 1
        raise RuntimeError

    with pytest.raises(RuntimeError):
        fails(message())
    assert session_for_reply_channel("test!1")["n"] == 1


def test_what_was_deleted_stays_deleted() -> None:
    @channel_session
    def store(message: Any) -> None:
        message.channel_session["n"] = 1

    @channel_session
    def forget(message: Any) -> None:
        del message.channel_session["n"]

    store(message())
    forget(message())
    assert session_for_reply_channel("test!1").get("n") is None


def test_the_key_does_not_follow_from_the_name_a3(settings: Any) -> None:
    key = session_for_reply_channel("test!1").session_key
    settings.SECRET_KEY = "another"
    assert key is not None
    assert len(key) == 40
    assert session_for_reply_channel("test!1").session_key != key


def test_a_session_that_changes_its_key_stays_the_sockets() -> None:
    @channel_session
    def login(message: Any) -> None:
        message.channel_session["user"] = 1
        message.channel_session.cycle_key()

    login(message())
    assert session_for_reply_channel("test!1")["user"] == 1
    assert Session.objects.count() == 1


def test_the_decorator_works_twice_and_on_methods() -> None:
    class Consumer:
        @channel_session
        @channel_session
        def method(self, message: Any, extra: int = 0) -> None:
            message.channel_session["n"] = extra

    Consumer().method(message(), extra=3)
    assert session_for_reply_channel("test!1")["n"] == 3


def test_a_message_without_reply_channel_has_no_session() -> None:
    with pytest.raises(ValueError, match="needs a reply channel"):
        channel_session(lambda message: None)(Message({}, "background", LAYER))


def test_sessions_in_cookies_are_refused(settings: Any) -> None:
    settings.CHANNEL_SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
    with pytest.raises(ValueError, match="CHANNEL_SESSION_ENGINE"):
        session_for_reply_channel("test!1")


@pytest.mark.parametrize("engine", ["cache", "cached_db", "file"])
def test_every_engine_of_django_keeps_the_sockets_session(settings: Any, engine: str, tmp_path: Any) -> None:
    settings.CHANNEL_SESSION_ENGINE = f"django.contrib.sessions.backends.{engine}"
    settings.SESSION_FILE_PATH = str(tmp_path)

    @channel_session
    def count(message: Any) -> int:
        message.channel_session["n"] = message.channel_session.get("n", 0) + 1
        n: int = message.channel_session["n"]
        return n

    name = f"test!{engine}"
    assert [count(message(reply_channel=name)) for _ in range(3)] == [1, 2, 3]
    channel_session(lambda message: None)(message("websocket.disconnect", reply_channel=name))
    assert count(message(reply_channel=name)) == 1


# The visitor's session


def test_the_cookie_comes_before_the_address_a1() -> None:
    assert (
        http_session_key(message(cookie="sessionid=fromcookie", query=b"session_key=fromurl")) == "fromcookie"
    )
    assert http_session_key(message(cookie="other=1", query=b"a=b&session_key=fromurl")) == "fromurl"
    assert http_session_key(message(query=b"session_key=")) is None
    assert http_session_key(message()) is None
    assert http_session_key(message(query=b"session_key=x" + b"&a=b" * 2000)) is None


def test_a_visitors_session_can_be_read_and_changed() -> None:
    session = saved(name="Ada")

    @http_session
    def greet(message: Any) -> str:
        message.http_session["greeted"] = True
        name: str = message.http_session["name"]
        return name

    assert greet(message("websocket.connect", cookie=f"sessionid={session.session_key}")) == "Ada"
    assert SessionStore(session.session_key)["greeted"] is True


def test_without_a_key_there_is_no_visitors_session() -> None:
    assert http_session(lambda message: message.http_session)(message()) is None


def test_a_visitors_session_is_not_saved_when_the_consumer_raises() -> None:
    session = saved()

    @http_session
    def fails(message: Any) -> None:
        message.http_session["n"] = 1
        raise RuntimeError

    with pytest.raises(RuntimeError):
        fails(message(cookie=f"sessionid={session.session_key}"))
    assert "n" not in SessionStore(session.session_key)


def test_a_visitor_who_logged_out_meanwhile_stays_logged_out() -> None:
    session = saved(n=1)

    @http_session
    def slow(message: Any) -> None:
        message.http_session["n"] = 2
        session.delete()

    slow(message(cookie=f"sessionid={session.session_key}"))
    assert Session.objects.count() == 0


def test_an_invented_key_makes_no_session() -> None:
    @http_session
    def store(message: Any) -> None:
        message.http_session["n"] = 1

    store(message(cookie="sessionid=invented-by-the-visitor"))
    assert Session.objects.count() == 0


def test_later_messages_find_the_visitors_session_through_the_sockets() -> None:
    session = saved(name="Ada")

    @channel_and_http_session
    def name(message: Any) -> str:
        name: str = message.http_session["name"]
        return name

    assert name(message("websocket.connect", cookie=f"sessionid={session.session_key}")) == "Ada"
    later = message()
    del later.content["headers"], later.content["query_string"]
    assert name(later) == "Ada"


# Ordering


def test_ordering_is_a_mark_on_the_consumer_itself() -> None:
    def consumer(message: Any) -> None: ...

    assert enforce_ordering(consumer) is consumer
    assert consumer.headrace_ordering is True  # type: ignore[attr-defined]


def test_ordering_may_be_slight() -> None:
    @enforce_ordering(slight=True)
    def consumer(message: Any) -> None: ...

    assert consumer.headrace_ordering == "slight"
    assert channel_session(consumer).headrace_ordering == "slight"  # type: ignore[attr-defined]

from __future__ import annotations

from typing import Any

import pytest
from django.conf import settings
from django.contrib import auth
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.http import HttpRequest
from django.test import Client, override_settings

from headrace.auth import (
    channel_and_http_session_user_from_http,
    channel_session_user,
    channel_session_user_from_http,
    http_session_user,
    transfer_user,
)
from headrace.message import Message
from headrace_asgi import InMemoryChannelLayer

pytestmark = pytest.mark.django_db
LAYER = InMemoryChannelLayer()


@pytest.fixture
def visitor() -> SessionStore:
    """The session of Ada, who is logged in to the site."""
    user = User.objects.create_user("ada", password="secret")
    request = HttpRequest()
    request.session = session = SessionStore()
    auth.login(request, user, "django.contrib.auth.backends.ModelBackend")
    session.save()
    return session


def connect(session: SessionStore | None) -> Message:
    headers = [] if session is None else [[b"cookie", f"sessionid={session.session_key}".encode()]]
    return Message({"reply_channel": "test!1", "headers": headers}, "websocket.connect", LAYER)


def frame() -> Message:
    return Message({"reply_channel": "test!1", "text": "x"}, "websocket.receive", LAYER)


def name(message: Any) -> str:
    username: str = message.user.username
    return username


def test_the_visitor_is_the_user_of_the_connect_and_of_every_frame(visitor: SessionStore) -> None:
    assert channel_session_user_from_http(name)(connect(visitor)) == "ada"
    assert channel_session_user(name)(frame()) == "ada"


def test_nobody_is_logged_in_without_a_session() -> None:
    assert channel_session_user_from_http(name)(connect(None)) == ""
    assert channel_session_user(name)(frame()) == ""
    assert http_session_user(name)(connect(None)) == ""


def test_the_user_of_the_visitors_session(visitor: SessionStore) -> None:
    assert http_session_user(name)(connect(visitor)) == "ada"


def test_a_user_nobody_asks_for_is_not_fetched(visitor: SessionStore, django_assert_num_queries: Any) -> None:
    channel_session_user_from_http(name)(connect(visitor))
    with django_assert_num_queries(0):
        channel_session_user(lambda message: None)(frame())
    with django_assert_num_queries(2):
        channel_session_user(lambda message: (message.user.username, message.user.email))(frame())


def test_a_changed_password_ends_the_login_of_the_socket_a5(visitor: SessionStore) -> None:
    channel_session_user_from_http(name)(connect(visitor))
    user = User.objects.get()
    user.set_password("another")
    user.save()
    assert channel_session_user(name)(frame()) == ""


def test_logging_out_of_the_site_ends_the_login_of_sockets_with_both_sessions_a5(
    visitor: SessionStore,
) -> None:
    consumer = channel_and_http_session_user_from_http(name)
    assert [consumer(connect(visitor)), consumer(frame())] == ["ada", "ada"]
    assert channel_session_user(name)(frame()) == "ada"
    visitor.flush()
    assert consumer(frame()) == ""


ROTATED = {"SECRET_KEY": "a new one", "SECRET_KEY_FALLBACKS": [settings.SECRET_KEY]}


@pytest.mark.parametrize(
    "decorated",
    [http_session_user, channel_session_user_from_http, channel_and_http_session_user_from_http],
)
def test_a_rotated_secret_key_logs_nobody_out_of_the_site_who_opens_a_socket(
    visitor: SessionStore, decorated: Any, client: Client
) -> None:
    client.cookies[settings.SESSION_COOKIE_NAME] = visitor.session_key
    with override_settings(**ROTATED):
        assert decorated(name)(connect(visitor)) == "ada"
        assert decorated(name)(connect(visitor)) == "ada"
        assert list(SessionStore.get_model_class().objects.filter(pk=visitor.session_key))
        assert auth.get_user(request_of(client)).get_username() == "ada"


def test_the_login_of_a_socket_that_came_before_a_rotated_secret_key_is_as_good_as_one_behind_it(
    visitor: SessionStore,
) -> None:
    with override_settings(**ROTATED):
        assert channel_session_user_from_http(name)(connect(visitor)) == "ada"
        assert channel_session_user(name)(frame()) == "ada"
    with override_settings(SECRET_KEY="a new one"):
        assert channel_session_user(name)(frame()) == "ada"


def test_a_socket_ends_no_session_of_the_site_whose_login_is_no_longer_valid(visitor: SessionStore) -> None:
    user = User.objects.get()
    user.set_password("another")
    user.save()
    assert http_session_user(name)(connect(visitor)) == ""
    assert SessionStore(visitor.session_key)[auth.SESSION_KEY] == str(user.pk)


def request_of(client: Client) -> HttpRequest:
    """What a view would get from a browser with the client's cookies."""
    request = HttpRequest()
    request.session = client.session
    return request


def test_both_sessions_without_a_visitor_are_nobodys() -> None:
    consumer = channel_and_http_session_user_from_http(name)
    assert [consumer(connect(None)), consumer(frame())] == ["", ""]


def test_a_session_without_a_user_transfers_nothing(visitor: SessionStore) -> None:
    target = SessionStore()
    transfer_user(SessionStore(), target)
    assert target.is_empty()
    transfer_user(visitor, target)
    assert target[auth.SESSION_KEY] == visitor[auth.SESSION_KEY]

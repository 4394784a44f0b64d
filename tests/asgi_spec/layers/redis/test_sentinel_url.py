"""How a Redis that sentinels name is written, and what of it is for whom."""

from __future__ import annotations

import pytest

from headrace_asgi.errors import ConfigurationError
from headrace_asgi.layers.redis.sentinel_url import SENTINEL_CONNECT_SECONDS, split_sentinels

TIMEOUT = {"socket_connect_timeout": SENTINEL_CONNECT_SECONDS}


def test_a_url_without_sentinels_is_left_to_others() -> None:
    for url in ("redis://host/0", "rediss://host", "unix:///run/v.sock", "not a URL", "", None):
        assert split_sentinels(url, {"db": 1}) is None


def test_what_is_for_redis_and_what_is_for_its_sentinels_is_taken_apart() -> None:
    split = split_sentinels(
        "redis+sentinel://me:p%40w@a:1,[::1]:2,b/my%2Fmain/3?socket_timeout=4&sentinel_password=s%26p",
        {"client_name": "x", "sentinel_kwargs": {"username": "su"}},
    )
    assert split is not None
    assert (split.service, split.url) == ("my/main", "redis://me:p%40w@localhost/3?socket_timeout=4")
    assert split.options == {"client_name": "x"}
    common = {**TIMEOUT, "password": "s&p", "username": "su"}
    assert split.sentinels == (
        {**common, "host": "a", "port": "1"},
        {**common, "host": "::1", "port": "2"},
        {**common, "host": "b", "port": "26379"},
    )


def test_with_rediss_the_sentinels_speak_tls_too_and_check_the_same() -> None:
    split = split_sentinels("rediss+sentinel://a/m?ssl_ca_certs=/c&sentinel_ssl_ca_certs=/d", None)
    assert split is not None
    assert split.url == "rediss://localhost/?ssl_ca_certs=/c"
    assert split.sentinels == ({**TIMEOUT, "ssl": True, "ssl_ca_certs": "/d", "host": "a", "port": "26379"},)


def test_options_win_over_the_url() -> None:
    split = split_sentinels(
        "redis+sentinel://a?sentinel_password=old",
        {"sentinel_kwargs": {"password": "new", "socket_connect_timeout": 9}},
    )
    assert split is not None
    assert split.service == ""
    assert split.sentinels == (
        {"password": "new", "socket_connect_timeout": 9, "host": "a", "port": "26379"},
    )


@pytest.mark.parametrize(
    ("url", "options", "told"),
    [
        ("redis+sentinel://", None, "names Sentinels and what they call the primary"),
        ("redis+sentinel://:secret@/m", None, "names Sentinels and what they call the primary"),
        ("redis+sentinel://u:secret/x@a/m", None, "must be percent-encoded"),
        (
            "redis://:secret@a",
            {"sentinel_kwargs": {"password": "secret"}},
            "sentinel_kwargs are for Sentinels",
        ),
        ("redis+sentinel://a", {"sentinel_kwargs": ["secret"]}, "sentinel_kwargs must be a dict, not a list"),
    ],
)
def test_what_cannot_work_is_told_without_a_password(url: str, options: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told) as raised:
        split_sentinels(url, options)
    assert "secret" not in str(raised.value)


def test_nothing_shows_a_password() -> None:
    split = split_sentinels("redis+sentinel://:secret@a/m?sentinel_password=secret", {"password": "secret"})
    assert "secret" not in repr(split)

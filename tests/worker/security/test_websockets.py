from __future__ import annotations

from typing import Any

import pytest

from headrace.exceptions import DenyConnection
from headrace.message import Message
from headrace.security.websockets import BaseOriginValidator, allowed_hosts_only, origin_allowed
from headrace_asgi import InMemoryChannelLayer

LAYER = InMemoryChannelLayer()


@pytest.fixture(autouse=True)
def _site(settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["example.com", "[::1]", "127.0.0.1"]
    settings.CSRF_TRUSTED_ORIGINS = ["https://*.partner.org", "https://api.friend.org:8443", "app://native"]


def connect(origin: Any = None, host: str = "example.com", scheme: str = "wss", **headers: str) -> Message:
    listed = [[b"host", host.encode()]]
    for value in origin if isinstance(origin, list) else [] if origin is None else [origin]:
        listed.append([b"origin", value if isinstance(value, bytes) else value.encode()])
    listed += [[name.replace("_", "-").encode(), value.encode()] for name, value in headers.items()]
    content = {"reply_channel": "test!1", "path": "/", "scheme": scheme, "headers": listed}
    return Message(content, "websocket.connect", LAYER)


@pytest.mark.parametrize(
    "origin",
    [
        "https://example.com",
        "HTTPS://EXAMPLE.COM:443",
        "https://example.com.",
        "https://app.partner.org",
        "https://partner.org",
        "https://deep.app.partner.org",
        "https://api.friend.org:8443",
        "app://native",
    ],
)
def test_the_site_itself_and_trusted_origins_may_connect_st10(origin: str) -> None:
    assert origin_allowed(connect(origin))


@pytest.mark.parametrize(
    "origin",
    [
        "https://sub.example.com",
        "https://example.com:8443",
        "https://evil.test",
        "https://example.com.evil.test",
        "https://evilexample.com",
        "http://example.com",
        "http://app.partner.org",
        "https://app.partner.org:8443",
        "https://evilpartner.org",
        "https://api.friend.org",
        "app://other",
        "https://user@example.com",
        "https://example.com/path",
        "https://example.com?x",
        "https://example.com https://evil.test",
        "https://example.com:443x",
        "https://example.com:999999",
        "https://exämple.com",
        b"https://example.com\xff",
        "https://",
        "//example.com",
        "example.com",
        "null",
        "file://",
        "",
        ["https://example.com", "https://evil.test"],
        ["https://example.com", "https://example.com"],
    ],
)
def test_other_sites_null_and_oddities_are_refused_st10(origin: Any) -> None:
    assert not origin_allowed(connect(origin))


def test_a_client_without_origin_is_no_browser_st10() -> None:
    assert origin_allowed(connect())
    assert not origin_allowed(connect(cookie="sessionid=x"))
    assert not origin_allowed(connect(sec_fetch_site="cross-site"))


def test_over_plain_sockets_both_schemes_are_the_site_itself() -> None:
    assert origin_allowed(connect("http://example.com", scheme="ws"))
    assert origin_allowed(connect("https://example.com", scheme="ws"))
    assert not origin_allowed(connect("https://evil.test", scheme="ws"))


def test_ports_count_a4() -> None:
    assert origin_allowed(connect("http://example.com:8000", "example.com:8000", "ws"))
    assert origin_allowed(connect("http://example.com", "example.com:8001", "ws"))
    assert not origin_allowed(connect("http://example.com:3000", "example.com:8000", "ws"))


def test_ipv6_literals_match_a4() -> None:
    assert origin_allowed(connect("http://[::1]:8000", "[::1]:8000", "ws"))
    assert not origin_allowed(connect("http://[::2]:8000", "[::1]:8000", "ws"))


def test_another_allowed_host_may_connect(settings: Any) -> None:
    settings.ALLOWED_HOSTS = [".example.com"]
    assert origin_allowed(connect("https://www.example.com", "sockets.example.com"))


def test_a_rebound_name_is_not_the_site_itself() -> None:
    assert not origin_allowed(connect("http://evil.test", "evil.test", "ws"))


def test_all_hosts_allowed_does_not_mean_all_origins(settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["*"]
    assert origin_allowed(connect("https://whatever.test", "whatever.test"))
    assert not origin_allowed(connect("https://evil.test", "whatever.test"))


def test_in_debug_localhost_may_connect(settings: Any) -> None:
    settings.ALLOWED_HOSTS, settings.DEBUG = [], True
    assert origin_allowed(connect("http://localhost:8000", "localhost:8000", "ws"))
    assert origin_allowed(connect("http://127.0.0.1:8000", "localhost:8000", "ws"))
    assert not origin_allowed(connect("http://example.com", "localhost:8000", "ws"))
    settings.DEBUG = False
    assert not origin_allowed(connect("http://localhost:8000", "localhost:8000", "ws"))


def test_what_the_proxy_says_counts_where_django_believes_it(settings: Any) -> None:
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    assert not origin_allowed(connect("http://example.com", scheme="ws", x_forwarded_proto="https"))
    assert origin_allowed(connect("https://example.com", scheme="ws", x_forwarded_proto="https"))
    settings.USE_X_FORWARDED_HOST = settings.USE_X_FORWARDED_PORT = True
    behind = {"host": "inside", "x_forwarded_host": "example.com", "x_forwarded_port": "8443"}
    assert origin_allowed(connect("https://example.com:8443", **behind))
    assert not origin_allowed(connect("https://inside", **behind))


@pytest.mark.parametrize(
    ("trusted", "origin"),
    [
        ("https://*partner.org", "https://evil.partner.org"),
        ("https://*", "https://evil.test"),
        ("https://*", "https://evil.test.."),
        ("https://*.", "https://evil.test.."),
    ],
)
def test_an_odd_pattern_trusts_no_more_than_django_does_a4(settings: Any, trusted: str, origin: str) -> None:
    settings.CSRF_TRUSTED_ORIGINS = [trusted]
    assert not origin_allowed(connect(origin))


def test_a_port_beyond_all_numbers_raises_nothing_a4(settings: Any) -> None:
    settings.USE_X_FORWARDED_PORT = True
    assert origin_allowed(connect("https://example.com", x_forwarded_port="9" * 5000))


def test_a_handshake_without_a_host_has_no_site() -> None:
    message = connect("https://example.com")
    message.content["headers"] = message.content["headers"][1:]
    assert not origin_allowed(message)
    assert not origin_allowed(connect("https://example.com", "bad host"))


# The decorators of Channels 1.x


@allowed_hosts_only
def consumer(message: Any, answer: int = 1) -> int:
    """What it does."""
    return answer


def test_the_decorator_lets_the_site_itself_in() -> None:
    assert consumer(connect("https://example.com"), answer=2) == 2
    assert consumer.__doc__ == "What it does."


def test_the_decorator_denies_others() -> None:
    with pytest.raises(DenyConnection):
        consumer(connect("https://evil.test"))


def test_the_decorator_works_on_methods() -> None:
    class Consumer:
        answer = 3

        @allowed_hosts_only
        def connect(self, message: Any) -> int:
            return self.answer

    assert Consumer().connect(connect("https://example.com")) == 3
    with pytest.raises(DenyConnection):
        Consumer().connect(connect("https://evil.test"))


class OnlyNative(BaseOriginValidator):
    def validate_origin(self, message: Message, origin: str | None) -> bool:
        return origin == "app://native"


def test_a_validator_of_ones_own_decides() -> None:
    validated = OnlyNative(lambda message: "in")
    assert validated(connect("app://native")) == "in"
    for refused in ("app://other", None, b"app://nativ\xe9"):
        with pytest.raises(DenyConnection):
            validated(connect(refused))


def test_a_validator_without_a_decision_says_so_a4() -> None:
    with pytest.raises(NotImplementedError, match="validate_origin"):
        BaseOriginValidator(lambda message: None)(connect("https://example.com"))

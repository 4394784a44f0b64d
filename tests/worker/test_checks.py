"""System checks."""

from __future__ import annotations

import sys
from typing import Any, ClassVar

import pytest
from django.core import checks

from headrace import include, route
from headrace.checks import (
    check_app_order,
    check_caches,
    check_layers,
    check_production,
    check_settings,
    register_all,
)
from headrace.generic import BaseConsumer
from headrace.generic.websockets import WebsocketConsumer
from headrace.sessions import channel_session, enforce_ordering
from headrace.synchronous import AsyncConsumer

REDIS = "headrace_asgi.RedisChannelLayer"
SENTINELS = {"hosts": [("s", 26379)], "services": ["main"]}


def ids(found: list[checks.CheckMessage]) -> list[str | None]:
    return [one.id for one in found]


def test_a_good_project_has_nothing_to_say() -> None:
    for check in (check_settings, check_layers, check_app_order, check_caches):
        assert check(None) == []


def test_the_checks_are_registered_once() -> None:
    register_all()
    registered = checks.registry.registry.get_checks(include_deployment_checks=True)
    assert registered.count(check_layers) == 1
    assert check_production in registered
    assert check_production not in checks.registry.registry.get_checks()


def test_wrong_settings_are_found(settings: Any) -> None:
    settings.HEADRACE = {"X": 1}
    assert ids(check_settings(None)) == ["headrace.E001"]


@pytest.mark.parametrize(
    ("layers", "found"),
    [
        ("x", ["headrace.E002"]),
        ({"default": {}}, ["headrace.E002"]),
        ({"default": {"ROUTING": "no.routing"}}, ["headrace.E003"]),
        ({"default": {"ROUTING": []}, "other": {"ROUTING": 5}}, ["headrace.E003"]),
        ({}, []),
    ],
)
def test_wrong_layers_are_found(settings: Any, layers: Any, found: list[str]) -> None:
    settings.CHANNEL_LAYERS = layers
    assert ids(check_layers(None)) == found


def layers_with(routing: Any, **config: Any) -> dict[str, Any]:
    redis = {"BACKEND": "headrace_asgi.RedisChannelLayer", "ROUTING": routing, "CONFIG": config}
    return {"default": redis}


@pytest.mark.parametrize(
    ("hosts", "said"),
    [
        (["127.0.0.1:6379"], "must specify one of the following schemes (redis://"),
        (["redis://h:99999/0"], "Port out of range"),
        ("redis://h", "hosts must be a list"),
    ],
)
def test_a_host_that_cannot_work_is_found(settings: Any, hosts: Any, said: str) -> None:
    settings.CHANNEL_LAYERS = layers_with([], hosts=hosts)
    (found,) = check_layers(None)
    assert (found.id, found.level) == ("headrace.E002", checks.ERROR)
    assert found.msg.startswith("CHANNEL_LAYERS['default']: ")
    assert said in found.msg


def consumer(message: Any) -> None:
    """A consumer."""


async def later(message: Any) -> None:
    """A consumer that would never run."""


class Asynchronous(WebsocketConsumer):
    """Two methods that would never run, and one that may."""

    async def receive(self, text: Any = None, bytes: Any = None, **kwargs: Any) -> None:  # type: ignore[override]
        """Never awaited."""

    async def connection_groups(self, **kwargs: Any) -> Any:
        """Never awaited."""

    async def fetch(self) -> None:
        """A helper, for `async_to_sync`."""


class Mapped(BaseConsumer):
    """A class consumer of another channel."""

    method_mapping: ClassVar[dict[str, str]] = {"work": "do"}

    async def do(self, message: Any) -> Any:
        """A generator that nobody would iterate."""
        yield message


class Called:
    """An instance of it as a consumer."""

    async def __call__(self, message: Any) -> None:
        """Never awaited."""


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: route("work", later), "later"),
        (lambda: route("work", channel_session(later)), "later"),
        (lambda: route("work", Called()), "Called"),
        (lambda: route("websocket.receive", Asynchronous), "async methods (connection_groups, receive)"),
        (lambda: Asynchronous.as_route(path="^/x"), "async methods (connection_groups, receive)"),
        (Mapped.as_route, "async methods (do)"),
    ],
)
def test_consumers_that_are_async_are_found_when_they_are_routed(make: Any, said: str) -> None:
    with pytest.raises(AsyncConsumer) as raised:
        make()
    assert said in str(raised.value)


def test_async_methods_are_an_error_with_a_hint(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Lazy:
        """Makes its routes when they are asked for, as an import does."""

        @property
        def routes(self) -> Any:
            return [Asynchronous.as_route()]

    monkeypatch.setitem(sys.modules, "lazily", Lazy())  # type: ignore[arg-type]
    settings.CHANNEL_LAYERS = layers_with("lazily.routes")
    (found,) = check_layers(None)
    assert (found.id, found.level) == ("headrace.E006", checks.ERROR)
    assert "test_checks.Asynchronous has async methods (connection_groups, receive)" in found.msg
    assert "async_to_sync" in str(found.hint)


@pytest.mark.parametrize(
    ("name", "likely"),
    [
        ("websocket.recieve", "'websocket.receive'"),
        ("websocket.connected", "'websocket.connect'"),
        ("websockets.disconnect", "'websocket.disconnect'"),
        ("Websocket.Receive", "'websocket.receive'"),
        ("http.requests", "'http.request'"),
        ("websocket.message", "websocket.receive"),
    ],
)
def test_a_misspelt_channel_is_a_warning_with_the_likely_word(settings: Any, name: str, likely: str) -> None:
    settings.CHANNEL_LAYERS = layers_with([include([route(name, consumer)], path="^/x")])
    (found,) = check_layers(None)
    assert (found.id, found.level) == ("headrace.W003", checks.WARNING)
    assert repr(name) in found.msg
    assert likely in str(found.hint)


def test_a_name_that_no_channel_can_have_is_an_error(settings: Any) -> None:
    settings.CHANNEL_LAYERS = layers_with([route(["chat messages", "fine", "reply!x"], consumer)])
    found = check_layers(None)
    assert ids(found) == ["headrace.E007", "headrace.E007"]
    assert "'chat messages'" in found[0].msg
    assert all(one.hint for one in found)


def test_channels_of_ones_own_are_no_misspelling(settings: Any) -> None:
    names = [
        "receive",
        "chat.receive",
        "send-invite",
        "chat.messages",
        "http.disconnect",
        "websocket.receive",
        "udp.receive",
        "mqtt.disconnect",
        "line.receive",
    ]
    settings.CHANNEL_LAYERS = layers_with([route(names, consumer)])
    assert check_layers(None) == []


def test_apps_whose_runserver_would_win_are_found(settings: Any) -> None:
    settings.CHANNEL_LAYERS = {"default": {"ROUTING": []}}
    names = [
        "whitenoise.runserver_nostatic",
        "django.contrib.staticfiles",
        "headrace.apps.HeadraceConfig",
        "daphne",
    ]
    settings._wrapped.INSTALLED_APPS = names
    try:
        found = check_app_order(None)
    finally:
        del settings._wrapped.INSTALLED_APPS
    assert ids(found) == ["headrace.E004", "headrace.E004"]
    assert {one.msg.split("'")[1] for one in found} == set(names[:2])


def test_deploying_says_what_the_embedded_server_means(settings: Any) -> None:
    settings.CHANNEL_LAYERS = {"default": {"ROUTING": []}}
    (found,) = check_production(None)
    assert found.id == "headrace.W001"
    assert "one machine" in found.msg
    assert "RedisChannelLayer" in str(found.hint)


def test_deploying_a_layer_of_one_process_is_an_error(settings: Any) -> None:
    assert ids(check_production(None)) == ["headrace.E005"]
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "headrace_asgi.RedisChannelLayer", "ROUTING": []}}
    assert check_production(None) == []
    settings.HEADRACE = {"ORIGIN_CHECK": False}
    assert ids(check_production(None)) == ["headrace.W002"]


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ({"hosts": [{"address": "rediss://:secret@r", "ssl_cert_reqs": None}]}, ["headrace.W005"]),
        ({"hosts": ["rediss://:secret@r?ssl_cert_reqs=none"]}, ["headrace.W005"]),
        ({"hosts": ["rediss://r"], "connection_kwargs": {"ssl_cert_reqs": "none"}}, ["headrace.W005"]),
        ({"hosts": ["rediss://r"]}, []),
        ({"hosts": ["redis://r"]}, []),
        ({"hosts": ["rediss://r?ssl_cert_reqs=what"]}, []),
        ({"hosts": ["rediss+sentinel://s/main"]}, []),
        ({"hosts": ["rediss+sentinel://:secret@s/main?sentinel_ssl_cert_reqs=none"]}, ["headrace.W005"]),
        ({"hosts": ["rediss://a", "rediss://:secret@b?ssl_cert_reqs=none"]}, ["headrace.W005"]),
        ({"hosts": ["rediss://a", "rediss://b"]}, []),
        ({**SENTINELS, "connection_kwargs": {"ssl": True}}, []),
        ({**SENTINELS, "connection_kwargs": {"ssl": True, "ssl_cert_reqs": None}}, ["headrace.W005"]),
        ({**SENTINELS, "sentinel_kwargs": {"ssl": True, "ssl_cert_reqs": None}}, ["headrace.W005"]),
        ({**SENTINELS, "services": "main"}, []),
    ],
)
def test_deploying_with_a_certificate_that_is_not_checked_is_warned_of(
    settings: Any, config: dict[str, Any], found: list[str]
) -> None:
    backend = "headrace_asgi.RedisSentinelChannelLayer" if "services" in config else REDIS
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": backend, "CONFIG": config, "ROUTING": []}}
    said = check_production(None)
    assert ids(said) == found
    assert "secret" not in str(said)


def test_plain_django_is_left_alone(settings: Any) -> None:
    del settings.CHANNEL_LAYERS
    for check in (check_settings, check_layers, check_app_order, check_production):
        assert check(None) == []


DJANGO_CACHE = "django.core.cache.backends.redis.RedisCache"


@pytest.mark.parametrize(
    ("hosts", "cache", "found"),
    [
        (["redis://:secret@localhost:6379/0"], {"LOCATION": "redis://127.0.0.1:6379"}, ["headrace.W004"]),
        (None, {"LOCATION": ["redis://other", "redis://localhost"]}, ["headrace.W004"]),
        ([("localhost", 6379)], {"LOCATION": "redis://other;redis://localhost/0"}, ["headrace.W004"]),
        (
            ["unix:///run/v.sock?db=2"],
            {"LOCATION": "unix:///run/v.sock", "OPTIONS": {"db": "2"}},
            ["headrace.W004"],
        ),
        (
            ["redis://localhost/1"],
            {"LOCATION": "redis://localhost?db=1", "KEY_PREFIX": "x"},
            ["headrace.W004"],
        ),
        (["redis://localhost/1?prefix=x"], {"LOCATION": "redis://localhost"}, []),
        ([{"address": "redis://localhost", "db": 1}], {"LOCATION": "redis://localhost/1"}, ["headrace.W004"]),
        ([{"host": "localhost", "db": 1}], {"LOCATION": "redis://localhost"}, []),
        (["redis://localhost"], {"LOCATION": "redis://localhost:6380"}, []),
        (["redis://localhost"], {"LOCATION": "redis://localhost", "BACKEND": "some.LocMemCache"}, []),
        (["redis://a", "redis://localhost"], {"LOCATION": "redis://localhost"}, ["headrace.W004"]),
        (["redis://a", "redis://localhost/1"], {"LOCATION": "redis://localhost"}, []),
        (["redis+sentinel://s/main/0"], {"LOCATION": "redis://main/0"}, ["headrace.W004"]),
        (["redis+sentinel://s/main/1"], {"LOCATION": "redis://main/0"}, []),
        (["nothing"], {"LOCATION": "nothing"}, []),
        ("nothing", {}, []),
    ],
)
def test_a_cache_whose_clear_would_empty_the_layer_is_found(
    settings: Any, hosts: Any, cache: dict[str, Any], found: list[str]
) -> None:
    options = {} if hosts is None else {"hosts": hosts}
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": REDIS, "CONFIG": options, "ROUTING": []}}
    settings.CACHES = {"default": {"BACKEND": DJANGO_CACHE, **cache}}
    said = check_caches(None)
    assert ids(said) == found
    assert all("secret" not in str(one) and "FLUSHDB" not in str(one.hint) for one in said)


def test_a_cache_behind_the_same_sentinels_is_found_for_their_own_layer(settings: Any) -> None:
    backend = "headrace_asgi.RedisSentinelChannelLayer"
    for database, found in ((2, ["headrace.W004"]), (0, [])):
        config = {**SENTINELS, "connection_kwargs": {"db": database}}
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": backend, "CONFIG": config, "ROUTING": []}}
        settings.CACHES = {
            "default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": "redis://main/2"}
        }
        assert ids(check_caches(None)) == found


def test_a_cache_beside_the_embedded_server_or_wrong_layers_needs_no_warning(settings: Any) -> None:
    settings.CACHES = {"default": {"BACKEND": DJANGO_CACHE, "LOCATION": "redis://localhost"}}
    for layers in ({"default": {"ROUTING": []}}, "x"):
        settings.CHANNEL_LAYERS = layers
        assert check_caches(None) == []


class InOrder(WebsocketConsumer):
    """Wants its frames in order."""

    strict_ordering = True


@enforce_ordering(slight=True)
def behind_the_connect(message: Any) -> None:
    """Wants its frames behind the connect."""


@pytest.mark.parametrize(
    ("routes", "name"),
    [
        ([InOrder.as_route()], "test_checks.InOrder"),
        ([include([route("websocket.receive", behind_the_connect)], path="^/x")], "behind_the_connect"),
    ],
)
def test_a_consumer_that_wants_order_of_a_layer_without_it_is_an_error(
    settings: Any, routes: Any, name: str
) -> None:
    rabbitmq = {"BACKEND": "headrace_asgi.RabbitMQChannelLayer", "ROUTING": routes}
    settings.CHANNEL_LAYERS = {"default": rabbitmq}
    (found,) = check_layers(None)
    assert (found.id, found.level) == ("headrace.E008", checks.ERROR)
    assert found.msg.startswith("RabbitMQChannelLayer cannot keep the messages of a socket in order, as ")
    assert name in found.msg
    assert "RedisChannelLayer" in str(found.hint)
    settings.CHANNEL_LAYERS = layers_with(routes)
    assert check_layers(None) == []


def test_a_layer_without_order_is_fine_for_consumers_that_do_not_ask_for_it(settings: Any) -> None:
    rabbitmq = {"BACKEND": "headrace_asgi.RabbitMQChannelLayer", "ROUTING": [WebsocketConsumer.as_route()]}
    settings.CHANNEL_LAYERS = {"default": rabbitmq}
    assert check_layers(None) == []

"""What `manage.py check` says about a project that uses Headrace, and `check --deploy` about production."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from django.apps import AppConfig
from django.conf import settings as django_settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from headrace_asgi.contract import ChannelLayer
from headrace_asgi.errors import ConfigurationError
from headrace_asgi.layers.redis.address import ServerAddress, parse_address
from headrace_asgi.messages import KINDS
from headrace_asgi.names import require_channel_name

from . import conf
from .synchronous import AsyncConsumer
from .types import Options

if TYPE_CHECKING:
    from .routing import Router

__all__ = [
    "check_app_order",
    "check_caches",
    "check_layers",
    "check_production",
    "check_settings",
    "register_all",
]

#: Apps with a `runserver` of their own: the first one in INSTALLED_APPS wins, without a word.
_OTHER_RUNSERVERS = ("django.contrib.staticfiles", "daphne", "channels", "whitenoise.runserver_nostatic")

#: Cache backends whose `clear` empties the whole database of their Redis (FLUSHDB), whatever the KEY_PREFIX.
_FLUSHING_CACHES = (
    "django.core.cache.backends.redis.RedisCache",
    "django_redis.cache.RedisCache",
    "redis_cache.RedisCache",
)
#: The port of a URL that names none.
_REDIS_PORT = 6379
#: The channels that interface servers send to.
_SENT = [
    kind.channel
    for kind in KINDS
    if kind.channel.startswith(("http.", "websocket.", "udp.")) and "?" not in kind.channel
]
#: How much a name must be like one of them to be taken for a slip (difflib's ratio).
_LIKELY = 0.8

Found = list[checks.CheckMessage]
Apps = Sequence[AppConfig] | None


def register_all() -> None:
    """Register the checks with Django; doing it again changes nothing."""
    for check in (check_settings, check_layers, check_app_order, check_caches):
        checks.register(check, "headrace")
    checks.register(check_production, "headrace", deploy=True)


def check_settings(app_configs: Apps, **kwargs: object) -> Found:
    """The dict HEADRACE."""
    try:
        conf.settings()
    except ImproperlyConfigured as error:
        return [checks.Error(str(error), id="headrace.E001")]
    return []


def check_layers(app_configs: Apps, **kwargs: object) -> Found:
    """Every entry of CHANNEL_LAYERS, its options, and its routing. Connects to nothing."""
    from headrace_asgi.layers.from_config import layer_from_config

    from .routing import Router

    try:
        configs = conf.channel_layer_configs()
    except ImproperlyConfigured as error:
        return [checks.Error(str(error), id="headrace.E002")]
    found: Found = []
    for alias in configs:
        try:
            config = conf.channel_layer_config(alias)
            setting = f"CHANNEL_LAYERS[{alias!r}]['ROUTING']"
            router = Router(config.routing, setting)
            if config.backend != conf.EMBEDDED_BACKEND:  # which makes a folder for its server
                layer = layer_from_config({"BACKEND": config.backend, "CONFIG": config.options})
                found += _check_extensions(router, layer)
            found += _check_channel_names(setting, router.channels)
        except ConfigurationError as error:
            found.append(checks.Error(f"CHANNEL_LAYERS[{alias!r}]: {error}", id="headrace.E002"))
        except AsyncConsumer as error:
            hint = "Write `def`, and call what is async with asgiref.sync.async_to_sync."
            found.append(checks.Error(str(error), hint=hint, id="headrace.E006"))
        except (ImproperlyConfigured, ValueError) as error:
            found.append(checks.Error(str(error), id="headrace.E003"))
    return found


def _check_extensions(router: Router, layer: ChannelLayer) -> Found:
    """What consumers ask of a layer that does not have it."""
    lacks = router.unserved(layer.extensions, type(layer).__name__)
    if not lacks:
        return []
    hint = "Set BACKEND to 'headrace_asgi.RedisChannelLayer', or let the consumers do without."
    return [checks.Error(lacks, hint=hint, id="headrace.E008")]


def _check_channel_names(setting: str, names: set[str]) -> Found:
    """Names that no channel can have, and those that look like a misspelt channel of the interface server."""
    found: Found = []
    for name in sorted(names, key=str):
        try:
            require_channel_name(name, receive=True)
        except TypeError as error:
            hint = f"Correct the name in the route of {setting}."
            found.append(checks.Error(f"{setting}: {error}", hint=hint, id="headrace.E007"))
            continue
        if name in _SENT:
            continue
        likely = _likely(name.lower())
        if likely or name.startswith(("http.", "websocket.")):
            found.append(
                checks.Warning(
                    f"{setting} has a route for {name!r}, a channel to which no interface server sends.",
                    hint=f"Did you mean {likely[0]!r}?" if likely else f"There are {', '.join(_SENT)}.",
                    id="headrace.W003",
                )
            )
    return found


def _likely(name: str) -> list[str]:
    """The channel of an interface server that was meant; none for one of another protocol."""
    found = difflib.get_close_matches(name, _SENT, n=1, cutoff=_LIKELY)
    protocol, full_stop, _ = name.partition(".")
    if not full_stop:
        return found
    return [each for each in found if difflib.get_close_matches(protocol, [each.partition(".")[0]])]


def check_app_order(app_configs: Apps, **kwargs: object) -> Found:
    """Django takes the `runserver` of the first app that has one."""
    if not conf.channel_layer_configs():
        return []
    names = [name.split(".apps.")[0] for name in django_settings.INSTALLED_APPS]
    before = names[: names.index("headrace")] if "headrace" in names else []
    return [
        checks.Error(
            f"{name!r} stands before 'headrace' in INSTALLED_APPS: its runserver is used, without WebSockets",
            hint="Put 'headrace' first.",
            id="headrace.E004",
        )
        for name in _OTHER_RUNSERVERS
        if name in before
    ]


def check_production(app_configs: Apps, **kwargs: object) -> Found:
    """What is fine at home and not in production."""
    configs = conf.channel_layer_configs()
    found = [warning for alias, config in configs.items() for warning in _check_layer(alias, config)]
    if not conf.settings().origin_check and configs:
        found.append(
            checks.Warning(
                "HEADRACE['ORIGIN_CHECK'] is off: any page a visitor opens can use a WebSocket with the "
                "visitor's cookies.",
                hint="Set `headrace_any_origin = True` on the consumers meant for all pages instead.",
                id="headrace.W002",
            )
        )
    return found


def _check_layer(alias: str, config: Options) -> Found:
    backend = config.get("BACKEND", conf.EMBEDDED_BACKEND)
    if backend == conf.EMBEDDED_BACKEND:
        return [
            checks.Warning(
                f"CHANNEL_LAYERS[{alias!r}] uses the embedded server: it serves one machine, keeps "
                "messages in memory only, and ends when the last process that uses it ends.",
                hint="For several machines, or messages that survive a restart, run Redis or Valkey and "
                "set BACKEND to 'headrace_asgi.RedisChannelLayer' with CONFIG {'hosts': ['redis://…']}.",
                id="headrace.W001",
            )
        ]
    if str(backend).endswith("InMemoryChannelLayer"):
        return [
            checks.Error(
                f"CHANNEL_LAYERS[{alias!r}] uses a layer that lives in one process: no interface server "
                "can reach a worker over it.",
                hint="Remove BACKEND for the embedded server, or set 'headrace_asgi.RedisChannelLayer'.",
                id="headrace.E005",
            )
        ]
    if any(one.tls is not None and not one.tls.verify for one in _layer_addresses(config)):
        return [
            checks.Warning(
                f"CHANNEL_LAYERS[{alias!r}] does not check the certificate of its Redis: whoever stands "
                "between can read and write every message.",
                hint="Remove ssl_cert_reqs; set ssl_ca_certs to the file of the authority that signed it.",
                id="headrace.W005",
            )
        ]
    return []


def check_caches(app_configs: Apps, **kwargs: object) -> Found:
    """A cache in the database of a layer: `cache.clear()` would throw messages, groups and sockets away."""
    try:
        layers = conf.channel_layer_configs()
    except ImproperlyConfigured:
        return []  # `check_layers` says so
    caches = getattr(django_settings, "CACHES", None) or {}
    return [
        checks.Warning(
            f"CACHES[{name!r}] is in the same Redis database as CHANNEL_LAYERS[{alias!r}]: cache.clear() "
            "empties it, and every message that waits in the layer is lost.",
            hint="Give the cache a database of its own, such as …/1 at the end of its LOCATION.",
            id="headrace.W004",
        )
        for alias, layer in layers.items()
        for name, cache in caches.items()
        if cache.get("BACKEND") in _FLUSHING_CACHES and _layer_databases(layer) & _cache_databases(cache)
    ]


def _layer_databases(config: Options) -> set[tuple[str, int, int]]:
    return {_database(address) for address in _layer_addresses(config)}


def _layer_addresses(config: Options) -> list[ServerAddress]:
    """Where each server and Sentinel of a layer is; none if that is wrong: `check_layers` says it."""
    from headrace_asgi.layers.from_config import layer_from_config
    from headrace_asgi.layers.redis.blocking.shards import RedisChannelLayer

    backend = config.get("BACKEND", conf.EMBEDDED_BACKEND)
    if backend == conf.EMBEDDED_BACKEND:
        return []
    try:
        layer = layer_from_config({"BACKEND": backend, "CONFIG": config.get("CONFIG") or {}})
    except ConfigurationError:
        return []
    if not isinstance(layer, RedisChannelLayer):
        return []
    found = [shard.executor(shard.place).address.address for shard in layer.shards.values()]
    asked = [each.sentinels or each.cluster for each in found]
    return found + [one for who in asked if who for one in who.addresses]


def _cache_databases(config: Options) -> set[tuple[str, int, int]]:
    location = config.get("LOCATION") or []
    urls = location.replace(";", ",").split(",") if isinstance(location, str) else location
    return _databases([str(url).strip() for url in urls], config.get("OPTIONS") or {})


def _databases(urls: Sequence[str], options: Options) -> set[tuple[str, int, int]]:
    """Server, port and number of the database behind each URL; those that are none are for others to name."""
    found = set()
    for url in urls:
        try:
            target = parse_address(url, {"db": options["db"]} if "db" in options else {})
        except ConfigurationError:
            continue
        found.add(_database(target))
    return found


def _database(target: ServerAddress) -> tuple[str, int, int]:
    if target.path is not None:
        return target.path, 0, target.db
    if target.sentinels is not None:
        # As caches write it: redis://<what Sentinels call it>/<db>.
        return target.sentinels.service, _REDIS_PORT, target.db
    return "127.0.0.1" if target.host == "localhost" else target.host, target.port, target.db

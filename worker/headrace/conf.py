"""Every setting the worker tier reads, with its default and its reason. Nothing else reads settings of ours.

    CHANNEL_LAYERS = {"default": {"ROUTING": "project.routing.routing"}}
    HEADRACE = {"ORIGIN_CHECK": True}

Without `CHANNEL_LAYERS` everything is plain Django. `ROUTING` alone means the embedded server.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

from headrace_asgi.errors import ConfigurationError

from .types import Options

__all__ = [
    "EMBEDDED_BACKEND",
    "LayerConfig",
    "WorkerSettings",
    "channel_layer_config",
    "channel_layer_configs",
    "channel_session_engine",
    "project_name",
    "settings",
]

#: Needs nothing installed beside Python packages; `check --deploy` says what it means in production.
EMBEDDED_BACKEND = "headrace_asgi.IPCChannelLayer"

#: Whole numbers that would do harm elsewhere. An entry counts its retries in one byte: with a higher limit a
#: message would be tried for ever.
_RANGES = {"MESSAGE_RETRIES": range(256), "RESPONSE_CHUNK_BYTES": range(1, 2**31)}
_WHOLE = range(2**31)


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """The dict `HEADRACE`: each key is a field in upper case."""

    #: A page of another site must not open a socket with the visitor's cookies: every `websocket.connect` is
    #: compared with ALLOWED_HOSTS and CSRF_TRUSTED_ORIGINS before a consumer sees it.
    origin_check: bool = True
    #: How often ConsumeLater may put one message back. Ten, as in Channels 1.x; about 5 s in all.
    message_retries: int = 10
    #: Longest pause before a message is put back, in seconds; the first one is 10 ms, each doubles.
    retry_pause_seconds: float = 1.0
    #: How long a refused send is tried again before it is dropped and counted, in seconds.
    send_retry_seconds: float = 1.0
    #: How long a stop may take in all, in seconds: what runs, its answers, what is given back, also while
    #: Redis does not answer. With the 2 s that a parent adds, below the 30 s of common supervisors.
    stop_deadline_seconds: float = 25.0
    #: When a running request counts as taken, so that its queue deadline no longer applies, in seconds.
    long_running_seconds: float = 1.0
    #: When the ordering lease of a running message is renewed, and how often from then on, in seconds.
    renew_seconds: float = 5.0
    #: What one take of a worker may be worth, in seconds: more would keep messages from idle workers. With
    #: half of it a worker under load asks Redis so often that everybody waits longer.
    take_seconds: float = 0.002
    #: Most messages in one take: beyond it nothing is gained.
    take_limit: int = 20
    #: Longest wait for the next chunk of a streamed request body, in seconds; then 408 (Channels 1.x: 60).
    body_receive_seconds: float = 60.0
    #: Size of the messages a response is cut into, in bytes (Channels 1.x: 512 KiB).
    response_chunk_bytes: int = 512 * 1024


@dataclass(frozen=True, kw_only=True)
class LayerConfig:
    """One entry of CHANNEL_LAYERS, complete."""

    backend: str
    options: Options
    routing: object


@lru_cache(maxsize=1)
def settings() -> WorkerSettings:
    """The dict `HEADRACE` with its defaults. Raises ImproperlyConfigured for an unknown key or wrong type."""
    given = getattr(django_settings, "HEADRACE", {})
    if not isinstance(given, Mapping):
        raise ImproperlyConfigured(f"HEADRACE must be a dict, not {type(given).__name__}")
    known = {field.name.upper(): field for field in fields(WorkerSettings)}
    values: dict[str, Any] = {}
    for key, value in given.items():
        if key not in known:
            raise ImproperlyConfigured(_unknown(key, list(known)))
        values[known[key].name] = _checked(key, value, known[key].default)
    return WorkerSettings(**values)


def channel_layer_configs() -> dict[str, Options]:
    """`settings.CHANNEL_LAYERS`, or an empty dict. Raises ImproperlyConfigured if it is no dict of dicts."""
    configs = getattr(django_settings, "CHANNEL_LAYERS", None) or {}
    if not isinstance(configs, dict) or not all(isinstance(config, dict) for config in configs.values()):
        raise ImproperlyConfigured(
            'CHANNEL_LAYERS must be a dict of dicts, such as {"default": {"ROUTING": "project.routing.all"}}'
        )
    return configs


def channel_layer_config(alias: str, key: str = "CONFIG") -> LayerConfig:
    """One entry of CHANNEL_LAYERS, with the options under `key` (`CONFIG` or `TEST_CONFIG`).

    Raises ConfigurationError for an alias that is not there, a wrong key, or a missing ROUTING.
    """
    configs = channel_layer_configs()
    if alias not in configs:
        raise ConfigurationError(
            f"there is no such layer; CHANNEL_LAYERS has {', '.join(map(repr, configs)) or 'none'}"
        )
    config = configs[alias]
    for name in config:
        if name not in {"BACKEND", "CONFIG", "ROUTING", "TEST_CONFIG"}:
            raise ConfigurationError(
                f"{name!r} is not a key of a layer; those are BACKEND, CONFIG, ROUTING and TEST_CONFIG"
            )
    if "ROUTING" not in config:
        raise ConfigurationError('it has no ROUTING; set it, for example to "project.routing.routing"')
    if key == "TEST_CONFIG" and key not in config:
        raise ConfigurationError("it has no TEST_CONFIG, the CONFIG to be used by tests")
    options = config.get(key) or {}
    if not isinstance(options, Mapping):
        raise ConfigurationError(f"its {key} must be a dict of options, not {options!r}")
    options = dict(options)
    backend = config.get("BACKEND", EMBEDDED_BACKEND)
    if backend == EMBEDDED_BACKEND:
        options.setdefault("name", project_name())
    return LayerConfig(backend=backend, options=options, routing=config["ROUTING"])


def channel_session_engine() -> str:
    """Dotted module of the channel sessions: CHANNEL_SESSION_ENGINE, else SESSION_ENGINE."""
    engine: str = getattr(django_settings, "CHANNEL_SESSION_ENGINE", None) or django_settings.SESSION_ENGINE
    return engine


def project_name() -> str:
    """What tells this project's embedded server from another's: its folder, else its settings module."""
    base = getattr(django_settings, "BASE_DIR", None)
    return str(base or getattr(django_settings, "SETTINGS_MODULE", None) or "headrace")


def _unknown(key: object, known: list[str]) -> str:
    near = difflib.get_close_matches(str(key).upper(), known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
    return f"HEADRACE has an unknown key {key!r}: {hint}"


def _checked(key: str, value: Any, default: Any) -> Any:
    if isinstance(default, bool):
        fits, wanted = isinstance(value, bool), "True or False"
    elif isinstance(default, int):
        allowed = _RANGES.get(key, _WHOLE)
        fits = isinstance(value, int) and not isinstance(value, bool) and value in allowed
        wanted = f"a whole number from {allowed[0]} to {allowed[-1]}"
    else:
        fits, wanted = (
            isinstance(value, int | float) and not isinstance(value, bool) and value >= 0,
            "a number, 0 or more",
        )
    if not fits:
        raise ImproperlyConfigured(f"HEADRACE[{key!r}] must be {wanted}, not {value!r}")
    return value


def _forget(*, setting: str, **_: object) -> None:
    if setting == "HEADRACE":
        settings.cache_clear()


setting_changed.connect(_forget)

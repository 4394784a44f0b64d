"""Options of a layer's `CONFIG`, checked: a wrong one is a ConfigurationError that names it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlencode

from ..envelope import PLAIN, Codec
from ..errors import ConfigurationError

__all__ = [
    "codec_option",
    "hosts_option",
    "mapping_option",
    "number_option",
    "refuse_keys_in",
    "seconds_option",
]

_KEYS = "symmetric_encryption_keys"
#: Bytes of a key, at least: a shorter text is guessed by who has a copy of one message.
SHORTEST_KEY_BYTES = 16
_NEW_KEY = "python -c 'import secrets; print(secrets.token_urlsafe(32))' makes one"


def seconds_option(name: str, value: Any) -> float:
    """A positive number of seconds."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < float("inf"):
        raise ConfigurationError(f"{name} must be a positive number of seconds, not {value!r}")
    return value


def number_option(name: str, value: Any) -> int:
    """A positive integer."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigurationError(f"{name} must be a positive integer, not {value!r}")
    return value


def mapping_option(name: str, value: Any) -> dict[str, Any]:
    """A dict, empty for None."""
    if value is not None and not isinstance(value, Mapping):
        raise ConfigurationError(f"{name} must be a dict, not {value!r}")
    return dict(value or {})


def hosts_option(hosts: Any, prefix: Any) -> tuple[list[str], Any]:
    """URLs of Redis servers and the prefix, which may stand in the URL as `?prefix=`."""
    if isinstance(hosts, str):
        raise ConfigurationError("hosts must be a list of URLs, not a string; put it into [ ]")
    if not isinstance(hosts, Sequence):
        raise ConfigurationError(f"hosts must be a list of URLs, not {hosts!r}")
    urls = []
    for host in hosts:
        url = _url(host)
        refuse_keys_in(url)
        query = parse_qsl(url.partition("?")[2])
        found = [value for name, value in query if name == "prefix"]
        if found:
            prefix = prefix or found[-1]
            rest = urlencode([(name, value) for name, value in query if name != "prefix"], safe="@:/")
            url = url.partition("?")[0] + (f"?{rest}" if rest else "")
        urls.append(url)
    return urls, prefix


def codec_option(keys: Any) -> Codec:
    """How entries are made and read: plain ones for None, else such as only these keys open.

    The texts of errors hold no key.
    """
    if keys is None:
        return PLAIN
    if isinstance(keys, str | bytes):
        raise ConfigurationError(f"{_KEYS} must be a list of keys, not one string; put it into [ ]")
    if not isinstance(keys, Sequence):
        raise ConfigurationError(f"{_KEYS} must be a list of keys, not {type(keys).__name__}")
    if not keys:
        # Most likely a list made of a variable that is not set: that must not turn encryption off.
        raise ConfigurationError(f"{_KEYS} is empty; give it a key ({_NEW_KEY}), or leave it out")
    listed = [_key(number, key) for number, key in enumerate(keys, 1)]
    try:
        from ..sealing import sealing_codec
    except ImportError as error:
        raise ConfigurationError(
            f"{_KEYS} needs a package that is not installed ({error.name}); "
            "pip install headrace[cryptography]"
        ) from error
    try:
        return sealing_codec(listed)
    except ValueError:
        raise ConfigurationError(f"{_KEYS} holds the same key twice; leave one of them out") from None


def _key(number: int, key: Any) -> bytes:
    if not isinstance(key, str | bytes):
        raise ConfigurationError(f"{_KEYS}: key {number} must be a str or bytes, not {type(key).__name__}")
    text = key.encode(errors="surrogateescape") if isinstance(key, str) else key
    if len(text) < SHORTEST_KEY_BYTES:
        raise ConfigurationError(
            f"{_KEYS}: key {number} has {len(text)} bytes, and needs {SHORTEST_KEY_BYTES} that nobody can "
            f"guess; {_NEW_KEY}"
        )
    return text


def refuse_keys_in(url: str) -> None:
    """Raise ConfigurationError for keys in a URL: it is read by others, as an argument or in a log."""
    if _KEYS in url.partition("?")[2]:
        raise ConfigurationError(
            f"{_KEYS} may not stand in a layer's URL, which others can read: put it into CONFIG, and give an "
            "interface server the layer as module:attribute or with --layer-config-fd"
        )


def _url(host: Any) -> str:
    if isinstance(host, str):
        return host
    if (
        isinstance(host, Sequence)
        and len(host) == 2
        and isinstance(host[0], str)
        and isinstance(host[1], int)
    ):
        name = f"[{host[0]}]" if ":" in host[0] else host[0]
        return f"redis://{name}:{host[1]}/0"
    raise ConfigurationError(
        f"a host is a URL such as redis://localhost:6379/0 or (host, port), not {host!r}"
    )

"""The option `symmetric_encryption_keys` of a layer: from what is configured to how entries are made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..envelope import Codec, plain_codec
from ..errors import ConfigurationError

__all__ = ["codec_option", "refuse_keys_in"]

_KEYS = "symmetric_encryption_keys"
#: Bytes of a key, at least: a shorter text is guessed by who has a copy of one message.
SHORTEST_KEY_BYTES = 16
_NEW_KEY = "python -c 'import secrets; print(secrets.token_urlsafe(32))' makes one"


def codec_option(keys: Any) -> Codec:
    """How entries are made and read: plain ones for None, else such as only these keys open.

    The texts of errors hold no key.
    """
    if keys is None:
        return plain_codec()
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

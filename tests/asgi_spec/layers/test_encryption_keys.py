"""`symmetric_encryption_keys` as people configure them."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from headrace_asgi.envelope import PLAIN
from headrace_asgi.errors import ConfigurationError
from headrace_asgi.layers.encryption_keys import codec_option
from headrace_asgi.layers.options import hosts_option

KEY = "a secret that nobody may see"


def test_without_keys_entries_are_plain_and_with_keys_they_are_sealed() -> None:
    plain = codec_option(None)
    assert plain.encode(b"x", queue="test") == PLAIN.encode(b"x", queue="test")
    assert plain is not codec_option(None), "each layer learns for itself which version is written"
    as_text, as_bytes = codec_option([KEY]), codec_option((KEY.encode(),))
    assert as_bytes.decode(as_text.encode(b"x", queue="test"), "test").payload == b"x"


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        (KEY, "must be a list of keys, not one string; put it into"),
        (KEY.encode(), "must be a list of keys, not one string"),
        ({KEY: 1}, "must be a list of keys, not dict"),
        (7, "must be a list of keys, not int"),
        ([], "is empty; give it a key .* or leave it out"),
        ([KEY, None], "key 2 must be a str or bytes, not NoneType"),
        ([KEY, ""], "key 2 has 0 bytes, and needs 16"),
        ([KEY[:15]], "key 1 has 15 bytes, and needs 16 .*token_urlsafe"),
        ([KEY, KEY.encode()], "holds the same key twice"),
    ],
)
def test_keys_that_cannot_be_meant_are_refused_and_not_shown(keys: Any, text: str) -> None:
    with pytest.raises(ConfigurationError, match=f"symmetric_encryption_keys.*{text}") as raised:
        codec_option(keys)
    assert KEY[:15] not in str(raised.value)


def test_a_missing_package_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "headrace_asgi.sealing", raising=False)
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    with pytest.raises(ConfigurationError, match=r"pip install headrace\[cryptography\]"):
        codec_option([KEY])


@pytest.mark.parametrize(
    "host",
    [
        f"redis://h/0?symmetric_encryption_keys={KEY}",
        f"redis://h/0?prefix=x&symmetric_encryption_keys={KEY}",
        "unix:///run/v.sock?symmetric_encryption_keys=",
    ],
)
def test_keys_do_not_belong_in_a_url(host: str) -> None:
    with pytest.raises(ConfigurationError, match="symmetric_encryption_keys may not stand in") as raised:
        hosts_option([host], "")
    assert KEY not in str(raised.value)

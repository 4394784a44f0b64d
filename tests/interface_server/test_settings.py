"""The defaults that protect whoever says nothing."""

from __future__ import annotations

from headrace_asgi.limits import MAX_MESSAGE_BYTES
from headrace_interface.http.body import CHUNK_BYTES
from headrace_interface.settings import InterfaceSettings


def test_every_size_has_a_limit_by_default() -> None:
    this = InterfaceSettings()
    for name in ("head", "target", "body", "pending", "early", "websocket_message", "websocket_frame"):
        assert getattr(this, f"max_{name}_bytes") > 0, name


def test_what_is_sent_fits_into_a_message() -> None:
    this = InterfaceSettings()
    assert this.inline_body_bytes + 2 * this.max_head_bytes < MAX_MESSAGE_BYTES
    assert this.inline_body_bytes <= this.spool_memory_bytes <= this.max_bodies_memory_bytes
    assert CHUNK_BYTES < MAX_MESSAGE_BYTES
    assert this.max_websocket_message_bytes < MAX_MESSAGE_BYTES


def test_nobody_is_believed_by_default_s3() -> None:
    assert not InterfaceSettings().proxy_headers
    assert not InterfaceSettings().proxy_protocol
    assert InterfaceSettings().root_path_header == b""
    assert InterfaceSettings().trusted_proxies == ()

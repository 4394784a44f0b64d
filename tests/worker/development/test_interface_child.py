from __future__ import annotations

import importlib.util
import json
import re
import socket
import ssl
import urllib.request
from typing import Any

import pytest

from headrace.development.interface_child import InterfaceChild, _as_json, listening_socket
from headrace_asgi import ConfigurationError, RedisChannelLayer
from headrace_asgi.layers.from_config import layer_from_config


def layer_of(redis_url: str) -> dict[str, Any]:
    return {"BACKEND": "headrace_asgi.RedisChannelLayer", "CONFIG": {"hosts": [redis_url]}}


def test_it_listens_on_the_given_socket_when_start_returns_and_is_gone_after_stop(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Meant for an interface server in production; with it this one would not start.
    monkeypatch.setenv("HEADRACE_INTERFACE_PORT", "nonsense")
    lines: list[str] = []
    child = InterfaceChild(lines.append)
    bound = listening_socket("127.0.0.1", 0, use_ipv6=False)
    port = bound.getsockname()[1]
    child.start(bound, layer_of(redis_url), ["--queue-timeout=0.1"])
    try:
        with pytest.raises(urllib.request.HTTPError) as refused:  # type: ignore[attr-defined]
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10)
        refused.value.close()
        assert refused.value.code == 503
    finally:
        child.stop()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), 1)
    child.stop()
    assert not any("ended with status" in line for line in lines)


def test_a_layer_that_cannot_work_is_an_error_and_leaves_nothing_behind(capfd: Any) -> None:
    child = InterfaceChild(print)
    bound = listening_socket("127.0.0.1", 0, use_ipv6=False)
    with pytest.raises(ConfigurationError, match="did not start"):
        child.start(bound, {"BACKEND": "headrace_asgi.InMemoryChannelLayer", "CONFIG": {}})
    assert bound.fileno() == -1
    assert "lives in one process" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("config", "why"), [({"x": object()}, "as JSON"), ({"x": "y" * 70_000}, "larger than 64 KiB")]
)
def test_a_config_that_cannot_be_handed_over_is_an_error(config: dict[str, Any], why: str) -> None:
    bound = listening_socket("127.0.0.1", 0, use_ipv6=False)
    with pytest.raises(ConfigurationError, match=why):
        InterfaceChild(print).start(bound, {"BACKEND": "x.Y", "CONFIG": config})
    assert bound.fileno() == -1


def test_a_config_of_channels_can_be_handed_over_with_its_patterns() -> None:
    rules = {"http.request": 300, re.compile(r"^websocket.send\!.+", re.I): 20, "*": 5}
    config = {"hosts": [{"address": "rediss://r", "ssl_cert_reqs": ssl.CERT_NONE}], "channel_capacity": rules}
    said = json.loads(_as_json({"BACKEND": "headrace_asgi.RedisChannelLayer", "CONFIG": config}))
    layers = [layer_from_config(one) for one in (said, {"BACKEND": said["BACKEND"], "CONFIG": config})]
    there, here = (layer for layer in layers if isinstance(layer, RedisChannelLayer))
    for name in ("http.request", "WEBSOCKET.send!x", "other"):
        assert there.capacities.of(name) == here.capacities.of(name)
    assert there.label == here.label


def test_without_twisted_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    bound = listening_socket("127.0.0.1", 0, use_ipv6=False)
    with pytest.raises(ConfigurationError, match=r"pip install headrace\[interface\]"):
        InterfaceChild(print).start(bound, {})


def test_a_port_in_use_is_an_os_error() -> None:
    with listening_socket("127.0.0.1", 0, use_ipv6=False) as first, pytest.raises(OSError, match="in use"):
        listening_socket("127.0.0.1", first.getsockname()[1], use_ipv6=False)


def test_ipv6_can_be_listened_on() -> None:
    with listening_socket("::1", 0, use_ipv6=True) as bound:
        assert bound.family == socket.AF_INET6

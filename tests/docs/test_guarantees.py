"""The configuration of Redis on the page of guarantees starts, and keeps what it promises."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace_asgi import RedisChannelLayer
from tests.support.services import RedisServer, valkey_binary

PAGE = Path(__file__).parents[2] / "docs" / "guarantees.md"
PASSWORD = "CHANGE-ME"


class ConfiguredServer(RedisServer):
    """A server with the file of the page, and nothing else but where it lives."""

    def _arguments(self) -> list[str]:
        (section,) = re.findall(r"^## A redis.conf\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.M | re.S)
        (block,) = re.findall(r"^```\n(.*?)^```", section, re.M | re.S)
        (self.directory / "redis.conf").write_text(block)
        where = ["--port", str(self.port), "--unixsocket", self.path, "--dir", str(self.directory)]
        return [str(self.directory / "redis.conf"), *where]


@pytest.fixture
def server() -> Iterator[ConfiguredServer]:
    with ConfiguredServer(valkey_binary()) as server:
        yield server


def test_what_was_acknowledged_or_is_for_later_is_there_after_a_kill(
    server: ConfiguredServer, caplog: pytest.LogCaptureFixture
) -> None:
    config = {"hosts": [f"redis://:{PASSWORD}@127.0.0.1:{server.port}/0"], "acknowledged": ["orders"]}
    layer = RedisChannelLayer(**config)
    layer.ensure_usable()
    layer.send("orders", {"order": 1})
    layer.send_later("orders", {"order": 2}, delay=0.5)
    layer.close()
    server.restart()
    layer = RedisChannelLayer(**config)
    found: list[int] = []
    for _ in range(50):
        layer.move_due(["orders"])
        found += [message["order"] for _, message in layer.receive_many(["orders"], 2, 0.1)]
        if len(found) == 2:
            break
    layer.close()
    assert sorted(found) == [1, 2]
    assert caplog.text == "", "the layer has something to say about this configuration"

"""What a thread runs, in words."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.worker.activity import named
from headrace_asgi.contract import Delivery


@pytest.mark.parametrize(
    ("content", "details"),
    [
        ({}, ""),
        ({"path": "/a\nb"}, " (path '/a\\nb')"),
        ({"path": "/", "reply_channel": "x!y"}, " (path '/', reply channel 'x!y')"),
    ],
)
def test_a_message_is_named_by_its_channel_its_path_and_its_client(content: Any, details: str) -> None:
    assert named(Delivery("work", content, b"", 0, "0", 0.0)) == "A message on work" + details

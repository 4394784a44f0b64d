"""The routing of the test project: only what is there by default."""

from __future__ import annotations

from typing import Any

channel_routing: list[Any] = []

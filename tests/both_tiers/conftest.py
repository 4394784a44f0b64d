"""Configures Django for the tests of both tiers in one process."""

from __future__ import annotations

import os
from collections.abc import Iterator

import django
import pytest

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.support.settings"
django.setup()
# Projects that tests start as processes have settings of their own.
del os.environ["DJANGO_SETTINGS_MODULE"]


@pytest.fixture(autouse=True)
def default_layer() -> Iterator[None]:
    """Each test's site ends with it."""
    from headrace.asgi import channel_layers

    yield
    channel_layers.set("default", None)

"""Configures Django for the tests of the worker tier."""

from __future__ import annotations

import os

import django
import pytest

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.support.settings"
django.setup()
# Projects that tests start as processes have settings of their own.
del os.environ["DJANGO_SETTINGS_MODULE"]


@pytest.fixture(autouse=True)
def database(db: None) -> None:
    """Every message closes old database connections, so no test of the tier is without a database."""

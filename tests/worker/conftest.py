"""Configures Django for the tests of the worker tier."""

from __future__ import annotations

import os

import django

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.support.settings"
django.setup()

"""Configures Django, so that every module which a page names can be imported."""

from __future__ import annotations

import os

import django
from django.conf import settings

if not settings.configured:
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.support.settings"
    django.setup()
    # Projects that tests start as processes have settings of their own.
    del os.environ["DJANGO_SETTINGS_MODULE"]

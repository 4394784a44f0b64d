"""The Django app."""

from __future__ import annotations

from django.apps import apps
from django.core import checks

from headrace.checks import check_layers


def test_the_app_registers_its_checks() -> None:
    assert apps.get_app_config("headrace").verbose_name == "Headrace"
    assert check_layers in checks.registry.registry.get_checks()

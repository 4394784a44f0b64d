"""The Django app."""

from __future__ import annotations

from django.apps import AppConfig

__all__ = ["HeadraceConfig"]


class HeadraceConfig(AppConfig):
    """Registers the system checks; opens no connection and starts no thread."""

    name = "headrace"
    verbose_name = "Headrace"

    def ready(self) -> None:
        """Called by Django once all apps are loaded."""
        from . import checks

        checks.register_all()

"""The Django app."""

from __future__ import annotations

from types import ModuleType

from django.apps import AppConfig

from .development import broken_code

__all__ = ["HeadraceConfig"]


class HeadraceConfig(AppConfig):
    """Registers the system checks; opens no connection and starts no thread.

    Under `runserver` it sees to it that browsers are told when the apps behind it cannot be loaded.
    """

    name = "headrace"
    verbose_name = "Headrace"

    def __init__(self, app_name: str, app_module: ModuleType | None) -> None:
        super().__init__(app_name, app_module)
        broken_code.watch_if_asked()

    def ready(self) -> None:
        """Called by Django once all apps are loaded."""
        from . import checks

        checks.register_all()

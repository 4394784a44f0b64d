"""The Django app."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.contrib.auth.signals import user_logged_out
from django.http import HttpRequest


class ChatConfig(AppConfig):
    name = "chat"

    def ready(self) -> None:
        user_logged_out.connect(_signed_out, dispatch_uid="chat.sign-out")


def _signed_out(request: HttpRequest, **kwargs: Any) -> None:
    """Django tells this while the session still has its key."""
    from .publish import close_session

    if request.session.session_key:
        close_session(request.session.session_key)

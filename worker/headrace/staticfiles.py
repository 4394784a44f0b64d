"""Static files in development, as Django's runserver serves them."""

from __future__ import annotations

from urllib.parse import urlparse

from django.contrib.staticfiles.handlers import StaticFilesHandlerMixin
from django.core.handlers.exception import response_for_exception
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from .django_private import serves_static
from .handler import AsgiHandler, ViewConsumer

__all__ = ["StaticFilesConsumer", "StaticFilesHandler"]


class StaticFilesHandler(StaticFilesHandlerMixin, AsgiHandler):
    """Serves what is below STATIC_URL from the finders, everything else through the middleware and views."""

    def __init__(self) -> None:
        """Load the middleware of the project, which static files do not pass."""
        super().__init__()
        self.base_url = urlparse(self.get_base_url())

    def load_middleware(self, is_async: bool = False) -> None:
        """Load it here: unlike Django's handler for static files, this one has no other behind it."""
        AsgiHandler.load_middleware(self, is_async)

    def get_response(self, request: HttpRequest) -> HttpResponseBase:
        """The file, Django's page about a missing one, or what the views say."""
        if not serves_static(self, request.path):
            return AsgiHandler.get_response(self, request)
        try:
            return StaticFilesHandlerMixin.get_response(self, request)
        except Exception as error:  # such as a path that leads out of the folder
            return response_for_exception(request, error)


class StaticFilesConsumer(ViewConsumer):
    """A `ViewConsumer` that serves static files too. For development: neither fast nor hardened."""

    handler_class = StaticFilesHandler

"""The one door to the private names of Django: what to look at when a new version of it comes.

WSGIRequest._set_content_type_params   read the content type; else we would parse it as Django does
WSGIRequest._read_started, ._stream    set by every request class: whether the body is being read, and it
BaseHandler._get_response              replaced: the part behind the middleware, where a view may leave
                                       the answer to others. Without it that could not be told to the
                                       middleware
HttpResponse._handler_class            set by every handler: in whose name `request_finished` is sent
ResponseHeaders._store                 `items()` looks each header up again by its name in lower case: a
                                       tenth of a small response's time
StaticFilesHandlerMixin._should_handle  what every handler for static files asks of itself; a project may
                                       have its own
SessionBase._session_key               there is no other way to give a session a known key
_TestState                             whether tests are running; `mail.outbox`, the trace of that which is
                                       documented, is also left by a site that sends its mail into memory
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import cached_property
from typing import IO, TYPE_CHECKING, Any

from django.core.handlers.base import BaseHandler
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpRequest
from django.http.response import HttpResponseBase

if TYPE_CHECKING:
    from django.contrib.sessions.backends.base import SessionBase
    from django.contrib.staticfiles.handlers import StaticFilesHandlerMixin

__all__ = [
    "MadeRequest",
    "OpenHandler",
    "ends_requests_of",
    "give_key",
    "header_pairs",
    "serves_static",
    "tests_are_running",
]


class MadeRequest(WSGIRequest):
    """A WSGIRequest that is made of `META` by somebody else than its `__init__`, which reads an environ."""

    def begin(self) -> None:
        """Set what Django expects of every request. `META` must be there; nothing of a body is read."""
        if "CONTENT_TYPE" in self.META:
            self._set_content_type_params(self.META)  # type: ignore[attr-defined]
        else:
            self.content_type, self.content_params = "", {}
        self._read_started = False
        self.resolver_match = None

    def make_stream(self) -> IO[bytes]:
        """Make the body, for whoever reads it before it was given."""
        raise NotImplementedError

    @property
    def stream(self) -> IO[bytes] | None:
        """The body, once it was given or made."""
        return self.__dict__.get("_stream")

    @stream.setter
    def stream(self, stream: IO[bytes]) -> None:
        self.__dict__["_stream"] = stream

    @cached_property
    def _stream(self) -> IO[bytes]:  # type: ignore[override]
        return self.make_stream()


class OpenHandler(BaseHandler):
    """A BaseHandler of which the part behind the middleware can be replaced."""

    def run_view(self, request: HttpRequest) -> HttpResponseBase:
        """Resolve the URL and run the view with its own middleware; raises what they raise."""
        response: HttpResponseBase = super()._get_response(request)  # type: ignore[misc]
        return response

    def _get_response(self, request: HttpRequest) -> HttpResponseBase:
        return self.run_view(request)


def ends_requests_of(response: HttpResponseBase, handler_class: type) -> None:
    """`response.close()` sends `request_finished` in the name of this class, as after Django's handlers."""
    response._handler_class = handler_class  # type: ignore[attr-defined]


def header_pairs(response: HttpResponseBase) -> Iterable[tuple[str, str]]:
    """Name and value of each header."""
    pairs: Iterable[tuple[str, str]] = response.headers._store.values()
    return pairs


def serves_static(handler: StaticFilesHandlerMixin, path: str) -> bool:
    """Whether a path is that of a static file."""
    return bool(handler._should_handle(path))


def give_key(session: SessionBase, key: str) -> None:
    """A session that was not saved gets this key; Django chooses one by itself."""
    changed: Any = session
    changed._session_key = key


def tests_are_running() -> bool:
    """Whether this process is between Django's `setup_test_environment` and `teardown_test_environment`."""
    utils = sys.modules.get("django.test.utils")
    return utils is not None and hasattr(utils._TestState, "saved_data")

"""The private names of Django that are used: a version that lacks one fails here, with its name."""

from __future__ import annotations

import inspect
from io import BytesIO

import django
import pytest
from django.contrib.sessions.backends.base import SessionBase
from django.contrib.staticfiles.handlers import StaticFilesHandlerMixin
from django.core.handlers.base import BaseHandler
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.test import utils

from headrace import django_private
from headrace.django_private import OpenHandler

HERE = f"Django {django.__version__}"
ENVIRON = {
    "REQUEST_METHOD": "GET",
    "wsgi.input": BytesIO(b"x"),
    "SERVER_NAME": "localhost",
    "SERVER_PORT": "80",
}

USED = [
    (WSGIRequest(ENVIRON), "_set_content_type_params"),
    (WSGIRequest(ENVIRON), "_read_started"),
    (WSGIRequest(ENVIRON), "_stream"),
    (BaseHandler, "_get_response"),
    (HttpResponse(), "_handler_class"),
    (HttpResponse().headers, "_store"),
    (StaticFilesHandlerMixin, "_should_handle"),
    (SessionBase(), "_session_key"),
    (utils, "_TestState"),
]


@pytest.mark.parametrize(("owner", "name"), USED, ids=[name for _, name in USED])
def test_what_is_used_of_django_is_still_there(owner: object, name: str) -> None:
    assert hasattr(owner, name), f"{owner!r} of {HERE} has no {name}: see django_private.py"
    assert name in inspect.getsource(django_private), "no longer used"


def test_a_state_of_tests_is_found_while_they_run() -> None:
    assert django_private.tests_are_running() == hasattr(utils._TestState, "saved_data")


def test_the_headers_of_a_response_are_pairs_as_they_were_set() -> None:
    response = HttpResponse(headers={"X-One": "1", "content-type": "a/b"})
    assert list(django_private.header_pairs(response)) == list(response.items())


def test_the_part_behind_the_middleware_is_the_one_that_is_replaced() -> None:
    class Handler(OpenHandler):
        def run_view(self, request: object) -> HttpResponseBase:
            return HttpResponse(b"ours")

    handler = Handler()
    handler.load_middleware()
    assert handler.get_response(WSGIRequest(ENVIRON)).content == b"ours"  # type: ignore[attr-defined]

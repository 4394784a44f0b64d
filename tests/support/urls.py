"""Views of the test project, one per thing a response can do."""

from __future__ import annotations

from collections.abc import Iterator

from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path

__all__ = ["urlpatterns"]


def hello(request: HttpRequest) -> HttpResponse:
    """Plain text."""
    return HttpResponse("Hello", content_type="text/plain")


def echo(request: HttpRequest) -> HttpResponse:
    """What arrived: method, path, query, form fields, files and the size of the body."""
    return JsonResponse(
        {
            "method": request.method,
            "path": request.path,
            "query": request.GET.dict(),
            "form": request.POST.dict(),
            "files": {name: upload.size for name, upload in request.FILES.items()},
            "body_bytes": len(request.body) if not request.FILES else None,
        }
    )


def stream(request: HttpRequest) -> StreamingHttpResponse:
    """Three parts."""

    def parts() -> Iterator[bytes]:
        for number in range(3):
            yield b"part %d;" % number

    return StreamingHttpResponse(parts(), content_type="text/plain")


def fails(request: HttpRequest) -> HttpResponse:
    """An exception nobody catches."""
    raise RuntimeError("this view always fails")


urlpatterns = [
    path("hello/", hello),
    path("echo/", echo),
    path("stream/", stream),
    path("fails/", fails),
]

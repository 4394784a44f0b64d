"""Views that the journeys ask for."""

import hashlib
import os
import time

from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path

from journey.counting import count_request, note


def hello(request):
    return HttpResponse("Hello, world!", content_type="text/plain")


def slow(request, milliseconds):
    time.sleep(milliseconds / 1000)
    return HttpResponse(f"slept {milliseconds}", content_type="text/plain")


def digest(request):
    body = hashlib.sha256()
    count = 0
    while chunk := request.read(65536):
        body.update(chunk)
        count += len(chunk)
    return JsonResponse({"bytes": count, "sha256": body.hexdigest()})


def numbers(request):
    return StreamingHttpResponse((f"{n}\n" for n in range(1000)), content_type="text/plain")


def endless(request):
    """Ticks for as long as somebody listens, and notes when nobody does."""

    def ticks():
        try:
            while True:
                yield b"tick\n"
                time.sleep(0.1)
        finally:
            note("closed", "endless")

    return StreamingHttpResponse(ticks(), content_type="text/plain")


def download(request, megabytes):
    """So many MiB, made as they are read."""
    block = bytes(1 << 16)
    blocks = (block for _ in range(megabytes * 16))
    return StreamingHttpResponse(blocks, content_type="application/octet-stream")


def bulk(request, megabytes):
    parts = (bytes([n % 251]) * 1_000_000 for n in range(megabytes))
    return StreamingHttpResponse(parts, headers={"Content-Length": str(megabytes * 1_000_000)})


def process(request):
    return HttpResponse(str(os.getpid()), content_type="text/plain")


def protected(request):
    """A file that somebody else sends."""
    response = HttpResponse(b"not this")
    response["X-Accel-Redirect"] = "/protected/" + request.GET["name"]
    response["Content-Disposition"] = "attachment"
    del response["Content-Type"]
    return response


urlpatterns = [
    path("protected", protected),
    path("hello", hello),
    path("slow/<int:milliseconds>", slow),
    path("digest", digest),
    path("numbers", numbers),
    path("endless", endless),
    path("bulk/<int:megabytes>", bulk),
    path("pid", process),
    path("download/<int:megabytes>", download),
    path("count/<int:number>", count_request),
]

"""While changed code does not load under `runserver`, browsers get a page that says why instead of waiting.

Django's reloader keeps the process in which loading failed until a file changes; nobody there takes requests.
If an app is broken, Django even forgets our command in that process and runs its own, so all of this hangs on
what happens to the reloader's thread, and begins with our AppConfig.
"""

from __future__ import annotations

import html
import os
import re
import sys
import threading
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING

from django.conf import settings
from django.utils.autoreload import DJANGO_AUTORELOAD_ENV

from .reload import STOP_SECONDS, stop_before_reload

if TYPE_CHECKING:
    from ..message import Message
    from ..worker.single import Worker

__all__ = ["PAGE_ENV", "Told", "page_about", "watch", "watch_if_asked"]

#: Set by `runserver` for the reloader's child: on which port the requests come that wait for an answer.
PAGE_ENV = "HEADRACE_RUNSERVER_PAGE_PORT"

#: Django's name of the thread in which the reloader runs a command.
_THREAD = "django-main-thread"
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>The project does not load</title>
<style>body {{ font: 1rem/1.5 sans-serif; margin: 2rem }} pre {{ overflow-x: auto }}</style>
</head>
<body>
<h1>The project does not load</h1>
<p><strong>{error}</strong></p>
<pre>{traceback}</pre>
<p><code>runserver</code> waits for a file to change; then load this page again. It is shown because
<code>DEBUG</code> is on.</p>
</body>
</html>
"""


class Told(Exception):
    """Ends the reloader's thread without a traceback: its cause has been told in one line.

    The reloader watches `filename`, the file in which the first cause lies, "" if there is none.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        while error.__cause__ is not None:
            error = error.__cause__
        frames = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
        own = [name for name in frames if not name.startswith("<frozen")]
        self.filename: str = getattr(error, "filename", None) or (own[-1] if own else "")


class _ErrorPageHook:
    """In place of `threading.excepthook`."""

    def __init__(self, before: Callable[[threading.ExceptHookArgs], object]) -> None:
        self._before = before
        self.port: int | None = None

    def __call__(self, args: threading.ExceptHookArgs) -> None:
        error = args.exc_value
        if not isinstance(error, Told):
            self._before(args)
        loading = args.thread is not None and args.thread.name == _THREAD
        if loading and isinstance(error, Exception) and self.port is not None and settings.DEBUG:
            _answer(error, self.port)


def watch(port: int | None = None) -> None:
    """Say nothing of `Told` from now on; when the reloader's thread fails, answer what comes to `port`."""
    hook = threading.excepthook
    if not isinstance(hook, _ErrorPageHook):
        threading.excepthook = hook = _ErrorPageHook(hook)
    hook.port = port or hook.port


def watch_if_asked() -> None:
    """`watch`, if this is the reloader's child of a `runserver` that wants it."""
    if PAGE_ENV in os.environ and os.environ.get(DJANGO_AUTORELOAD_ENV) == "true":
        watch(int(os.environ[PAGE_ENV]))


def page_about(error: BaseException) -> str:
    """The page, in HTML."""
    if isinstance(error, Told):
        text, shown = str(error), error.__cause__ or error
    else:
        text, shown = f"{type(error).__name__}: {error}", error
    lines = "".join(traceback.format_exception(shown))
    return _PAGE.format(error=_as_html(text), traceback=_as_html(lines))


def _as_html(text: str) -> str:
    return html.escape(_COLOURS.sub("", text))


def _answer(error: BaseException, port: int) -> None:
    """Run a worker that answers every request with the page, until the reloader ends this process."""
    try:
        worker = _worker(page_about(error), port)
    except Exception as second:  # the configuration of the layer may be what is broken
        sys.stderr.write(f"Browsers are not told, for the channel layer cannot be had: {second}\n")
        return
    thread = threading.Thread(target=worker.run, name="headrace-error-page", daemon=True)
    stop_before_reload(worker.stop, thread)
    thread.start()


def _worker(page: str, port: int) -> Worker:
    # Imported here: with an AppConfig, before the apps are loaded, none of this could be.
    from headrace_asgi.layers.from_config import layer_from_config

    from ..asgi import DEFAULT_CHANNEL_LAYER, ChannelLayerWrapper
    from ..conf import WorkerSettings
    from ..routing import Route
    from ..worker.single import Worker
    from .layer import layer_config

    config, _ = layer_config(port)
    layer = layer_from_config({"BACKEND": config.backend, "CONFIG": config.options})
    routing = [Route("http.request", _page_consumer(page))]
    wrapped = ChannelLayerWrapper(layer, DEFAULT_CHANNEL_LAYER, routing)
    return Worker(wrapped, settings=WorkerSettings(stop_deadline_seconds=STOP_SECONDS))


def _page_consumer(page: str) -> Callable[[Message], None]:
    from django.http import HttpResponse

    from ..conf import WorkerSettings
    from ..http.response import encode_response

    def answer(message: Message) -> None:
        response = HttpResponse(page, status=500, headers={"Cache-Control": "no-store"})
        wanted = message.content.get("method") != "HEAD"
        for reply in encode_response(response, WorkerSettings().response_chunk_bytes, wanted):
            if message.reply_channel is not None:
                message.reply_channel.send(reply)

    return answer

"""A Django request made from an `http.request` message.

`AsgiRequest` is Django's `WSGIRequest` with `META` filled from the message, so that what was written for WSGI
finds what it expects: `isinstance(request, WSGIRequest)`, `request.environ`, the same keys, the same text.
"""

from __future__ import annotations

import re
import sys
from io import BytesIO
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote

from django.conf import settings
from django.http.request import split_domain_port

from headrace_asgi.errors import LayerUnavailable

from .. import exceptions
from ..django_private import MadeRequest
from ..types import Content
from .body import receive_body

if TYPE_CHECKING:
    from ..channel import Channel
    from ..message import Message

__all__ = ["AsgiRequest", "environ_of", "split_path"]

#: Names of headers kept with their META key. Clients choose names, so the table must end somewhere.
_MOST_NAMES = 1000
_meta_keys: dict[bytes, str | None] = {}

#: What every environ has; `META` of one request starts as a copy.
_CONSTANT: dict[str, Any] = {
    "SERVER_NAME": "unknown",
    "SERVER_PORT": "0",
    "SERVER_SOFTWARE": "headrace",
    "REMOTE_ADDR": "",
    "wsgi.version": (1, 0),
    "wsgi.errors": sys.stderr,
    "wsgi.multithread": True,
    "wsgi.multiprocess": True,
    "wsgi.run_once": False,
    "wsgi.input_terminated": True,
}

#: What may stand in a path as it is (RFC 3986 section 3.3); clients encode the rest.
_PATH_SAFE = "!$&'()*+,;=:@/~"
_PLAIN_PATH = re.compile(r"[A-Za-z0-9\-._!$&'()*+,;=:@/~]*")


class AsgiRequest(MadeRequest):
    """The request of a message. Making one reads nothing from the layer and does not block.

    A body that is streamed is read by `receive_body()`, which the handler calls before the view runs.
    """

    #: Raised by a view whose answer comes later, from elsewhere, on `request.reply_channel`.
    ResponseLater = exceptions.ResponseLater

    message: Message
    script_name: str

    def __init__(self, message: Message) -> None:
        """Take a message with the keys of `messages.HTTP_REQUEST`; KeyError if a required one is missing."""
        content = message.content
        self.message = message
        self.environ = self.META = meta = environ_of(content)
        self.script_name = script_name = meta["SCRIPT_NAME"]
        self.path_info = path_info = meta["PATH_INFO"]
        # As Django does: only the first slash is part of the joint, "//" further on is the client's.
        self.path = f"{script_name.rstrip('/')}/{path_info.replace('/', '', 1)}"
        self.method = meta["REQUEST_METHOD"]
        self.begin()
        if content.get("body_channel") is None:
            self._set_body(content.get("body", b""))

    @property
    def reply_channel(self) -> Channel | None:
        """Where the response goes, for whoever answers later."""
        return self.message.reply_channel

    def receive_body(self) -> None:
        """Read the rest of a streamed body, into memory or, if it is large, a temporary file.

        Blocks while the client uploads. Raises RequestTimeout, RequestAborted, LayerUnavailable.
        """
        if self.stream is None:
            self.stream = self.make_stream()

    def make_stream(self) -> IO[bytes]:
        """Receive the body; for whoever made the request by hand, at the first read."""
        stream, size_bytes = receive_body(self.message)
        announced = self.META.get("CONTENT_LENGTH", "")
        if announced.isdecimal() and int(announced) != size_bytes:
            stream.close()
            raise LayerUnavailable(
                f"of a body of {announced} bytes, {size_bytes} came through the channel layer"
            )
        # A chunked upload has no length, and Django parses no form without one.
        self.META["CONTENT_LENGTH"] = str(size_bytes)
        self.META["wsgi.input"] = stream
        return stream

    def _set_body(self, body: bytes) -> None:
        self.stream = self.META["wsgi.input"] = BytesIO(body)
        if body:
            self.META["CONTENT_LENGTH"] = str(len(body))

    def close(self) -> None:
        """Called with the response: delete temporary files."""
        super().close()
        if self.stream is not None:
            self.stream.close()


def environ_of(content: Content) -> dict[str, Any]:
    """The WSGI environ of a request message, with the keys of gunicorn and the text that WSGIRequest leaves.

    `PATH_INFO` and `SCRIPT_NAME` are decoded; header values and `QUERY_STRING` are latin-1 of the bytes.
    `RAW_URI` is put together again from what was decoded, so it need not be what the client wrote.
    """
    meta = _CONSTANT.copy()
    path: str = content["path"]
    root_path = content.get("root_path") or ""
    forced: str | None = settings.FORCE_SCRIPT_NAME
    meta["SCRIPT_NAME"] = root_path if forced is None else forced
    meta["PATH_INFO"] = split_path(path, root_path) or "/"
    meta["REQUEST_METHOD"] = content["method"].upper()
    meta["QUERY_STRING"] = query_string = content["query_string"].decode("latin-1")
    raw_path = path if _PLAIN_PATH.fullmatch(path) else quote(path, _PATH_SAFE)
    meta["RAW_URI"] = f"{raw_path}?{query_string}" if query_string else raw_path
    meta["SERVER_PROTOCOL"] = f"HTTP/{content['http_version']}"
    meta["wsgi.url_scheme"] = content.get("scheme") or "http"
    client = content.get("client")
    if client:
        meta["REMOTE_ADDR"] = client[0]
        meta["REMOTE_PORT"] = str(client[1])
    _add_headers(meta, content["headers"])
    server = content.get("server")
    if server:
        meta["SERVER_NAME"] = server[0]
        meta["SERVER_PORT"] = str(server[1])
    elif "HTTP_HOST" in meta:  # a unix socket has neither
        name, port = split_domain_port(meta["HTTP_HOST"])
        if name:
            meta["SERVER_NAME"] = name
            meta["SERVER_PORT"] = port or ("443" if meta["wsgi.url_scheme"] == "https" else "80")
    return meta


def split_path(path: str, root_path: str) -> str:
    """The part of `path` behind `root_path`, if that ends where a segment ends, else all of `path`."""
    root = root_path.rstrip("/")
    if root and path.startswith(root) and (len(path) == len(root) or path[len(root)] == "/"):
        return path[len(root) :]
    return path


def _add_headers(meta: dict[str, Any], headers: Any) -> None:
    if isinstance(headers, dict):  # senders of ASGI before 0.9
        headers = headers.items()
    for name, value in headers:
        try:
            key = _meta_keys[name]
        except KeyError:
            key = _meta_key(name)
        if key is None:
            continue
        text = value.decode("latin-1")
        if key not in meta:
            meta[key] = text
        elif key == "HTTP_COOKIE":
            # RFC 6265 section 5.4 knows one Cookie header; HTTP/2 clients split it.
            meta[key] += "; " + text
        elif key.startswith("HTTP_"):
            meta[key] += "," + text


def _meta_key(name: bytes) -> str | None:
    text = name.decode("latin-1")
    if "_" in text:
        # It would pass for the header with a hyphen, which a proxy may have set (CVE-2015-0219).
        key = None
    else:
        key = text.upper().replace("-", "_")
        if key not in {"CONTENT_TYPE", "CONTENT_LENGTH"}:
            key = "HTTP_" + key
    if len(_meta_keys) < _MOST_NAMES:
        _meta_keys[name] = key
    return key

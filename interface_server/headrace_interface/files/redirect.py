"""Which file a view names in its response: `X-Accel-Redirect` as nginx has it, `X-Sendfile` as Apache. Pure.

Without a folder for it a header is none of ours: a proxy in front gets it.
"""

from __future__ import annotations

import os
from urllib.parse import unquote_to_bytes

from ..settings import InterfaceSettings
from .answer import Fields, Wanted
from .mounts import mount_of, name_below, safe_name

__all__ = ["redirected"]

_ACCEL, _SENDFILE = b"x-accel-redirect", b"x-sendfile"
#: What the view says about its own content, which is not sent (RFC 9110 8).
_OF_THE_CONTENT = frozenset(
    (
        *(b"content-length", b"content-encoding", b"content-range", b"transfer-encoding", b"trailer"),
        *(b"etag", b"last-modified", b"content-md5", b"digest", b"content-digest", b"repr-digest"),
        _SENDFILE,
    )
)


def redirected(settings: InterfaceSettings, status: int, headers: Fields) -> Wanted | None:
    """The file that a response's headers name; None if they name none, or no folder is set up for it.

    Its name is None if it is outside of every folder.
    """
    for name, value in headers:
        lower = name.lower()
        if lower == _ACCEL and settings.internal:
            folder, relative = _accel(settings, value)
        elif lower == _SENDFILE and settings.sendfile_root is not None:
            folder, relative = settings.sendfile_root, _below_root(settings.sendfile_root, value)
        else:
            continue
        return Wanted(folder, relative, _kept(headers), status)
    return None


def _accel(settings: InterfaceSettings, value: bytes) -> tuple[str, str | None]:
    """It is an address: percent-encoded, and a query says nothing about a file."""
    sent = value.partition(b"?")[0]
    path = _decoded(unquote_to_bytes(sent))
    mount = mount_of(settings.internal, path)
    return ("", None) if mount is None else (mount.folder, name_below(mount, path, sent))


def _below_root(root: str, value: bytes) -> str | None:
    """It is a path of the file system, as it is, and may be relative to the root."""
    path = _decoded(value)
    if path.startswith("/"):
        inside = os.path.abspath(root).rstrip("/") + "/"
        if not path.startswith(inside):
            return None
        path = path[len(inside) :]
    return safe_name(path)


def _decoded(value: bytes) -> str:
    """UTF-8, or nothing: then no file has that name."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return ""


def _kept(headers: Fields) -> Fields:
    """The view's headers that are for the client. Those named x-accel-* are orders to a proxy."""
    lower = [(each[0].lower(), each) for each in headers]
    return [each for name, each in lower if name not in _OF_THE_CONTENT and not name.startswith(b"x-accel-")]

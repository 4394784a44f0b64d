"""Which file a view's response names."""

from __future__ import annotations

import pytest

from headrace_interface.files.mounts import Mount
from headrace_interface.files.redirect import redirected
from headrace_interface.settings import InterfaceSettings

SETTINGS = InterfaceSettings(
    internal=(Mount("/protected/", "/srv/private"), Mount("/protected/big/", "/mnt/big")),
    sendfile_root="/srv/files",
)


def named(name: bytes, value: bytes, settings: InterfaceSettings = SETTINGS) -> tuple[str, str | None] | None:
    found = redirected(settings, 200, [(name, value)])
    return None if found is None else (found.folder, found.name)


@pytest.mark.parametrize(
    ("value", "folder", "name"),
    [
        (b"/protected/a.pdf", "/srv/private", "a.pdf"),
        (b"/protected/big/a.pdf", "/mnt/big", "a.pdf"),
        (b"/protected/a%20b/gr%C3%B6%C3%9Fe.pdf?x=1", "/srv/private", "a b/größe.pdf"),
        ("/protected/größe.pdf".encode(), "/srv/private", "größe.pdf"),
        (b"/protected/../a.pdf", "/srv/private", None),
        (b"/protected/%2e%2e/a.pdf", "/srv/private", None),
        (b"/protected/a%2fb.pdf", "/srv/private", None),
        (b"/protected/", "/srv/private", None),
        (b"/protected/%00", "/srv/private", None),
        (b"/protected/.env", "/srv/private", None),
        (b"/elsewhere/a.pdf", "", None),
        (b"/protected/%ff", "", None),
        (b"protected/a.pdf", "", None),
        (b"@named", "", None),
        (b"", "", None),
    ],
)
def test_x_accel_redirect_is_an_address_below_a_mount(value: bytes, folder: str, name: str | None) -> None:
    assert named(b"X-Accel-Redirect", value) == (folder, name)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (b"/srv/files/a/b.pdf", "a/b.pdf"),
        (b"a/b.pdf", "a/b.pdf"),
        (b"a%20b?.pdf", "a%20b?.pdf"),
        (b"/srv/files/../private/a.pdf", None),
        (b"/srv/filesystem/a.pdf", None),
        (b"/etc/passwd", None),
        (b"../private/a.pdf", None),
        (b"/srv/files", None),
        (b"/srv/files/", None),
        (b"\xff", None),
        (b"", None),
    ],
)
def test_x_sendfile_is_a_path_below_the_root(value: bytes, name: str | None) -> None:
    assert named(b"x-sendfile", value) == ("/srv/files", name)


def test_what_is_not_set_up_is_left_to_a_proxy() -> None:
    assert named(b"X-Accel-Redirect", b"/protected/a", InterfaceSettings(sendfile_root="/srv")) is None
    assert named(b"X-Sendfile", b"/srv/a", InterfaceSettings(internal=SETTINGS.internal)) is None
    assert named(b"Content-Type", b"a/b") is None


def test_headers_for_the_client_are_kept_and_those_of_the_view_s_own_content_are_not() -> None:
    kept = [(b"Content-Type", b"a/b"), (b"Set-Cookie", b"a=1"), (b"Set-Cookie", b"b=2"), (b"Expires", b"0")]
    dropped = [
        *(
            (b"Content-Length", b"0"),
            (b"ETag", b'"a"'),
            (b"last-modified", b"x"),
            (b"Content-Encoding", b"br"),
        ),
        *((b"X-Accel-Redirect", b"/protected/a"), (b"X-Accel-Buffering", b"no"), (b"X-Sendfile", b"a")),
    ]
    found = redirected(SETTINGS, 200, [*dropped, *kept])
    assert found is not None
    assert found.headers == kept
    assert not found.static

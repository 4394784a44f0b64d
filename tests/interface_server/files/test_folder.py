"""Files of a folder are opened, and nothing outside of it."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest

from headrace_interface.files import folder as module
from headrace_interface.files.folder import open_below, open_for


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with a file, a folder in it, and a secret beside it."""
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "a.css").write_bytes(b"body {}")
    (root / "sub" / "b.js").write_bytes(b"go()")
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "rooted").mkdir()
    (tmp_path / "rooted" / "c").write_bytes(b"secret")
    return root


def content(root: Path, name: str) -> bytes | None:
    before = set(os.listdir("/proc/self/fd"))
    file = open_below(str(root), name)
    found = None
    if file is not None:
        found = file.read(0, 100)
        file.close()
        file.close()
    assert set(os.listdir("/proc/self/fd")) == before, "a descriptor was left open"
    return found


def test_a_file_is_opened_with_what_is_known_of_it(root: Path) -> None:
    os.utime(root / "a.css", ns=(5, 7))
    file = open_below(str(root), "a.css")
    assert file is not None
    assert (file.facts.size, file.facts.modified_ns) == (7, 7)
    assert (file.read(2, 3), file.read(100, 3)) == (b"dy ", b"")
    file.close()
    assert content(root, "sub/b.js") == b"go()"


@pytest.mark.parametrize(
    "name", ["none", "sub", "sub/none", "a.css/x", "a" * 300, "x/" * 3000 + "a", "\ud800"]
)
def test_what_is_no_file_is_not_there(root: Path, name: str) -> None:
    assert content(root, name) is None


@pytest.mark.parametrize("name", ["../secret", "sub/../../secret", "/etc/passwd", "../rooted/c", ".", ".."])
def test_even_a_name_that_was_not_looked_at_leads_nowhere_else(root: Path, name: str) -> None:
    assert content(root, name) is None


def test_a_link_inside_of_the_folder_is_followed_and_one_that_leaves_it_is_not(root: Path) -> None:
    (root / "inside").symlink_to("sub/b.js")
    (root / "folder").symlink_to("sub")
    (root / "absolute").symlink_to(root / "a.css")
    (root / "outside").symlink_to("../secret")
    (root / "neighbour").symlink_to("../rooted")
    (root / "dangling").symlink_to("nothing")
    (root / "circle").symlink_to("circle")
    assert content(root, "inside") == content(root, "folder/b.js") == b"go()"
    assert content(root, "absolute") == b"body {}"
    for name in ("outside", "neighbour/c", "dangling", "circle", "circle/a"):
        assert content(root, name) is None, name


def test_the_folder_itself_may_be_a_link_that_a_deploy_turns(root: Path, tmp_path: Path) -> None:
    current = tmp_path / "current"
    current.symlink_to(root)
    assert content(current, "a.css") == b"body {}"
    current.unlink()
    current.symlink_to(tmp_path / "rooted")
    assert content(current, "a.css") is None
    assert content(current, "c") == b"secret"


def test_a_link_that_comes_in_after_the_look_is_not_followed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "swapped").symlink_to("../rooted")
    (root / "last").symlink_to("../secret")
    monkeypatch.setattr(os.path, "realpath", os.path.normpath)
    for name in ("swapped/c", "last"):
        assert content(root, name) is None


def test_pipes_sockets_and_devices_are_no_files_and_nobody_waits_for_them(root: Path) -> None:
    os.mkfifo(root / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(root / "socket"))
        for name in ("pipe", "socket"):
            assert content(root, name) is None
    assert content(Path("/dev"), "null") is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_not_there(root: Path) -> None:
    (root / "a.css").chmod(0)
    assert content(root, "a.css") is None


def test_trouble_of_the_server_is_no_missing_file(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **more: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(module.os, "open", full)
    with pytest.raises(OSError, match="Too many"):
        open_below(str(root), "a.css")


def packed(root: Path, accept: bytes) -> tuple[bytes | None, bool, bytes]:
    file = open_for(str(root), "a.css", [accept])
    assert file is not None
    found = file.facts.coding, file.facts.varies, file.read(0, 100)
    file.close()
    return found


def test_a_copy_in_a_coding_is_taken_for_who_accepts_it(root: Path) -> None:
    assert packed(root, b"br, gzip") == (None, False, b"body {}")
    (root / "a.css.gz").write_bytes(b"gz")
    (root / "a.css.br").write_bytes(b"br")
    assert packed(root, b"br, gzip") == (b"br", True, b"br")
    assert packed(root, b"gzip") == (b"gzip", True, b"gz")
    assert packed(root, b"identity") == (None, True, b"body {}")
    assert open_for(str(root), "none.css", [b"br"]) is None


def test_a_copy_that_is_older_than_its_file_or_lies_elsewhere_is_not_taken(root: Path) -> None:
    (root / "a.css.gz").write_bytes(b"gz")
    os.utime(root / "a.css.gz", (1, 1))
    (root / "a.css.br").symlink_to("../secret")
    assert packed(root, b"gzip") == packed(root, b"br") == (None, True, b"body {}")
    os.utime(root / "a.css", ns=(1, 1_900_000_000))
    assert packed(root, b"gzip") == (b"gzip", True, b"gz")

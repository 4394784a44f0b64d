"""Commands as bytes."""

from __future__ import annotations

import hiredis
import pytest

from headrace_asgi.layers.redis.plan.command import text
from headrace_asgi.layers.redis.plan.resp import NOTHING, ProtocolError, Reader, ReplyError, pack


@pytest.mark.parametrize("size", [0, 10, 1_000, 100_000])
def test_large_and_small_commands_are_packed_alike(size: int) -> None:
    command = (b"EVALSHA", "digest \u00e9", 1, -7, b"", b"\r\n" * 3, b"x" * size)
    assert pack(command) == hiredis.pack_command(command)  # type: ignore[arg-type]
    assert pack((*command, 5)) == hiredis.pack_command((*command, 5))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["pack_command", "Reader", "ReplyError", "ProtocolError"])
def test_the_installed_hiredis_has_what_is_used_of_it(name: str) -> None:
    assert hasattr(hiredis, name), f"hiredis {hiredis.__version__} has no {name}: see plan/resp.py"


def test_a_reader_says_nothing_until_an_answer_is_whole() -> None:
    reader = Reader()
    assert reader.gets() is NOTHING
    reader.feed(b"*2\r\n$1\r\n")
    assert reader.gets() is NOTHING
    reader.feed(b"a\r\n-ERR b\r\n:0\r\n$-1\r\n")
    (text, error), zero, nil = reader.gets(), reader.gets(), reader.gets()
    assert (text, type(error), str(error), zero, nil) == (b"a", ReplyError, "ERR b", 0, None)
    assert zero is not NOTHING
    assert reader.gets() is NOTHING


def test_a_reader_raises_for_what_is_no_answer() -> None:
    reader = Reader()
    reader.feed(b"HTTP/1.1 400 Bad Request\r\n")
    with pytest.raises(ProtocolError):
        reader.gets()


def test_a_name_that_is_no_text_is_packed_as_the_bytes_it_was_read_from() -> None:
    name = b"caf\xe9 \xff\x00"
    assert pack(("HDEL", "key", text(name))) == pack((b"HDEL", b"key", name))
    assert text(b"caf\xc3\xa9") == "caf\u00e9"

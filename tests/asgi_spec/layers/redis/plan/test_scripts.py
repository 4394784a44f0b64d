from __future__ import annotations

import hashlib
import re
from importlib.resources import files

import pytest

from headrace_asgi.layers.redis.plan.scripts import SCRIPTS, Script, script

IDS = [one.name for one in SCRIPTS]


def test_every_lua_file_is_a_script_or_the_part_that_scripts_share() -> None:
    folder = files("headrace_asgi.layers.redis") / "lua"
    found = {path.name.removesuffix(".lua") for path in folder.iterdir()}
    assert found == {*IDS, "_mailbox", "_counting", "_due", "_claims", "_each", "_tries"} - {"push_spare"}


def test_what_can_wait_for_memory_goes_by_the_same_script_and_is_refused_without() -> None:
    push, spare = script("push"), script("push_spare")
    assert push.source.split(b"\n")[1:] == spare.source.split(b"\n")[1:]
    assert (push.needs_memory, spare.needs_memory) == (False, True)


@pytest.mark.parametrize("one", SCRIPTS, ids=IDS)
def test_a_script_begins_so_that_a_cluster_refuses_undeclared_keys(one: Script) -> None:
    assert one.source.split(b"\n")[0] in (b"#!lua", b"#!lua flags=allow-oom")


@pytest.mark.parametrize("one", SCRIPTS, ids=IDS)
def test_a_script_is_asked_for_by_the_digest_of_what_is_loaded(one: Script) -> None:
    assert one.sha.decode() == hashlib.sha1(one.source, usedforsecurity=False).hexdigest()


@pytest.mark.parametrize("one", SCRIPTS, ids=IDS)
def test_a_script_says_what_its_keys_and_arguments_are(one: Script) -> None:
    text = one.source.decode()
    assert re.search(r"^-- KEYS  \S", text, re.MULTILINE)
    assert re.search(r"^-- ARGV  \S", text, re.MULTILINE)


def test_scripts_are_read_once() -> None:
    assert script("send") is script("send")

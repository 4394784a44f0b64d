"""What comments and docstrings of the sources point to is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.comments import code_words, words

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("asgi_spec", "interface_server", "worker")
#: Ids of defects stand in the names of tests (docs/lessons.md); PROTOCOL was a draft that is not kept here.
FOREIGN = re.compile(r"\bPROTOCOL\b|\b(?:RT|ST|PF|[A-Z])[1-9]\d?\b")
IN_BACKTICKS = re.compile(r"`([\w.]+?)(?:\(\))?`")
#: Names of others, and of examples.
OTHERS = {
    "a1": "the local part of an example",
    "asgi.py": "a file of the reader's project",
    "mail.outbox": "django.core's",
    "numkeys": "the word of Redis's manual",
    "read_response": "redis-py's",
    "setup_test_environment": "django.test's",
    "teardown_test_environment": "django.test's",
    "twisted.internet.task.Clock": "Twisted's",
}


def sources() -> Iterator[Path]:
    for root in SOURCES:
        yield from (path for path in sorted((ROOT / root).rglob("*")) if path.suffix in (".py", ".lua"))


def parts(name: str) -> list[str]:
    """Parts of a dotted name or of a file's; a setting is a field in upper case."""
    found = [part for part in name.removesuffix(".py").split(".") if part]
    return [part.lower() if part.endswith("_SECONDS") else part for part in found]


@pytest.mark.parametrize("root", SOURCES)
def test_reasons_are_given_in_words_and_not_by_ids_or_papers_that_are_not_here(root: str) -> None:
    named = [
        f"{path.relative_to(ROOT)}:{line}: {found[0]}"
        for path in sources()
        if path.is_relative_to(ROOT / root)
        for line, text in words(path)
        if (found := FOREIGN.search(text))
    ]
    assert named == []


def test_every_name_in_backticks_is_a_word_of_the_code() -> None:
    known = {part for path in sources() for part in (path.stem, *path.relative_to(ROOT).parts)}
    known = known.union(*map(code_words, sources()))
    known |= {word.lower() for word in known}
    strange = set[str]()
    for path in sources():
        for _, text in words(path):
            for name in IN_BACKTICKS.findall(text):
                if name not in OTHERS and not all(part in known for part in parts(name)):
                    strange.add(f"{path.relative_to(ROOT)}: {name}")
    assert strange == set()

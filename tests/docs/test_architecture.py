"""The words of the page on the architecture stand for what the code has."""

from __future__ import annotations

import re
from collections import Counter

from tests.support.source import PACKAGES, ROOT, package_folder, section_of

PAGE = ROOT / "docs" / "architecture.md"
ROW = re.compile(r"^\| ([a-z ]+) \| (.+) \| \[([\w/]+\.py)\]\(\.\./([\w/]+\.py)\): `(\w+)` \|$", re.M)


def words() -> list[tuple[str, str, str, str, str]]:
    """Word, meaning, label of the link, its file, the name there."""
    return ROW.findall(section_of(PAGE, "Words"))


def test_a_word_stands_there_once_with_one_meaning() -> None:
    found = words()
    assert len(found) > 40
    for column in (0, 1):
        assert [word for word, times in Counter(row[column] for row in found).items() if times > 1] == []


def test_every_word_is_found_in_the_code_where_the_page_says() -> None:
    wrong = []
    for word, _, label, file, name in words():
        text = (ROOT / file).read_text(encoding="utf-8")
        defined = rf"^\s*(?:class|def) {name}\b|^{name} =|^\s*self\.{name} ="
        if not re.search(defined, text, re.M) or not file.endswith(f"/{label}"):
            wrong.append(f"{word}: {file} has no {name}")
    assert wrong == []


def test_the_folders_are_those_of_the_page() -> None:
    listed = re.findall(r"\]\(\.\./([\w/]+)\)", section_of(PAGE, "The folders"))
    assert len(listed) == len(set(listed))
    there = {
        path.parent.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for suffix in ("py", "lua")
        for path in package_folder(package).rglob(f"*.{suffix}")
    }
    assert set(listed) == there

"""The page of lessons and the tests that carry its ids are of one mind; ids stand nowhere else."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.support.comments import words

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "lessons.md"
#: A letter for each part of the page.
ID = r"(?:RT|ST|[WOHSDRIBAT])[1-9]\d?"
IN_A_NAME = re.compile(r"(?<=_)(?:rt|st|[wohsdribat])[1-9]\d?(?=_|$)")
IN_TEXT = re.compile(rf"\b{ID}\b")
#: Where I1 and G1 are invariants: docs/protocol.md, section 7 and section 8.
INVARIANTS = ROOT / "tests" / "explore"


def rows() -> dict[str, list[tuple[str, str]]]:
    """Per id of the page its tests: file (from the root) and function."""
    found: dict[str, list[tuple[str, str]]] = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        match = re.match(rf"\| ({ID}) \| \S.* \| \S.* \| (.+) \|$", line)
        if match:
            assert match[1] not in found, f"{match[1]} stands there twice"
            found[match[1]] = re.findall(r"\]\(\.\./(tests/[\w/]+\.py)\)::`(\w+)`", match[2])
    return found


def names_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_every_id_of_a_test_stands_in_the_table_and_every_row_has_its_tests() -> None:
    used = {
        found.upper()
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in names_of(path)
        for found in IN_A_NAME.findall(name)
    }
    assert used == rows().keys()


def test_every_test_of_the_table_exists_and_carries_the_id() -> None:
    wrong = []
    for ident, tests in rows().items():
        assert tests, f"nothing guards {ident}"
        for file, name in tests:
            if name not in names_of(ROOT / file) or ident.lower() not in IN_A_NAME.findall(name):
                wrong.append(f"{ident}: {file}::{name}")
    assert wrong == []


def test_ids_stand_in_the_names_of_tests_and_not_in_their_words() -> None:
    named = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in (ROOT / "tests").rglob("*.py")
        if not path.is_relative_to(INVARIANTS) and path != Path(__file__)
        for line, text in words(path)
        if IN_TEXT.search(text)
    ]
    assert named == []

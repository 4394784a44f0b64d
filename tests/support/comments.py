"""What sources say besides code: their comments and docstrings."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

__all__ = ["code_words", "words"]


def words(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of comments and docstrings."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".lua":
        yield from ((n, line) for n, line in enumerate(text.splitlines(), 1) if line.startswith("--"))
        return
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], re.sub(r"noqa: [A-Z0-9, ]+", "", token.string)
    for node in ast.walk(ast.parse(text)):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            yield node.lineno, node.value.value


def code_words(path: Path) -> set[str]:
    """Every word of a file outside of its comments and docstrings, also inside of strings."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        return set(re.findall(r"\w+", text))
    docstrings = {
        node.lineno
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    found = set[str]()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        is_docstring = token.type == tokenize.STRING and token.start[0] in docstrings
        if token.type != tokenize.COMMENT and not is_docstring:
            found.update(re.findall(r"\w+", token.string))
    return found

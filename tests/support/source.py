"""The source of the three packages as data: modules, functions, classes, imports and private names."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path

__all__ = [
    "PACKAGES",
    "ROOT",
    "Import",
    "Level",
    "Module",
    "circles",
    "functions",
    "imports",
    "length",
    "modules",
    "own_imports",
    "package_folder",
    "section_of",
]

ROOT = Path(__file__).resolve().parent.parent.parent
#: Each import package with the folder that it lies in, its source root.
PACKAGES = {
    "headrace_asgi": "asgi_spec",
    "headrace_interface": "interface_server",
    "headrace": "worker",
}


class Level(Enum):
    """Where an import statement stands, and so when it runs."""

    MODULE = "when the module is imported"
    FUNCTION = "when the function is called"
    TYPING = "never: only type checkers read it"


@dataclass(frozen=True, slots=True)
class Import:
    """One import of a module: `name` is its dotted name."""

    line: int
    name: str
    level: Level


@dataclass(frozen=True)
class Module:
    """One source file. `file` is as in `headrace/http/body.py`, `name` as in `headrace.http.body`."""

    file: str
    name: str
    package: str
    path: Path

    @property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @property
    def tree(self) -> ast.Module:
        return _parse(self.path)

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"


@cache
def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def package_folder(package: str) -> Path:
    return ROOT / PACKAGES[package] / package


def section_of(page: Path, title: str) -> str:
    """What stands under `## title` of a Markdown page; AssertionError if there is no such section."""
    _, found, rest = page.read_text(encoding="utf-8").partition(f"\n## {title}\n")
    assert found, f"{page.name} has no section {title!r}"
    return rest.partition("\n## ")[0]


@cache
def modules() -> tuple[Module, ...]:
    """Every source module of the three packages, `__init__.py` files included."""
    found = []
    for package, root in PACKAGES.items():
        for path in sorted(package_folder(package).rglob("*.py")):
            file = path.relative_to(ROOT / root)
            parts = file.parent.parts if path.name == "__init__.py" else file.with_suffix("").parts
            found.append(Module(file.as_posix(), ".".join(parts), package, path))
    return tuple(found)


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function of a module, also those inside of others."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring and decorators."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def imports(tree: ast.AST, name: str, *, is_package: bool = False) -> Iterator[Import]:
    """Every import of the module `name`, `import_module("…")` included; relative ones are resolved.

    Of `from a.b import c` both `a.b` and `a.b.c` are given: which of them is a module, the text does not say.
    """
    home = name.split(".")
    if not is_package:
        home = home[:-1]
    for node, level in _with_levels(tree, Level.MODULE):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(node.lineno, alias.name, level)
        elif isinstance(node, ast.ImportFrom):
            above = ".".join(home[: len(home) - node.level + 1]) if node.level else ""
            source = ".".join(part for part in (above, node.module or "") if part)
            yield Import(node.lineno, source, level)
            for alias in node.names:
                yield Import(node.lineno, f"{source}.{alias.name}", level)
        elif isinstance(node, ast.Call) and _is_import_call(node.func) and node.args:
            argument = node.args[0]
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                dotted = argument.value
                yield Import(
                    node.lineno, ".".join(home) + dotted if dotted.startswith(".") else dotted, level
                )


def _is_import_call(function: ast.expr) -> bool:
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return name in ("import_module", "__import__")


def _with_levels(node: ast.AST, level: Level) -> Iterator[tuple[ast.AST, Level]]:
    """Every node below `node`, each with the level of an import that would stand there."""
    for child in ast.iter_child_nodes(node):
        inside = level
        if isinstance(node, ast.If) and _is_type_checking(node.test) and child in node.body:
            inside = Level.TYPING
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and level is Level.MODULE:
            inside = Level.FUNCTION
        yield child, inside
        yield from _with_levels(child, inside)


def _is_type_checking(test: ast.expr) -> bool:
    return getattr(test, "id", getattr(test, "attr", "")) == "TYPE_CHECKING"


@cache
def own_imports() -> dict[tuple[str, str], Level]:
    """Who of our modules imports whom, each pair at its most binding level."""
    names = {module.name for module in modules()}
    order = list(Level)
    found: dict[tuple[str, str], Level] = {}
    for module in modules():
        by_line: dict[tuple[int, Level], set[str]] = {}
        for each in imports(module.tree, module.name, is_package=module.is_package):
            if each.name in names and each.name != module.name:
                by_line.setdefault((each.line, each.level), set()).add(each.name)
        for (_, level), targets in by_line.items():
            for target in targets:
                # `from a import b` of a module b is an import of b; its package is only on the way.
                if any(other.startswith(target + ".") for other in targets):
                    continue
                pair = module.name, target
                found[pair] = min(found.get(pair, level), level, key=order.index)
    return found


def circles(pairs: Iterable[tuple[str, str]]) -> list[list[str]]:
    """The groups of modules each of which reaches every other one of its group, sorted."""
    after: dict[str, set[str]] = {}
    for source, target in pairs:
        after.setdefault(source, set()).add(target)
    reach = {source: _reachable(after, source) for source in after}
    found = {
        tuple(sorted(other for other in reach[source] if source in reach.get(other, ())))
        for source in after
        if source in reach[source]
    }
    return [list(group) for group in sorted(found)]


def _reachable(after: dict[str, set[str]], source: str) -> set[str]:
    seen: set[str] = set()
    todo = [source]
    while todo:
        for target in after.get(todo.pop(), ()):
            if target not in seen:
                seen.add(target)
                todo.append(target)
    return seen

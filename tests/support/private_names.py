"""Which private names of other libraries our source uses.

Read from the text: a private name on anything but `self` that its module does not define, one on `self` that
none of our modules defines, and a private import. Asked of the classes, in a process of its own: a private
name on `self`, or a private method, that a base class from another library has as well, so that we use or
replace it.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from functools import cache

from tests.support.source import PACKAGES, ROOT, Module, modules

__all__ = ["private_uses"]

#: Documented, whatever they are called.
PUBLIC_IN_SPITE_OF_THEIR_NAME = {"os._exit", "sys._current_frames"}
ATTRIBUTE_FUNCTIONS = ("getattr", "setattr", "hasattr", "delattr")


def is_private(name: str) -> bool:
    # Names such as `_value_` of an Enum are documented.
    return name.startswith("_") and not name.startswith("__") and not name.endswith("_")


def private_uses() -> dict[tuple[str, str], int]:
    """The line of each use, by file and name."""
    found = {}
    for module in modules():
        for line, name in _in_text(module):
            found.setdefault((module.file, name), line)
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.private_names"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([".", *PACKAGES.values()])},
    )
    for file, name, line in json.loads(done.stdout):
        found.setdefault((file, name), line)
    return found


@cache
def _defined_in(module: Module) -> frozenset[str]:
    return frozenset(_definitions(module.tree))


@cache
def _defined_anywhere() -> frozenset[str]:
    return frozenset().union(*(_defined_in(module) for module in modules()))


def _definitions(tree: ast.AST) -> Iterator[str]:
    """Names that are defined here, or given to `self`, or stand in `__slots__`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and _is_self(node.value):
            yield node.attr
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__slots__":
            yield from (str(each.value) for each in ast.walk(node.value) if isinstance(each, ast.Constant))


def _is_self(node: ast.expr) -> bool:
    """`self`, `cls` or `super()`."""
    if isinstance(node, ast.Call):
        node = node.func
    return isinstance(node, ast.Name) and node.id in ("self", "cls", "super")


def _in_text(module: Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            ours = _defined_anywhere() if _is_self(node.value) else _defined_in(module)
            if node.attr not in ours and ast.unparse(node) not in PUBLIC_IN_SPITE_OF_THEIR_NAME:
                yield node.lineno, node.attr
        elif isinstance(node, ast.ImportFrom):
            for name in [*(node.module or "").split("."), *(alias.name for alias in node.names)]:
                if is_private(name) and not node.level:
                    yield node.lineno, name
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in ATTRIBUTE_FUNCTIONS:
            name = node.args[1] if len(node.args) > 1 else None
            if isinstance(name, ast.Constant) and is_private(str(name.value)):
                yield node.lineno, str(name.value)


def _shared_with_bases() -> Iterator[tuple[str, str, int]]:
    """File, name and line of each private name that one of our classes shares with a foreign base class."""
    for module in modules():
        loaded = None if module.path.name == "__main__.py" else importlib.import_module(module.name)
        for node in module.tree.body:
            if isinstance(node, ast.ClassDef) and loaded is not None:
                theirs = _private_names_of_bases(getattr(loaded, node.name))
                for line, name in _names_on_self(node):
                    if name in theirs:
                        yield module.file, name, line


def _names_on_self(tree: ast.ClassDef) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and _is_self(node.value) and is_private(node.attr):
            yield node.lineno, node.attr
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and is_private(node.name):
            yield node.lineno, node.name


def _private_names_of_bases(ours: type) -> set[str]:
    foreign = (
        base for base in ours.__mro__ if base.__module__.partition(".")[0] not in {*PACKAGES, "builtins"}
    )
    return set().union(*(_private_names_of(base) for base in foreign))


@cache
def _private_names_of(base: type) -> frozenset[str]:
    try:
        source = textwrap.dedent(inspect.getsource(base))
    except (OSError, TypeError):  # written in C, where no name is private
        return frozenset()
    (definition,) = ast.parse(source).body
    assert isinstance(definition, ast.ClassDef)
    in_class = {name for name in vars(base) if is_private(name) and not re.fullmatch(r"_[A-Z].*__\w+", name)}
    return frozenset(in_class | {name for _, name in _names_on_self(definition)})


if __name__ == "__main__":
    import django

    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.support.settings"
    django.setup()
    json.dump(sorted(_shared_with_bases()), sys.stdout)

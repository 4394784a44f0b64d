"""Rules of the house that a reader relies on: sizes, a test beside each module, what the wheel holds."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOTS = {
    "headrace_asgi": "asgi_spec",
    "headrace_interface": "interface_server",
    "headrace": "worker",
}
LONGEST_FUNCTION = 40
#: Functions that may be longer, each with its reason.
LONG_FUNCTIONS: dict[str, str] = {}
#: Modules that another test module covers, or that have nothing to test.
TESTED_ELSEWHERE = {
    "headrace_asgi/contract.py": "an interface; headrace_asgi.conformance tests it on every layer",
    "headrace/types.py": "names for types; mypy reads them",
    "headrace_interface/__main__.py": "two lines; the journeys start it",
}
#: What the package data patterns of setup.py take along.
DATA_SUFFIXES = {".lua", ".typed"}
PERSONAL_PATHS = re.compile(r"(?<![\w.])/(?:home|Users|root|work)/\w|[A-Z]:\\\\?Users", re.ASCII)
TEXT_SUFFIXES = {
    ".py", ".lua", ".md", ".toml", ".txt", ".conf", ".html", ".css", ".js", ".svg", ".yml", ".json", "",
}  # fmt: skip


def packages() -> Iterator[tuple[str, Path]]:
    for package, root in ROOTS.items():
        yield package, ROOT / root / package


def modules() -> list[tuple[str, Path]]:
    """Name (`package/folder/file.py`) and path of every source module."""
    return [
        (f"{package}/{path.relative_to(folder).as_posix()}", path)
        for package, folder in packages()
        for path in sorted(folder.rglob("*.py"))
    ]


def tracked_files() -> list[Path]:
    """Every file of the tree that is not ignored."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_no_function_is_longer_than_a_screen() -> None:
    too_long = {
        f"{name}:{function.name}": length(function)
        for name, path in modules()
        for function in functions(path)
        if length(function) > LONGEST_FUNCTION
    }
    assert too_long.keys() <= LONG_FUNCTIONS.keys(), too_long


def test_every_exception_to_the_sizes_is_still_needed() -> None:
    names = {name for name, _ in modules()}
    names |= {f"{name}:{function.name}" for name, path in modules() for function in functions(path)}
    assert (LONG_FUNCTIONS.keys() | TESTED_ELSEWHERE.keys()) <= names


def test_every_module_has_a_test_module_of_its_name() -> None:
    missing = []
    for name, path in modules():
        package, _, file = name.partition("/")
        if path.name == "__init__.py" or name in TESTED_ELSEWHERE:
            continue
        folder = Path("tests") / ROOTS[package] / Path(file).parent
        if not (ROOT / folder / f"test_{path.name}").exists():
            missing.append(f"{name} has no {folder.as_posix()}/test_{path.name}")
    assert missing == []


def test_every_test_module_has_a_source_module() -> None:
    strangers = []
    for package, folder in packages():
        tests = ROOT / "tests" / ROOTS[package]
        for path in sorted(tests.rglob("test_*.py")):
            source = folder / path.relative_to(tests).with_name(path.name.removeprefix("test_"))
            if not source.exists() and not source.with_suffix("").is_dir():
                strangers.append(path.relative_to(ROOT).as_posix())
    assert strangers == []


def test_every_module_says_what_it_exports() -> None:
    silent = []
    for name, path in modules():
        text = path.read_text(encoding="utf-8")
        if path.name in ("__init__.py", "__main__.py") or "/management/commands/" in name:
            continue
        if "\n__all__" not in text or "from __future__ import annotations" not in text:
            silent.append(name)
    assert silent == []


def test_every_package_is_typed_and_no_folder_lacks_its_init() -> None:
    for package, folder in packages():
        assert (folder / "py.typed").exists(), package
        for path in folder.rglob("*.py"):
            assert (path.parent / "__init__.py").exists(), f"{path.parent} would be left out of the wheel"


def test_nothing_in_the_tree_names_a_path_of_one_machine() -> None:
    named = []
    for path in tracked_files():
        if path.suffix not in TEXT_SUFFIXES or path == Path(__file__):
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if PERSONAL_PATHS.search(line):
                named.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}")
    assert named == []


@pytest.mark.skipif(os.environ.get("CI") != "true", reason="builds a wheel, which downloads: only in CI")
def test_the_wheel_holds_what_the_tree_holds(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "build", "--outdir", str(tmp_path), str(ROOT)],
        check=True,
        capture_output=True,
        text=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    built = {name for name in names if not name.partition("/")[0].endswith(".dist-info")}
    tree = {
        f"{package}/{path.relative_to(folder).as_posix()}"
        for package, folder in packages()
        for path in folder.rglob("*")
        if path.is_file() and (path.suffix == ".py" or belongs_to_data(path))
    }
    assert built == tree


def belongs_to_data(path: Path) -> bool:
    return path.suffix in DATA_SUFFIXES or bool({"templates", "static"} & set(path.parts))

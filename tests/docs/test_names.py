"""What the pages name exists: files, modules, options, settings, checks."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from headrace import conf
from headrace_interface.deadlines import rows

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])
SOURCES = {
    "headrace": ROOT / "worker" / "headrace",
    "headrace_asgi": ROOT / "asgi_spec" / "headrace_asgi",
    "headrace_interface": ROOT / "interface_server" / "headrace_interface",
}
#: Named as what is not in this version.
ABSENT = {"headrace.compat"}
#: Files of the reader's own project.
READERS_FILES = {
    "routing.py",
    "settings.py",
    "consumers.py",
    "views.py",
    "urls.py",
    "manage.py",
    "test_X.py",
    "X.py",
    "test_shelf.py",
}
#: Options of other programs, and of what only developers run.
FOREIGN_OPTIONS = {"--deploy", "--strict", "--check", "--list", "--long", "--only"}


def names(path: Path, pattern: str) -> set[str]:
    """What matches inside the inline code and the code blocks of a page."""
    text = path.read_text(encoding="utf-8")
    code = "\n".join(
        re.findall(r"```[^\n]*\n(.*?)^```", text, re.M | re.S) + re.findall(r"`([^`\n]+)`", text)
    )
    return set(re.findall(pattern, code))


def by_name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", PAGES, ids=by_name)
def test_every_file_that_is_named_exists(path: Path) -> None:
    found = {
        file.name
        for folder in (*SOURCES.values(), ROOT / "tests", ROOT / "scripts")
        for file in folder.rglob("*.*")
    }
    found |= {file.name for file in ROOT.glob("*.py")}
    named = {name.rpartition("/")[2] for name in names(path, r"(?<![\w.])[\w/]+\.(?:py|lua)\b")}
    assert named - found - READERS_FILES == set()


@pytest.mark.parametrize("path", PAGES, ids=by_name)
def test_every_module_or_object_that_is_named_exists(path: Path) -> None:
    named = names(path, r"(?<![\w./-])headrace(?:_asgi|_interface)?(?:\.\w+)+")
    loggers_and_checks = {
        name for name in named if re.fullmatch(r"headrace\.(?:interface|worker|layer|[EW]\d+)", name)
    }
    for name in named - ABSENT - loggers_and_checks:
        assert resolves(name), f"{by_name(path)} names {name}"


def resolves(name: str) -> bool:
    """Whether a dotted path can be imported, module by module and then attribute by attribute."""
    module, *rest = name.split(".")
    thing = importlib.import_module(module)
    while rest:
        try:
            thing = importlib.import_module(f"{module}.{rest[0]}")
            module += f".{rest.pop(0)}"
        except ImportError:
            return all(hasattr(thing, part) and (thing := getattr(thing, part)) is not None for part in rest)
    return True


@pytest.mark.parametrize("path", PAGES, ids=by_name)
def test_every_option_that_is_named_exists(path: Path) -> None:
    # That page is compared with the parsers by a test of its own.
    known = names(DOCS / "reference" / "options.md", r"(?<![\w-])--[a-z][\w-]*")
    demo = set(re.findall(r'"(--[a-z-]+)"', (ROOT / "scripts" / "demo.py").read_text(encoding="utf-8")))
    assert names(path, r"(?<![\w-])--[a-z][\w-]*") - known - demo - FOREIGN_OPTIONS == set()


def test_the_checks_of_the_page_on_deploying_are_those_of_the_code() -> None:
    code = (SOURCES["headrace"] / "checks.py").read_text(encoding="utf-8")
    page = (DOCS / "deploy.md").read_text(encoding="utf-8")
    ids = r"headrace\.[EW]\d{3}"
    assert set(re.findall(ids, page)) == set(re.findall(ids, code))


def test_numbers_of_seconds_beside_an_option_are_its_default() -> None:
    defaults = {row.option: seconds for _, seconds, row in rows()}
    wrong = []
    for path in sorted(DOCS.glob("*.md")):
        for option, seconds in re.findall(r"`(--[a-z-]+)` \((\d+) s\)", path.read_text(encoding="utf-8")):
            if defaults[option] != int(seconds):
                wrong.append(f"{by_name(path)}: {option} is {defaults[option]:g} s, not {seconds} s")
        for setting, seconds in re.findall(
            r"`([A-Z_]+_SECONDS)` \((\d+)\)", path.read_text(encoding="utf-8")
        ):
            if getattr(conf.WorkerSettings(), setting.lower()) != int(seconds):
                wrong.append(f"{by_name(path)}: {setting} is not {seconds}")
    assert wrong == []

"""The page on the protocol describes the scripts, keys and explorers that there are, and is cited rightly."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from headrace_asgi.layers.redis.plan.scripts import SCRIPTS
from tests.explore.protocols import tasks

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "protocol.md"
PLAN = ROOT / "asgi_spec" / "headrace_asgi" / "layers" / "redis" / "plan"
CODE = ("asgi_spec", "interface_server", "worker", "tests")
#: A citation may go on in the next line of a comment.
CITED = re.compile(r"protocol\.md(?:,[\s#:-]+section[\s#:-]+(\d+))?(?!\w)")


def rows(section: int) -> Iterator[list[str]]:
    """Cells of the rows of a section's tables."""
    text = PAGE.read_text(encoding="utf-8")
    body = re.split(r"^## \d+\. .+$", text, flags=re.M)[section]
    for line in body.splitlines():
        if line.startswith("| `"):
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def sections() -> list[int]:
    return [int(number) for number in re.findall(r"^## (\d+)\. ", PAGE.read_text(encoding="utf-8"), re.M)]


def calls() -> Iterator[ast.Call]:
    """Every call in the code of the plan."""
    for path in PLAN.glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        yield from (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def key_kinds() -> set[str]:
    """The kinds of key that the plan builds: what stands as the second argument of `key`."""
    return {
        part.value
        for call in calls()
        if getattr(call.func, "attr", "") == "key"
        for argument in call.args[1:2]
        for part in ast.walk(argument)
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
    }


def repeatable() -> set[str]:
    """Scripts whose commands the plan lets be repeated."""
    found = set[str]()
    for call in calls():
        values = {word.arg: word.value for word in call.keywords}
        script, repeat = call.args[0] if call.args else None, values.get("repeat")
        if isinstance(script, ast.Constant) and isinstance(repeat, ast.Constant) and repeat.value:
            found.add(str(script.value))
    return found & {one.name for one in SCRIPTS}


def test_sections_are_numbered_without_a_gap() -> None:
    assert sections() == list(range(1, len(sections()) + 1))


def scripts(mark: str = "") -> list[str]:
    """The scripts that the tables describe; with a `mark`, those that have it."""
    cells = [row[0] for section in sections()[1:] for row in rows(section)]
    return [name for cell in cells if mark in cell for name in re.findall("`(.+?)`", cell)]


def test_every_script_is_described_once_and_no_other() -> None:
    assert sorted(scripts()) == sorted(one.name for one in SCRIPTS)


def test_the_page_says_which_scripts_work_when_memory_is_out() -> None:
    assert sorted(scripts("*oom*")) == sorted(one.name for one in SCRIPTS if not one.needs_memory)


def test_the_page_says_which_scripts_may_be_repeated() -> None:
    assert set(scripts("⟲")) == repeatable()


def test_every_kind_of_key_is_described_and_no_other() -> None:
    described = {re.sub(r":<.*", "", cells[0].strip("`")) for cells in rows(1)}
    assert described == key_kinds()


def test_every_broken_variant_of_the_explorers_is_named_and_no_other() -> None:
    named = set[str]()
    for holes, held in re.findall(r"^\| ([^`|]+) \| (`.+`) \|$", PAGE.read_text(encoding="utf-8"), re.M):
        assert holes
        named |= set(re.findall("`(.+?)`", held))
    assert named == {task.model.name for task in tasks(small=True) if task.must_fail}


def test_every_citation_of_the_page_names_a_section_that_it_has() -> None:
    wrong, found = [], 0
    for path in (path for root in CODE for path in (ROOT / root).rglob("*")):
        if path.suffix not in (".py", ".lua") or path == Path(__file__):
            continue
        for number in CITED.findall(path.read_text(encoding="utf-8")):
            found += 1
            if not number or int(number) not in sections():
                wrong.append(f"{path.relative_to(ROOT)}: {number or 'no section'}")
    assert wrong == []
    assert found, "nothing cites the page: is it written otherwise now?"

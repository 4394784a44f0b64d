"""Run the tests of single modules on every Python and Django that we promise, and with the newest of all; and
those of the layers with the oldest redis-py.

python scripts/matrix.py                                    # every cell
python scripts/matrix.py --list                             # which cells there are, and which Python each has
python scripts/matrix.py --only py3.12-django6.0 tests/worker -x     # one cell, some tests, options of pytest

Each cell has a virtual environment of its own below `.matrix`, which is made once and again when requirements
change. Ends with 1 if a test failed or a Python is missing; with `--if-there`, a missing one is only named.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".matrix"
TESTS = ["tests/asgi_spec", "tests/interface_server", "tests/worker"]
#: Each Python with the versions of Django that run on it.
PROMISED = {
    "3.11": ("5.2",),
    "3.12": ("5.2", "6.0", "6.1"),
    "3.13": ("5.2", "6.0", "6.1"),
}
REQUIREMENTS = ("setup.py", "pyproject.toml", "requirements/test.txt", "scripts/matrix.py")
#: The oldest redis-py and hiredis that setup.py allows; the newest ones are in all other cells.
OLDEST_REDIS = ("redis==6.0.*", "hiredis==3.1.*")
#: What uses them.
REDIS_TESTS = ["tests/asgi_spec"]
#: After this many days the cell with the newest versions asks again what they are.
NEWEST_DAYS = 1


@dataclass(frozen=True)
class Cell:
    """One combination. Without a Django it has the newest of everything, whatever our upper bounds say.

    `pins` are requirements of its own, of which its `label` tells.
    """

    python: str
    django: str | None
    label: str = ""
    pins: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.label or (f"py{self.python}-django{self.django}" if self.django else "newest")

    @property
    def tests(self) -> list[str]:
        """What is run where nothing else is asked for."""
        return REDIS_TESTS if self.pins else TESTS

    @property
    def folder(self) -> Path:
        return FOLDER / self.name

    @property
    def binary(self) -> str:
        return str(self.folder / "bin" / "python")


@dataclass(frozen=True)
class Result:
    """What became of a cell: a line for the table, and whether all is well."""

    cell: Cell
    fine: bool
    seconds: float
    text: str
    missing: bool = False


class Broken(Exception):
    """An environment could not be made; the text says where to read why."""


def cells() -> list[Cell]:
    """All of them; the last one is the newest Python with the newest of everything."""
    found = [Cell(python, django) for python, djangos in PROMISED.items() for django in djangos]
    oldest = next(iter(PROMISED))
    found.append(Cell(oldest, PROMISED[oldest][0], "oldest-redis", OLDEST_REDIS))
    return [*found, Cell(list(PROMISED)[-1], None)]


def find_python(version: str) -> str | None:
    """Path of a Python `version` (3.12): on PATH, from pyenv, or from uv, which may download it."""
    for candidate in _candidates(version):
        if _version_of(candidate) == version:
            return candidate
    return None


def _candidates(version: str) -> Iterator[str]:
    yield sys.executable
    path = os.environ.get("PATH", "")
    for folder in path.split(os.pathsep):
        if os.access(os.path.join(folder, f"python{version}"), os.X_OK):
            yield os.path.join(folder, f"python{version}")
    if shutil.which("pyenv"):
        root = Path(_output(["pyenv", "root"]))
        folders = sorted(root.glob(f"versions/{version}.*"), key=_numbers, reverse=True)
        yield from (str(folder / "bin" / "python") for folder in folders)
    if shutil.which("uv"):
        found = _output(["uv", "python", "find", "--no-project", version])
        if not found and not _output(["uv", "python", "install", version]):
            found = _output(["uv", "python", "find", "--no-project", version])
        if found:
            yield found


def _numbers(folder: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", folder.name)]


def _output(command: Sequence[str]) -> str:
    """What a command prints; nothing if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode else done.stdout.strip()


def _version_of(python: str) -> str:
    # A shim of pyenv is on PATH also for versions that it then refuses to run.
    return _output([python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"])


def prepare(cell: Cell, python: str) -> None:
    """Make the cell's environment, if it is not there as the requirements want it. Raises Broken."""
    stamp = cell.folder / ".requirements"
    digest = hashlib.sha256(b"".join((ROOT / name).read_bytes() for name in REQUIREMENTS))
    digest.update(repr((cell, os.path.realpath(python), not cell.django and _days() // NEWEST_DAYS)).encode())
    if stamp.is_file() and stamp.read_text() == digest.hexdigest():
        return
    shutil.rmtree(cell.folder, ignore_errors=True)
    say(cell, f"makes its environment with {python}")
    _run(cell, [python, "-m", "venv", str(cell.folder)])
    ours = ["-e", ".[all]", "-r", "requirements/test.txt", *cell.pins]
    _pip(cell, [*ours, f"Django~={cell.django}.0"] if cell.django else ours)
    if not cell.django:
        _pip(cell, ["--upgrade", "--upgrade-strategy", "eager", *_without_bounds(cell)])
    stamp.write_text(digest.hexdigest())


def _days() -> int:
    return int(time.time() // 86_400)


def _without_bounds(cell: Cell) -> list[str]:
    """What the installed Headrace and its tests ask for, by name only."""
    code = "import importlib.metadata as m; print(*m.requires('headrace'), sep='\\n')"
    lines = _output([cell.binary, "-c", code]).splitlines()
    lines += (ROOT / "requirements" / "test.txt").read_text(encoding="utf-8").splitlines()
    names = (re.match(r"[\w.-]+(\[[\w,.-]+\])?", line) for line in lines if not line.startswith(("#", "-")))
    return sorted({name.group() for name in names if name})


def _pip(cell: Cell, arguments: Sequence[str]) -> None:
    _run(cell, [cell.binary, "-m", "pip", "install", "-q", "--disable-pip-version-check", *arguments])


def _run(cell: Cell, command: Sequence[str]) -> None:
    done = subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        sys.stdout.write(done.stdout)
        raise Broken(f"its environment: {' '.join(command[1:4])} … ended with {done.returncode}")


def run_tests(cell: Cell, arguments: Sequence[str]) -> tuple[bool, str]:
    """Run pytest in the cell; whether all passed, and pytest's last line. The output goes to a log and, if
    something failed, to the terminal."""
    log = FOLDER / f"{cell.name}.log"
    command = [cell.binary, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    with log.open("w", encoding="utf-8") as output:
        code = subprocess.run(
            command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, check=False
        ).returncode
    lines = log.read_text(encoding="utf-8").splitlines() or ["no output"]
    if code:
        sys.stdout.write("\n".join([*lines[-60:], f"(all of it: {log.relative_to(ROOT)})", ""]))
    return code == 0, lines[-1].strip("= ")


def run_cell(cell: Cell, arguments: Sequence[str]) -> Result:
    """Everything of one cell; never raises."""
    began = time.monotonic()
    python = find_python(cell.python)
    if python is None:
        return Result(cell, False, 0.0, f"there is no Python {cell.python} on this machine", missing=True)
    try:
        prepare(cell, python)
        say(cell, f"runs with {versions(cell)}")
        fine, text = run_tests(cell, arguments)
    except Broken as error:
        fine, text = False, str(error)
    return Result(cell, fine, time.monotonic() - began, text)


def versions(cell: Cell) -> str:
    """Of Python and of what matters most."""
    code = (
        "import importlib.metadata as m, platform;"
        "names = ('Django', 'Twisted', 'autobahn', 'redis', 'hiredis');"
        "print(platform.python_version(), *(f'{name} {m.version(name)}' for name in names), sep=', ')"
    )
    return "Python " + _output([cell.binary, "-c", code])


def say(cell: Cell, text: str) -> None:
    """A line of progress."""
    sys.stdout.write(f"{time.strftime('%H:%M:%S')}  {cell.name:18} {text}\n")
    sys.stdout.flush()


def list_cells(chosen: Sequence[Cell]) -> None:
    for cell in chosen:
        python = find_python(cell.python)
        sys.stdout.write(f"{cell.name:18} {python or f'there is no Python {cell.python} on this machine'}\n")


def main() -> int:
    """Run the chosen cells one after the other; print the table."""
    names = [cell.name for cell in cells()]
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--list", action="store_true", help="say which cells there are, and run none")
    parser.add_argument("--only", action="append", choices=names, metavar="CELL", help="may be repeated")
    parser.add_argument("--if-there", action="store_true", help="a missing Python is no failure")
    options, arguments = parser.parse_known_args()
    chosen = [cell for cell in cells() if not options.only or cell.name in options.only]
    if options.list:
        list_cells(chosen)
        return 0
    FOLDER.mkdir(exist_ok=True)
    named = any(argument.startswith("tests") for argument in arguments)
    results = []
    for cell in chosen:
        results.append(run_cell(cell, arguments if named else [*cell.tests, *arguments]))
        say(cell, results[-1].text)
    sys.stdout.write("\n")
    for each in results:
        word = "missing" if each.missing else "passed" if each.fine else "FAILED"
        sys.stdout.write(f"{each.cell.name:18} {word:8} {each.seconds:6.0f} s  {each.text}\n")
    return 0 if all(each.fine or (each.missing and options.if_there) for each in results) else 1


if __name__ == "__main__":
    sys.exit(main())

"""The matrix: its cells are what setup.py promises, and a Python that is missing is named."""

from __future__ import annotations

import importlib.util
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
import setuptools

from tests.support.source import ROOT

HERE = ".".join(map(str, sys.version_info[:2]))


@pytest.fixture
def matrix(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The script as a module, with no Python on PATH and a folder of its own."""
    spec = importlib.util.spec_from_file_location("matrix", ROOT / "scripts" / "matrix.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "matrix", module)  # its dataclasses look it up there
    spec.loader.exec_module(module)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(module, "FOLDER", tmp_path / "cells")
    return module


def test_the_cells_are_what_is_promised(matrix: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(setuptools, "setup", given.update)
    runpy.run_path(str(ROOT / "setup.py"))
    cells = matrix.cells()
    for prefix, versions in (
        ("Programming Language :: Python :: 3.", {f"3.{cell.python.partition('.')[2]}" for cell in cells}),
        ("Framework :: Django :: ", {cell.django for cell in cells if cell.django}),
    ):
        promised = {each.split(" :: ")[-1] for each in given["classifiers"] if each.startswith(prefix)}
        assert promised == versions
    allowed = [requirement.split(",")[0] for requirement in given["install_requires"]]
    (oldest,) = [cell for cell in cells if cell.pins]
    for pin in oldest.pins:
        lowest = pin.removesuffix(".*").removesuffix(".0").replace("==", ">=")
        assert lowest in allowed, f"{pin} is not the oldest of {allowed}"
    assert oldest.tests != next(cell for cell in cells if not cell.pins).tests


def test_a_missing_python_is_named_and_a_failure_unless_that_is_allowed(
    matrix: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cell = next(cell for cell in matrix.cells() if cell.python != HERE)
    monkeypatch.setattr(sys, "argv", ["matrix.py", "--only", cell.name])
    assert matrix.main() == 1
    assert f"there is no Python {cell.python} on this machine" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["matrix.py", "--if-there", "--only", cell.name])
    assert matrix.main() == 0
    assert "missing" in capsys.readouterr().out


def test_the_python_that_runs_it_is_found(matrix: Any) -> None:
    assert matrix.find_python(HERE) == sys.executable


def test_a_program_that_is_called_python_but_does_not_run_is_not_taken(matrix: Any, tmp_path: Path) -> None:
    shim = tmp_path / "python3.99"
    shim.write_text("#!/bin/sh\necho 'not installed' >&2\nexit 127\n")
    shim.chmod(0o755)
    assert matrix.find_python("3.99") is None

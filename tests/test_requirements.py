"""Every package that is installed with Headrace, or to develop it, is bounded on both sides."""

from __future__ import annotations

import runpy
import tomllib
from typing import Any

import pytest
import setuptools
from packaging.requirements import Requirement

from tests.support.source import ROOT

LOWER, UPPER = {">=", "~=", "=="}, {"<", "<=", "~=", "=="}


@pytest.fixture
def required(monkeypatch: pytest.MonkeyPatch) -> list[Requirement]:
    """What setup.py, pyproject.toml and requirements/ ask for."""
    given: dict[str, Any] = {}
    monkeypatch.setattr(setuptools, "setup", given.update)
    runpy.run_path(str(ROOT / "setup.py"))
    texts = [*given["install_requires"]]
    for extra in given["extras_require"].values():
        texts += extra
    texts += tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"]
    for path in (ROOT / "requirements").glob("*.txt"):
        lines = path.read_text(encoding="utf-8").splitlines()
        texts += [line for line in lines if line and line[0] not in "#-"]
    return [Requirement(text) for text in texts]


def test_every_requirement_says_from_which_version_to_before_which(required: list[Requirement]) -> None:
    assert {"twisted", "django", "pytest", "setuptools"} <= {each.name.lower() for each in required}
    unbounded = [
        str(each)
        for each in required
        for operators in ({part.operator for part in each.specifier},)
        if not (operators & LOWER and operators & UPPER)
    ]
    assert unbounded == []

"""Enumerations that are quick to name are enumerations still."""

from __future__ import annotations

import copy
from enum import IntEnum, StrEnum

import pytest

from headrace_asgi.enums import quick


@quick
class Kind(StrEnum):
    ONE = "one"
    TWO = "two"


@quick
class Number(IntEnum):
    FEW = 1
    SOME = 1
    MANY = 2

    @property
    def is_few(self) -> bool:
        return self is Number.FEW


def test_members_are_plain_attributes_of_their_class() -> None:
    assert all(Kind.__dict__[name] is member for name, member in Kind.__members__.items())


def test_nothing_else_changed() -> None:
    assert Kind("one") is Kind["ONE"] is Kind.ONE
    assert list(Kind) == [Kind.ONE, Kind.TWO]
    assert (Kind.ONE.name, Kind.TWO.value, str(Kind.TWO)) == ("ONE", "two", "two")
    assert Number.SOME is Number.FEW
    assert list(Number) == [Number.FEW, Number.MANY]
    assert (Number.FEW.is_few, Number.MANY.is_few) == (True, False)
    assert copy.deepcopy(Kind.ONE) is Kind.ONE
    with pytest.raises(AttributeError):
        Kind.ONE = Kind.TWO  # type: ignore[misc]

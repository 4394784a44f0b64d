"""The vocabulary between the exchange and its shell."""

from __future__ import annotations

from typing import get_args

from headrace_interface.http import actions
from headrace_interface.http.call import _DOES


def test_the_shell_knows_how_to_do_everything() -> None:
    assert set(_DOES) == set(get_args(actions.Action))
    assert {action.__name__ for action in _DOES} | {"Action"} == set(actions.__all__)

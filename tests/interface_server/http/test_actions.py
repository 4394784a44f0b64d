"""The vocabulary between the exchange and its shell."""

from __future__ import annotations

from headrace_interface.http.actions import Action
from headrace_interface.http.call import _DOES


def test_the_shell_knows_how_to_do_everything() -> None:
    assert set(_DOES) == set(Action)

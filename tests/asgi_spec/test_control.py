"""Notes between processes."""

from __future__ import annotations

from headrace_asgi import control
from headrace_asgi.envelope import pack_message, unpack_message


def test_a_note_carries_its_kind_and_its_values() -> None:
    note = control.note(control.VERDICT, local="client", ordered="slight")
    assert note == {"control": "verdict", "local": "client", "ordered": "slight"}
    assert unpack_message(pack_message(note)) == note


def test_every_kind_is_different() -> None:
    kinds = [
        getattr(control, name) for name in control.__all__ if name.isupper() and name != "FORGOTTEN_ENTRY"
    ]
    assert len(kinds) >= 9
    assert len(set(kinds)) == len(kinds)

"""The one table of deadlines."""

from __future__ import annotations

from dataclasses import fields

from headrace_interface.deadlines import Deadlines, rows


def test_every_deadline_has_a_row_with_an_option_of_its_own_and_a_help_text() -> None:
    listed = rows()
    assert [name for name, _, _ in listed] == [field.name for field in fields(Deadlines)]
    assert len({row.option for _, _, row in listed}) == len(listed)
    assert all(row.help and row.option.startswith("--") for _, _, row in listed)


def test_defaults_are_those_of_the_table() -> None:
    defaults = Deadlines()
    assert all(getattr(defaults, name) == seconds > 0 for name, seconds, _ in rows())


def test_what_a_client_is_told_is_an_error_it_can_be_told() -> None:
    for name, _, row in rows():
        assert row.status is None or 400 <= row.status <= 599, name
        assert row.close_code is None or 1000 <= row.close_code <= 1014, name


def test_a_handshake_waits_at_least_as_long_as_a_worker_may_take_to_be_there() -> None:
    defaults = Deadlines()
    assert defaults.handshake >= defaults.queue

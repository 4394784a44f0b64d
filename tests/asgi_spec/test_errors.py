"""The two families of errors."""

from __future__ import annotations

import headrace_asgi
from headrace_asgi import errors


def test_every_error_is_exported_and_of_the_house() -> None:
    for name in errors.__all__:
        error = getattr(errors, name)
        assert issubclass(error, errors.HeadraceError)
        assert getattr(headrace_asgi, name) is error


def test_what_the_peer_did_has_a_status_and_a_close_code() -> None:
    for error in (errors.BadMessage, errors.UnreadableEntry):
        assert issubclass(error, errors.PeerError)
        assert (error.status, error.close_code) == (500, 1011)


def test_our_own_errors_are_not_the_peers() -> None:
    ours = (errors.ChannelFull, errors.MessageTooLarge, errors.ConfigurationError, errors.LayerUnavailable)
    assert not any(issubclass(error, errors.PeerError) for error in ours)


def test_an_unknown_outcome_is_met_by_who_expects_an_outage() -> None:
    assert issubclass(errors.OutcomeUnknown, errors.LayerUnavailable)

"""Handshakes of one address."""

from __future__ import annotations

from headrace_interface.websocket.handshakes import Handshakes


def test_an_address_may_have_so_many_handshakes_and_others_as_many() -> None:
    handshakes = Handshakes(2)
    for _ in range(2):
        assert handshakes.may_begin("a", 0)
        handshakes.begun("a")
    assert not handshakes.may_begin("a", 0)
    assert handshakes.may_begin("b", 0)
    handshakes.ended("a")
    assert handshakes.may_begin("a", 0)


def test_clients_that_left_something_unsaid_count_as_well() -> None:
    handshakes = Handshakes(2)
    handshakes.begun("a")
    assert handshakes.may_begin("a", 0, departed=0)
    assert not handshakes.may_begin("a", 0, departed=1)


def test_one_that_was_left_counts_until_it_expires() -> None:
    handshakes = Handshakes(1)
    handshakes.begun("a")
    handshakes.left("a", expires_at=30)
    assert not handshakes.may_begin("a", 29)
    assert handshakes.may_begin("a", 30)
    assert not handshakes._waiting


def test_zero_is_without_a_limit() -> None:
    handshakes = Handshakes(0)
    for _ in range(1_000):
        handshakes.begun("a")
    assert handshakes.may_begin("a", 0)
